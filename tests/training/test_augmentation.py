import numpy as np
import pytest
import tensorflow as tf

from oracle import tf_cpn as reference
from tfcpn.skeleton import COCO
from tfcpn.training.augmentation import Draws, Ranges, draw, four_views
from tfcpn.transforms.normalize import TF_CPN_PREPROCESSING, normalize


def people(count, size=(256, 192), seed=0):
    """Smooth crops (interpolation of noise is meaningless), keypoints inside and outside of them,
    and visibilities.
    """
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(0, 255, (count, 16, 12, 3)).astype(np.float32)
    crops = tf.cast(tf.image.resize(coarse, size), tf.uint8).numpy()
    keypoints = rng.uniform(-0.1, 1.1, (count, 17, 2)) * [size[1], size[0]]
    visibility = rng.choice([0, 1, 2], (count, 17))
    keypoints[visibility == 0] = -1e6
    return crops, np.concatenate([keypoints, visibility[..., None]], axis=-1).astype(np.float32)


def views_of(crops, keypoints, draws):
    return four_views(crops, keypoints, draws, COCO.flip_indices, TF_CPN_PREPROCESSING)


@pytest.mark.parametrize("size", [(256, 192), (256, 256), (128, 96)])
def test_views_equal_the_reference(size):
    crops, keypoints = people(6, size)
    draws = draw((3, 4), 6, Ranges())
    actual = [np.reshape(t, (6, 4, *t.shape[1:])) for t in views_of(crops, keypoints, draws)]
    for i in range(6):
        args = (
            crops[i],
            keypoints[i, :, :2],
            keypoints[i, :, 2],
            float(draws.rescale[i]),
            draws.angle[i].numpy(),
        )
        images, moved, visibility = reference.four_views(*args)
        assert np.abs(actual[0][i] - images).mean(axis=(1, 2, 3)).max() * 255 < 0.5
        known = (keypoints[i, :, 2] > 0)[None, :] & (moved >= 0).all(axis=-1)
        np.testing.assert_allclose(actual[1][i][known], moved[known], atol=2e-3)
        np.testing.assert_array_equal(actual[2][i], visibility)


def test_without_zoom_and_rotation_the_views_are_the_crop_and_its_mirror():
    crops, keypoints = people(2)
    still = Draws(tf.constant([1.25, 1.35]), tf.zeros((2, 2)))
    images, moved, _ = views_of(crops, keypoints, still)
    plain = normalize(crops, TF_CPN_PREPROCESSING).numpy()
    for i in range(2):
        for view, expected in ((0, plain[i]), (1, plain[i][:, ::-1]), (2, plain[i]), (3, plain[i])):
            np.testing.assert_allclose(images[4 * i + view], expected, atol=1e-5)
        np.testing.assert_allclose(moved[4 * i], keypoints[i, :, :2], rtol=1e-5, atol=1e-3)


def test_the_mirror_swaps_left_and_right():
    crops, keypoints = people(1)
    keypoints[0, 5] = 30, 40, 2  # left shoulder
    _, moved, visibility = views_of(crops, keypoints, Draws(tf.constant([1.3]), tf.zeros((1, 2))))
    np.testing.assert_allclose(moved[1, 6], [191 - 30, 40], atol=1e-4)
    assert visibility[1, 6] == 2


def test_a_positive_angle_rotates_counterclockwise():
    crops, keypoints = people(1)
    keypoints[0, 0] = 96 + 50, 128, 2  # right of the center
    _, moved, _ = views_of(
        crops,
        keypoints,
        Draws(tf.constant([1.3]), tf.constant([[30.0, -30.0]])),
    )
    assert moved[2, 0, 1] < 128 < moved[3, 0, 1]


def test_random_parameters_depend_only_on_the_seed_and_fill_the_ranges():
    ranges = Ranges(0.8, 1.1, 20)
    a, b, c = (draw(seed, 4000, ranges) for seed in ((1, 2), (1, 2), (1, 3)))
    np.testing.assert_array_equal(a.angle, b.angle)
    assert not np.array_equal(a.rescale, c.rescale)
    assert 0.8 <= np.min(a.rescale) < 0.801 and 1.099 < np.max(a.rescale) <= 1.1
    assert -20 <= np.min(a.angle) < -19.9 and 19.9 < np.max(a.angle) <= 20
    assert np.mean(a.angle > 0) == pytest.approx(0.5, abs=0.03)
    # Zoom, angles and signs are drawn independently.
    assert abs(np.corrcoef([a.rescale, a.angle[:, 0], a.angle[:, 1]]) - np.eye(3)).max() < 0.06


def test_random_parameters_are_the_same_in_a_graph():
    eager = draw((7, 8), 5, Ranges())
    graph = tf.function(lambda: draw((7, 8), 5, Ranges()))()
    np.testing.assert_array_equal(eager.angle, graph.angle)
    np.testing.assert_array_equal(eager.rescale, graph.rescale)
