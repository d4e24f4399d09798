import json

import cv2
import numpy as np
import pytest
import tensorflow as tf

from benchmarking import reference
from tfcpn import align, coco, images, records
from tfcpn.align import Alignment
from tfcpn.input_pipeline import evaluation_batches, people_in_order, training_batches


def ids(people, count, first=0, seed=0, shuffle_buffer=8):
    index = records.read_index(people.records)
    stream = people_in_order(people.records, index, seed, first, shuffle_buffer)
    return [int(p["id"]) for p in stream.take(count)]


def trainable(people):
    _, annotated = coco.read_annotations(people.train_annotations)
    return {p.id: p for p in annotated if p.trainable}


def test_everyone_comes_once_a_pass_in_an_order_of_its_own(people):
    count = len(trainable(people))
    seen = ids(people, 3 * count)
    passes = [seen[i * count : (i + 1) * count] for i in range(3)]
    for one in passes:
        assert sorted(one) == sorted(trainable(people))
    assert passes[0] != passes[1] != passes[2]
    assert passes[0] != ids(people, count, seed=1)


@pytest.mark.parametrize("first", [1, 17, 200])
def test_a_stream_continues_where_another_stopped(people, first):
    assert ids(people, 30, first) == ids(people, first + 30)[first:]


def test_the_order_mixes_shards_and_images(people):
    """People of one image, and images of one shard, are spread out."""
    image_of = {p.id: p.image_id for p in trainable(people).values()}
    order = ids(people, len(image_of), shuffle_buffer=64)
    neighbours = np.mean([image_of[a] == image_of[b] for a, b in zip(order, order[1:])])
    assert neighbours < 0.15


def test_a_batch_holds_the_references_crops_and_joints(people):
    index = records.read_index(people.records)
    order = ids(people, 8)
    crops, joints = next(
        iter(training_batches(people_in_order(people.records, index, 0, 0, 8), Alignment(), (128, 96), 8))
    )
    assert crops.dtype == tf.uint8 and crops.shape == (8, 128, 96, 3) and joints.shape == (8, 17, 3)

    files = {i["id"]: i["file_name"] for i in json.loads(people.train_annotations.read_text())["images"]}
    for crop, crop_joints, person_id in zip(crops.numpy(), joints.numpy(), order):
        person = trainable(people)[person_id]
        image = cv2.imread(str(people.train / files[person.image_id]))
        expected, corners = reference.crop(image, person.box, (128, 96), True)
        difference = np.abs(crop.astype(int) - expected)
        assert difference.max() <= 1 and difference.mean() < 0.15
        labelled = person.keypoints[:, 2] > 0
        scale = np.array([96, 128]) / (corners[2:] - corners[:2])
        expected_joints = (person.keypoints[:, :2] - corners[:2]) * scale
        np.testing.assert_allclose(crop_joints[labelled, :2], expected_joints[labelled], atol=1e-3)


def test_several_machines_share_out_each_global_batch(people):
    index = records.read_index(people.records)

    def batches(context):
        stream = people_in_order(people.records, index, 0, 0, 8)
        dataset = training_batches(stream, Alignment(), (64, 64), 2, context)
        return [joints.numpy() for _, joints in dataset.take(3)]

    machines = [batches(tf.distribute.InputContext(2, i, 2)) for i in range(2)]
    together = [batch for pair in zip(*machines) for batch in pair]
    alone = [
        joints.numpy()
        for _, joints in training_batches(
            people_in_order(people.records, index, 0, 0, 8),
            Alignment(),
            (64, 64),
            2,
            tf.distribute.InputContext(1, 0, 2),
        ).take(6)
    ]
    np.testing.assert_array_equal(together, alone)


def test_evaluation_batches_are_the_references_test_crops(people):
    annotated_images, annotated = coco.read_annotations(people.val_annotations)
    shown = [p for p in annotated if p.trainable]
    of_box = [annotated_images[p.image_id] for p in shown]
    rectangles = align.crop_rectangle([p.box for p in shown], [(i.height, i.width) for i in of_box], (128, 96))
    where = dict.fromkeys(annotated_images, 1), people.val, "person", (128, 96), 3
    crops = np.concatenate(list(evaluation_batches(of_box, align.rectangle_region(rectangles), *where)))
    assert len(crops) == len(shown)
    for person, image, crop, rectangle in zip(shown, of_box, crops, rectangles.numpy()):
        pixels = cv2.imread(str(people.val / image.file_name))
        expected, corners = reference.crop(pixels, person.box, (128, 96), False)
        np.testing.assert_array_equal(rectangle, corners)
        assert np.abs(crop.astype(int) - expected).max() <= 1


def test_an_image_with_exif_orientation_is_cropped_as_shown(tmp_path):
    import test_images

    encoded = test_images.write(tmp_path / "a.jpg", test_images.photo(), 6, quality=95)
    height, width, orientation = images.read_header(encoded, "a.jpg")
    image, box = coco.CocoImage(1, "a.jpg", height, width), (20, 30, 60, 90)
    region = align.rectangle_region(align.crop_rectangle([box], [(height, width)], (128, 96)))
    (crops,) = evaluation_batches([image], region, {1: orientation}, tmp_path, "person", (128, 96), 1)
    expected, _ = reference.crop(cv2.imread(str(tmp_path / "a.jpg")), box, (128, 96), False)
    assert np.abs(crops[0].numpy().astype(int) - expected).max() <= 1
