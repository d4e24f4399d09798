"""COCO's keypoint evaluation of a results file, by pycocotools."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Collection

import numpy as np

from tfcpn.data.coco import PERSON, categories, without_joints
from tfcpn.data.json_input import read_json
from tfcpn.skeleton import COCO, Skeleton

METRICS = ("AP", "AP50", "AP75", "APm", "APl", "AR", "AR50", "AR75", "ARm", "ARl")
# The tolerance of joints for which nobody measured one: the mean of COCO's.
MEAN_SIGMA = float(np.mean(COCO.sigmas))


def _present(keypoints: list, absent: tuple[int, ...]) -> list:
    """x, y, visibility of all joints but some."""
    return [value for place, value in enumerate(keypoints) if place // 3 not in absent]


def _completed(
    data: dict, counted: Collection[int] | None, category: int, skeleton: Skeleton, absent: tuple[int, ...]
) -> dict:
    """An annotation file's content with the fields that pycocotools insists on and `read_annotations` does not.

    Annotations are numbered anew, from 1: pycocotools takes the id 0 for "matched to nobody".
    """
    people = [a for a in data["annotations"] if a.get("category_id", category) == category]
    if counted is not None:
        people = [a if a["id"] in counted else without_joints(a) for a in people]
    annotations = []
    for number, record in enumerate(people, start=1):
        if absent:
            record = {k: v for k, v in record.items() if k != "num_keypoints"}
            record["keypoints"] = _present(record["keypoints"], absent)
        labelled = sum(v > 0 for v in record["keypoints"][2::3])
        usual = {"category_id": category, "iscrowd": 0, "num_keypoints": labelled}
        annotations.append({**usual, **record, "id": number})
    return {"info": {}, "categories": categories(skeleton), **data, "annotations": annotations}


def coco_metrics(
    annotations: str,
    results: list[dict],
    counted: Collection[int] | None = None,
    skeleton: Skeleton = COCO,
    category: int = PERSON,
    absent: tuple[int, ...] = (),
) -> dict[str, float]:
    """The ten numbers of COCO's keypoint evaluation, of all images of the annotation file.

    counted: ids of the annotations that count; None: all. A result on one of the others is neither right nor wrong.
    absent: numbers of joints that do not count, as if nobody had labelled them.
    """
    if not results:  # pycocotools reads no empty list
        return dict.fromkeys(METRICS, 0.0)
    from pycocotools.coco import COCO as Index
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        truth = Index()
        truth.dataset = _completed(read_json(annotations), counted, category, skeleton, absent)
        truth.createIndex()
        # loadRes adds fields to the entries that it is given, and changes none.
        entries = [{**r, "keypoints": _present(r["keypoints"], absent)} for r in results]
        evaluation = COCOeval(truth, truth.loadRes(entries), "keypoints")
        evaluation.params.catIds = [category]
        sigmas = skeleton.sigmas if skeleton.sigmas is not None else [MEAN_SIGMA] * skeleton.count
        evaluation.params.kpt_oks_sigmas = np.delete(np.array(sigmas), list(absent))
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return dict(zip(METRICS, (float(v) for v in evaluation.stats)))
