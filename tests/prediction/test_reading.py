"""Regions of a picture, cut as an evaluation cuts them."""

import numpy as np
import pytest

from support.photos import photo, write
from tfcpn.data.pictures import Picture
from tfcpn.data.pipeline import region_batches
from tfcpn.picture.cut import CropFormat
from tfcpn.picture.look import MEAN_BGR
from tfcpn.prediction.reading import cutter, quick_cutter

# Inside, over each border, far outside, larger than the picture.
TURNED = [(200, 150, 120, 120, 0.4), (10, 20, 150, 150, -2.0), (390, 290, 90, 90, 3.0), (-900, 100, 50, 50, 1.0)]
TURNED += [(200, 700, 60, 60, 0.0), (200, 150, 900, 900, 0.7)]
UPRIGHT = [(200, 150, 120, 160, 0), (8, 10, 60, 80, 0), (395, 295, 90, 120, 0), (-900, 96, 60, 80, 0)]


@pytest.mark.parametrize("turned, regions", [(True, TURNED), (False, UPRIGHT)])
@pytest.mark.parametrize("outside", [None, MEAN_BGR])
def test_crops_have_the_bits_that_an_evaluation_cuts_from_the_file(tmp_path, turned, regions, outside):
    picture = photo(300, 400)
    write(tmp_path / "a.png", picture)
    size = (64, 64) if turned else (64, 48)
    crop_format, places = CropFormat(size, turned, outside), np.array(regions, float)
    pictures = [Picture(str(tmp_path / "a.png"), 300, 400, 1)] * len(places)
    expected = np.concatenate(list(region_batches(pictures, places, crop_format, 8)))
    np.testing.assert_array_equal(cutter(crop_format)(picture, places), expected)


@pytest.mark.parametrize("turned, regions", [(True, TURNED[:3]), (False, UPRIGHT[:3])])
@pytest.mark.parametrize("outside", [None, MEAN_BGR])
def test_the_quick_way_differs_by_a_grey_level_or_two(turned, regions, outside):
    size = (64, 64) if turned else (64, 48)
    crop_format = CropFormat(size, turned, outside)
    exact, quick = (
        cut(crop_format)(photo(300, 400), np.array(regions, float)).numpy().astype(int)
        for cut in (cutter, quick_cutter)
    )
    assert np.abs(exact - quick).mean() < 0.5
    # At the picture's edge one fades into the colour outside, the other stops.
    assert np.percentile(np.abs(exact - quick), 97) <= 3
