"""The commands of the README as a user runs them, on a few drawn people: train, interrupt, resume, evaluate."""

import csv
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf
from conftest import ROOT

from tfcpn import coco


def flags(people, model_dir, *more):
    return [
        "--flagfile=flags/smoke.cfg",
        f"--train_records={people.records}",
        f"--val_images={people.val}",
        f"--val_annotations={people.val_annotations}",
        f"--model_dir={model_dir}",
        "--deterministic",
        *more,
    ]


def weights(model_dir, epoch):
    prefix = str(model_dir / "snapshots" / f"snapshot_{epoch:04d}" / "variables")
    names = [name for name, shape in tf.train.list_variables(prefix) if shape or "iter" in name]
    return {name: tf.train.load_variable(prefix, name) for name in names}


@pytest.fixture(scope="module")
def run(people, tmp_path_factory):
    """A run of two epochs that was killed in its second and resumed."""
    model_dir = tmp_path_factory.mktemp("runs") / "smoke"
    words = [sys.executable, "-m", "tfcpn.train", *flags(people, model_dir, "--epochs=3000")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "-1"}
    process = subprocess.Popen(words, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
    deadline = time.time() + 300
    while not (model_dir / "snapshots" / "snapshot_0001").exists():
        assert process.poll() is None and time.time() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    # What comes after the first snapshot is lost, to make the kill land in the same place every time.
    for path in (model_dir / "snapshots").iterdir():
        if path.name != "snapshot_0001":
            subprocess.run(["rm", "-r", str(path)], check=True)
    (model_dir / "snapshots" / ".snapshot_0002.tmp").mkdir()
    return model_dir


@pytest.fixture(scope="module")
def resumed(run, people, command):
    command("-m", "tfcpn.train", *flags(people, run, "--eval_every=2"))
    return run


def test_a_killed_and_resumed_run_ends_with_the_bits_of_an_undisturbed_one(resumed, people, command, tmp_path):
    command("-m", "tfcpn.train", *flags(people, tmp_path / "whole"))
    a, b = weights(resumed, 2), weights(tmp_path / "whole", 2)
    assert set(a) == set(b) and len(a) > 446 + 2 * 270
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)
    first = weights(resumed, 1)
    assert any(not np.array_equal(first[name], a[name]) for name in a)


