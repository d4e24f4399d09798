"""Output folders of an evaluation, and which of several processes writes them."""

import dataclasses
import json
import shutil

import pytest
import tensorflow as tf

from support.perfect import BLAZEPOSE_DEFAULTS, changed, config_of
from support.perfect import evaluation_of as make_evaluation
from tfcpn.builders import build_components
from tfcpn.data.coco import read_annotations
from tfcpn.evaluation.evaluator import Evaluator
from tfcpn.skeleton import COCO
from tfcpn.utils.errors import InputError


@pytest.fixture
def people(uneven_people):
    return uneven_people


def evaluate_without_a_network(evaluation, epoch=3):
    """Return the results of a network that predicts every keypoint in the corner."""
    keypoints = evaluation.components.skeleton.num_keypoints

    class Corner:
        strategy, crop_spec, codec = (
            evaluation.strategy,
            evaluation.components.crop_spec,
            evaluation.components.codec,
        )

        def __call__(self, crops):
            return tf.zeros((len(crops), keypoints, 2)), tf.ones((len(crops), keypoints))

    return evaluation.evaluate(Corner(), epoch)


def folders_of(folder):
    return {path.name for path in (folder / "eval").iterdir()}


def test_each_evaluation_setting_has_a_separate_folder(people, tmp_path):
    cfg = config_of(people, **BLAZEPOSE_DEFAULTS, model_dir=str(tmp_path))
    usual = make_evaluation(cfg)
    for changes in (
        {},
        {"flip_test": False},
        {"eval_people": "alignable"},
        {"align_source": "two_pass"},
    ):
        evaluate_without_a_network(changed(usual, **changes))
    evaluate_without_a_network(changed(usual, align_source="two_pass", align_missing="drop"))
    assert folders_of(tmp_path) == {
        "epoch_0003",
        "epoch_0003_noflip",
        "epoch_0003_alignable",
        "epoch_0003_two_pass",
        "epoch_0003_drop_two_pass",
    }
    metrics = json.loads((tmp_path / "eval/epoch_0003_alignable/metrics.json").read_text())
    assert (
        metrics["people_counted"] < metrics["people"]
        and metrics["settings"]["eval_people"] == "alignable"
    )


def test_each_detector_file_has_a_separate_folder(people, tmp_path, monkeypatch):
    from tfcpn.evaluation import evaluator as evaluation

    monkeypatch.setattr(evaluation, "add_detected_points", lambda boxes, images, path: tuple(boxes))
    usual = make_evaluation(config_of(people, **BLAZEPOSE_DEFAULTS, model_dir=str(tmp_path)))
    for name in ("a", "b"):
        path = tmp_path / name / "pose_detection.tflite"
        path.parent.mkdir()
        path.write_text(name)
        evaluate_without_a_network(changed(usual, align_source="detector", detector=str(path)))
    assert len(folders_of(tmp_path)) == 2


def test_processes_compare_evaluation_settings_and_people(people):
    usual = make_evaluation(config_of(people, **BLAZEPOSE_DEFAULTS))
    ways = (
        {},
        {"first_pass_rotations": 4},
        {"align_source": "two_pass"},
        {"flip_test": False},
        {"eval_batch_size": 7},
    )
    printed = [json.dumps(changed(usual, **changes).shared_work()) for changes in ways]
    assert len(set(printed)) == len(ways) and printed[0] == json.dumps(usual.shared_work())


def test_files_of_one_name_other_images_and_another_precision_do_not_share_a_folder(
    people, tmp_path
):
    usual = config_of(people, model_dir=str(tmp_path))
    _, annotated, *_ = read_annotations(people.val_annotations)
    elsewhere = shutil.copytree(people.val, tmp_path / "elsewhere")
    changes = [{"mixed_precision": "bfloat16"}, {"val_images": str(elsewhere)}]
    for i, name in enumerate(("a", "b", "b")):  # the third equals the second
        path = tmp_path / f"{name}{i}" / "detections.json"
        path.parent.mkdir()
        shown = [p for p in annotated if p.trainable]
        box = {"category_id": 1, "score": 0.5 if name == "a" else 0.6}
        path.write_text(
            json.dumps([{**box, "image_id": p.image_id, "bbox": list(p.box)} for p in shown])
        )
        changes.append({"boxes": str(path)})
    other = tmp_path / "other.json"
    other.write_text(people.val_annotations.read_text())
    changes.append({"val_annotations": str(other)})
    for change in changes:
        cfg = dataclasses.replace(usual, **change)
        evaluate_without_a_network(
            Evaluator(cfg, build_components(cfg, COCO), COCO, run_config=usual)
        )
    names = folders_of(tmp_path)
    assert len(names) == 5 and "epoch_0003" not in names and "epoch_0003_bfloat16" in names
    assert sum(name.startswith("epoch_0003_detections-") for name in names) == 2
    assert sum(name.startswith("epoch_0003_other-") for name in names) == 1


def test_an_image_list_without_annotations_gives_results_and_no_ap(people, tmp_path):
    """Like COCO's image_info_test-dev2017.json, which has no keypoint categories."""
    data = json.loads(people.val_annotations.read_text())
    boxes = [
        {"image_id": a["image_id"], "category_id": 1, "bbox": a["bbox"], "score": 0.5}
        for a in data["annotations"]
        if a["num_keypoints"]
    ]
    (tmp_path / "d.json").write_text(json.dumps(boxes))
    bare = {
        "images": data["images"],
        "categories": [{"id": 1, "name": "person"}, {"id": 2, "name": "bicycle"}],
    }
    (tmp_path / "test.json").write_text(json.dumps(bare))
    arguments = {"val_annotations": str(tmp_path / "test.json"), "boxes": str(tmp_path / "d.json")}
    evaluation = make_evaluation(config_of(people, model_dir=str(tmp_path), **arguments))
    assert evaluate_without_a_network(evaluation) == {}
    (folder,) = (tmp_path / "eval").iterdir()
    results = json.loads((folder / "results.json").read_text())
    assert len(results) == len(boxes) and all(len(r["keypoints"]) == 51 for r in results)
    assert json.loads((folder / "metrics.json").read_text())["AP"] is None
    with pytest.raises(InputError, match="test.json: has no list 'annotations'"):
        make_evaluation(config_of(people, val_annotations=arguments["val_annotations"]))


def test_only_one_of_several_processes_scores(people, tmp_path, monkeypatch):
    evaluation = make_evaluation(config_of(people, model_dir=str(tmp_path)))
    monkeypatch.setattr("tfcpn.evaluation.evaluator.is_chief", lambda strategy: False)
    monkeypatch.setattr(
        "tfcpn.evaluation.evaluator.coco_metrics", lambda *_: pytest.fail("it scored")
    )
    assert evaluate_without_a_network(evaluation) == {}
    assert not (tmp_path / "eval").exists()


def test_only_image_headers_are_read_before_an_evaluation(people, tmp_path):
    """val2017 is 800 MB.

    A truncated file passes this check and is named when it is decoded.
    """
    name = json.loads(people.val_annotations.read_text())["images"][0]["file_name"]
    whole = (people.val / name).read_bytes()
    (people.val / name).write_bytes(whole[:2000])
    evaluation = make_evaluation(config_of(people))
    with pytest.raises(InputError, match=f"{name}: cannot be decoded"):
        evaluate_without_a_network(evaluation)
