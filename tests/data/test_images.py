"""One reader for images: 16 bits, floats, formats, and EXIF orientation."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from support.photos import photo, write
from tfcpn.data.coco import CocoImage
from tfcpn.data.images import (
    apply_exif_orientation,
    check_image,
    find_image,
    read_header,
    read_image,
    to_tensorflow_format,
)
from tfcpn.transforms.cropping import decode_window
from tfcpn.utils.errors import InputError


def gradient(white, dtype, height=20, width=30):
    return np.linspace(0, white, height * width).reshape(height, width).astype(dtype)


@pytest.mark.parametrize(
    "name, values",
    [
        ("sixteen.tif", gradient(65535, np.uint16)),
        ("sixteen.png", gradient(65535, np.uint16)),
        ("floats.tif", gradient(1, np.float32)),
        ("floats_to_255.tif", gradient(255, np.float32)),
        ("eight.tif", gradient(255, np.uint8)),
    ],
)
def test_16_bit_values_are_scaled_and_not_clipped(tmp_path, name, values):
    Image.fromarray(values).save(tmp_path / name)
    found = read_image(tmp_path / name)
    assert found.shape == (20, 30, 3)
    assert np.abs(found[..., 0] - gradient(255, float)).max() <= 1.01


def test_floats_with_an_unknown_white_level_are_refused(tmp_path):
    Image.fromarray(gradient(5000, np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(
        InputError, match=r"a.tif: has floats from 0 to 5000, with unknown white level"
    ):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("most, shown", [(1.02, 255), (0.5, 128), (255, 255)])
def test_floats_slightly_above_white_are_clipped(tmp_path, most, shown):
    Image.fromarray(gradient(most, np.float32)).save(tmp_path / "a.tif")
    assert read_image(tmp_path / "a.tif").max() == shown


def test_a_float_image_with_a_maximum_between_1_and_255_is_refused(tmp_path):
    Image.fromarray(gradient(7, np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(InputError, match="with unknown white level"):
        read_image(tmp_path / "a.tif")


def test_the_white_level_in_a_tiff_is_used(tmp_path):
    """MaxSampleValue, for 12 bits stored in 16."""
    Image.fromarray(gradient(4095, np.uint16)).save(tmp_path / "a.tif", tiffinfo={281: 4095})
    assert read_image(tmp_path / "a.tif").max() == 255


@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
def test_a_damaged_exif_block_is_ignored(tmp_path, name):
    Image.fromarray(photo(40, 64)[..., ::-1]).save(tmp_path / name, exif=b"Exif\0\0II*\0")
    assert read_header((tmp_path / name).read_bytes(), name).orientation == 1
    assert read_image(tmp_path / name).shape == (40, 64, 3)


def test_reading_a_png_header_does_not_decode_the_image(tmp_path, monkeypatch):
    write(tmp_path / "a.png", photo(40, 64), orientation=6)
    monkeypatch.setattr(
        "PIL.PngImagePlugin.PngImageFile.load", lambda self: pytest.fail("it is decoded")
    )
    assert read_header((tmp_path / "a.png").read_bytes(), "a.png")[:3] == (64, 40, 6)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.webp"])
def test_every_format_has_the_same_orientation_in_prediction_and_training(
    tmp_path, name, orientation
):
    """In prediction, and in the decoder of training and evaluation."""
    write(tmp_path / name, photo(40, 64, 3), orientation=orientation, quality=98)
    header = read_header((tmp_path / name).read_bytes(), name)
    shape = (40, 64) if orientation < 5 else (64, 40)
    assert (header.height, header.width) == shape and header.orientation == orientation
    shown = read_image(tmp_path / name)
    assert shown.shape[:2] == shape
    assert (
        np.abs(shown.astype(int) - apply_exif_orientation(photo(40, 64, 3), orientation)).mean()
        < 12
    )
    image = find_image(tmp_path, CocoImage(1, name, *shape))
    encoded = Path(image.path).read_bytes()
    window = (0, 0, *shape)
    decoded = decode_window(encoded, image.orientation, np.int32(window), np.int32(shape)).numpy()[
        ..., ::-1
    ]
    assert np.abs(decoded.astype(int) - shown).max() <= 3


@pytest.mark.parametrize("name", ["a.bmp", "a.webp", "a.tif"])
def test_formats_that_tensorflow_does_not_decode_are_packed_as_png(tmp_path, name):
    write(tmp_path / name, photo(40, 64, 3))
    content = to_tensorflow_format((tmp_path / name).read_bytes(), name)
    assert content.startswith(b"\x89PNG")
    np.testing.assert_array_equal(
        cv2.imdecode(np.frombuffer(content, np.uint8), 1), read_image(tmp_path / name)
    )
    assert check_image(CocoImage(1, name, 40, 64), content) == 1


@pytest.mark.parametrize("name", ["a.jpg", "a.webp"])
def test_an_image_that_was_annotated_as_stored_is_read_without_its_orientation(tmp_path, name):
    pixels = photo(40, 64)
    write(tmp_path / name, pixels, orientation=6)
    found = find_image(tmp_path, CocoImage(1, name, 40, 64))
    assert (found.height, found.width, found.orientation) == (40, 64, 1)
    assert found.annotated_as_stored
    stored = read_image(found.path, found.orientation)
    assert stored.shape == (40, 64, 3) and np.abs(stored.astype(int) - pixels).mean() < 12
    displayed = find_image(tmp_path, CocoImage(1, name, 64, 40))
    assert not displayed.annotated_as_stored
    assert read_image(displayed.path, displayed.orientation).shape == (64, 40, 3)


def test_a_strict_reader_refuses_an_image_that_was_annotated_as_stored(tmp_path):
    write(tmp_path / "a.jpg", photo(40, 64), orientation=6)
    with pytest.raises(
        InputError, match=r"a.jpg: is 40x64 pixels, but annotated as 64x40: .*EXIF orientation .6."
    ):
        find_image(tmp_path, CocoImage(1, "a.jpg", 40, 64), strict=True)
    with pytest.raises(InputError, match="is 40x64 pixels, but annotated as 63x40"):
        find_image(tmp_path, CocoImage(1, "a.jpg", 40, 63))


def test_images_of_other_formats_are_recorded_and_evaluated(
    people_copy, edit_json, command, tiny_network, tmp_path
):
    from support.small_run import flags

    def convert(folder, annotations, suffix):
        for path in folder.glob("*.jpg"):
            Image.open(path).save(path.with_suffix(suffix))
            path.unlink()
        rename = lambda image: image.update(file_name=image["file_name"].replace(".jpg", suffix))  # noqa: E731
        edit_json(annotations, lambda data: [rename(image) for image in data["images"]])

    convert(people_copy.train, people_copy.train_annotations, ".bmp")
    convert(people_copy.val, people_copy.val_annotations, ".webp")
    people_copy.records = tmp_path / "records"
    arguments = [
        f"--annotations={people_copy.train_annotations}",
        f"--images={people_copy.train}",
        "--workers=1",
    ]
    assert (
        "0 bad ones left out"
        in command("tools/make_records.py", *arguments, f"--output={people_copy.records}").out
    )
    done = command(
        "-m", "tfcpn.train", *flags(people_copy, tmp_path / "run", "--epochs=1", "--eval_every=1")
    )
    assert "| 1 " in done.out
