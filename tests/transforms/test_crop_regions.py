import numpy as np
import pytest

from oracle import tf_cpn as reference
from tfcpn.transforms import regions
from tfcpn.transforms.regions import keypoints_to_crop, keypoints_to_image

IMAGE_SIZES = [(240, 320), (427, 640), (640, 427), (100, 100)]


def boxes_of(size):
    """Boxes of all shapes, inside, on and over every border, from a pixel up to the size of the
    image.
    """
    height, width = size
    rng = np.random.default_rng(0)
    corner = rng.uniform(-0.1, 0.9, (60, 2)) * [width, height]
    extent = rng.uniform(0.02, 1.1, (60, 2)) * [width, height]
    special = [
        [0, 0, width, height],
        [0, 0, 1, 1],
        [width - 1, height - 1, 1, 1],
        [3.5, 2.25, 17.75, 200.5],
    ]
    return np.concatenate([np.hstack([corner, extent]), special]).astype(np.float32)


@pytest.mark.parametrize("image_size", IMAGE_SIZES)
@pytest.mark.parametrize("input_size", [(256, 192), (256, 256), (384, 288)])
@pytest.mark.parametrize("training", [False, True])
def test_the_rectangle_equals_the_reference_exactly(image_size, input_size, training):
    image = np.zeros((*image_size, 3), np.uint8)
    boxes = boxes_of(image_size)
    actual = regions.crop_rectangle(
        boxes, [image_size] * len(boxes), input_size, 1.25 if training else 1.0
    )
    for box, rectangle in zip(boxes, actual.numpy()):
        try:
            expected = reference.crop(image, box, input_size, training)[1]
        except (
            Exception
        ):  # a box so small that the rectangle of the original is empty, which failed
            assert (rectangle[2:] > rectangle[:2]).all()
            continue
        np.testing.assert_array_equal(rectangle, expected)


def test_a_rectangle_has_at_least_a_pixel():
    rectangle = regions.crop_rectangle([5.0, 5.0, 0.1, 0.1], (50, 50), (256, 192)).numpy()
    assert (rectangle[2:] > rectangle[:2]).all()


@pytest.mark.parametrize("image_size", IMAGE_SIZES)
def test_keypoints_are_mapped_back_from_the_crop(image_size):
    boxes = boxes_of(image_size)
    rectangles = regions.crop_rectangle(boxes, [image_size] * len(boxes), (256, 192))
    keypoints = np.random.default_rng(1).uniform(0, 1, (len(boxes), 17, 3)) * [
        image_size[1],
        image_size[0],
        0,
    ]
    keypoints[..., 2] = 2
    places = regions.region_from_rectangle(rectangles)
    crop = keypoints_to_crop(keypoints, places, (256, 192))
    np.testing.assert_allclose(
        keypoints_to_image(crop[..., :2], places, (256, 192)), keypoints[..., :2], atol=1e-3
    )
    np.testing.assert_array_equal(regions.rectangle_from_region(places), rectangles)


def test_a_keypoint_without_label_is_far_outside():
    keypoints = np.array([[10, 20, 2], [10, 20, 1], [10, 20, 0]], np.float32)
    crop = keypoints_to_crop(
        keypoints, regions.region_from_rectangle([0, 0, 30, 40]), (256, 192)
    ).numpy()
    np.testing.assert_allclose(crop[:2, :2], [[64, 128]] * 2, rtol=1e-6)
    assert (crop[2, :2] < -1e5).all()
    np.testing.assert_array_equal(crop[:, 2], [2, 1, 0])


def test_a_square_box_has_the_longer_side_and_the_same_center():
    np.testing.assert_allclose(
        regions.square_box([[10.0, 20, 30, 50], [0, 0, 40, 20]]),
        [[0, 20, 50, 50], [0, -10, 40, 40]],
    )


def test_a_square_region_of_a_square_input_is_square():
    x0, y0, x1, y1 = regions.crop_rectangle(
        regions.square_box([100.0, 100, 40, 80]), (400, 400), (256, 256)
    ).numpy()
    assert abs((x1 - x0) - (y1 - y0)) <= 1
    assert y1 - y0 == pytest.approx(80 * 1.3, abs=1)
