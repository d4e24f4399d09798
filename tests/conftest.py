"""Fixtures: a small dataset of drawn people, and commands in this process."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

import tfcpn  # noqa: F401  (quietens TensorFlow's start)

import tensorflow as tf  # isort: skip
from support.browsers import browser  # noqa: F401  isort: skip
from support.commands import run_here, run_process  # isort: skip
from support.models import mediapipe  # noqa: F401  isort: skip
from support.small_run import tiny_run  # noqa: F401  isort: skip
from tfcpn.utils import console  # isort: skip
from support.tiny import tiny_network, tolerate_ties  # noqa: F401  isort: skip

# Tests compare the printed lines. Timing lines depend on the machine and are disabled.
console.FIRST_LINE_SECONDS = 1e6

# Create two CPU devices before first use, so that code for several replicas runs here as well.
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)


@pytest.fixture(scope="session")
def two_replicas():
    """A strategy of two virtual CPU devices. One for the whole process: TensorFlow numbers gradient
    sums from zero for each strategy and confuses those of a second strategy with those of the
    first.
    """
    devices = tf.config.list_logical_devices("CPU")
    assert len(devices) == 2
    return tf.distribute.MirroredStrategy([device.name for device in devices])


@pytest.fixture
def float64():
    """Build networks in float64, where the rounding of the processor does not matter: in float32
    the gradients of a CPN with random weights are mostly rounding.
    """
    tf.keras.mixed_precision.set_global_policy("float64")
    yield
    tf.keras.mixed_precision.set_global_policy("float32")


@pytest.fixture(scope="session")
def command():
    return run_here


@pytest.fixture(scope="session")
def people(tmp_path_factory):
    """Draw people: folders train and val, annotation files, and records of the training images."""
    folder = tmp_path_factory.mktemp("people")
    # In separate processes, as users run them: workers are started from the main module of the
    # program.
    run_process(
        "tools/make_people.py", f"--output={folder}", "--train=24", "--val=8", "--workers=2"
    )
    annotations = {
        s: folder / "annotations" / f"person_keypoints_{s}.json" for s in ("train", "val")
    }
    arguments = [f"--annotations={annotations['train']}", f"--images={folder / 'train'}"]
    run_process(
        "tools/make_records.py",
        *arguments,
        f"--output={folder / 'records'}",
        "--shards=4",
        "--workers=2",
    )
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
    """Change the content of a JSON file in place with a function."""

    def edit(path: Path, change) -> None:
        data = json.loads(path.read_text())
        change(data)
        path.write_text(json.dumps(data))

    return edit


@pytest.fixture
def installed_ffmpeg(monkeypatch, tmp_path):
    """Put an ffmpeg on the PATH, as if installed, and return the file."""
    exe = pytest.importorskip("imageio_ffmpeg").get_ffmpeg_exe()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "ffmpeg").symlink_to(exe)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    return exe


def pytest_collection_modifyitems(items):
    """Skip bfloat16 if oneDNN is kept from instructions that TensorFlow finds in the processor:
    TensorFlow aborts.

    A processor without these instructions computes bfloat16 with other kernels.
    """
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA", "DEFAULT").upper()
    if limit in ("DEFAULT", "ALL") or "avx512" not in Path("/proc/cpuinfo").read_text():
        return
    skip = pytest.mark.skip(
        reason="TensorFlow aborts in bfloat16 where oneDNN is limited by ONEDNN_MAX_CPU_ISA"
    )
    for item in items:
        if "bfloat16" in item.nodeid and item.path.stem != "test_device":
            item.add_marker(skip)
