"""The commands of the README on a few drawn people, in this process and with the tiny network."""

import json

import pytest

from support.commands import run_here
from support.small_run import flags, logged
from support.tiny import tiny
from tfcpn import builders
from tfcpn.data.coco import read_annotations
from tfcpn.data.detections import read_detections


@pytest.fixture(scope="module")
def run(people, tmp_path_factory):
    """A run of two epochs."""
    model_dir = tmp_path_factory.mktemp("runs") / "tiny"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(builders.NETWORK_BUILDERS, "cpn", tiny)
        run_here("-m", "tfcpn.train", *flags(people, model_dir, "--eval_every=2"))
    return model_dir


@pytest.fixture(autouse=True)
def with_the_tiny_network(tiny_network):
    pass


def test_evaluation_with_a_detectors_boxes(run, people, command, tmp_path):
    _, annotated, *_ = read_annotations(people.val_annotations)
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
    done = command(
        "-m",
        "tfcpn.eval",
        f"--model_dir={run}",
        "--epoch=latest",
        f"--boxes={path}",
        "--noflip_test",
    )
    assert f"{len(boxes)} boxes" in done.out and "no flip test" in done.out
    (file,) = (run / "eval").glob("epoch_0002_detections-*_noflip/results.json")
    assert len(json.loads(file.read_text())) == len(boxes)


def test_an_evaluation_uses_the_settings_of_the_run_by_default(people, command, tmp_path):
    """A run validated in two passes must not be evaluated with annotated points, an upper bound."""
    arguments = [
        *flags(people, tmp_path / "run", "--epochs=1", "--eval_every=1"),
        "--align=blazepose",
    ]
    command(
        "-m",
        "tfcpn.train",
        *arguments,
        "--align_source=two_pass",
        "--first_pass_rotations=2",
        "--noflip_test",
    )
    done = command("-m", "tfcpn.eval", f"--model_dir={tmp_path / 'run'}")
    assert "alignment points from a first pass" in done.out and "no flip test" in done.out
    assert (
        "as the run was validated: --align_source=two_pass --first_pass_rotations=2 "
        "--flip_test=False" in done.out
    )
    done = command(
        "-m", "tfcpn.eval", f"--model_dir={tmp_path / 'run'}", "--align_source=gt", "--flip_test"
    )
    assert "the annotation, an upper bound" in done.out and ", flip test" in done.out
    folders = {path.name for path in (tmp_path / "run/eval").iterdir()}
    assert folders == {"epoch_0001", "epoch_0001_noflip_two_pass2"}


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--epoch=7"], "epoch_0007 does not exist; there are epochs 1-2"),
        (["--epoch=first"], "--epoch=first: expected numbers"),
        (["--boxes=nowhere.json"], "nowhere.json: cannot be read"),
        (["--val_annotations=nowhere.json"], "nowhere.json: cannot be read"),
        (["--val_images=nowhere"], "do the images fit the annotations?"),
        (
            ["--backbone=resnet101"],
            "was trained with other settings (backbone: resnet50 -> resnet101)",
        ),
        (["--model_dir=nowhere"], "nowhere contains no run"),
        (["--align=sideways"], "--align=sideways"),
        (["--epok=3"], "--epok: python -m tfcpn.eval has no such flag; did you mean --epoch?"),
        (["350"], "unexpected argument '350'"),
    ],
)
def test_an_invalid_evaluation_is_reported_in_one_line(run, command, arguments, message):
    failed = command("-m", "tfcpn.eval", f"--model_dir={run}", *arguments, check=False)
    assert failed.status == 1
    (line,) = failed.err.strip().splitlines()
    assert line.startswith("error: ") and message in line


def test_blazepose_alignment_is_trained_and_evaluated_in_two_passes(people, command, tmp_path):
    arguments = [
        *flags(people, tmp_path / "run"),
        "--align=blazepose",
        "--align_missing=drop",
        "--predict_align_points",
    ]
    command(
        "-m", "tfcpn.train", *arguments, "--epochs=1", "--filter_min_keypoints=6", "--eval_every=1"
    )
    arguments = [
        f"--model_dir={tmp_path / 'run'}",
        "--align_source=two_pass",
        "--first_pass_rotations=2",
    ]
    done = command("-m", "tfcpn.eval", *arguments, "--eval_people=alignable")
    assert "labeled people count" in done.out and "alignment points from a first pass" in done.out
    (result,) = (tmp_path / "run/eval").glob("epoch_0001_drop_two_pass2_alignable/results.json")
    assert all(len(r["keypoints"]) == 51 for r in json.loads(result.read_text()))
    command("tools/report.py", f"--runs={tmp_path / 'run'}", f"--output={tmp_path / 'report'}")
    assert "two-pass x2, alignment points predicted" in (tmp_path / "report/report.md").read_text()


