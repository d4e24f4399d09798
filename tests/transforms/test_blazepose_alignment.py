"""BlazePose's region: MediaPipe's numbers, the inverse, and invariance to image rotation."""

import json

import cv2
import numpy as np
import pytest
import tensorflow as tf

from support import recipe
from support.commands import ROOT
from tfcpn.data.coco import read_annotations
from tfcpn.skeleton import COCO
from tfcpn.transforms import regions
from tfcpn.transforms.alignment import MODES, RADII, Alignment
from tfcpn.transforms.cropping import CropSpec, decode_and_crop
from tfcpn.transforms.normalize import MEAN_BGR
from tfcpn.transforms.regions import (
    alignment_points,
    crop_to_image,
    has_alignment_keypoints,
    keypoints_to_crop,
    keypoints_to_image,
)

RECTS = json.loads((recipe.GOLDEN / "blazepose_rects.json").read_text())
SIZE = (128, 128)
NO_POINTS = np.zeros((2, 2)), False
# Left and right mirrored about the center; the numbers are hips, shoulders, nose and the farthest
# keypoint, an ankle.
STANDING = {11: (90, 100), 12: (110, 100), 5: (85, 50), 6: (115, 50), 0: (100, 30), 15: (95, 180)}


def keypoints_of(by_index, visibility=2):
    keypoints = np.zeros((17, 3), np.float32)
    for keypoint, xy in by_index.items():
        keypoints[keypoint] = *xy, visibility
    return keypoints


def wrapped(angle):
    return (angle + np.pi) % (2 * np.pi) - np.pi


def test_regions_are_mediapipes():
    points = np.array([[r["center"], r["scale_point"]] for r in RECTS])
    actual = regions.region_from_points(points, 1.25).numpy()
    rects = np.array(
        [[r["rect"][k] for k in ("cx", "cy", "size", "size", "rotation")] for r in RECTS]
    )
    assert len(RECTS) == 155
    np.testing.assert_allclose(actual[:, :4], rects[:, :4], atol=2e-3)
    assert np.abs(wrapped(actual[:, 4] - rects[:, 4])).max() < 1e-5
    assert (actual[:, 4] >= -np.pi).all() and (actual[:, 4] < np.pi).all()


@pytest.mark.parametrize(
    "way, rotation", [((0, -1), 0), ((1, 0), np.pi / 2), ((-1, 0), -np.pi / 2), ((0, 1), -np.pi)]
)
def test_the_rotation_is_zero_upright_and_positive_clockwise(way, rotation):
    points = np.array([[50.0, 60.0], np.add([50, 60], np.multiply(way, 20))])
    np.testing.assert_allclose(
        regions.region_from_points(points), [50, 60, 50, 50, rotation], atol=1e-9
    )
    np.testing.assert_allclose(
        regions.region_from_points(points, rotate=False), [50, 60, 50, 50, 0], atol=1e-9
    )


def test_the_affine_map_is_the_published_one():
    cx, cy, side, angle = 70.0, 40.0, 90.0, 0.7
    k, cos, sin, half = SIZE[0] / side, np.cos(angle), np.sin(angle), SIZE[0] / 2
    to_crop = np.array(
        [
            [k * cos, k * sin, half - k * (cos * cx + sin * cy)],
            [-k * sin, k * cos, half - k * (-sin * cx + cos * cy)],
            [0, 0, 1],
        ]
    )
    region = np.array([cx, cy, side, side, angle])
    actual = crop_to_image(region, SIZE).numpy()
    np.testing.assert_allclose(to_crop @ np.vstack([actual, [0, 0, 1]]), np.eye(3), atol=1e-9)
    by_index = keypoints_of({0: (33.5, 21.25)})
    crop = keypoints_to_crop(by_index, region, SIZE).numpy()
    np.testing.assert_allclose(crop[0, :2], (to_crop @ [33.5, 21.25, 1])[:2], rtol=1e-6)


@pytest.mark.parametrize(
    "radius, end",
    [
        ("body", (100, 100 - 82)),
        ("keypoints", (100, 100 - 1.15 * 80.1561)),
        ("nose", (100, 100 - 1.3 * 70)),
    ],
)
def test_the_second_point_lies_on_the_bodys_circle(radius, end):
    keypoints = keypoints_of(STANDING)
    assert has_alignment_keypoints(keypoints, COCO, radius)
    points = alignment_points(keypoints, 82.0, COCO, radius).numpy()
    np.testing.assert_allclose(points, [(100, 100), end], atol=1e-3)


