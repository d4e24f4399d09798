"""From regions to AP, with a stand-in for the network that returns known keypoints."""

import json
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from support.perfect import (
    BLAZEPOSE_DEFAULTS,
    PerfectKeypoints,
    PerfectMaps,
    ap,
    changed,
    config_of,
)
from support.perfect import evaluation_of as make_evaluation
from tfcpn.data.coco import read_annotations
from tfcpn.data.detections import PersonBox, coco_result
from tfcpn.evaluation.estimate import predicted_alignment_points, regions_of_boxes
from tfcpn.evaluation.evaluator import predict
from tfcpn.evaluation.metrics import coco_metrics
from tfcpn.skeleton import COCO
from tfcpn.transforms.alignment import Alignment
from tfcpn.transforms.regions import alignment_points, has_alignment_keypoints
from tfcpn.utils.errors import InputError


def detections_with_align_points(people, path):
    """What a detector with alignment points would write."""
    _, annotated, *_ = read_annotations(people.val_annotations)
    records = []
    for p in annotated:
        if p.trainable and has_alignment_keypoints(p.keypoints, COCO, "body"):
            points = alignment_points(p.keypoints, p.max_radius, COCO, "body").numpy()
            record = {"image_id": p.image_id, "category_id": 1, "bbox": list(p.box), "score": 1.0}
            records.append({**record, "align_points": points.ravel().tolist()})
    path.write_text(json.dumps(records))
    return str(path)


@pytest.fixture
def people(uneven_people):
    return uneven_people


CASES = {
    "person": {},
    "square": {"align": "square", "input_size": (128, 128)},
    "blazepose, people without points by the square": BLAZEPOSE_DEFAULTS,
    "blazepose, people without points left out": {
        **BLAZEPOSE_DEFAULTS,
        "align_missing": "drop",
        "eval_people": "alignable",
    },
    "blazepose without rotation": {**BLAZEPOSE_DEFAULTS, "align_rotate": False},
    "the log's rule": {
        **BLAZEPOSE_DEFAULTS,
        "align_radius": "nose",
        "align_missing": "drop",
        "eval_people": "alignable",
    },
    "two passes": {**BLAZEPOSE_DEFAULTS, "align_source": "two_pass"},
    "two passes, four turns": {
        **BLAZEPOSE_DEFAULTS,
        "align_source": "two_pass",
        "first_pass_rotations": 4,
    },
    "two passes of 19 keypoints": {
        **BLAZEPOSE_DEFAULTS,
        "align_source": "two_pass",
        "predict_align_points": True,
    },
    "a detector's points": {
        **BLAZEPOSE_DEFAULTS,
        "align_source": "detections",
        "eval_people": "alignable",
    },
}


SLOWER = "two passes, four turns"
QUICK = [pytest.param(case, marks=pytest.mark.slow) if case == SLOWER else case for case in CASES]


@pytest.fixture
def evaluation_of(people, tmp_path):
    def make(case):
        changes = dict(CASES[case])
        if changes.get("align_source") == "detections":
            changes["boxes"] = detections_with_align_points(people, tmp_path / "detections.json")
        return make_evaluation(config_of(people, **changes))

    return make


@pytest.mark.parametrize("case", QUICK)
def test_perfect_keypoints_score_1(evaluation_of, case, monkeypatch):
    evaluation = evaluation_of(case)
    images = [b.image_id for b in evaluation.people.boxes]
    assert len(set(images)) < len(images)  # an image with several people
    assert ap(evaluation, PerfectKeypoints(evaluation).watch(monkeypatch)) == pytest.approx(1)


@pytest.mark.parametrize("case", QUICK)
def test_perfect_label_maps_lose_only_the_quantization(evaluation_of, case, monkeypatch):
    """Coarse heatmaps, truncation and the unshifted flip test cost at most .1 AP."""
    evaluation = evaluation_of(case)
    assert 0.85 < ap(evaluation, PerfectMaps(evaluation).watch(monkeypatch)) < 1


def regions_of(evaluation, alignment=None):
    """The regions defined by boxes and annotation."""
    people, components = evaluation.people, evaluation.components
    return regions_of_boxes(
        people.boxes,
        people.image_files,
        alignment or components.alignment,
        components.crop_spec.size,
    )


def predict_with(predictor):
    evaluation = predictor.evaluation
    return predict(evaluation.cfg, evaluation.components, evaluation.people, predictor, "test")


