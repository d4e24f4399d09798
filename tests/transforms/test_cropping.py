from pathlib import Path

import cv2
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from support.commands import run_process
from support.photos import photo, write
from tfcpn.data.images import read_header
from tfcpn.transforms import regions
from tfcpn.transforms.cropping import (
    CropSpec,
    bounding_rectangle,
    crop_and_resize,
    decode_and_crop,
    decode_rectangle,
    resize,
    to_bgr,
)
from tfcpn.transforms.normalize import MEAN_BGR
from tfcpn.utils.errors import InputError

MEAN = np.array([103, 116, 123])


def padded(image, pad=400):
    outside = (
        np.broadcast_to(MEAN, (image.shape[0] + 2 * pad, image.shape[1] + 2 * pad, 3))
        .astype(np.uint8)
        .copy()
    )
    outside[pad:-pad, pad:-pad] = image
    return outside


def cut_out(encoded, orientation, rectangle, image_size):
    """The pixels of a rectangle at the original size."""
    rectangle = tf.constant(rectangle)
    part = bounding_rectangle(regions.region_from_rectangle(rectangle), (1, 1), image_size)
    window = decode_rectangle(encoded, orientation, part, image_size)
    x0, y0, x1, y1 = rectangle.numpy()
    return crop_and_resize(window, rectangle, (y1 - y0, x1 - x0), MEAN_BGR)


RECTANGLES = [
    (0, 0, 210, 150),
    (31, 17, 98, 140),
    (16, 16, 48, 48),
    (-40, -30, 60, 90),
    (150, 100, 280, 230),
]
RECTANGLES += [(-300, -300, 350, 390), (208, 148, 211, 151), (220, 10, 260, 50), (5, 5, 6, 6)]


@pytest.mark.parametrize("rectangle", RECTANGLES)
@pytest.mark.parametrize("subsampling", [0, 2])
def test_a_rectangle_has_the_pixels_that_opencv_reads(tmp_path, rectangle, subsampling):
    encoded = write(tmp_path / "a.jpg", photo(), quality=90, subsampling=subsampling)
    whole = cv2.imread(str(tmp_path / "a.jpg"))
    x0, y0, x1, y1 = (n + 400 for n in rectangle)
    actual = cut_out(encoded, 1, rectangle, (150, 210)).numpy()
    np.testing.assert_array_equal(actual, padded(whole)[y0:y1, x0:x1])


@pytest.mark.parametrize("subsampling", [0, 2])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_as_opencv_applies_it(tmp_path, orientation, subsampling):
    encoded = write(tmp_path / "a.jpg", photo(), orientation, quality=95, subsampling=subsampling)
    whole = cv2.imread(str(tmp_path / "a.jpg"))
    height, width, read, _ = read_header(encoded, "a.jpg")
    assert (height, width, read) == (*whole.shape[:2], orientation)
    for x0, y0, x1, y1 in [
        (-5, 20, 120, 100),
        (31, 17, 98, 140),
        (0, 0, width, height),
        (width - 3, 5, width + 4, 9),
    ]:
        actual = cut_out(encoded, orientation, (x0, y0, x1, y1), (height, width)).numpy()
        np.testing.assert_array_equal(
            actual, padded(whole)[400 + y0 : 400 + y1, 400 + x0 : 400 + x1]
        )


@pytest.mark.parametrize("kind", ["progressive.jpg", "16bit.png", "cmyk.jpg"])
def test_rare_kinds_are_read_as_opencv_reads_them(tmp_path, kind):
    pixels, path = photo(), tmp_path / kind
    if kind == "progressive.jpg":
        write(path, pixels, progressive=True, quality=90)
    elif kind == "16bit.png":
        cv2.imwrite(str(path), pixels.astype(np.uint16) * 257)
    else:
        Image.fromarray(pixels[..., ::-1]).convert("CMYK").save(path, quality=95)
    whole = cv2.imread(str(path))
    actual = cut_out(path.read_bytes(), 1, (31, 17, 98, 140), (150, 210)).numpy()
    # OpenCV rounds differently from CMYK to RGB.
    assert np.abs(actual.astype(int) - whole[17:140, 31:98]).max() <= (
        2 if kind == "cmyk.jpg" else 0
    )


MEMORY = """
import sys
import numpy as np
import tfcpn
import tensorflow as tf
from tfcpn.transforms.cropping import decode_rectangle, bounding_rectangle
from tfcpn.transforms import regions
from tfcpn.data.images import read_header

def peak():
    lines = open("/proc/self/status").readlines()
    return max(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024

def window(path):
    encoded = open(path, "rb").read()
    height, width, orientation, _ = read_header(encoded, path)
    rectangle = tf.constant((width // 2, height // 2, width // 2 + 300, height // 2 + 400))
    part = bounding_rectangle(regions.region_from_rectangle(rectangle), (1, 1), (height, width))
    return decode_rectangle(encoded, orientation, part, (height, width)).pixels

window(sys.argv[1])
before = peak()
pixels = window(sys.argv[2])
print(peak() - before, *pixels.shape)
"""


