"""Content of a wheel, and its commands outside the checkout."""

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile

import pytest

from support.commands import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    # From a copy: leftovers of an earlier build in the checkout must not be included.
    folder, source = tmp_path_factory.mktemp("wheel"), tmp_path_factory.mktemp("source")
    for name in ("setup.py", "pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "tfcpn", source / "tfcpn", ignore=shutil.ignore_patterns("__pycache__"))
    arguments = ["--no-deps", "--no-build-isolation", "--quiet", "--wheel-dir", str(folder)]
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", *arguments, str(source)],
        check=True,
        capture_output=True,
    )
    (path,) = folder.glob("*.whl")
    return path


def test_the_wheel_has_exactly_the_files_of_the_package(wheel):
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info" not in name}
    own = {
        str(path.relative_to(ROOT))
        for kind in ("*.py", "*.html", "*.json")
        for path in (ROOT / "tfcpn").rglob(kind)
    }
    assert held == own


@pytest.fixture(scope="module")
def run(wheel, tmp_path_factory):
    """Run programs of an environment with the wheel, outside the checkout."""
    folder = tmp_path_factory.mktemp("elsewhere")
    environment = folder / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    python = str(environment / "bin" / "python")
    install = ["--python", python, "install", "--quiet", "--no-deps", str(wheel)]
    subprocess.run([sys.executable, "-m", "pip", *install], check=True, capture_output=True)
    # The libraries are shared. The checkout is not: paths in a .pth file do not process other .pth
    # files.
    (site,) = environment.glob("lib/python*/site-packages")
    (site / "borrowed.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    plain = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    plain["CUDA_VISIBLE_DEVICES"] = ""

    def run(*arguments, program="tfcpn"):
        arguments = [str(environment / "bin" / program), *map(str, arguments)]
        done = subprocess.run(arguments, cwd=folder, env=plain, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    return run


def test_the_installed_wheel_is_imported(run):
    code = "import tfcpn.training.trainer as trainer; print(trainer.__file__)"
    assert "environment" in run("-c", code, program="python")
    assert run("--version").startswith("tfcpn 2")


def test_the_installed_wheel_runs_from_annotations_to_export(run):
    small = ["--input_size=64x64", "--batch_size=4", "--epoch_size=8", "--epochs=1"]
    val = ["--val_annotations=d/annotations/person_keypoints_val.json", "--val_images=d/val"]
    run("draw", "people", "--output=d", "--train=12", "--val=4")
    annotations = "--annotations=d/annotations/person_keypoints_train.json"
    run("data", "records", annotations, "--images=d/train", "--output=d/records", "--shards=2")
    run(
        *("train", "--train_records=d/records", "--model_dir=run", "--init_weights=none"),
        *(*small, *val, "--label_kernels=11,9,7,5", "--eval_every=0"),
    )
    assert "AP" in run("eval", "--model_dir=run", "--epoch=1", "--noflip_test")
    run("predict", "--model_dir=run", "--boxes=image", "--output=out", "d/val")
    exported = ["--format=savedmodel", "--output=saved", "--people=4"]
    assert "saved" in run("export", "--model_dir=run", *exported)
    run("report", "--runs=run", "--output=report")
