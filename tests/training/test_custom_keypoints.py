"""Animals with custom keypoints, from annotations to results: five with sides, three without."""

import json

import numpy as np
import pytest

from support.small_run import flags, logged
from tfcpn.data.coco import read_annotations
from tfcpn.evaluation.metrics import MEAN_SIGMA, coco_metrics

ANIMALS = {
    "five": {"snout": 0, "left_wing": 9, "right_wing": 10, "left_foot": 15, "right_foot": 16},
    "three": {"tip": 0, "middle": 9, "end": 15},
}


@pytest.fixture(params=["five", pytest.param("three", marks=pytest.mark.slow)])
def animals(request, people_copy, edit_json):
    """The images of the drawn people with some of the keypoints renamed; the category has id 7."""
    keypoints = ANIMALS[request.param]

    def rename(data):
        category = {
            "id": 7,
            "name": "animal",
            "keypoints": list(keypoints),
            "skeleton": [[1, 2], [1, 3]],
        }
        data["categories"] = [category, {"id": 1, "name": "person"}]
        for record in data["annotations"]:
            rows = np.reshape(record["keypoints"], (17, 3))[list(keypoints.values())]
            labeled = int((rows[:, 2] > 0).sum())
            record.update(keypoints=rows.ravel().tolist(), num_keypoints=labeled, category_id=7)

    for path in (people_copy.train_annotations, people_copy.val_annotations):
        edit_json(path, rename)
    return people_copy, list(keypoints)


def records(command, animals, output, *arguments):
    place = [
        f"--annotations={animals.train_annotations}",
        f"--images={animals.train}",
        f"--output={output}",
    ]
    return command("tools/make_records.py", *place, "--shards=2", "--workers=1", *arguments)


def test_animals_are_trained_evaluated_and_exported(animals, command, tiny_network, tmp_path):
    animals, keypoints = animals
    animals.records = tmp_path / "records"
    said = records(command, animals, animals.records).out
    assert "no --align=blazepose" in said and "no tolerances" in said
    assert ("no left and right" in said) == (len(keypoints) == 3)
    run = tmp_path / "run"
    arguments = flags(animals, run, "--epochs=2", "--eval_every=2", "--filter_min_keypoints=2")
    command("-m", "tfcpn.train", *arguments, f"--filter_require={keypoints[0]}")
    kept = json.loads((run / "config.json").read_text())["keypoints"]
    assert kept["keypoints"] == keypoints and kept["limbs"] == [[0, 1], [0, 2]]
    assert kept["pairs"] == ([[1, 2], [3, 4]] if len(keypoints) == 5 else [])
    done = command("-m", "tfcpn.eval", f"--model_dir={run}")
    assert "COCO's mean tolerance for every keypoint" in done.out and "PCK@.2" in done.out
    results = json.loads((run / "eval/epoch_0002/results.json").read_text())
    assert all(r["category_id"] == 7 and len(r["keypoints"]) == 3 * len(keypoints) for r in results)
    metrics = json.loads((run / "eval/epoch_0002/metrics.json").read_text())
    assert (
        metrics["pck"]["normalized_by"] == "box" and list(metrics["pck"]["keypoints"]) == keypoints
    )
    assert logged(run)[1]["PCK@.2"] != ""

    image = [f"--annotations={animals.val_annotations}", f"--images={animals.val}", "--count=2"]
    image.append(f"--results={run / 'eval/epoch_0002/results.json'}")
    command("tools/draw_poses.py", *image, f"--output={tmp_path / 'a.png'}")
    command(
        "tools/show_batch.py",
        f"--train_records={animals.records}",
        "--input_size=64x64",
        "--people=2",
        f"--output={tmp_path / 'b.png'}",
    )
    arguments = [f"--annotations={animals.train_annotations}", f"--output={tmp_path / 'f.json'}"]
    command("tools/filter_coco.py", *arguments, f"--require={keypoints[0]}")
    assert read_annotations(tmp_path / "f.json").skeleton.keypoints == tuple(keypoints)
    command("tools/report.py", f"--runs={run}", f"--output={tmp_path / 'report'}")
    assert (tmp_path / "report/curves.png").exists()


def test_perfect_keypoints_of_animals_score_1(animals):
    animals, _ = animals
    annotated = read_annotations(animals.val_annotations)
    results = [
        {
            "image_id": p.image_id,
            "category_id": 7,
            "keypoints": p.keypoints.ravel().tolist(),
            "score": 1.0,
        }
        for p in annotated.people
        if p.trainable
    ]
    assert coco_metrics(annotated, results)["AP"] == pytest.approx(1)
    assert pytest.approx(0.0669, abs=1e-4) == MEAN_SIGMA