@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="Linux tells a process its memory there"
)
@pytest.mark.parametrize("orientation", [1, pytest.param(6, marks=pytest.mark.slow)])
def test_memory_depends_on_the_crop_and_not_on_a_48_megapixel_image(tmp_path, orientation):
    write(tmp_path / "small.jpg", photo(500, 500), orientation)
    write(tmp_path / "large.jpg", photo(6000, 8000), orientation)
    done = run_process("-c", MEMORY, tmp_path / "small.jpg", tmp_path / "large.jpg")
    more, height, width, _ = map(float, done.out.split())
    assert 400 <= height <= 404 and 300 <= width <= 304
    # Fully decoded it is 144 MB.
    assert more < 30, more


@pytest.mark.parametrize("kind", ["grey.jpg", "colour.png", "grey.png", "alpha.png"])
def test_gray_images_and_png_are_read_as_opencv_reads_them(tmp_path, kind):
    pixels = photo()
    if kind.startswith("grey"):
        pixels = pixels[..., 0]
    if kind.startswith("alpha"):
        Image.fromarray(
            np.dstack([pixels[..., ::-1], np.full(pixels.shape[:2], 200, np.uint8)])
        ).save(tmp_path / kind)
        encoded = (tmp_path / kind).read_bytes()
    else:
        encoded = write(tmp_path / kind, pixels)
    whole = cv2.imread(str(tmp_path / kind))
    actual = cut_out(encoded, 1, (10, 10, 90, 80), (150, 210)).numpy()
    np.testing.assert_array_equal(actual, whole[10:80, 10:90])


def test_resizing_is_opencvs_within_a_gray_level():
    for shape in ((64, 48), (300, 211), (31, 500)):
        pixels = photo(*shape)
        actual = to_bgr(resize(pixels[..., ::-1], (256, 192))).numpy().astype(int)
        difference = np.abs(actual - cv2.resize(pixels, (192, 256)))
        assert difference.max() <= 1 and difference.mean() < 0.15


def test_a_jpeg_with_an_appended_second_image_is_read(tmp_path):
    first, second = (Image.fromarray(photo(seed=s)[..., ::-1]) for s in (0, 1))
    first.save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[second], quality=95)
    encoded = (tmp_path / "a.jpg").read_bytes()
    assert read_header(encoded, "a.jpg") == (150, 210, 1, True)
    actual = cut_out(encoded, 1, (0, 0, 210, 150), (150, 210)).numpy()
    np.testing.assert_array_equal(actual, cv2.imread(str(tmp_path / "a.jpg")))


@pytest.mark.parametrize("content", [b"", b"not an image", b"GIF89a" + bytes(40)])
def test_other_file_types_are_refused_by_name(content):
    with pytest.raises(InputError, match="x.jpg: not a JPEG, PNG, BMP, WebP or TIFF image"):
        read_header(content, "x.jpg")


def bordered(image, pad=400):
    return np.pad(image, ((pad, pad), (pad, pad), (0, 0)), mode="edge")


@pytest.mark.parametrize("rectangle", RECTANGLES)
def test_without_a_padding_color_the_border_is_repeated(tmp_path, rectangle):
    encoded = write(tmp_path / "a.png", photo())
    x0, y0, x1, y1 = rectangle
    region = regions.region_from_rectangle(tf.constant(rectangle))[None]
    image = {
        "encoded": encoded,
        "orientation": tf.constant(1, tf.int64),
        "image_size": tf.constant([150, 210], tf.int64),
    }
    for turned in (False, True):
        actual = decode_and_crop(image, region, CropSpec((y1 - y0, x1 - x0), turned, None))[
            0
        ].numpy()
        expected = bordered(photo())[y0 + 400 : y1 + 400, x0 + 400 : x1 + 400]
        assert np.abs(actual.astype(int) - expected).max() <= 1


def test_a_rotated_region_far_outside_repeats_the_nearest_border(tmp_path):
    encoded = write(tmp_path / "a.png", photo())
    region = tf.constant([[-500.0, 75.0, 60.0, 60.0, 0.3]], tf.float64)
    image = {
        "encoded": encoded,
        "orientation": tf.constant(1, tf.int64),
        "image_size": tf.constant([150, 210], tf.int64),
    }
    crop = decode_and_crop(image, region, CropSpec((32, 32), True, None))[0].numpy()
    assert (
        np.abs(crop.reshape(-1, 1, 3).astype(int) - photo()[None, :, 0]).sum(axis=2).min(axis=1)
        <= 20
    ).all()