def check_that_the_second_pass_is_aligned(predictor):
    """Center within a pixel, upright within half a degree, and a circle like the annotated one."""
    annotated = changed(predictor.evaluation, align_source="gt", predict_align_points=False)
    known = np.array([b.points is not None for b in annotated.people.boxes])
    expected, cut = regions_of(annotated), predictor.cut[: len(known)]
    assert known.sum() >= 8
    np.testing.assert_allclose(cut[known, :2], expected[known, :2], atol=1)
    turned = (cut[known, 4] - expected[known, 4] + np.pi) % (2 * np.pi) - np.pi
    assert np.abs(turned).max() < 0.01
    # Without an outline: 1.15 times the farthest keypoint, and exactly the farthest keypoint if the
    # network predicts the alignment points.
    share = cut[known, 2] / expected[known, 2]
    low, high = (0.999, 1.001) if predictor.evaluation.cfg.predict_align_points else (0.8, 1.16)
    assert low < share.min() and share.max() < high


class FirstCut(PerfectKeypoints):
    """Record the regions of the first pass."""

    first = None

    def __call__(self, crops):
        self.first = self.cut if self.first is None else self.first
        return super().__call__(crops)


@pytest.mark.parametrize("case", [case for case in QUICK if "two passes" in str(case)])
def test_the_second_pass_crops_the_region_of_the_annotation(evaluation_of, case, monkeypatch):
    predictor = FirstCut(evaluation_of(case)).watch(monkeypatch)
    predict_with(predictor)
    assert (predictor.first[:, 4] == 0).all()
    check_that_the_second_pass_is_aligned(predictor)


class OneGoodTurn(PerfectKeypoints):
    """Return correct keypoints for each person in one rotation of the square box only, not the same
    rotation for all; otherwise the keypoints are shifted.
    """

    def __call__(self, crops):
        first = self.seen
        keypoints, scores = (np.array(value) for value in super().__call__(crops))
        rows = np.minimum(first + np.arange(len(crops)), len(self.keypoints) - 1)
        square = regions_of(self.evaluation, Alignment("square"))
        turn = (self.cut[rows, 4] - square[rows, 4]) / (np.pi / 2)
        quarter = np.abs(turn - np.round(turn)) < 1e-9
        wrong = quarter & (np.round(turn) != rows % 4)
        keypoints[wrong] = keypoints[wrong][:, ::-1] * 0.8
        scores[wrong] *= 0.9
        return tf.constant(keypoints), tf.constant(scores)


def test_the_most_confident_of_four_rotations_is_used_for_each_person(evaluation_of, monkeypatch):
    predictor = OneGoodTurn(evaluation_of("two passes, four turns")).watch(monkeypatch)
    predict_with(predictor)
    check_that_the_second_pass_is_aligned(predictor)
    # With one rotation only a quarter of the people is aligned.
    predictor = OneGoodTurn(changed(predictor.evaluation, first_pass_rotations=1)).watch(
        monkeypatch
    )
    predict_with(predictor)
    with pytest.raises(AssertionError):
        check_that_the_second_pass_is_aligned(predictor)


def test_a_keypoint_with_a_weak_peak_does_not_widen_the_circle():
    keypoints = np.random.default_rng(0).uniform(40, 60, (2, 17, 2))
    keypoints[1, 9] = 500
    scores = np.full((2, 17), 1.0)
    scores[1, 9] = 0.55
    near, far = (
        predicted_alignment_points(keypoints, s, empty_score=0.5, skeleton=COCO, radius="body")
        for s in (scores, np.ones((2, 17)))
    )
    assert (
        np.linalg.norm(near[1, 1] - near[1, 0]) < 40 < 400 < np.linalg.norm(far[1, 1] - far[1, 0])
    )
    np.testing.assert_array_equal(near[0], far[0])


def test_people_without_alignment_keypoints_are_dropped_or_cropped_square(people, monkeypatch):
    _, annotated, *_ = read_annotations(people.val_annotations)
    shown = [p for p in annotated if p.trainable]
    able = [p for p in shown if has_alignment_keypoints(p.keypoints, COCO, "body")]
    assert 0 < len(able) < len(shown)
    kept = make_evaluation(config_of(people, **BLAZEPOSE_DEFAULTS))
    dropped = changed(kept, align_missing="drop")
    assert (len(kept.people.boxes), len(dropped.people.boxes)) == (len(shown), len(able))
    # All people still count, so dropped people are missed.
    assert ap(dropped, PerfectKeypoints(dropped).watch(monkeypatch)) < 0.999
    assert ap(kept, PerfectKeypoints(kept).watch(monkeypatch)) > 0.999
    counted = changed(kept, eval_people="alignable")
    people = counted.people
    assert (len(people.boxes), len(people.counted), people.num_labeled) == (
        len(able),
        len(able),
        len(shown),
    )
    assert f"{len(able)} of {len(shown)} labeled people count" in counted.describe()


