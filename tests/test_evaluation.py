"""From regions to AP, with the network's place taken by something whose answer is known."""

import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf
from perfect import BLAZEPOSE, PerfectJoints, PerfectMaps, WatchedEvaluation, ap, config_of

from tfcpn import align, coco, first_pass
from tfcpn.errors import InputError
from tfcpn.evaluation import Evaluation
from tfcpn.skeleton import JOINTS


def detections_with_points(people, path):
    """What a detector that knows alignment points would write."""
    _, annotated = coco.read_annotations(people.val_annotations)
    records = []
    for p in annotated:
        if p.trainable and align.alignable(p.keypoints, "body"):
            points = align.alignment_points(p.keypoints, p.reach, "body").numpy()
            record = {"image_id": p.image_id, "category_id": 1, "bbox": list(p.box), "score": 1.0}
            records.append({**record, "align_points": points.ravel().tolist()})
    path.write_text(json.dumps(records))
    return str(path)


@pytest.fixture
def people(people_copy, edit_json):
    """The drawn people, of whom two lack a joint that BlazePose's alignment needs."""

    def unlabel(data):
        labelled = [a for a in data["annotations"] if a["num_keypoints"]]
        for record, joint in ((labelled[0], "left_shoulder"), (labelled[3], "right_hip")):
            first = 3 * JOINTS.index(joint)
            record["keypoints"][first : first + 3] = [0, 0, 0]
            record["num_keypoints"] = sum(v > 0 for v in record["keypoints"][2::3])

    edit_json(people_copy.val_annotations, unlabel)
    return people_copy


CASES = {
    "person": {},
    "square": {"align": "square", "input_size": (128, 128)},
    "blazepose, people without points by the square": BLAZEPOSE,
    "blazepose, people without points left out": {**BLAZEPOSE, "align_missing": "drop", "eval_people": "alignable"},
    "blazepose without rotation": {**BLAZEPOSE, "align_rotate": False},
    "the log's rule": {**BLAZEPOSE, "align_radius": "nose", "align_missing": "drop", "eval_people": "alignable"},
    "two passes": {**BLAZEPOSE, "align_source": "two_pass"},
    "two passes, four turns": {**BLAZEPOSE, "align_source": "two_pass", "first_pass_turns": 4},
    "two passes of 19 joints": {**BLAZEPOSE, "align_source": "two_pass", "predict_align_points": True},
    "a detector's points": {**BLAZEPOSE, "align_source": "detections", "eval_people": "alignable"},
}


@pytest.fixture
def evaluation_of(people, tmp_path):
    def make(case):
        changes = dict(CASES[case])
        if changes.get("align_source") == "detections":
            changes["boxes"] = detections_with_points(people, tmp_path / "detections.json")
        return WatchedEvaluation(config_of(people, **changes))

    return make


@pytest.mark.parametrize("case", CASES)
def test_perfect_joints_score_one(evaluation_of, case):
    evaluation = evaluation_of(case)
    images = [b.image_id for b in evaluation.boxes]
    assert len(set(images)) < len(images)  # an image with several people
    assert ap(evaluation, PerfectJoints(evaluation)) == pytest.approx(1)


@pytest.mark.parametrize("case", CASES)
def test_perfect_label_maps_lose_only_what_the_grid_takes(evaluation_of, case):
    """Heatmap pixels of 4 crop pixels, truncation and the unshifted flip test: .9 and more at this size."""
    evaluation = evaluation_of(case)
    assert 0.85 < ap(evaluation, PerfectMaps(evaluation)) < 1


def annotated_regions(evaluation):
    """The regions that the annotation gives, and for whom it does."""
    cfg = dataclasses.replace(evaluation.cfg, align_source="gt", predict_align_points=False)
    annotated = Evaluation(cfg)
    return annotated.regions, np.array([b.points is not None for b in annotated.boxes])


def check_that_the_second_pass_is_aligned(evaluation):
    """Centre within a pixel, upright within half a degree, and a circle like the annotated one."""
    expected, known = annotated_regions(evaluation)
    cut = evaluation.cut
    assert known.sum() >= 8
    np.testing.assert_allclose(cut[known, :2], expected[known, :2], atol=1)
    turned = (cut[known, 4] - expected[known, 4] + np.pi) % (2 * np.pi) - np.pi
    assert np.abs(turned).max() < 0.01
    # Without outline: 1.15 times the farthest joint, and exactly it where the points themselves are predicted.
    share = cut[known, 2] / expected[known, 2]
    low, high = (0.999, 1.001) if evaluation.cfg.predict_align_points else (0.8, 1.16)
    assert low < share.min() and share.max() < high


@pytest.mark.parametrize("case", [case for case in CASES if case.startswith("two passes")])
def test_the_second_pass_cuts_where_the_annotation_would(evaluation_of, case):
    evaluation = evaluation_of(case)
    assert (evaluation.regions[:, 4] == 0).all()
    evaluation.predict(PerfectJoints(evaluation), "test")
    check_that_the_second_pass_is_aligned(evaluation)


class OneGoodTurn(PerfectJoints):
    """Knows each person in one quarter turn of the square box only, not all in the same; else its joints are off."""

    def __call__(self, crops):
        first = self.seen
        joints, scores = (np.array(value) for value in super().__call__(crops))
        rows = np.minimum(first + np.arange(len(crops)), len(self.joints) - 1)
        turn = (self.evaluation.cut[rows, 4] - self.evaluation.regions[rows, 4]) / (np.pi / 2)
        quarter = np.abs(turn - np.round(turn)) < 1e-9
        wrong = quarter & (np.round(turn) != rows % 4)
        joints[wrong] = joints[wrong][:, ::-1] * 0.8
        scores[wrong] *= 0.9
        return tf.constant(joints), tf.constant(scores)


