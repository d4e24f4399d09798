"""The CPN in separate processes: trained, killed, resumed, evaluated."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from support.commands import ROOT, TENSORFLOW_ON_CPU, run_process
from support.small_run import flags, logged, weights
from tfcpn.data.coco import read_annotations
from tfcpn.evaluation.metrics import COCO_METRICS, coco_metrics

pytestmark = pytest.mark.slow

# BlazePose's region, with the two alignment points as keypoints 18 and 19.
BLAZEPOSE_DEFAULTS = ("--align=blazepose", "--predict_align_points", "--deterministic")


@pytest.fixture(scope="module")
def killed(people, tmp_path_factory):
    """A run that was killed in its second epoch."""
    model_dir = tmp_path_factory.mktemp("runs") / "smoke"
    arguments = flags(people, model_dir, "--epochs=3000", *BLAZEPOSE_DEFAULTS)
    arguments = [sys.executable, "-m", "tfcpn.train", *arguments]
    environment = {**os.environ, **TENSORFLOW_ON_CPU}
    process = subprocess.Popen(arguments, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
    deadline = time.time() + 300
    while not (model_dir / "checkpoints" / "epoch_0001").exists():
        assert process.poll() is None and time.time() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    # Discard everything after the first checkpoint, so that the kill always has the same effect.
    for path in (model_dir / "checkpoints").iterdir():
        if path.name != "epoch_0001":
            subprocess.run(["rm", "-r", str(path)], check=True)
    (model_dir / "checkpoints" / ".epoch_0002.tmp").mkdir()
    return model_dir


@pytest.fixture(scope="module")
def resumed(killed, people):
    run_process("-m", "tfcpn.train", *flags(people, killed, *BLAZEPOSE_DEFAULTS, "--eval_every=2"))
    return killed


def test_a_killed_and_resumed_run_equals_an_uninterrupted_one(resumed, people, tmp_path):
    run_process("-m", "tfcpn.train", *flags(people, tmp_path / "whole", *BLAZEPOSE_DEFAULTS))
    a, b = weights(resumed, 2), weights(tmp_path / "whole", 2)
    assert set(a) == set(b) and len(a) > 446 + 2 * 270
    assert a["model/refine_out.Sweights/.ATTRIBUTES/VARIABLE_VALUE"].shape[-1] == 19
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)
    first = weights(resumed, 1)
    assert any(not np.array_equal(first[name], a[name]) for name in a)


def test_training_logs_one_row_per_epoch_and_validates(resumed):
    rows = logged(resumed)
    assert [row["epoch"] for row in rows] == ["1", "2"]
    last = rows[-1]
    summed = float(last["global"]) + float(last["refine"]) + float(last["decay"])
    assert float(last["total"]) == pytest.approx(summed, rel=1e-4)
    assert 0 <= float(last["AP"]) <= 1 and float(last["crops_per_second"]) > 0
    assert list((resumed / "events").iterdir())


def test_evaluation_writes_results_and_prints_one_row_per_epoch(resumed, people):
    done = run_process("-m", "tfcpn.eval", f"--model_dir={resumed}", "--epoch=1,2")
    rows = [line for line in done.out.splitlines() if line.startswith("| ")]
    assert [row.split("|")[1].strip() for row in rows] == ["epoch", "1", "2"]
    _, annotated, *_ = read_annotations(people.val_annotations)
    boxes = [p for p in annotated if p.trainable]
    results = json.loads((resumed / "eval/epoch_0001/results.json").read_text())
    assert sorted(r["image_id"] for r in results) == sorted(b.image_id for b in boxes)
    assert all(r["category_id"] == 1 and len(r["keypoints"]) == 51 for r in results)
    metrics = json.loads((resumed / "eval/epoch_0002/metrics.json").read_text())
    assert set(COCO_METRICS) <= set(metrics)
    assert (metrics["epoch"], metrics["people"], metrics["boxes_evaluated"]) == (
        2,
        len(boxes),
        len(boxes),
    )
    assert metrics["settings"]["boxes"] == "gt" and metrics["settings"]["flip_test"] is True
    assert coco_metrics(read_annotations(people.val_annotations), results)["AP"] >= 0
