"""MediaPipe's files are complete and of the right version, or a one-line error says why not."""

import zipfile

import pytest

from tfcpn.commands import get_models


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
    path = tmp_path / "mediapipe.whl"
    if damage == "no zip":
        path.write_text("not a wheel")
    elif damage != "missing":
        members = [get_models.LICENCE, *(member for member, _ in get_models.MODELS.values())]
        wheel(path, **({} if damage == "empty" else dict.fromkeys(members, b"other")))
    arguments = [f"--output={tmp_path / 'models'}", f"--wheel={path}"]
    failed = command("tools/get_models.py", *arguments, check=False)
    expected = {"missing": "not found", "another version": "is not that of mediapipe 0.10.14"}
    assert failed.status == 1 and expected.get(damage, "no whole wheel") in failed.err
    assert len(failed.err.strip().splitlines()) == 1 and not (tmp_path / "models").exists()
