"""Parts of the Docker image that can be tested without a Docker engine."""

import os
import subprocess
import sys

import pytest

from support.commands import ROOT


@pytest.mark.slow
@pytest.mark.parametrize("required, status", [("1", 1), ("0", 0)])
def test_the_entry_point_fails_without_the_required_gpu(required, status):
    path = f"{os.path.dirname(sys.executable)}{os.pathsep}{os.environ['PATH']}"
    environment = {
        **os.environ,
        "PATH": path,
        "REQUIRE_GPU": required,
        "CUDA_VISIBLE_DEVICES": "-1",
        "PYTHONPATH": str(ROOT),
    }
    arguments = ["tools/docker_entry.sh", "echo", "started"]
    done = subprocess.run(
        arguments, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == status
    assert ("started" in done.stdout) == (status == 0)
    assert ("error: TensorFlow sees no GPU" in done.stderr) == (status == 1)


def test_the_image_is_pinned_and_does_not_run_as_root():
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    assert "ARG BASE=tensorflow/tensorflow:2.15.0.post1-gpu" in lines and "FROM ${BASE}" in lines
    assert lines.index("USER ${UID}") < next(
        i for i, line in enumerate(lines) if line.startswith("ENTRYPOINT")
    )