def test_the_circle_contains_every_keypoint_with_and_without_an_outline():
    keypoints = keypoints_of(STANDING)
    for max_radius, length in ((10.0, 80.1561), (0.0, 1.15 * 80.1561)):
        points = alignment_points(keypoints, max_radius, COCO, "body").numpy()
        assert np.linalg.norm(points[1] - points[0]) == pytest.approx(length, rel=1e-5)


@pytest.mark.parametrize(
    "radius, needed",
    [("body", {5, 6, 11, 12}), ("keypoints", {5, 6, 11, 12}), ("nose", {0, 11, 12})],
)
def test_the_keypoints_that_an_alignment_needs(radius, needed):
    for keypoint in range(17):
        keypoints = np.full((17, 3), 2.0)
        keypoints[keypoint, 2] = 0
        assert bool(has_alignment_keypoints(keypoints, COCO, radius)) == (keypoint not in needed)


def test_shoulders_on_the_hips_give_an_upright_region():
    keypoints = keypoints_of({**STANDING, 5: (90, 100), 6: (110, 100)})
    region = regions.region_from_points(alignment_points(keypoints, 0.0, COCO, "body")).numpy()
    assert np.isfinite(region).all() and region[4] == 0


SAMPLE = ROOT.parent / "shared" / "coco_sample" / "annotations" / "person_keypoints_train2017.json"


@pytest.mark.skipif(not SAMPLE.exists(), reason="no COCO sample next to the project")
@pytest.mark.parametrize(
    "radius, rule, share", [("keypoints", "circle17", 1 / 1.15), ("body", "circleseg", 1.0)]
)
def test_points_of_real_people_are_those_that_mediapipe_was_given(radius, rule, share):
    _, people, *_ = read_annotations(SAMPLE)
    by_id = {p.id: p for p in people}
    chosen = [r for r in RECTS if r["rule"] == rule]
    for r in chosen:
        person = by_id[r["annotation_id"]]
        points = alignment_points(person.keypoints, person.max_radius, COCO, radius).numpy()
        points[1] = points[0] + share * (points[1] - points[0])
        np.testing.assert_allclose(points, [r["center"], r["scale_point"]], atol=1e-4)
    assert len(chosen) == 41


def regions_of(mode, rotate):
    """Regions of boxes and points all over an image, and over each border, in all rotations."""
    rng = np.random.default_rng(3)
    image_size = (200, 300)
    angles = np.deg2rad(np.arange(0, 360, 7.5))
    centers = rng.uniform(-0.1, 1.1, (len(angles), 2)) * [300, 200]
    centers[:8] = [
        (0, 0),
        (300, 0),
        (0, 200),
        (300, 200),
        (150, 0),
        (150, 200),
        (0, 100),
        (300, 100),
    ]
    length = rng.uniform(2, 150, (len(angles), 1))
    points = np.stack(
        [centers, centers + length * np.stack([np.sin(angles), -np.cos(angles)], axis=1)], axis=1
    )
    boxes = np.concatenate(
        [np.clip(centers, 0, [299, 199]), rng.uniform(1, 100, (len(angles), 2))], axis=1
    )
    sizes = [image_size] * len(angles)
    found = np.arange(len(angles)) % 5 > 0
    return (
        regions.person_region(
            boxes, points, found, sizes, alignment=Alignment(mode, rotate), input_size=SIZE
        ).numpy(),
        points,
        found,
    )


@pytest.mark.parametrize(
    "mode, rotate", [("person", True), ("square", True), ("blazepose", False), ("blazepose", True)]
)
def test_keypoints_are_mapped_back_from_any_region(mode, rotate):
    places, points, found = regions_of(mode, rotate)
    by_index = np.random.default_rng(1).uniform(-0.2, 1.2, (len(places), 17, 3)) * [300, 200, 0] + [
        0,
        0,
        2,
    ]
    crop = keypoints_to_crop(by_index, places, SIZE)
    np.testing.assert_allclose(
        keypoints_to_image(crop[..., :2], places, SIZE), by_index[..., :2], atol=1e-3
    )
    turned = (places[:, 4] != 0).sum()
    assert turned > 30 if mode == "blazepose" and rotate else turned == 0
    if mode == "blazepose":
        np.testing.assert_allclose(places[found, :2], points[found, 0])
        squares, _, _ = regions_of("square", True)
        np.testing.assert_array_equal(places[~found], squares[~found])


def test_the_aligned_body_stands_upright_in_the_middle():
    places, points, found = regions_of("blazepose", True)
    seen = np.concatenate([points, np.full((len(points), 2, 1), 2)], axis=2)
    seen = keypoints_to_crop(seen, places, SIZE).numpy()
    np.testing.assert_allclose(seen[found, 0, :2], np.full((found.sum(), 2), 64), atol=1e-3)
    np.testing.assert_allclose(
        seen[found, 1, :2], np.tile([64, 64 - 64 / 1.25], (found.sum(), 1)), atol=1e-3
    )


