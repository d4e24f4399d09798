import cv2
import numpy as np
import pytest
import tensorflow as tf

from oracle import tf_cpn as reference
from tfcpn.codecs.decoders import padded_blur
from tfcpn.codecs.gaussian import blur_matrix, gaussian_kernel
from tfcpn.codecs.heatmap import HeatmapCodec
from tfcpn.skeleton import COCO

SIZES = [
    ((256, 192), (15, 11, 9, 7)),
    ((384, 288), (23, 17, 13, 9)),
    ((256, 256), (15, 11, 9, 7)),
    ((64, 64), (15, 11, 9, 7)),
]


def codec_of(input_size, kernels, scale=255.0):
    return HeatmapCodec(
        input_size, (input_size[0] // 4, input_size[1] // 4), kernels, scale, COCO.flip_indices
    )


def keypoints_everywhere(input_size, count=40):
    """Random keypoints, keypoints on all borders and corners, just outside, and not labeled."""
    height, width = input_size
    rng = np.random.default_rng(0)
    inside = rng.uniform(0, 1, (count, 2)) * [width, height]
    edge = [
        (0, 0),
        (width - 1, height - 1),
        (width - 0.01, 5),
        (7, height - 0.01),
        (0, height - 1),
        (width + 30, 20),
    ]
    outside = [(-1e6, -1e6), (-0.5, 10), (10, -3)]
    return np.concatenate([inside, edge, outside]).astype(np.float32)


@pytest.mark.parametrize("kernel", [7, 9, 11, 13, 15, 17, 21, 23])
def test_the_kernel_is_opencvs(kernel):
    np.testing.assert_allclose(
        gaussian_kernel(kernel), cv2.getGaussianKernel(kernel, 0)[:, 0], atol=1e-12
    )


@pytest.mark.parametrize("length, kernel", [(64, 15), (16, 15), (5, 15)])
def test_the_reflecting_blur_matrix_is_opencvs_blur(length, kernel):
    line = np.random.default_rng(0).random((length, 1))
    column = cv2.getGaussianKernel(kernel, 0)
    expected = cv2.sepFilter2D(line, -1, np.ones((1, 1)), column, borderType=cv2.BORDER_REFLECT_101)
    np.testing.assert_allclose(blur_matrix(length, kernel) @ line, expected, atol=1e-9)


@pytest.mark.parametrize("input_size, kernels", SIZES)
@pytest.mark.parametrize("scale", [255.0, 1.0])
def test_label_maps_equal_the_reference_also_at_borders(input_size, kernels, scale):
    codec = codec_of(input_size, kernels, scale)
    keypoints = keypoints_everywhere(input_size)
    for kernel, maps in zip(kernels, codec.encode(keypoints[None], None).maps):
        expected = [
            reference.label_map(x, y, input_size, codec.heatmap_size, kernel, scale)
            for x, y in keypoints
        ]
        np.testing.assert_allclose(maps[0], np.stack(expected, axis=-1), atol=1e-3 * scale)


def test_a_label_peaks_at_the_scale_in_the_keypoints_pixel():
    codec = codec_of((256, 192), (15, 11, 9, 7), 100.0)
    for maps in codec.encode(np.array([[[50.9, 103.9]]], np.float32), None).maps:
        assert float(tf.reduce_max(maps)) == pytest.approx(100)
        assert float(maps[0, 25, 12, 0]) == pytest.approx(100)


def test_encoding_runs_the_same_in_a_tf_data_pipeline():
    codec = codec_of((64, 64), (15, 11, 9, 7))
    keypoints = keypoints_everywhere((64, 64))[None]
    eager = codec.encode(keypoints, None).maps
    mapped = next(
        iter(tf.data.Dataset.from_tensors(keypoints).map(lambda j: codec.encode(j, None).maps))
    )
    for a, b in zip(eager, mapped):
        np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("scale", [255.0, 1.0])
def test_decoding_equals_the_reference_on_random_maps(scale):
    rng = np.random.default_rng(1)
    smooth = [cv2.GaussianBlur(rng.normal(0, scale, (64, 48, 17)), (0, 0), s) for s in (1, 2, 4)]
    maps = np.stack(smooth).astype(np.float32)
    keypoints, scores = codec_of((256, 192), (15, 11, 9, 7), scale).decode(maps)
    for i in range(len(maps)):
        expected_keypoints, expected_scores = reference.decode(maps[i], scale)
        np.testing.assert_allclose(keypoints[i], expected_keypoints, atol=1e-3)
        np.testing.assert_allclose(scores[i], expected_scores, atol=1e-4)


def test_decoding_unusual_maps_equals_the_reference_and_gives_no_nan():
    """Flat, negative, zero, single points in corners, two equal peaks."""
    maps = np.zeros((64, 48, 9), np.float32)
    maps[..., 0] = 3.0
    maps[..., 1] = -3.0
    maps[..., 3] = -np.random.default_rng(2).random((64, 48)) - 0.5
    maps[0, 0, 4] = maps[63, 47, 5] = maps[0, 47, 6] = 200
    maps[20, 10, 7] = maps[20, 30, 7] = 200
    maps[..., 8] = -5
    maps[30, 20, 8] = 1e-6
    keypoints, scores = codec_of((256, 192), (15, 11, 9, 7)).decode(maps[None])
    expected_keypoints, expected_scores = reference.decode(maps, 255)
    assert np.isfinite(keypoints).all() and np.isfinite(scores).all()
    # In the flat maps 0 and 1 all pixels that the blur's zero border does not reach tie but for
    # rounding.
    rest = slice(2, None)
    np.testing.assert_allclose(keypoints[0, rest], expected_keypoints[rest], atol=1e-3)
    np.testing.assert_allclose(scores[0], expected_scores, atol=1e-4)
    flat = keypoints[0, :2].numpy()
    assert (flat >= 4 * 10 + 1).all() and (flat <= 4 * np.array([38, 54]) - 1).all()


@pytest.mark.parametrize("input_size, kernels", SIZES[:3])
def test_keypoints_survive_encoding_and_decoding_to_the_grid(input_size, kernels):
    """To half a heatmap pixel, and the quarter of one that decoding adds."""
    codec = codec_of(input_size, kernels)
    rng = np.random.default_rng(3)
    keypoints = (rng.uniform(0.05, 0.95, (1, 50, 2)) * input_size[::-1]).astype(np.float32)
    decoded, scores = codec.decode(codec.encode(keypoints, None).maps[-1])
    assert np.abs(decoded - keypoints).max() <= 2 + 1 + 1e-3
    # The quarter step may leave the peak only in rounding, so the score is that of the peak.
    np.testing.assert_allclose(scores, 1.5, atol=1e-5)


def test_flip_back_undoes_the_mirror():
    maps = np.random.default_rng(4).random((2, 16, 12, 17)).astype(np.float32)
    mirrored = maps[:, :, ::-1][..., COCO.flip_indices]
    np.testing.assert_array_equal(codec_of((64, 48), (7, 7, 7, 7)).flip(mirrored), maps)


def test_the_decoders_blur_is_a_gaussian_filter_with_zero_padding():
    maps = np.random.default_rng(5).random((1, 64, 48, 3)).astype(np.float32)
    padded = cv2.copyMakeBorder(maps[0], 20, 20, 20, 20, cv2.BORDER_CONSTANT, value=0)
    expected = cv2.GaussianBlur(padded, (21, 21), 3.5)[None, 20:-20, 20:-20]
    actual = np.einsum("ab,nbwk,cw->nack", padded_blur(64), maps, padded_blur(48))
    assert actual.shape == (1, 84, 68, 3)
    np.testing.assert_allclose(actual[:, 10:-10, 10:-10], expected, atol=1e-5)
