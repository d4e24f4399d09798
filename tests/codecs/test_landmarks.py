"""Keypoints of any set as BlazePose's landmarks."""

import numpy as np
import pytest
import tensorflow as tf

from tfcpn.codecs.landmarks import LandmarkCodec, Landmarks, LandmarkTargets, refine_by_heatmap
from tfcpn.models.blazepose.losses import label_heatmaps
from tfcpn.skeleton import COCO, LSP, MEDIAPIPE, from_names
from tfcpn.utils.errors import InputError

# The published correspondences: COCO's 17 of the 33, and LSP's first 12.
COCO_PLACES = [0, 2, 5, 7, 8, 11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28]
LSP_PLACES = [28, 26, 24, 23, 25, 27, 16, 14, 12, 11, 13, 15]


def codec(skeleton, **more):
    return LandmarkCodec(skeleton, 39, 256, **more)


def outputs(rng, count=2):
    landmarks = rng.uniform(0, 256, (count, 39, 5)).astype(np.float32)
    return Landmarks(
        tf.constant(landmarks), tf.constant(rng.normal(size=(count, 64, 64, 39)).astype(np.float32))
    )


def test_keypoints_find_their_landmark_by_name():
    assert codec(COCO).landmark_indices == COCO_PLACES
    assert codec(LSP).landmark_indices == [*LSP_PLACES, -1, -1]
    assert codec(LSP).missing_keypoints == (12, 13)
    assert codec(MEDIAPIPE).landmark_indices == list(range(33))
    assert codec(COCO.with_align_points()).landmark_indices == [*COCO_PLACES, 33, 34]


def test_encoded_keypoints_are_decoded():
    rng = np.random.default_rng(0)
    keypoints, visibility = rng.uniform(0, 256, (3, 17, 2)), rng.choice([0.0, 1.0, 2.0], (3, 17))
    targets = codec(COCO).encode(
        tf.constant(keypoints, tf.float32), tf.constant(visibility, tf.float32)
    )
    landmarks = np.zeros((3, 39, 5), np.float32)
    landmarks[..., :2] = targets.xy
    found, _ = codec(COCO).decode(Landmarks(tf.constant(landmarks), tf.zeros((3, 64, 64, 39))))
    np.testing.assert_allclose(found, keypoints, rtol=1e-6)
    np.testing.assert_array_equal(np.asarray(targets.visibility)[:, COCO_PLACES], visibility)
    assert np.asarray(targets.visibility).sum() == visibility.sum()


def test_a_keypoint_without_a_landmark_lies_at_0_and_scores_0():
    keypoints, scores = codec(LSP).decode(outputs(np.random.default_rng(1)))
    assert not np.asarray(keypoints)[:, 12:].any() and not np.asarray(scores)[:, 12:].any()
    assert (np.asarray(scores)[:, :12] > 0).all()


def test_flipping_twice_changes_nothing_and_flipping_once_swaps_sides():
    given = outputs(np.random.default_rng(2))
    once = codec(COCO).flip(given)
    twice = codec(COCO).flip(once)
    np.testing.assert_allclose(twice.landmarks, given.landmarks, rtol=1e-5)
    np.testing.assert_array_equal(twice.heatmaps[:, :, 2:], given.heatmaps[:, :, 2:])
    left, right = MEDIAPIPE.keypoints.index("left_knee"), MEDIAPIPE.keypoints.index("right_knee")
    np.testing.assert_allclose(once.landmarks[:, left, 0], 256 - given.landmarks[:, right, 0])
    by_index = codec(COCO, corner_to_corner=True).flip(given)
    np.testing.assert_allclose(by_index.landmarks[:, left, 0], 255 - given.landmarks[:, right, 0])
    np.testing.assert_array_equal(once.heatmaps[:, :, 1:, left], given.heatmaps[:, :, :0:-1, right])


def test_a_peak_moves_with_its_keypoint_in_a_mirror_image():
    """So that the mean of a crop's heatmap and its mirror image's has one peak and not two."""
    targets = codec(COCO).encode(tf.fill((1, 17, 2), 80.0), tf.fill((1, 17), 2.0))
    maps = label_heatmaps(targets)
    landmarks = tf.concat([targets.xy, tf.zeros((1, 39, 3))], axis=-1)
    mirrored = LandmarkTargets(
        tf.constant([256.0, 0]) - targets.xy * tf.constant([1.0, -1]), targets.visibility
    )
    there = codec(COCO).flip(Landmarks(landmarks, label_heatmaps(mirrored)))
    np.testing.assert_allclose(there.heatmaps[0, :, 1:, 0], maps[0, :, 1:, 0], atol=1e-5)


def test_keypoints_unknown_to_blazepose_are_refused():
    with pytest.raises(InputError, match="beak, tail.*are none of BlazePose's"):
        codec(from_names("bird", ("beak", "tail")))


def plain_refined(xy, heatmaps):
    """The rule cell by cell."""
    done = xy.copy()
    height, width = heatmaps.shape[1:3]
    for n, landmark in np.ndindex(*xy.shape[:2]):
        column, row = (int(np.floor(v / 256 * s)) for v, s in zip(xy[n, landmark], (width, height)))
        if not (0 <= column < width and 0 <= row < height):
            continue
        total = across = down = most = 0.0
        for y in range(max(0, row - 3), min(height, row + 4)):
            for x in range(max(0, column - 3), min(width, column + 4)):
                sure = 1 / (1 + np.exp(-heatmaps[n, y, x, landmark]))
                total, across, down, most = (
                    total + sure,
                    across + x * sure,
                    down + y * sure,
                    max(most, sure),
                )
        if most >= 0.5:
            done[n, landmark] = across / total / width * 256, down / total / height * 256
    return done


def test_refinement_is_the_mean_of_a_window():
    rng = np.random.default_rng(3)
    xy = rng.uniform(-20, 276, (2, 39, 2)).astype(np.float32)
    heatmaps = rng.normal(-3, 2, (2, 64, 64, 39)).astype(np.float32)
    expected = plain_refined(xy, heatmaps)
    assert 5 < (expected == xy).all(axis=-1).sum() < 60  # some stay, some move
    np.testing.assert_allclose(
        refine_by_heatmap(tf.constant(xy), tf.constant(heatmaps), 256), expected, atol=1e-2
    )
    decoded, _ = codec(MEDIAPIPE, refine=True).decode(
        Landmarks(
            tf.constant(np.concatenate([xy, np.zeros((2, 39, 3), np.float32)], axis=-1)),
            tf.constant(heatmaps),
        )
    )
    np.testing.assert_allclose(decoded, expected[:, :33], atol=1e-2)