def dotted_image(image_size, spots):
    """A dark PNG with a bright disc at each of the positions, between pixel i and pixel i + 1."""
    image = np.full((*image_size, 3), 20, np.uint8)
    for x, y in spots:
        shifted = tuple(int(round((v - 0.5) * 16)) for v in (x, y))
        cv2.circle(image, shifted, 16 * 4, (250, 250, 250), -1, cv2.LINE_AA, 4)
    return image


def cut_image(image, region, mode):
    person = {
        "encoded": cv2.imencode(".png", image)[1].tobytes(),
        "orientation": 1,
        "image_size": image.shape[:2],
    }
    crop_spec = CropSpec(SIZE, mode == "blazepose", MEAN_BGR)
    return decode_and_crop(person, tf.convert_to_tensor(region)[None], crop_spec)[0].numpy()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("spot", [(150.0, 100.0), (12.0, 9.0), (291.5, 188.0), (10.0, 190.0)])
def test_pixels_and_keypoints_are_mapped_equally(mode, spot):
    image = dotted_image((200, 300), [spot])
    points = np.array([np.add(spot, (9, -14)), np.add(spot, (-30, 12))])
    box = (*np.subtract(spot, (20, 30)), 50, 45)
    region = regions.person_region(
        box, points, True, image.shape[:2], alignment=Alignment(mode), input_size=SIZE
    )
    crop = cut_image(image, region, mode)[..., 0].astype(float)
    weight = np.where(crop > 150, crop, 0)
    seen = np.array([(weight * g).sum() / weight.sum() for g in np.mgrid[:128, :128][::-1] + 0.5])
    expected = keypoints_to_crop([[*spot, 2.0]], region, SIZE).numpy()[0, :2]
    np.testing.assert_allclose(seen, expected, atol=1.0)


@pytest.mark.parametrize("turns", [1, 2, 3])
@pytest.mark.parametrize("radius", RADII)
def test_a_rotated_image_gives_the_same_crop(people, turns, radius):
    images, annotated, *_ = read_annotations(people.val_annotations)
    compared = 0
    for person in annotated:
        if not (person.trainable and has_alignment_keypoints(person.keypoints, COCO, radius)):
            continue
        image = cv2.imread(str(people.val / images[person.image_id].file_name))
        crops = []
        for n in (0, turns):
            keypoints, (height, width) = person.keypoints.astype(np.float64), image.shape[:2]
            for _ in range(n):  # a quarter turn counterclockwise
                keypoints[:, 0], keypoints[:, 1] = keypoints[:, 1].copy(), width - keypoints[:, 0]
                height, width = width, height
            points = alignment_points(keypoints, person.max_radius, COCO, radius)
            region = regions.person_region(
                person.box,
                points,
                True,
                (height, width),
                alignment=Alignment("blazepose"),
                input_size=SIZE,
            )
            crops.append(cut_image(np.rot90(image, n).copy(), region, "blazepose").astype(int))
            by_index = keypoints_to_crop(keypoints, region, SIZE).numpy()
            compared += 1
        straight = keypoints_to_crop(
            person.keypoints, first_region(person, image, radius), SIZE
        ).numpy()
        np.testing.assert_allclose(by_index[:, :2], straight[:, :2], atol=2e-3)
        difference = np.abs(crops[0] - crops[1])
        assert difference.mean() < 0.1 and np.percentile(difference, 99.9) <= 2
    assert compared >= 8


def first_region(person, image, radius):
    points = alignment_points(person.keypoints, person.max_radius, COCO, radius)
    return regions.person_region(
        person.box, points, True, image.shape[:2], alignment=Alignment("blazepose"), input_size=SIZE
    )


def test_a_region_outside_the_image_has_the_mean_color():
    crop = cut_image(dotted_image((50, 60), []), np.array([500.0, -300, 40, 40, 0.5]), "blazepose")
    assert np.unique(crop.reshape(-1, 3), axis=0).tolist() == [[103, 116, 123]]


def test_blazepose_without_alignment_points_is_the_square_crop(people):
    images, annotated, *_ = read_annotations(people.val_annotations)
    person = next(p for p in annotated if p.trainable)
    image = cv2.imread(str(people.val / images[person.image_id].file_name))
    crops = []
    for mode in ("square", "blazepose"):
        region = regions.person_region(
            person.box, *NO_POINTS, image.shape[:2], Alignment(mode), SIZE
        )
        crops.append(cut_image(image, region, mode).astype(int))
    assert np.abs(crops[0] - crops[1]).max() <= 1