def test_of_four_turns_the_surest_is_taken_person_by_person(evaluation_of):
    evaluation = evaluation_of("two passes, four turns")
    evaluation.predict(OneGoodTurn(evaluation), "test")
    check_that_the_second_pass_is_aligned(evaluation)
    # With one turn only a quarter of them is aligned.
    evaluation.cfg = dataclasses.replace(evaluation.cfg, first_pass_turns=1)
    evaluation.predict(OneGoodTurn(evaluation), "test")
    with pytest.raises(AssertionError):
        check_that_the_second_pass_is_aligned(evaluation)


def test_a_joint_with_a_weak_peak_does_not_widen_the_circle():
    keypoints = np.random.default_rng(0).uniform(40, 60, (2, 17, 2))
    keypoints[1, 9] = 500
    scores = np.full((2, 17), 1.0)
    scores[1, 9] = 0.55
    near, far = (first_pass.alignment_points(keypoints, s, "body") for s in (scores, np.ones((2, 17))))
    assert np.linalg.norm(near[1, 1] - near[1, 0]) < 40 < 400 < np.linalg.norm(far[1, 1] - far[1, 0])
    np.testing.assert_array_equal(near[0], far[0])


def test_who_cannot_be_aligned_is_dropped_or_cut_square(people):
    _, annotated = coco.read_annotations(people.val_annotations)
    shown = [p for p in annotated if p.trainable]
    alignable = [p for p in shown if align.alignable(p.keypoints, "body")]
    assert 0 < len(alignable) < len(shown)
    kept = WatchedEvaluation(config_of(people, **BLAZEPOSE))
    dropped = WatchedEvaluation(config_of(people, **BLAZEPOSE, align_missing="drop"))
    assert (len(kept.boxes), len(dropped.boxes)) == (len(shown), len(alignable))
    # Everybody still counts, so whoever is left out is missed.
    assert ap(dropped, PerfectJoints(dropped)) < 0.999 < ap(kept, PerfectJoints(kept))
    counted = WatchedEvaluation(config_of(people, **BLAZEPOSE, eval_people="alignable"))
    assert (len(counted.boxes), len(counted.counted), counted.people) == (len(alignable), len(alignable), len(shown))
    assert f"{len(alignable)} of {len(shown)} labelled people count" in counted.describe()


def test_a_result_on_someone_who_does_not_count_is_no_error(people):
    """With a detector, everybody is predicted; those who do not count must not become false positives."""
    _, annotated = coco.read_annotations(people.val_annotations)
    shown = [p for p in annotated if p.trainable]
    counted = {p.id for p in shown if align.alignable(p.keypoints, "body")}
    results = []
    for p in shown:
        middle = np.add(p.box[:2], np.array(p.box[2:]) / 2)
        joints = np.where(p.keypoints[:, 2:] > 0, p.keypoints[:, :2], middle)
        results.append(coco.result(coco.Box(p.image_id, p.box, 1.0), joints, np.ones(17)))
    assert coco.evaluate(str(people.val_annotations), results, counted)["AP"] == pytest.approx(1)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"align_source": "two_pass"}, "--align=person needs no alignment points"),
        ({**BLAZEPOSE, "boxes": "d.json"}, "--align_source=gt wants --boxes=gt"),
        ({**BLAZEPOSE, "align_source": "detections"}, "wants a detector's file in --boxes"),
    ],
)
def test_a_source_that_cannot_be_is_refused(people, changes, message):
    with pytest.raises(InputError, match=message):
        Evaluation(config_of(people, **changes))


def test_a_detectors_file_without_alignment_points_is_named(people, tmp_path):
    path = tmp_path / "d.json"
    path.write_text(json.dumps([{"image_id": 1, "category_id": 1, "bbox": [1, 2, 30, 40], "score": 0.5}]))
    with pytest.raises(InputError, match="d.json: no detection has align_points"):
        Evaluation(config_of(people, **BLAZEPOSE, boxes=str(path), align_source="detections"))
    path.write_text(json.dumps([{**json.loads(path.read_text())[0], "align_points": [1, 2, 3]}]))
    with pytest.raises(InputError, match=r"detection number 0: align_points is \[1, 2, 3\]"):
        Evaluation(config_of(people, **BLAZEPOSE, boxes=str(path), align_source="detections"))


def test_each_way_of_evaluating_has_a_folder_of_its_own(people, tmp_path):
    folders = set()
    for changes in ({}, {"flip_test": False}, {"eval_people": "alignable"}, {"align_source": "two_pass"}):
        cfg = config_of(people, **BLAZEPOSE, model_dir=str(tmp_path), **changes)
        evaluation = WatchedEvaluation(cfg)
        evaluation.evaluate(PerfectJoints(evaluation), 3)
        folders = {p.name for p in (tmp_path / "eval").iterdir()}
        cfg = dataclasses.replace(cfg, align_missing="drop")
    WatchedEvaluation(cfg, dataset="other").evaluate(
        lambda crops: (tf.zeros((len(crops), 17, 2)), tf.ones((len(crops), 17))), 3
    )
    folders = {p.name for p in (tmp_path / "eval").iterdir()} - {"epoch_0003_other_drop_two_pass"}
    assert folders == {"epoch_0003", "epoch_0003_noflip", "epoch_0003_alignable", "epoch_0003_two_pass"}
    metrics = json.loads((tmp_path / "eval/epoch_0003_alignable/metrics.json").read_text())
    assert metrics["people_counted"] < metrics["people"] and metrics["settings"]["eval_people"] == "alignable"
