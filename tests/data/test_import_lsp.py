"""tools/import_lsp.py on archives written by the test, in the layout of the published ones."""

import json

import cv2
import numpy as np
import pytest
from scipy.io import savemat

from support.commands import ROOT
from tfcpn.data.coco import read_annotations
from tfcpn.skeleton import COCO, LSP

SIZE = (120, 160)


def archive(folder, keypoints, digits):
    """Three images and joints.mat."""
    (folder / "images").mkdir()
    for number in range(1, 4):
        cv2.imwrite(
            str(folder / "images" / f"im{number:0{digits}d}.jpg"), np.full((*SIZE, 3), 90, np.uint8)
        )
    savemat(folder / "joints.mat", {"joints": keypoints})
    return [
        f"--images={folder / 'images'}",
        f"--joints={folder / 'joints.mat'}",
        f"--output={folder / 'out.json'}",
    ]


@pytest.fixture
def keypoints():
    """Return (14, 3, 3) as in the extended set: one keypoint missing, one outside the image."""
    rng = np.random.default_rng(0)
    keypoints = np.concatenate([rng.uniform(20, 100, (14, 2, 3)), np.ones((14, 1, 3))], axis=1)
    keypoints[4, :, 1] = -5, -7, 0
    keypoints[6, :2, 2] = 500, 40
    return keypoints


def test_the_extended_set_is_read(command, tmp_path, keypoints):
    command("tools/import_lsp.py", *archive(tmp_path, keypoints, 5))
    images, people, skeleton, *_ = read_annotations(tmp_path / "out.json")
    assert skeleton == LSP and len(images) == len(people) == 3
    assert [p.num_keypoints for p in people] == [14, 13, 13]
    for person, truth in zip(people, np.moveaxis(keypoints, 2, 0)):
        seen = person.keypoints[:, 2] > 0
        np.testing.assert_allclose(person.keypoints[seen, :2], truth[seen, :2], atol=0.01)
        assert (person.keypoints[seen, 2] == 2).all()
        x, y, w, h = person.box
        grow = 0.1 * np.ptp(truth[seen, :2], axis=0).max()
        low = np.maximum(truth[seen, :2].min(axis=0) - grow, 0)
        np.testing.assert_allclose((x, y), low, atol=0.02)
        assert person.area == pytest.approx(w * h, abs=1)


def test_the_original_set_has_other_axes_and_occlusion_flags(command, tmp_path, keypoints):
    first = keypoints.transpose(1, 0, 2).copy()
    first[2] = 0
    first[2, 5, 0] = 1
    first[:2, 6, 2] = 50
    command("tools/import_lsp.py", *archive(tmp_path, first[:, :, [0, 0, 2]], 4))
    _, people, *_ = read_annotations(tmp_path / "out.json")
    expected = np.full(14, 2)
    expected[5] = 1
    np.testing.assert_array_equal(people[0].keypoints[:, 2], expected)


def test_part_of_the_set_is_imported_with_coco_keypoints(command, tmp_path, keypoints):
    arguments = archive(tmp_path, keypoints, 5)
    command("tools/import_lsp.py", *arguments, "--first=2", "--last=3", "--skeleton=coco")
    images, people, skeleton, *_ = read_annotations(tmp_path / "out.json")
    assert skeleton == COCO and list(images) == [2, 3]
    assert not people[0].keypoints[:5].any()  # the face
    row = COCO.keypoints.index("left_wrist")
    np.testing.assert_allclose(
        people[1].keypoints[row, :2], keypoints[LSP.keypoints.index("left_wrist"), :2, 2], atol=0.01
    )


def wrong_shape(folder, keypoints):
    savemat(folder / "joints.mat", {"joints": keypoints[:13]})


def no_keypoints(folder, keypoints):
    savemat(folder / "joints.mat", {"other": keypoints})


def no_matlab(folder, keypoints):
    (folder / "joints.mat").write_text("hello")


def not_numbers(folder, keypoints):
    savemat(
        folder / "joints.mat",
        {"joints": np.where(keypoints == keypoints[0, 0, 0], np.nan, keypoints)},
    )


def a_image_is_gone(folder, keypoints):
    (folder / "images/im00002.jpg").unlink()


def a_image_is_none(folder, keypoints):
    (folder / "images/im00002.jpg").write_text("x")


@pytest.mark.parametrize(
    "damage, arguments, message",
    [
        (
            wrong_shape,
            [],
            r"joints.mat: joints is float64 (13, 3, 3), expected (14, 3, N) or (3, 14, N)",
        ),
        (no_keypoints, [], "joints.mat: not the joints.mat of Leeds Sports Pose"),
        (no_matlab, [], "joints.mat: not the joints.mat of Leeds Sports Pose"),
        (not_numbers, [], "joints.mat: joints has other values than coordinates and 0 or 1"),
        (a_image_is_gone, [], "1 images are missing, the first is im00002.jpg"),
        (a_image_is_none, [], "im00002.jpg: not a JPEG, PNG, BMP, WebP or TIFF image"),
        (None, ["--first=3", "--last=9"], "holds images 1 to 3"),
        (None, ["--joints=nowhere.mat"], "nowhere.mat: cannot be read"),
    ],
)
def test_invalid_input_is_reported_in_one_line_and_nothing_is_written(
    command, tmp_path, keypoints, damage, arguments, message
):
    flags = archive(tmp_path, keypoints, 5)
    if damage:
        damage(tmp_path, keypoints)
    failed = command("tools/import_lsp.py", *flags, *arguments, check=False)
    (line,) = failed.err.strip().splitlines()
    assert failed.status == 1 and message in line and not (tmp_path / "out.json").exists()


ARCHIVE = ROOT.parent / "shared" / "lsp_extended"


@pytest.mark.skipif(
    not ARCHIVE.exists(), reason="no Leeds Sports Pose Extended next to the project"
)
def test_the_published_archive_is_read(command, tmp_path):
    arguments = [f"--images={ARCHIVE / 'images'}", f"--joints={ARCHIVE / 'joints.mat'}"]
    command("tools/import_lsp.py", *arguments, f"--output={tmp_path / 'a.json'}", "--first=8951")
    data = json.loads((tmp_path / "a.json").read_text())
    assert len(data["images"]) == len(data["annotations"]) == 50
