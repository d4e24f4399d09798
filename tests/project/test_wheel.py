"""What a wheel holds, and that it runs far from the checkout."""

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
    # From a copy: what an earlier build left in the checkout must not get in.
    folder, source = tmp_path_factory.mktemp("wheel"), tmp_path_factory.mktemp("source")
    for name in ("setup.py", "pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "tfcpn", source / "tfcpn", ignore=shutil.ignore_patterns("__pycache__"))
    words = ["--no-deps", "--no-build-isolation", "--quiet", "--wheel-dir", str(folder)]
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", *words, str(source)], check=True, capture_output=True
    )
    (path,) = folder.glob("*.whl")
    return path


def test_it_holds_every_file_of_the_package_and_no_other(wheel):
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info" not in name}
    own = {
        str(path.relative_to(ROOT))
        for kind in ("*.py", "*.html")
        for path in (ROOT / "tfcpn").rglob(kind)
    }
    assert held == own


def test_both_commands_run_from_it_in_an_environment_of_its_own(wheel, tmp_path):
    environment = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    python = environment / "bin" / "python"
    install = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(python),
        "install",
        "--quiet",
        "--no-deps",
        str(wheel),
    ]
    subprocess.run(install, check=True, capture_output=True)
    # The libraries are borrowed; the checkout is not, since paths behind a .pth file bring none of
    # their own.
    (site,) = environment.glob("lib/python*/site-packages")
    (site / "borrowed.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    plain = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def run(*words):
        return subprocess.run(
            [str(python), *words], cwd=tmp_path, env=plain, capture_output=True, text=True
        )

    assert (
        str(environment)
        in run("-c", "import tfcpn.training.trainer as l; print(l.__file__)").stdout
    )
    for command in ("train", "eval"):
        done = run("-m", f"tfcpn.{command}", "--help")
        assert done.returncode == 0 and "Network and labels:" in done.stdout, done.stderr