def test_training_logs_an_epoch_a_row_and_validates(resumed):
    with (resumed / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    last = rows[-1]
    parts = float(last["global"]) + float(last["refine"]) + float(last["decay"])
    assert float(last["total"]) == pytest.approx(parts, rel=1e-4)
    assert 0 <= float(last["AP"]) <= 1 and float(last["crops_per_second"]) > 0
    assert list((resumed / "events").iterdir())


def test_evaluation_writes_results_and_prints_a_row_an_epoch(resumed, people, command):
    done = command("-m", "tfcpn.eval", f"--model_dir={resumed}", "--epoch=1,2")
    rows = [line for line in done.out.splitlines() if line.startswith("| ")]
    assert [row.split("|")[1].strip() for row in rows] == ["epoch", "1", "2"]
    _, annotated = coco.read_annotations(people.val_annotations)
    boxes = [p for p in annotated if p.trainable]
    results = json.loads((resumed / "eval/epoch_0001/results.json").read_text())
    assert sorted(r["image_id"] for r in results) == sorted(b.image_id for b in boxes)
    assert all(r["category_id"] == 1 and len(r["keypoints"]) == 51 for r in results)
    metrics = json.loads((resumed / "eval/epoch_0002/metrics.json").read_text())
    assert set(coco.METRICS) <= set(metrics)
    assert (metrics["epoch"], metrics["people"], metrics["boxes_evaluated"]) == (2, len(boxes), len(boxes))
    assert metrics["settings"]["boxes"] == "gt" and metrics["settings"]["flip_test"] is True
    assert coco.evaluate(str(people.val_annotations), results)["AP"] >= 0


def test_evaluation_with_a_detectors_boxes(resumed, people, command, tmp_path):
    _, annotated = coco.read_annotations(people.val_annotations)
    boxes = [p for p in annotated if p.trainable for _ in range(2)]
    detections = [
        {
            "image_id": b.image_id,
            "category_id": 1,
            "bbox": [b.box[0] + i % 3, *b.box[1:]],
            "score": 0.25 + 0.5 * (i % 2),
        }
        for i, b in enumerate(boxes)
    ]
    path = tmp_path / "detections.json"
    path.write_text(json.dumps(detections))
    done = command("-m", "tfcpn.eval", f"--model_dir={resumed}", "--epoch=latest", f"--boxes={path}", "--noflip_test")
    assert f"{len(boxes)} boxes" in done.out and "no flip test" in done.out
    results = json.loads((resumed / "eval/epoch_0002_detections_noflip/results.json").read_text())
    assert len(results) == len(boxes)


@pytest.mark.parametrize(
    "words, message",
    [
        (["--epoch=7"], "snapshot_0007 does not exist; there are epochs 1-2"),
        (["--epoch=first"], "--epoch=first: want numbers"),
        (["--boxes=nowhere.json"], "nowhere.json: cannot be read"),
        (["--val_annotations=nowhere.json"], "nowhere.json: cannot be read"),
        (["--val_images=nowhere"], "does --val_images fit --val_annotations?"),
        (["--backbone=resnet101"], "was trained with other settings (backbone: resnet50 -> resnet101)"),
        (["--model_dir=nowhere"], "no run lives in nowhere"),
        (["--align=sideways"], "--align=sideways"),
        (["--epok=3"], "epok"),
        (["350"], "unexpected argument '350'"),
    ],
)
def test_a_mistake_in_evaluating_is_told_in_one_line(resumed, command, words, message):
    failed = command("-m", "tfcpn.eval", f"--model_dir={resumed}", *words, check=False)
    assert failed.status == 1
    (line,) = failed.err.strip().splitlines()
    assert line.startswith("error: ") and message in line


def test_blazepose_is_trained_and_evaluated_by_its_own_first_pass(people, command, tmp_path):
    words = [*flags(people, tmp_path / "run"), "--align=blazepose", "--align_missing=drop", "--predict_align_points"]
    command("-m", "tfcpn.train", *words, "--epochs=1", "--filter_min_joints=6", "--eval_every=1")
    words = [f"--model_dir={tmp_path / 'run'}", "--align_source=two_pass", "--first_pass_turns=2"]
    done = command("-m", "tfcpn.eval", *words, "--eval_people=alignable")
    assert "labelled people count" in done.out and "alignment points from a first pass" in done.out
    (result,) = (tmp_path / "run/eval").glob("epoch_0001_drop_two_pass2_alignable/results.json")
    assert all(len(r["keypoints"]) == 51 for r in json.loads(result.read_text()))
    command("tools/report.py", f"--runs={tmp_path / 'run'}", f"--output={tmp_path / 'report'}")
    assert "two-pass x2, 19 joints" in (tmp_path / "report/report.md").read_text()


def cut_a_shard(people):
    shard = sorted(people.records.glob("*.tfrecord"))[0]
    shard.write_bytes(shard.read_bytes()[:-50])


def damage_a_shard(people):
    for shard in people.records.glob("*.tfrecord"):
        content = bytearray(shard.read_bytes())
        content[len(content) // 3] ^= 255
        shard.write_bytes(bytes(content))


@pytest.mark.parametrize(
    "damage, words, message",
    [
        (None, ["--train_records=nowhere"], "nowhere does not exist: make them with python tools/make_records.py"),
        (None, ["--init_weights=nowhere.ckpt"], "--init_weights=nowhere.ckpt not found"),
        (None, ["--input_size=100x100"], "multiples of 32"),
        (cut_a_shard, [], "run tools/make_records.py again"),
        (damage_a_shard, [], "a record is damaged"),
    ],
)
def test_a_mistake_in_training_is_told_in_one_line(people_copy, command, tmp_path, damage, words, message):
    if damage:
        damage(people_copy)
    failed = command("-m", "tfcpn.train", *flags(people_copy, tmp_path / "run"), *words, check=False)
    assert failed.status == 1
    line = failed.err.strip().splitlines()[-1]
    assert line.startswith("error: ") and message in line, failed.err
    assert "Traceback" not in failed.err
    assert not (tmp_path / "run" / "snapshots").exists()


def test_another_experiment_in_the_same_folder_is_refused(resumed, people, command):
    failed = command("-m", "tfcpn.train", *flags(people, resumed, "--heatmap_scale=1"), check=False)
    assert failed.status == 1
    (line,) = failed.err.strip().splitlines()
    assert "heatmap_scale: 255.0 -> 1.0" in line


def test_a_validation_that_was_cut_off_is_made_up_for(resumed, people, command):
    log = resumed / "metrics.csv"
    whole = log.read_text()
    lines = [
        ",".join([*row.split(",")[:9], *[""] * 10]) if row.startswith("2,") else row for row in whole.splitlines()
    ]
    log.write_text("\n".join(lines) + "\n")
    command("-m", "tfcpn.train", *flags(people, resumed, "--eval_every=2"))
    with log.open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 and rows[1]["AP"] != "" and rows[0]["AP"] == ""


def test_a_run_does_not_go_on_with_other_records(resumed, people_copy, command, tmp_path):
    other = tmp_path / "other"
    words = [f"--annotations={people_copy.train_annotations}", f"--images={people_copy.train}", f"--output={other}"]
    command("tools/make_records.py", *words, "--shards=3", "--workers=1")
    people_copy.records = other
    failed = command("-m", "tfcpn.train", *flags(people_copy, resumed, "--epochs=3"), check=False)
    assert failed.status == 1 and "was trained on other records" in failed.err.strip().splitlines()[-1]


def test_a_truncated_image_is_named_in_evaluation(resumed, people_copy, command):
    victim = sorted(people_copy.val.glob("*.jpg"))[2]
    victim.write_bytes(victim.read_bytes()[:-2000])
    words = [f"--val_images={people_copy.val}", f"--model_dir={resumed}", "--epoch=1"]
    failed = command("-m", "tfcpn.eval", *words, check=False)
    line = failed.err.strip().splitlines()[-1]
    assert failed.status == 1 and f"{victim.name}: cannot be decoded" in line and "Traceback" not in failed.err


def test_a_folder_that_cannot_be_written_is_told_in_one_line(people, command, tmp_path):
    (tmp_path / "file").write_text("in the way")
    failed = command("-m", "tfcpn.train", *flags(people, tmp_path / "file" / "run"), check=False)
    line = failed.err.strip().splitlines()[-1]
    assert failed.status == 1 and line.startswith("error: ") and "Not a directory" in line


def test_help_shows_every_flag_by_group(command):
    out = command("-m", "tfcpn.train", "--help").out
    for text in ("Network and labels:", "--backbone=resnet50|resnet101", "Evaluation:", "--[no]flip_test"):
        assert text in out