def test_flags_that_need_other_keypoints_are_refused_in_one_line(
    animals, command, tiny_network, tmp_path
):
    animals, keypoints = animals
    animals.records = tmp_path / "records"
    records(command, animals, animals.records)
    for arguments, message in (
        (["--align=blazepose"], "name no hips, of which BlazePose's alignment points are made"),
        (["--predict_align_points"], "name no hips"),
        (["--filter_require=nose"], "there is no keypoint 'nose'; there are " + keypoints[0]),
        (
            ["--eval_every=1", "--pck_norm=torso"],
            "--pck_norm=torso: the keypoints 'animal' do not define it",
        ),
        (["--skeleton=coco"], "its keypoints are " + keypoints[0]),
    ):
        failed = command(
            "-m", "tfcpn.train", *flags(animals, tmp_path / "run", *arguments), check=False
        )
        line = failed.err.strip().splitlines()[-1]
        assert failed.status == 1 and line.startswith("error: ") and message in line


def test_a_skeleton_file_defines_sides_and_sigmas(animals, command, tiny_network, tmp_path):
    animals, keypoints = animals
    own = {
        "name": "own",
        "keypoints": keypoints,
        "pairs": [keypoints[1:3]],
        "sigmas": [0.05] * len(keypoints),
    }
    (tmp_path / "own.json").write_text(json.dumps(own))
    animals.records = tmp_path / "records"
    said = records(command, animals, animals.records, f"--skeleton={tmp_path / 'own.json'}").out
    assert "tolerances" not in said and "no left and right" not in said
    command("-m", "tfcpn.train", *flags(animals, tmp_path / "run", "--epochs=1", "--eval_every=1"))
    done = command("-m", "tfcpn.eval", f"--model_dir={tmp_path / 'run'}")
    assert "mean tolerance" not in done.out
    kept = json.loads((tmp_path / "run/config.json").read_text())["keypoints"]
    assert kept["sigmas"] == own["sigmas"] and kept["pairs"] == [[1, 2]]


@pytest.mark.slow
def test_a_run_with_a_skeleton_file_resumes_only_with_that_skeleton(
    animals, command, tiny_network, tmp_path
):
    animals, keypoints = animals
    animals.records = tmp_path / "records"
    records(command, animals, animals.records)
    own, path = {"keypoints": keypoints, "pairs": [keypoints[1:3]]}, tmp_path / "own.json"
    path.write_text(json.dumps(own))
    arguments = flags(animals, tmp_path / "run", f"--skeleton={path}", "--eval_every=1")
    command("-m", "tfcpn.train", *arguments, "--epochs=1")
    command("-m", "tfcpn.train", *arguments, "--epochs=2")
    assert len(logged(tmp_path / "run")) == 2
    command("-m", "tfcpn.eval", f"--model_dir={tmp_path / 'run'}")
    command("-m", "tfcpn.eval", f"--model_dir={tmp_path / 'run'}", f"--skeleton={path}")
    path.write_text(json.dumps({**own, "pairs": []}))
    failed = command("-m", "tfcpn.train", *arguments, "--epochs=3", check=False)
    assert failed.status == 1 and "was trained on other keypoints" in failed.err
    path.write_text(json.dumps({**own, "hips": keypoints[1:3]}))
    failed = command(
        "-m", "tfcpn.train", *flags(animals, tmp_path / "b", f"--skeleton={path}"), check=False
    )
    assert failed.status == 1 and "make the records with it too" in failed.err
    image = [f"--train_records={animals.records}", f"--output={tmp_path / 'b.png'}"]
    failed = command("tools/show_batch.py", *image, "--skeleton=coco", check=False)
    assert failed.status == 1 and "its keypoints are" in failed.err


@pytest.mark.slow
def test_several_record_folders_give_each_person_once_per_pass(
    people, people_copy, command, tiny_network, tmp_path
):
    from tfcpn.data.record_sets import read_records
    from tfcpn.data.sampling import open_training_set, training_stream

    def ids(names, count):
        source = open_training_set(read_records(names), shuffle_buffer=8)
        assert source.people == count
        return sorted(
            int(i) for i in training_stream(source, 0, lambda group: group["id"]).take(count)
        )

    one = ids(str(people.records), read_records(str(people.records)).trainable)
    both = f"{people.records},{people_copy.records}"
    assert ids(both, 2 * len(one)) == sorted(one * 2)
    assert ids(f"{people.records}:3,{people_copy.records}:1", 4 * len(one)) == sorted(one * 4)
    command(
        "-m",
        "tfcpn.train",
        *flags(people, tmp_path / "run", f"--train_records={both}", "--epochs=1"),
    )
    command(
        "-m",
        "tfcpn.train",
        *flags(people, tmp_path / "run", f"--train_records={both}", "--epochs=2"),
    )
    again = flags(
        people, tmp_path / "run", f"--train_records={both.replace(',', ':2,')}", "--epochs=3"
    )
    failed = command("-m", "tfcpn.train", *again, check=False)
    assert failed.status == 1 and "was trained on other records" in failed.err
    for arguments, message in (
        (f"{people.records},", "expected folders, with commas between them"),
        (f"{people.records}:0", "expected folders, with commas between them"),
        (f"{people.records},{people.records}", "a folder is named twice"),
        (f"{people.records},nowhere", "nowhere does not exist"),
    ):
        failed = command(
            "-m",
            "tfcpn.train",
            *flags(people, tmp_path / "x", f"--train_records={arguments}"),
            check=False,
        )
        assert failed.status == 1 and message in failed.err, failed.err