def test_a_result_on_an_ignored_person_is_no_false_positive(people):
    """A detector finds all people; results on ignored people are not false positives."""
    _, annotated, *_ = read_annotations(people.val_annotations)
    shown = [p for p in annotated if p.trainable]
    counted = {p.id for p in shown if has_alignment_keypoints(p.keypoints, COCO, "body")}
    results = []
    for p in shown:
        middle = np.add(p.box[:2], np.array(p.box[2:]) / 2)
        keypoints = np.where(p.keypoints[:, 2:] > 0, p.keypoints[:, :2], middle)
        results.append(
            coco_result(PersonBox(p.image_id, p.box, 1.0), keypoints=keypoints, scores=np.ones(17))
        )
    assert coco_metrics(read_annotations(people.val_annotations), results, counted=counted)[
        "AP"
    ] == pytest.approx(1)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"align_source": "two_pass"}, "--align=person needs no alignment points"),
        ({**BLAZEPOSE_DEFAULTS, "boxes": "d.json"}, "--align_source=gt needs --boxes=gt"),
        (
            {**BLAZEPOSE_DEFAULTS, "align_source": "detections"},
            "needs a detector's file in --boxes",
        ),
    ],
)
def test_an_invalid_source_is_refused(people, changes, message):
    with pytest.raises(InputError, match=message):
        make_evaluation(config_of(people, **changes))


def test_a_detectors_file_without_alignment_points_is_named(people, tmp_path):
    path = tmp_path / "d.json"
    path.write_text(
        json.dumps([{"image_id": 1, "category_id": 1, "bbox": [1, 2, 30, 40], "score": 0.5}])
    )
    with pytest.raises(InputError, match="d.json: no detection has align_points"):
        make_evaluation(
            config_of(people, **BLAZEPOSE_DEFAULTS, boxes=str(path), align_source="detections")
        )
    path.write_text(json.dumps([{**json.loads(path.read_text())[0], "align_points": [1, 2, 3]}]))
    with pytest.raises(InputError, match=r"detection number 0: align_points is \[1, 2, 3\]"):
        make_evaluation(
            config_of(people, **BLAZEPOSE_DEFAULTS, boxes=str(path), align_source="detections")
        )


@pytest.mark.parametrize("missing", ["drop", "square"])
def test_people_missed_by_mediapipes_detector_are_dropped_or_cropped_square(
    people, monkeypatch, tmp_path, missing
):
    """It finds all but two: with drop these are not predicted, and still count."""
    _, annotated, *_ = read_annotations(people.val_annotations)
    able = [
        p for p in annotated if p.trainable and has_alignment_keypoints(p.keypoints, COCO, "body")
    ]
    points = {
        p.id: alignment_points(p.keypoints, p.max_radius, COCO, "keypoints").numpy().ravel()
        for p in able[2:]
    }

    def finds(boxes, images, path):
        return tuple(
            replace(b, points=tuple(points[b.annotation_id]) if b.annotation_id in points else None)
            for b in boxes
        )

    monkeypatch.setattr("tfcpn.evaluation.evaluator.add_detected_points", finds)
    changes = {
        **BLAZEPOSE_DEFAULTS,
        "align_source": "detector",
        "align_missing": missing,
        "eval_people": "alignable",
    }
    changes["model_dir"] = str(tmp_path)
    evaluation = make_evaluation(config_of(people, **changes))
    looked_at = able if missing == "square" else able[2:]
    assert {b.annotation_id for b in evaluation.people.boxes} == {p.id for p in looked_at}
    assert len(evaluation.people.counted) == len(able)
    assert f"which found {len(able) - 2}" in evaluation.describe()
    found = evaluation.evaluate(PerfectKeypoints(evaluation).watch(monkeypatch), 1)
    assert (found["AP"] > 0.999) == (missing == "square")
    assert (found["PCK@.2"] > 0.999) == (missing == "square") and found["PCK@.2"] > 0.5