def cut_a_shard(people):
    shard = sorted(people.records.glob("*.tfrecord"))[0]
    shard.write_bytes(shard.read_bytes()[:-50])


def damage_a_shard(people):
    for shard in people.records.glob("*.tfrecord"):
        content = bytearray(shard.read_bytes())
        content[len(content) // 3] ^= 255
        shard.write_bytes(bytes(content))


@pytest.mark.parametrize(
    "damage, arguments, message",
    [
        (
            None,
            ["--train_records=nowhere"],
            "nowhere does not exist: make them with python tools/make_records.py",
        ),
        (None, ["--input_size=100x100"], "multiples of 32"),
        (None, ["--filter_require=tail"], "--filter_require=tail: there is no keypoint 'tail'"),
        (cut_a_shard, [], "run tools/make_records.py again"),
        (damage_a_shard, [], "a record is damaged"),
        (None, ["--learning_rate=1e30"], ": a loss is not a number (global"),
    ],
)
def test_invalid_training_input_is_reported_in_one_line(
    people_copy, command, tmp_path, damage, arguments, message
):
    if damage:
        damage(people_copy)
    failed = command(
        "-m", "tfcpn.train", *flags(people_copy, tmp_path / "run"), *arguments, check=False
    )
    assert failed.status == 1
    line = failed.err.strip().splitlines()[-1]
    assert line.startswith("error: ") and message in line, failed.err
    assert not (tmp_path / "run" / "checkpoints" / "epoch_0002").exists()


def test_another_experiment_in_the_same_folder_is_refused(run, people, command):
    failed = command("-m", "tfcpn.train", *flags(people, run, "--heatmap_scale=1"), check=False)
    assert failed.status == 1
    (line,) = failed.err.strip().splitlines()
    assert "heatmap_scale: 255.0 -> 1.0" in line


def test_a_missing_validation_is_run_after_resuming(run, people, command):
    log = run / "metrics.csv"
    lines = [
        ",".join([*row.split(",")[:9], *[""] * 10]) if row.startswith("2,") else row
        for row in log.read_text().splitlines()
    ]
    log.write_text("\n".join(lines) + "\n")
    command("-m", "tfcpn.train", *flags(people, run, "--eval_every=2"))
    rows = logged(run)
    assert len(rows) == 2 and rows[1]["AP"] != "" and rows[0]["AP"] == ""


def test_a_run_does_not_resume_with_other_records(run, people_copy, command, tmp_path):
    other = tmp_path / "other"
    arguments = [
        f"--annotations={people_copy.train_annotations}",
        f"--images={people_copy.train}",
        f"--output={other}",
    ]
    command("tools/make_records.py", *arguments, "--shards=3", "--workers=1")
    people_copy.records = other
    failed = command("-m", "tfcpn.train", *flags(people_copy, run, "--epochs=3"), check=False)
    assert (
        failed.status == 1 and "was trained on other records" in failed.err.strip().splitlines()[-1]
    )


def test_a_truncated_image_is_named_in_evaluation(run, people_copy, command):
    victim = sorted(people_copy.val.glob("*.jpg"))[2]
    victim.write_bytes(victim.read_bytes()[:-2000])
    arguments = [f"--val_images={people_copy.val}", f"--model_dir={run}", "--epoch=1"]
    failed = command("-m", "tfcpn.eval", *arguments, check=False)
    line = failed.err.strip().splitlines()[-1]
    assert failed.status == 1 and f"{victim.name}: cannot be decoded" in line


def test_a_folder_that_cannot_be_written_is_reported_in_one_line(people, command, tmp_path):
    (tmp_path / "file").write_text("in the way")
    failed = command("-m", "tfcpn.train", *flags(people, tmp_path / "file" / "run"), check=False)
    line = failed.err.strip().splitlines()[-1]
    assert failed.status == 1 and line.startswith("error: ") and "Not a directory" in line


def test_a_detection_without_an_area_is_counted_and_dropped(run, people, command, tmp_path):
    images, annotated, *_ = read_annotations(people.val_annotations)
    shown = [p for p in annotated if p.trainable]
    boxes = [
        {"image_id": p.image_id, "category_id": 1, "bbox": list(p.box), "score": 1} for p in shown
    ]
    boxes[1]["bbox"][2] = 0
    (tmp_path / "d.json").write_text(json.dumps(boxes))
    assert len(read_detections(tmp_path / "d.json", images)) == len(shown) - 1
    done = command("-m", "tfcpn.eval", f"--model_dir={run}", f"--boxes={tmp_path / 'd.json'}")
    assert "detections whose box has no area: 1; dropped (first: number 1)" in done.err
