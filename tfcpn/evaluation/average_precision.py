"""COCO's keypoint evaluation of a results file, by pycocotools."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Collection

import numpy as np

from tfcpn.data.coco import PERSON, categories, without_keypoints
from tfcpn.data.json_input import read_json
from tfcpn.skeleton import COCO, Skeleton

METRICS = ("AP", "AP50", "AP75", "APm", "APl", "AR", "AR50", "AR75", "ARm", "ARl")
# The tolerance of keypoints for which nobody measured one: the mean of COCO's.
MEAN_SIGMA = float(np.mean(COCO.sigmas))


def _present(keypoints: list, missing_keypoints: tuple[int, ...]) -> list:
    """x, y, visibility of all keypoints but some."""
    return [value for place, value in enumerate(keypoints) if place // 3 not in missing_keypoints]


def _completed(
    data: dict,
    counted: Collection[int] | None,
    category: int,
    skeleton: Skeleton,
    missing_keypoints: tuple[int, ...],
) -> dict:
    """An annotation file's content with the fields that pycocotools insists on and `read_annotations` does not.

    Annotations are numbered anew, from 1: pycocotools takes the id 0 for "matched to nobody".
    """
    people = [a for a in data["annotations"] if a.get("category_id", category) == category]
    if counted is not None:
        people = [a if a["id"] in counted else without_keypoints(a) for a in people]
    annotations = []
    for number, record in enumerate(people, start=1):
        if missing_keypoints:
            record = {k: v for k, v in record.items() if k != "num_keypoints"}
            record["keypoints"] = _present(record["keypoints"], missing_keypoints)
        labeled = sum(v > 0 for v in record["keypoints"][2::3])
        usual = {"category_id": category, "iscrowd": 0, "num_keypoints": labeled}
        annotations.append({**usual, **record, "id": number})
    return {"info": {}, "categories": categories(skeleton), **data, "annotations": annotations}


def coco_metrics(
    annotations: str,
    results: list[dict],
    counted: Collection[int] | None = None,
    skeleton: Skeleton = COCO,
    category: int = PERSON,
    missing_keypoints: tuple[int, ...] = (),
) -> dict[str, float]:
    """The ten numbers of COCO's keypoint evaluation, of all images of the annotation file.

    counted: ids of the annotations that count; None: all. A result on one of the others is neither right nor wrong.
    absent: numbers of keypoints that do not count, as if nobody had labeled them.
    """
    if not results:  # pycocotools reads no empty list
        return dict.fromkeys(METRICS, 0.0)
    from pycocotools.coco import COCO as Index
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        truth = Index()
        truth.dataset = _completed(
            read_json(annotations), counted, category, skeleton, missing_keypoints
        )
        truth.createIndex()
        # loadRes adds fields to the entries that it is given, and changes none.
        entries = [{**r, "keypoints": _present(r["keypoints"], missing_keypoints)} for r in results]
        evaluation = COCOeval(truth, truth.loadRes(entries), "keypoints")
        evaluation.params.catIds = [category]
        sigmas = skeleton.sigmas if skeleton.sigmas is not None else [MEAN_SIGMA] * skeleton.count
        evaluation.params.kpt_oks_sigmas = np.delete(np.array(sigmas), list(missing_keypoints))
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return dict(zip(METRICS, (float(v) for v in evaluation.stats)))
