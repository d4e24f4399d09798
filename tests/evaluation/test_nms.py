"""Results of one image that are of the same person."""

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


def test_similarity_is_oks():
    alike = pairwise_oks(RESULTS[:2], AREAS[:2], SIGMAS)
    expected = np.mean(np.exp(-1 / (2 * AREA * (2 * SIGMAS) ** 2)))
    np.testing.assert_allclose(alike, [[1, expected], [expected, 1]])


def test_keypoints_that_one_lacks_do_not_count():
    some = [person(20, 0.9, missing_keypoints=(0, 1)), person(20, 0.8)]
    np.testing.assert_allclose(pairwise_oks(some, AREAS[:2], SIGMAS), 1)


def test_all_stay_unless_asked():
    assert (
        suppress_duplicates(RESULTS, areas=AREAS, sigmas=SIGMAS, method="none", threshold=0.5)
        is RESULTS
    )


def test_the_surest_of_each_person_stays_in_the_files_order():
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


def test_scores_of_doubles_fall():
    soft = suppress_duplicates(RESULTS, areas=AREAS, sigmas=SIGMAS, method="soft", threshold=0.7)
    assert [r["keypoints"] for r in soft] == [r["keypoints"] for r in RESULTS]
    alike = pairwise_oks(RESULTS, AREAS, SIGMAS)
    # The surest first: 1; then of the others whoever is surer when its score has fallen: 2, which
    # is nobody's double.
    once = np.exp(-(alike[:, 1] ** 2) / 0.5)
    first, last = (0, 4) if 0.8 * once[0] > 0.7 * once[4] else (4, 0)
    expected = [0.8 * once[0], 0.9, 0.3, 0.2, 0.7 * once[4]]
    expected[last] *= np.exp(-(alike[last, first] ** 2) / 0.5)
    np.testing.assert_allclose([r["score"] for r in soft], expected, atol=1e-4)


def test_an_evaluation_drops_doubles_and_has_a_folder_of_its_own(
    people, command, tiny_network, tmp_path
):
    """A detector that finds everybody twice."""
    data = json.loads(people.val_annotations.read_text())["annotations"]
    boxes = [
        {"image_id": a["image_id"], "category_id": 1, "bbox": a["bbox"], "score": s}
        for a in data
        for s in (0.9, 0.8)
    ]
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    command("-m", "tfcpn.train", *flags(people, tmp_path / "run", "--epochs=1", "--eval_every=0"))
    for words in ([], ["--result_nms=oks"]):
        command(
            "-m",
            "tfcpn.eval",
            f"--model_dir={tmp_path / 'run'}",
            f"--boxes={tmp_path / 'boxes.json'}",
            *words,
        )
    plain, without = sorted((tmp_path / "run" / "eval").iterdir())
    assert without.name == f"{plain.name}_oks-nms0.9"
    counts = [len(json.loads((folder / "results.json").read_text())) for folder in (plain, without)]
    assert counts[0] == 2 * len(data) and counts[1] == pytest.approx(len(data))
