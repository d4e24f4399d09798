"""Crops, augmentation and labels against numbers of the original."""

import json

import numpy as np
import pytest
import tensorflow as tf

from support import recipe
from tfcpn.codecs.heatmap import HeatmapCodec
from tfcpn.config import TRAINING_MARGIN
from tfcpn.skeleton import COCO
from tfcpn.training.augmentation import Draws, four_views
from tfcpn.transforms import regions
from tfcpn.transforms.alignment import Alignment
from tfcpn.transforms.cropping import CropSpec, decode_and_crop
from tfcpn.transforms.normalize import MEAN_BGR, TF_CPN_PREPROCESSING
from tfcpn.transforms.regions import keypoints_to_crop

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
    region = regions.person_region(annotation["bbox"], *points, size, Alignment(), SIZE, margin)
    return decode_and_crop(person, region[None], CropSpec(SIZE, False, MEAN_BGR))[0], region


@pytest.fixture
def codec():
    return HeatmapCodec(SIZE, (64, 48), (15, 11, 9, 7), 255, COCO.flip_indices)


@pytest.mark.parametrize("i", range(6))
def test_a_test_crop_has_the_originals_corners_and_pixels(i):
    crop, region = cut(PEOPLE["annotations"][i], 1.0)
    assert (
        regions.rectangle_from_region(region).numpy().tolist()
        == GOLDEN["test/box_xyxy"][i].tolist()
    )
    difference = np.abs(crop.numpy().astype(int) - GOLDEN["test/crop_bgr"][i])
    assert difference.max() <= 1
    assert difference.mean() < 0.15


def four_views_of(i):
    annotation = PEOPLE["annotations"][i]
    crop, region = cut(annotation, TRAINING_MARGIN)
    keypoints = keypoints_to_crop(np.reshape(annotation["keypoints"], (17, 3)), region, SIZE)
    rescale, a, coin_a, b, coin_b = GOLDEN["train/draws"][i]
    angles = [-a if coin_a else a, -b if coin_b else b]
    draws = Draws(tf.constant([rescale], tf.float32), tf.constant([angles], tf.float32))
    return four_views(crop[None], keypoints[None], draws, COCO.flip_indices, TF_CPN_PREPROCESSING)


@pytest.mark.parametrize("i", range(2))
def test_the_four_training_views_equal_the_originals(i):
    views, keypoints, visibility = (t.numpy() for t in four_views_of(i))
    expected = GOLDEN["train/joints"][i]
    labeled = (expected >= 0).all(axis=-1)
    assert labeled.any()
    np.testing.assert_allclose(keypoints[labeled], expected[labeled], atol=1e-3)
    assert ((keypoints < 0).any(axis=-1) == ~labeled).all()
    np.testing.assert_array_equal(visibility, GOLDEN["train/valid"][i])
    pixels = views * 255 + np.array(MEAN_BGR)
    difference = np.abs(pixels - GOLDEN["train/crop_bgr"][i]).mean(axis=(1, 2, 3))
    assert (difference < 0.5).all()


def test_label_maps_of_four_kernels_equal_the_originals(codec):
    _, keypoints, _ = four_views_of(0)
    maps = codec.encode(keypoints, None).maps
    for kernel, actual, expected in zip(codec.kernels, maps, GOLDEN["train/heatmaps_person0"]):
        np.testing.assert_allclose(actual, expected, atol=1e-3 * 255, err_msg=f"kernel {kernel}")
