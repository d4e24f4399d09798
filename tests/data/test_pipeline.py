import json

import cv2
import numpy as np
import pytest
import tensorflow as tf

from oracle import tf_cpn as reference
from support.photos import photo, write
from tfcpn.config import TRAINING_MARGIN
from tfcpn.data.coco import CocoImage, read_annotations
from tfcpn.data.images import find_image
from tfcpn.data.pipeline import (
    InitialPredictions,
    build_crop_fn,
    region_batches,
    training_batches,
)
from tfcpn.data.record_sets import read_records
from tfcpn.data.sampling import open_training_set, training_stream
from tfcpn.skeleton import COCO
from tfcpn.transforms import regions
from tfcpn.transforms.alignment import MODES, Alignment
from tfcpn.transforms.cropping import CropSpec, decode_and_crop
from tfcpn.transforms.normalize import MEAN_BGR


def format_of(size, mode="person"):
    return CropSpec(size, mode == "blazepose", MEAN_BGR)


def work_of(alignment, size, skeleton=COCO, initial_predictions=None):
    return build_crop_fn(
        alignment=alignment,
        skeleton=skeleton,
        crop_spec=format_of(size, alignment.mode),
        margin=TRAINING_MARGIN,
        initial_predictions=initial_predictions,
    )


def made_predictions(source):
    """Another region of each person, background for a third, and every second one mirrored."""
    ids = np.unique(source.index.id)
    background = np.tile(np.float32([[[40, 40, 2], [40, 20, 2]]]), (len(ids), 1, 1))
    points = background + np.float32([9, 9, 0])
    return InitialPredictions(ids, points, background, ids % 2 == 0, 0.33)


def source_of(people):
    return open_training_set(read_records(people.records), shuffle_buffer=8)


def test_a_batch_equals_the_reference_crops_and_keypoints(people):
    source = source_of(people)
    order = [int(i) for i in training_stream(source, 0, lambda group: group["id"]).take(8)]
    work = work_of(Alignment(), (128, 96))
    crops, keypoints = next(iter(training_batches(source, 0, work, 8)))
    assert (
        crops.dtype == tf.uint8 and crops.shape == (8, 128, 96, 3) and keypoints.shape == (8, 17, 3)
    )

    annotated = {p.id: p for p in read_annotations(people.train_annotations)[1]}
    files = {
        i["id"]: i["file_name"] for i in json.loads(people.train_annotations.read_text())["images"]
    }
    for crop, crop_keypoints, person_id in zip(crops.numpy(), keypoints.numpy(), order):
        person = annotated[person_id]
        image = cv2.imread(str(people.train / files[person.image_id]))
        expected, corners = reference.crop(image, person.box, (128, 96), True)
        difference = np.abs(crop.astype(int) - expected)
        assert difference.max() <= 1 and difference.mean() < 0.15
        labeled = person.keypoints[:, 2] > 0
        scale = np.array([96, 128]) / (corners[2:] - corners[:2])
        expected_keypoints = (person.keypoints[:, :2] - corners[:2]) * scale
        np.testing.assert_allclose(
            crop_keypoints[labeled, :2], expected_keypoints[labeled], atol=1e-3
        )


@pytest.mark.parametrize(
    "alignment",
    [pytest.param(Alignment(), marks=pytest.mark.slow), Alignment("blazepose")],
    ids=["person", "blazepose"],
)
def test_a_resumed_run_gets_identical_batches(people, alignment):
    """In a resumed pass an image is decoded once for each person; in other passes once for all its
    people.
    """
    source, skeleton = source_of(people), COCO.with_align_points()
    predictions = made_predictions(source) if alignment.uses_points else None
    work = work_of(alignment, (64, 48), skeleton, predictions)
    count, first = source.people + 12, source.people // 3
    full_pass = next(iter(training_batches(source, 0, work, count)))
    for whole, rest in zip(
        full_pass, next(iter(training_batches(source, first, work, count - first)))
    ):
        np.testing.assert_array_equal(whole[first:], rest)
    if predictions:
        is_background = ~(full_pass[1].numpy()[..., 2] > 0).any(axis=1)
        assert 0 < is_background.mean() < 0.7


@pytest.mark.parametrize("mode", MODES)
def test_a_crop_does_not_depend_on_other_crops_of_the_image(mode):
    rng = np.random.default_rng(0)
    noise = cv2.GaussianBlur(rng.integers(0, 256, (480, 640, 3)).astype(np.uint8), (5, 5), 0)
    image = {
        "encoded": cv2.imencode(".jpg", noise)[1].tobytes(),
        "orientation": 1,
        "image_size": (480, 640),
    }
    places = regions.region_from_rectangle(
        [[3, 5, 90, 120], [-40, 200, 170, 490], [500, 31, 701, 300], [650, 0, 700, 50]]
    )
    if mode == "blazepose":
        centers = rng.uniform(120, 360, (6, 1, 2))
        places = regions.region_from_points(
            np.concatenate([centers, centers + rng.uniform(-60, 60, (6, 1, 2))], axis=1)
        )
    crop_spec = format_of((128, 96), mode)
    together = decode_and_crop(image, places, crop_spec)
    for crop, place in zip(together, places):
        np.testing.assert_array_equal(crop, decode_and_crop(image, place[None], crop_spec)[0])


def test_several_hosts_split_each_global_batch(people):
    source, work = source_of(people), work_of(Alignment(), (64, 64))

    def batches(context, count):
        return [
            keypoints.numpy()
            for _, keypoints in training_batches(source, 0, work, 2, context).take(count)
        ]

    machines = [batches(tf.distribute.InputContext(2, i, 2), 3) for i in range(2)]
    together = [batch for pair in zip(*machines) for batch in pair]
    np.testing.assert_array_equal(together, batches(tf.distribute.InputContext(1, 0, 2), 6))


def test_evaluation_batches_equal_the_reference_crops(people):
    annotated_images, annotated, *_ = read_annotations(people.val_annotations)
    shown = [p for p in annotated if p.trainable]
    of_box = [annotated_images[p.image_id] for p in shown]
    rectangles = regions.crop_rectangle(
        [p.box for p in shown], [(i.height, i.width) for i in of_box], (128, 96)
    )
    images = [find_image(people.val, image) for image in of_box]
    places = regions.region_from_rectangle(rectangles)
    crops = np.concatenate(list(region_batches(images, places, format_of((128, 96)), 3)))
    assert len(crops) == len(shown)
    for person, image, crop, rectangle in zip(shown, of_box, crops, rectangles.numpy()):
        pixels = cv2.imread(str(people.val / image.file_name))
        expected, corners = reference.crop(pixels, person.box, (128, 96), False)
        np.testing.assert_array_equal(rectangle, corners)
        assert np.abs(crop.astype(int) - expected).max() <= 1


def test_an_image_with_exif_orientation_is_cropped_as_shown(tmp_path):
    write(tmp_path / "a.jpg", photo(), 6, quality=95)
    height, width = 210, 150
    image, box = find_image(tmp_path, CocoImage(1, "a.jpg", height, width)), (20, 30, 60, 90)
    region = regions.region_from_rectangle(
        regions.crop_rectangle([box], [(height, width)], (128, 96))
    )
    (crops,) = region_batches([image], region, format_of((128, 96)), 1)
    expected, _ = reference.crop(cv2.imread(str(tmp_path / "a.jpg")), box, (128, 96), False)
    assert np.abs(crops[0].numpy().astype(int) - expected).max() <= 1
