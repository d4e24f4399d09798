"""What several tests need: commands run as a user runs them, and a small dataset of drawn people."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import tensorflow as tf

ROOT = Path(__file__).parent.parent

# Before anything uses the device: two of them, so that code for several replicas runs here too.
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)


def run_command(*words, cwd=ROOT, check=True) -> SimpleNamespace:
    """Run `python words...`; returns status, out and err. check: fail the test if it does not succeed."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "-1"}
    done = subprocess.run(
        [sys.executable, *map(str, words)], cwd=cwd, env=environment, capture_output=True, text=True, timeout=900
    )
    if check:
        assert done.returncode == 0, done.stderr[-3000:]
    return SimpleNamespace(status=done.returncode, out=done.stdout, err=done.stderr)


@pytest.fixture(scope="session")
def command():
    return run_command


@pytest.fixture(scope="session")
def people(tmp_path_factory):
    """Drawn people: folders train and val, the annotation files, and records of the training images."""
    folder = tmp_path_factory.mktemp("people")
    run_command("tools/make_people.py", f"--output={folder}", "--train=24", "--val=8", "--workers=2")
    annotations = {s: folder / "annotations" / f"person_keypoints_{s}.json" for s in ("train", "val")}
    words = [
        f"--annotations={annotations['train']}",
        f"--images={folder / 'train'}",
        f"--output={folder / 'records'}",
    ]
    run_command("tools/make_records.py", *words, "--shards=4", "--workers=2")
    return SimpleNamespace(
        folder=folder,
        train=folder / "train",
        val=folder / "val",
        train_annotations=annotations["train"],
        val_annotations=annotations["val"],
        records=folder / "records",
    )


@pytest.fixture
def people_copy(people, tmp_path):
    """A copy of the dataset that a test may damage."""
    copy = tmp_path / "people"
    shutil.copytree(people.folder, copy)
    return SimpleNamespace(
        **{
            name: copy / path.relative_to(people.folder) if name != "folder" else copy
            for name, path in vars(people).items()
        }
    )


@pytest.fixture
def edit_json():
    """Change a JSON file in place with a function on its content."""

    def edit(path: Path, change) -> None:
        data = json.loads(path.read_text())
        change(data)
        path.write_text(json.dumps(data))

    return edit
