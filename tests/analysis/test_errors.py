"""Each kind of error, on made-up results that have only that error, compared with a plain loop."""

import json
import math

import numpy as np
import pytest

from tfcpn.analysis import errors
from tfcpn.analysis.errors import matches, oks, rank_correlation, steps
from tfcpn.analysis.evaluation import read_evaluation
from tfcpn.analysis.run_table import LOG_METRICS
from tfcpn.data.coco import coco_categories, read_annotations
from tfcpn.evaluation.metrics import keypoint_sigmas
from tfcpn.skeleton import COCO
from tfcpn.utils.errors import InputError

AREA = 10_000.0
NOSE, LEFT_WRIST, RIGHT_WRIST, LEFT_HIP = (
    COCO.keypoints.index(n) for n in ("nose", "left_wrist", "right_wrist", "left_hip")
)


def standing(x: float, y: float) -> np.ndarray:
    """(17, 3): every keypoint at a different position, 40 pixels from the next."""
    return np.array([[x + 40 * (n % 4), y + 40 * (n // 4), 2.0] for n in range(17)])


PEOPLE = [standing(20, 20), standing(320, 20), standing(20, 320)]


@pytest.fixture
def annotations(tmp_path):
    """Two people in one image, one in another."""
    people = [
        {
            "id": 7 + n,
            "image_id": 1 + n // 2,
            "category_id": 1,
            "bbox": [*keypoints[:, :2].min(axis=0), 130.0, 170.0],
            "area": AREA,
            "iscrowd": 0,
            "num_keypoints": 17,
            "keypoints": keypoints.ravel().tolist(),
        }
        for n, keypoints in enumerate(PEOPLE)
    ]
    images = [{"id": n, "file_name": f"{n}.jpg", "width": 640, "height": 640} for n in (1, 2)]
    path = tmp_path / "people.json"
    path.write_text(
        json.dumps({"images": images, "annotations": people, "categories": coco_categories(COCO)})
    )
    return path


def result(n: int, keypoints: np.ndarray, score: float = 0.9) -> dict:
    return {
        "image_id": 1 + n // 2,
        "category_id": 1,
        "keypoints": keypoints.ravel().tolist(),
        "score": score,
    }


def right() -> list[dict]:
    return [result(n, keypoints.copy(), 0.9 - n / 10) for n, keypoints in enumerate(PEOPLE)]


def moved(keypoint: int, to) -> list[dict]:
    """The results, with one keypoint of the first person moved."""
    keypoints = PEOPLE[0].copy()
    keypoints[keypoint, :2] = to
    return [result(0, keypoints), *right()[1:]]


def away(keypoint: int, similarity: float) -> np.ndarray:
    """A position with this similarity to a keypoint of the first person."""
    max_radius = math.sqrt(-2 * math.log(similarity) * AREA) * 2 * COCO.sigmas[keypoint]
    return PEOPLE[0][keypoint, :2] + [max_radius, 0]


@pytest.fixture
def evaluation(annotations, tmp_path):
    """Load an evaluation folder with these results."""

    def made(results, **settings):
        folder = tmp_path / "run" / "eval" / "epoch_0001"
        folder.mkdir(parents=True, exist_ok=True)
        usual = {
            "val_annotations": str(annotations),
            "boxes": "gt",
            "align": "person",
            "flip_test": True,
        }
        usual |= {"input_size": [256, 192], "heatmap_scale": 255.0} | settings
        metrics = {
            "experiment": "made up",
            "epoch": 1,
            **dict.fromkeys(LOG_METRICS, 0.5),
            "settings": usual,
        }
        (folder / "metrics.json").write_text(json.dumps(metrics))
        (folder / "results.json").write_text(json.dumps(results))
        return read_evaluation(folder)

    return made


WRIST = PEOPLE[0][RIGHT_WRIST, :2]
ONLY = {
    errors.JITTER: lambda: moved(LEFT_HIP, away(LEFT_HIP, 0.6)),
    errors.INVERSION: lambda: moved(LEFT_WRIST, WRIST),
    errors.SWAP: lambda: moved(LEFT_WRIST, PEOPLE[1][LEFT_WRIST, :2]),
    errors.MISS: lambda: moved(LEFT_WRIST, (600, 600)),
}


@pytest.mark.parametrize("kind", ONLY)
def test_only_this_kind_of_keypoint(evaluation, kind):
    made = evaluation(ONLY[kind]())
    counts = {
        k: sum(kinds.count(k) for kinds in made.kinds.values()) for k in errors.KEYPOINT_KINDS
    }
    assert counts == {**dict.fromkeys(errors.KEYPOINT_KINDS, 0), "good": 3 * 17 - 1, kind: 1}
    assert made.missed == [] and all(match.person is not None for match in made.found)


@pytest.mark.parametrize("kind", ONLY)
def test_fixing_one_kind_of_error_recovers_exactly_its_loss(evaluation, kind):
    """The legs of the first person have one kind of error; AP is that of COCO."""
    keypoints = PEOPLE[0].copy()
    for keypoint in range(11, 17):
        places = {
            errors.JITTER: away(keypoint, 0.55),
            errors.INVERSION: PEOPLE[0][COCO.flip_indices[keypoint], :2],
            errors.SWAP: PEOPLE[1][keypoint, :2],
            errors.MISS: (600, 600),
        }
        keypoints[keypoint, :2] = places[kind]
    made = evaluation([result(0, keypoints), *right()[1:]])
    assert made.average_precision(made.results) < 0.99
    for other, gain in made.gains.items():
        if other == kind:
            assert made.average_precision(made.results) + gain == pytest.approx(1)
        elif other in ONLY:
            assert gain == 0


def test_a_detection_on_background_is_a_false_positive(evaluation):
    """Give it the highest score, so that it costs AP."""
    made = evaluation([*right(), result(2, standing(400, 400), 0.99)])
    assert [m.person is None for m in made.found] == [True, False, False, False]
    assert made.gains[errors.FALSE_POSITIVE] > 0.1
    assert all(made.gains[kind] == 0 for kind in (*ONLY, errors.FALSE_NEGATIVE))
    # A better score recovers the loss as well.
    assert made.gains[errors.SCORE] == pytest.approx(made.gains[errors.FALSE_POSITIVE])


def test_a_missed_person_is_a_false_negative(evaluation):
    made = evaluation(right()[:2])
    assert [p.id for p in made.missed] == [9]
    assert made.gains[errors.FALSE_NEGATIVE] > 0.2 and made.gains[errors.FALSE_POSITIVE] == 0


def test_a_worse_result_with_a_higher_score_is_a_score_error(evaluation):
    bad = PEOPLE[0].copy()
    bad[:, :2] += 12
    found = [
        result(0, bad, 0.95),
        result(0, PEOPLE[1].copy(), 0.4),
        result(2, PEOPLE[2].copy(), 0.3),
    ]
    made = evaluation(found)
    assert made.gains[errors.SCORE] > 0.05
    assert rank_correlation(made.found) < 0
    printed = steps(made.found)
    assert [s.count for s in printed] == [1, 1, 1] and [s.score for s in printed] == [
        0.3,
        0.4,
        0.95,
    ]
    assert printed[0].oks == pytest.approx(1) and printed[2].oks < 0.9


def test_oks_equals_pycocotools():
    """Compare with the computation of pycocotools."""
    from pycocotools.coco import COCO as RecordIndex
    from pycocotools.cocoeval import COCOeval

    rng = np.random.default_rng(3)
    truth, found = standing(50, 50), standing(50, 50)
    truth[[2, 9], 2] = 0
    found[:, :2] += rng.normal(0, 9, (17, 2))
    person = {
        "id": 1,
        "image_id": 1,
        "category_id": 1,
        "bbox": [50, 50, 120, 160],
        "area": 9000.0,
        "iscrowd": 0,
    }
    person |= {"keypoints": truth.ravel().tolist(), "num_keypoints": 15}
    index = RecordIndex()
    index.dataset = {
        "images": [{"id": 1}],
        "annotations": [person],
        "categories": coco_categories(COCO),
    }
    index.createIndex()
    found_entry = {
        "image_id": 1,
        "category_id": 1,
        "keypoints": found.ravel().tolist(),
        "score": 1.0,
    }
    judged = COCOeval(index, index.loadRes([found_entry]), "keypoints")
    judged.params.imgIds = [1]
    judged._prepare()
    expected = judged.computeOks(1, 1)[0, 0]
    one = type("Person", (), {"keypoints": truth, "area": 9000.0})
    assert oks(found[:, :2], one, keypoint_sigmas(COCO)) == pytest.approx(expected, abs=1e-9)


def test_matching_equals_a_plain_loop(annotations):
    """The result with the highest score takes the best person, and each person is matched once."""
    _, people, *_ = read_annotations(annotations)
    rng = np.random.default_rng(0)
    results = []
    for n in range(8):
        keypoints = PEOPLE[n % 3].copy()
        keypoints[:, :2] += rng.normal(0, 6 * n, (17, 2))
        results.append(result(n % 3, keypoints, float(rng.uniform())))
    found, missed = matches(results, people, COCO)
    taken, expected = set(), {}
    for place in sorted(range(8), key=lambda p: -results[p]["score"]):
        best = (0.1, None)
        for person in people:
            if person.image_id != results[place]["image_id"] or person.id in taken:
                continue
            total = 0.0
            for keypoint in range(17):
                x, y = results[place]["keypoints"][3 * keypoint : 3 * keypoint + 2]
                d = (x - person.keypoints[keypoint, 0]) ** 2 + (
                    y - person.keypoints[keypoint, 1]
                ) ** 2
                total += math.exp(-d / (2 * person.area * (2 * COCO.sigmas[keypoint]) ** 2)) / 17
            best = max(best, (total, person.id), key=lambda pair: pair[0])
        expected[place] = best[1]
        taken.add(best[1])
    assert {m.result: m.person and m.person.id for m in found} == expected
    assert {p.id for p in missed} == {p.id for p in people} - taken


def test_errors_are_counted_by_keypoint_and_group(evaluation):
    made = evaluation(moved(NOSE, (600, 600)))
    nose = made.by_keypoint[NOSE]
    assert nose["labeled"] == 3 and nose["miss"] == 1 and nose["good"] == 2
    assert nose["similarity"] == pytest.approx(2 / 3) and nose["PCK@0.2"] == pytest.approx(2 / 3)
    assert made.groups["size"]["large"] == {7, 8, 9} and made.groups["others whose box overlaps"][
        "none"
    ] == {
        7,
        8,
        9,
    }
    assert made.groups["labeled keypoints"]["16 and more"] == {7, 8, 9}
    assert "score of the detector" not in made.groups


def test_detector_scores_are_those_of_the_boxes(evaluation, tmp_path):
    boxes = [
        {"image_id": i, "category_id": 1, "bbox": [20, 20, 130, 170], "score": s}
        for i, s in ((2, 0.3), (1, 0.6), (1, 0.9))
    ]
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    made = evaluation(right(), boxes=str(tmp_path / "boxes.json"))
    assert made.detector_scores == {7: 0.6, 8: 0.9, 9: 0.3}
    assert made.groups["score of the detector"] == {
        "under .5": {9},
        ".5 to .8": {7},
        "from .8": {8},
    }


def test_a_keypoint_is_classified_by_the_nearest_position(evaluation):
    """Near the right position and exactly on the other side: an inversion."""
    people = [keypoints.copy() for keypoints in PEOPLE]
    people[0][RIGHT_WRIST, :2] = away(LEFT_WRIST, 0.6)
    results = moved(LEFT_WRIST, people[0][RIGHT_WRIST, :2])
    made = evaluation(results)
    own = made.found[[m.result for m in made.found].index(0)]
    person = type("Person", (), {"keypoints": people[0], "area": AREA, "id": 7})
    kinds = errors.keypoint_error_types(own._replace(person=person), [], COCO)
    assert kinds[LEFT_WRIST] == errors.INVERSION


def test_results_on_ignored_people_are_neither_right_nor_wrong(annotations, evaluation):
    """A person without a labeled keypoint, and a crowd: COCO ignores results on both."""
    data = json.loads(annotations.read_text())
    unlabeled = {**data["annotations"][0], "keypoints": [0] * 51, "num_keypoints": 0}
    data["annotations"] += [
        {**unlabeled, "id": 20, "image_id": 2, "bbox": [380, 380, 200, 200], "area": 40_000.0},
        {
            **unlabeled,
            "id": 21,
            "image_id": 1,
            "bbox": [300, 300, 300, 300],
            "area": 90_000.0,
            "iscrowd": 1,
        },
    ]
    annotations.write_text(json.dumps(data))
    made = evaluation(
        [*right(), result(2, standing(400, 400), 0.99), result(0, standing(350, 350), 0.98)]
    )
    assert [m.ignored for m in made.found] == [True, True, False, False, False]
    assert made.average_precision(made.results) == pytest.approx(1)
    assert made.gains[errors.FALSE_POSITIVE] == 0 and made.gains[errors.SCORE] == pytest.approx(0)
    assert sum(s.count for s in steps(made.found)) == 3


@pytest.mark.parametrize("results", [[], [result(0, standing(5000, 5000))]])
def test_results_without_people_have_an_ap_of_0(evaluation, results):
    made = evaluation(results)
    assert made.average_precision(made.results) == 0 and len(made.missed) == 3
    assert made.gains[errors.FALSE_NEGATIVE] > 0.7 and made.gains[errors.FALSE_POSITIVE] == 0
    assert made.by_keypoint[NOSE]["similarity"] == 0


@pytest.mark.parametrize(
    "results, printed",
    [
        ([{"image_id": 1}], "entry 0 is not a result of tfcpn.eval"),
        (
            [{**result(0, standing(0, 0)), "image_id": 99}],
            "entry 0 is on image 99, which the annotations no longer have",
        ),
        (
            [{**result(0, standing(0, 0)), "keypoints": [1, 2, 1]}],
            "its keypoints are not the 17 of the annotations",
        ),
    ],
)
def test_results_that_do_not_fit_are_reported(evaluation, results, printed):
    with pytest.raises(InputError, match=printed):
        evaluation(results)


def test_detector_scores_are_none_if_the_detections_file_is_missing(evaluation):
    assert evaluation(right(), boxes="moved/away.json").detector_scores is None


def test_the_skeleton_is_that_of_the_run_and_not_that_of_the_annotations(
    annotations, evaluation, tmp_path
):
    """Custom sigmas, pairs and roles: AP and swaps by the annotation file would differ."""
    import dataclasses

    from tfcpn.checkpoints import run_config
    from tfcpn.config import Config
    from tfcpn.skeleton import to_dict

    data = json.loads(annotations.read_text())
    data["categories"] = [{"id": 1, "name": "person", "keypoints": list(COCO.keypoints)}]
    annotations.write_text(json.dumps(data))
    wide = dataclasses.replace(COCO, name="own", sigmas=tuple(10 * s for s in COCO.sigmas))
    results = moved(LEFT_HIP, away(LEFT_HIP, 0.02))
    by_file = evaluation(results)
    ap = by_file.average_precision(results)
    run = tmp_path / "run"
    run_config.save_run(run_config.Run(Config(model_dir=str(run)), wide))
    by_run = evaluation(results)
    assert by_run.skeleton == wide and by_run.average_precision(results) > ap
    (run / "config.json").unlink()
    metrics = run / "eval" / "epoch_0001" / "metrics.json"
    metrics.write_text(json.dumps(json.loads(metrics.read_text()) | {"keypoints": to_dict(wide)}))
    assert read_evaluation(metrics.parent).skeleton == wide
