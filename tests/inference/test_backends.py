"""Crops of regions, equal to those of an evaluation."""

import numpy as np
import pytest

from support.photos import photo, write
from tfcpn.data.images import ImageFile
from tfcpn.data.pipeline import region_batches
from tfcpn.inference.backends import opencv_cropper, tf_cropper
from tfcpn.transforms.cropping import CropSpec
from tfcpn.transforms.normalize import MEAN_BGR

# Inside, over each border, far outside, larger than the image.
TURNED = [
    (200, 150, 120, 120, 0.4),
    (10, 20, 150, 150, -2.0),
    (390, 290, 90, 90, 3.0),
    (-900, 100, 50, 50, 1.0),
]
TURNED += [(200, 700, 60, 60, 0.0), (200, 150, 900, 900, 0.7)]
UPRIGHT = [
    (200, 150, 120, 160, 0),
    (8, 10, 60, 80, 0),
    (395, 295, 90, 120, 0),
    (-900, 96, 60, 80, 0),
]


@pytest.mark.parametrize("turned, regions", [(True, TURNED), (False, UPRIGHT)])
@pytest.mark.parametrize("pad_color", [None, MEAN_BGR])
def test_crops_have_the_bits_that_an_evaluation_cuts_from_the_file(
    tmp_path, turned, regions, pad_color
):
    image = photo(300, 400)
    write(tmp_path / "a.png", image)
    size = (64, 64) if turned else (64, 48)
    crop_spec, places = CropSpec(size, turned, pad_color), np.array(regions, float)
    images = [ImageFile(str(tmp_path / "a.png"), 300, 400, 1)] * len(places)
    expected = np.concatenate(list(region_batches(images, places, crop_spec, 8)))
    np.testing.assert_array_equal(tf_cropper(crop_spec)(image, places), expected)


@pytest.mark.parametrize("turned, regions", [(True, TURNED[:3]), (False, UPRIGHT[:3])])
@pytest.mark.parametrize("pad_color", [None, MEAN_BGR])
def test_the_opencv_cropper_differs_by_at_most_three_gray_levels(turned, regions, pad_color):
    size = (64, 64) if turned else (64, 48)
    crop_spec = CropSpec(size, turned, pad_color)
    exact, quick = (
        cut(crop_spec)(photo(300, 400), np.array(regions, float)).numpy().astype(int)
        for cut in (tf_cropper, opencv_cropper)
    )
    assert np.abs(exact - quick).mean() < 0.5
    # At the border of the image one cropper blends into the padding color, the other does not.
    assert np.percentile(np.abs(exact - quick), 97) <= 3
