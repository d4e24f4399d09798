"""Crops, augmentation, labels and decoding against the numbers of the original program."""

import json

import numpy as np
import pytest
import recipe
import tensorflow as tf

from tfcpn import align, augment, input_pipeline
from tfcpn.codec import HeatmapCodec, flip_back

SIZE = (256, 192)
PEOPLE = json.loads((recipe.GOLDEN / "people/person_keypoints.json").read_text())
GOLDEN = np.load(recipe.GOLDEN / "data_256x192.npz")
FILES = {image["id"]: image for image in PEOPLE["images"]}


def cut(annotation, margin):
    image = FILES[annotation["image_id"]]
    size = (image["height"], image["width"])
    person = {"image_size": size, "orientation": 1}
    person["encoded"] = (recipe.GOLDEN / "people/images" / image["file_name"]).read_bytes()
    points = np.zeros((2, 2)), False
    region = align.person_region(annotation["bbox"], *points, size, align.Alignment(), SIZE, margin)
    return input_pipeline.decode_and_cut(person, region[None], "person", SIZE)[0], region


@pytest.fixture
def codec():
    return HeatmapCodec(SIZE, (64, 48), (15, 11, 9, 7), 255)


@pytest.mark.parametrize("i", range(6))
def test_a_test_crop_has_the_originals_corners_and_pixels(i):
    crop, region = cut(PEOPLE["annotations"][i], 1.0)
    assert align.region_rectangle(region).numpy().tolist() == GOLDEN["test/box_xyxy"][i].tolist()
    difference = np.abs(crop.numpy().astype(int) - GOLDEN["test/crop_bgr"][i])
    assert difference.max() <= 1
    assert difference.mean() < 0.15


def four_views_of(i):
    annotation = PEOPLE["annotations"][i]
    crop, region = cut(annotation, augment.TRAINING_MARGIN)
    joints = align.joints_to_crop(np.reshape(annotation["keypoints"], (17, 3)), region, SIZE)
    rescale, a, coin_a, b, coin_b = GOLDEN["train/draws"][i]
    angles = [-a if coin_a else a, -b if coin_b else b]
    draws = augment.Draws(tf.constant([rescale], tf.float32), tf.constant([angles], tf.float32))
    return augment.four_views(crop[None], joints[None], draws)


@pytest.mark.parametrize("i", range(2))
def test_the_four_training_views_equal_the_originals(i):
    views, joints, visibility = (t.numpy() for t in four_views_of(i))
    expected = GOLDEN["train/joints"][i]
    labelled = (expected >= 0).all(axis=-1)
    assert labelled.any()
    np.testing.assert_allclose(joints[labelled], expected[labelled], atol=1e-3)
    assert ((joints < 0).any(axis=-1) == ~labelled).all()
    np.testing.assert_array_equal(visibility, GOLDEN["train/valid"][i])
    pixels = views * 255 + np.array(augment.MEAN_BGR)
    difference = np.abs(pixels - GOLDEN["train/crop_bgr"][i]).mean(axis=(1, 2, 3))
    assert (difference < 0.5).all()


def test_label_maps_of_four_kernels_equal_the_originals(codec):
    _, joints, _ = four_views_of(0)
    maps = codec.encode(joints)
    for kernel, ours, theirs in zip(codec.kernels, maps, GOLDEN["train/heatmaps_person0"]):
        np.testing.assert_allclose(ours, theirs, atol=1e-3 * 255, err_msg=f"kernel {kernel}")


def test_decoding_equals_the_results_file_of_the_original(codec):
    golden = json.loads((recipe.GOLDEN / "data_256x192_decode.json").read_text())
    pairs = GOLDEN["decode/heatmaps_per_image_then_flipped"].reshape(6, 2, 64, 48, 17)
    results = {r["image_id"]: r for r in golden["results"]}
    for detection, (straight, mirrored) in zip(golden["detections"], pairs):
        heatmaps = (straight + flip_back(mirrored[None])) / 2
        joints, scores = codec.decode(heatmaps)
        image = FILES[detection["image_id"]]
        rectangle = align.crop_rectangle(detection["bbox"], (image["height"], image["width"]), SIZE)
        joints = align.joints_to_image(joints, align.rectangle_region(rectangle)[None], SIZE)[0]
        expected = results[detection["image_id"]]
        np.testing.assert_allclose(joints, np.reshape(expected["keypoints"], (17, 3))[:, :2], atol=0.01)
        assert detection["score"] * float(tf.reduce_mean(scores)) == pytest.approx(expected["score"], abs=1e-4)
