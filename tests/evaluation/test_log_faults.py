"""The two bugs behind the BlazePose rows of the experiment log: its method fails here, the method
of this port passes."""

import numpy as np
import pytest
import tensorflow as tf

from tfcpn.codecs.heatmap import HeatmapCodec
from tfcpn.config import TRAINING_MARGIN
from tfcpn.data.coco import read_annotations
from tfcpn.data.detections import PersonBox, coco_result
from tfcpn.data.pipeline import build_crop_fn, training_batches
from tfcpn.data.record_sets import read_records
from tfcpn.data.sampling import open_training_set
from tfcpn.evaluation.metrics import coco_metrics
from tfcpn.models.cpn import global_loss
from tfcpn.skeleton import COCO
from tfcpn.training.augmentation import Draws, four_views
from tfcpn.transforms.alignment import Alignment
from tfcpn.transforms.cropping import CropSpec
from tfcpn.transforms.normalize import TF_CPN_PREPROCESSING
from tfcpn.transforms.regions import (
    alignment_points,
    has_alignment_keypoints,
    keypoints_to_crop,
    keypoints_to_image,
    person_region,
)

SIZE = (128, 128)


def training_views(people):
    source = open_training_set(read_records(people.records), shuffle_buffer=8)
    crop_spec = CropSpec(SIZE, True, TF_CPN_PREPROCESSING.pad_color)
    work = build_crop_fn(
        alignment=Alignment("blazepose"), skeleton=COCO, crop_spec=crop_spec, margin=TRAINING_MARGIN
    )
    crops, back = next(iter(training_batches(source, 0, work, 4)))
    return four_views(
        crops, back, Draws(tf.ones(4), tf.zeros((4, 2))), COCO.flip_indices, TF_CPN_PREPROCESSING
    )


def check_that_the_global_loss_sees_visible_keypoints(back, visibility):
    """A network that outputs zeros must have a higher loss than one that shows every visible
    keypoint.
    """
    labels = (
        HeatmapCodec(SIZE, (32, 32), (13, 9, 7, 5), 255.0, COCO.flip_indices)
        .encode(back, visibility)
        .maps
    )
    silent = global_loss([tf.zeros_like(label) for label in labels], labels, visibility)
    right = global_loss(
        [label * tf.cast(visibility > 1, tf.float32)[:, None, None] for label in labels],
        labels,
        visibility,
    )
    assert silent > right + 100


def test_visibility_reaches_the_global_loss_as_the_value_of_coco(people):
    _, back, visibility = training_views(people)
    assert set(np.unique(visibility)) <= {0.0, 1.0, 2.0} and (visibility.numpy() == 2).any()
    check_that_the_global_loss_sees_visible_keypoints(back, visibility)
    # The method of the log: the visibility was already a boolean, so that "above 1.1" was never
    # true.
    with pytest.raises(AssertionError):
        check_that_the_global_loss_sees_visible_keypoints(back, tf.cast(visibility > 0, tf.float32))


def our_way(crop_keypoints, regions):
    return keypoints_to_image(crop_keypoints, regions, SIZE).numpy()


def the_logs_way(crop_keypoints, regions):
    """As in the log: keypoints of all people of an image are scaled once per person."""
    back = np.array(crop_keypoints, np.float64)
    for person in range(len(back)):
        back /= SIZE[0]
        center, side, angle = regions[person, :2], regions[person, 2], regions[person, 4]
        u, v = (back[person] - 0.5).T * side
        turned = [np.cos(angle) * u - np.sin(angle) * v, np.sin(angle) * u + np.cos(angle) * v]
        back[person] = np.stack(turned, axis=1) + center
    return back


def check_that_perfect_keypoints_score_one(people, to_image):
    images, annotated, *_ = read_annotations(people.val_annotations)
    shown = [p for p in annotated if p.trainable]
    results = []
    for image in images.values():
        here = [p for p in shown if p.image_id == image.id]
        if not here:
            continue
        keypoints = np.stack([p.keypoints for p in here])
        points = alignment_points(keypoints, np.array([p.max_radius for p in here]), COCO, "body")
        found = has_alignment_keypoints(keypoints, COCO, "body")
        where = [p.box for p in here], points, found, [(image.height, image.width)] * len(here)
        regions = person_region(*where, Alignment("blazepose"), SIZE).numpy()
        back = to_image(keypoints_to_crop(keypoints, regions, SIZE)[..., :2], regions)
        results += [
            coco_result(PersonBox(image.id, p.box, 1.0), keypoints=j, scores=np.ones(17))
            for p, j in zip(here, back)
        ]
    assert coco_metrics(read_annotations(people.val_annotations), results)["AP"] == pytest.approx(1)


def test_mapping_back_from_the_crop_keeps_all_people_of_an_image(people):
    check_that_perfect_keypoints_score_one(people, our_way)
    with pytest.raises(AssertionError):
        check_that_perfect_keypoints_score_one(people, the_logs_way)


def test_a_single_person_was_mapped_back_correctly_even_by_the_log():
    """This is why the bug was not noticed."""
    regions = np.array([[70.0, 60.0, 90.0, 90.0, 0.4]])
    back = np.random.default_rng(0).uniform(0, 128, (1, 17, 2))
    np.testing.assert_allclose(the_logs_way(back, regions), our_way(back, regions), atol=1e-9)
