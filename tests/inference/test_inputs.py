"""Input files of a command line, and the names of their outputs."""

import cv2
import numpy as np
import pytest
from PIL import Image

from support.photos import photo, write
from tfcpn.data.images import read_image
from tfcpn.inference.batch import find_inputs
from tfcpn.utils.errors import InputError


@pytest.fixture
def folder(tmp_path):
    for name in (
        "in/a.jpg",
        "in/deep/b.PNG",
        "in/deep/c.mp4",
        "in/notes.txt",
        "other/a.jpg",
        "old/d.mpg",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def names(arguments, output="out", lines=()):
    return [
        source.name for source in find_inputs([str(word) for word in arguments], str(output), lines)
    ]


def test_folders_keep_their_structure_and_other_files_are_skipped(folder):
    assert names([folder / "in"]) == ["a.jpg", "deep/b.PNG", "deep/c.mp4"]
    assert [s.is_video for s in find_inputs([str(folder / "in")], "out")] == [False, False, True]


def test_equal_names_are_written_into_separate_folders(folder):
    assert names([folder / "in" / "a.jpg", folder / "other" / "a.jpg"]) == [
        "in/a.jpg",
        "other/a.jpg",
    ]
    assert names([folder / "in", folder / "other"]) == [
        "in/a.jpg",
        "in/deep/b.PNG",
        "in/deep/c.mp4",
        "other/a.jpg",
    ]


def test_a_file_named_twice_is_read_once(folder):
    assert names([folder / "in" / "a.jpg", folder / "in" / "a.jpg"]) == ["a.jpg"]


def test_globs_lists_and_cameras_are_inputs(folder):
    assert names([folder / "in" / "**" / "*.[jP]*", folder / "in" / "a.jpg"]) == [
        "a.jpg",
        "deep/b.PNG",
    ]
    lines = [f"{folder / 'in' / 'a.jpg'}\n", "\n", f"{folder / 'other' / 'a.jpg'}\n"]
    assert names(["-"], lines=lines) == ["in/a.jpg", "other/a.jpg"]
    assert names(["0"]) == ["camera_0.mp4"]


def test_a_kind_of_video_that_is_not_written_becomes_mp4(folder):
    assert names([folder / "old" / "d.mpg"]) == ["d.mpg.mp4"]


def test_outputs_are_not_read_as_inputs(folder):
    assert names([folder], folder / "in") == ["old/d.mpg.mp4", "other/a.jpg"]
    assert names([folder / "**" / "*.jpg"], folder / "in") == ["a.jpg"]
    (folder / "in" / "._a.jpg").touch()
    assert "._a.jpg" not in names([folder / "in"])


def test_links_keep_their_names(folder):
    (folder / "in" / "link.jpg").symlink_to(folder / "other" / "a.jpg")
    assert names([folder / "in"]) == ["a.jpg", "deep/b.PNG", "deep/c.mp4", "link.jpg"]
    assert len(names([folder / "in", folder / "other" / "a.jpg"])) == 4  # once


def test_no_source_is_overwritten(folder):
    (folder / "in" / "deep" / "a.jpg").touch()
    with pytest.raises(InputError, match="would be written over"):
        names([folder / "in" / "a.jpg", folder / "in" / "deep" / "a.jpg"], folder / "in" / "deep")


@pytest.mark.parametrize(
    "arguments, output, printed",
    [
        (["no.jpg"], "out", "no.jpg not found"),
        (["no*.jpg"], "out", "not found"),
        (["in/notes.txt"], "out", "expected an image"),
        (["empty"], "out", "neither an image nor a video"),
        (["in/a.jpg"], "in", "would be written over"),
    ],
)
def test_an_invalid_request_is_reported(folder, arguments, output, printed):
    (folder / "empty").mkdir()
    with pytest.raises(InputError, match=printed):
        find_inputs([str(folder / word) for word in arguments], str(folder / output))


def test_images_are_read_as_they_are_shown(tmp_path):
    pixels = photo(40, 60)
    write(tmp_path / "a.png", pixels)
    np.testing.assert_array_equal(read_image(str(tmp_path / "a.png")), pixels)
    write(tmp_path / "b.jpg", pixels, orientation=6, quality=95)
    assert read_image(str(tmp_path / "b.jpg")).shape == (60, 40, 3)
    cv2.imwrite(str(tmp_path / "c.webp"), pixels)
    cv2.imwrite(str(tmp_path / "d.tif"), cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY))
    assert (
        read_image(str(tmp_path / "c.webp")).shape
        == read_image(str(tmp_path / "d.tif")).shape
        == (40, 60, 3)
    )
    for name in ("e.webp", "e.tif"):
        write(tmp_path / name, pixels, orientation=6)
        upright = read_image(str(tmp_path / name))
        assert upright.shape == (60, 40, 3)
        assert np.abs(upright.astype(int) - np.rot90(pixels, -1)).mean() < 16


def test_images_that_cannot_be_read_are_named(tmp_path):
    (tmp_path / "text.jpg").write_text("no image")
    with pytest.raises(InputError, match=r"text.jpg: cannot be read as an image"):
        read_image(str(tmp_path / "text.jpg"))
    encoded = write(tmp_path / "cut.png", photo(300, 400))
    (tmp_path / "cut.png").write_bytes(encoded[:60])
    with pytest.raises(InputError, match=r"cut.png: cannot be"):
        read_image(str(tmp_path / "cut.png"))
    jpeg = write(tmp_path / "cut.jpg", photo(300, 400), quality=95)
    (tmp_path / "cut.jpg").write_bytes(jpeg[: len(jpeg) // 3])
    with pytest.raises(InputError, match=r"cut.jpg: cannot be decoded; the file is cut short"):
        read_image(str(tmp_path / "cut.jpg"))
    Image.new("L", (20000, 6000)).save(tmp_path / "large.png")
    with pytest.raises(InputError, match=r"large.png: 20000x6000 is more than 100 megapixels"):
        read_image(str(tmp_path / "large.png"))
