"""Several results on one person in an image."""

import json

import numpy as np
import pytest

from support.small_run import flags
from tfcpn.evaluation.metrics import keypoint_sigmas, pairwise_oks, suppress_duplicates
from tfcpn.skeleton import COCO

SIGMAS, AREA = keypoint_sigmas(COCO), 90.0 * 160


def person(x: float, score: float, image: int = 1, missing_keypoints=()) -> dict:
    keypoints = np.array([[x + 30 * (n % 4), 50 + 40 * (n // 4), 1.0] for n in range(17)])
    keypoints[list(missing_keypoints)] = 0
    return {
        "image_id": image,
        "category_id": 1,
        "keypoints": keypoints.ravel().tolist(),
        "score": score,
    }


RESULTS = [
    person(20, 0.8),
    person(21, 0.9),
    person(300, 0.3),
    person(20, 0.2, image=2),
    person(23, 0.7),
]
AREAS = [AREA] * 5


def test_similarity_is_the_oks():
    oks = pairwise_oks(RESULTS[:2], AREAS[:2], SIGMAS)
    expected = np.mean(np.exp(-1 / (2 * AREA * (2 * SIGMAS) ** 2)))
    np.testing.assert_allclose(oks, [[1, expected], [expected, 1]])


def test_keypoints_missing_in_one_pose_do_not_count():
    some = [person(20, 0.9, missing_keypoints=(0, 1)), person(20, 0.8)]
    np.testing.assert_allclose(pairwise_oks(some, AREAS[:2], SIGMAS), 1)


def test_all_results_are_kept_by_default():
    assert (
        suppress_duplicates(RESULTS, areas=AREAS, sigmas=SIGMAS, method="none", threshold=0.5)
        is RESULTS
    )


def test_the_best_result_of_each_person_is_kept_in_file_order():
    assert suppress_duplicates(
        RESULTS, areas=AREAS, sigmas=SIGMAS, method="oks", threshold=0.7
    ) == [
        RESULTS[1],
        RESULTS[2],
        RESULTS[3],
    ]
    assert (
        suppress_duplicates(RESULTS, areas=AREAS, sigmas=SIGMAS, method="oks", threshold=1.0)
        == RESULTS
    )


def test_scores_of_duplicates_are_lowered():
    soft = suppress_duplicates(RESULTS, areas=AREAS, sigmas=SIGMAS, method="soft", threshold=0.7)
    assert [r["keypoints"] for r in soft] == [r["keypoints"] for r in RESULTS]
    oks = pairwise_oks(RESULTS, AREAS, SIGMAS)
    # Result 1 has the highest score. Next is result 2, which is no duplicate and has the highest
    # remaining score.
    once = np.exp(-(oks[:, 1] ** 2) / 0.5)
    first, last = (0, 4) if 0.8 * once[0] > 0.7 * once[4] else (4, 0)
    expected = [0.8 * once[0], 0.9, 0.3, 0.2, 0.7 * once[4]]
    expected[last] *= np.exp(-(oks[last, first] ** 2) / 0.5)
    np.testing.assert_allclose([r["score"] for r in soft], expected, atol=1e-4)


def test_an_evaluation_with_nms_drops_duplicates_and_has_a_separate_folder(
    people, command, tiny_network, tmp_path
):
    """A detector that finds each person twice."""
    data = json.loads(people.val_annotations.read_text())["annotations"]
    boxes = [
        {"image_id": a["image_id"], "category_id": 1, "bbox": a["bbox"], "score": s}
        for a in data
        for s in (0.9, 0.8)
    ]
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    command("-m", "tfcpn.train", *flags(people, tmp_path / "run", "--epochs=1", "--eval_every=0"))
    for arguments in ([], ["--result_nms=oks"]):
        command(
            "-m",
            "tfcpn.eval",
            f"--model_dir={tmp_path / 'run'}",
            f"--boxes={tmp_path / 'boxes.json'}",
            *arguments,
        )
    plain, without = sorted((tmp_path / "run" / "eval").iterdir())
    assert without.name == f"{plain.name}_oks-nms0.9"
    counts = [len(json.loads((folder / "results.json").read_text())) for folder in (plain, without)]
    assert counts[0] == 2 * len(data) and counts[1] == pytest.approx(len(data))
