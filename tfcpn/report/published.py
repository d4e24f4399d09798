"""The experiment log's published rows, by the settings that make them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from tfcpn.settings.config import FIELDS, Config

LOG_METRICS = ("AP", "AP50", "AP75", "APm", "APl")
DATASET = "person_keypoints_val2017.json"
# What may differ from the log's runs and still be the same experiment.
_ANY = {"seed", "init_weights", "shuffle_buffer", "strategy"}
# As in a metrics.json: lists for tuples.
_DEFAULTS = json.loads(json.dumps(dataclasses.asdict(Config())))
_BASE = {
    name: _DEFAULTS[name]
    for name, field in FIELDS.items()
    if not field.metadata["free"] and name not in _ANY
}
_EVALUATED = (
    "boxes",
    "flip_test",
    "eval_people",
    "align_source",
    "first_pass_rotations",
    "decoder",
    "result_nms",
)
_BASE |= {name: _DEFAULTS[name] for name in _EVALUATED}
_SQUARE = {**_BASE, "input_size": [256, 256], "align": "square"}
_BLAZEPOSE = {
    **_BASE,
    "input_size": [256, 256],
    "align": "blazepose",
    "align_rotate": False,
    "align_radius": "nose",
}
_BLAZEPOSE |= {"align_missing": "drop"}
_SCALE1 = {**_BASE, "heatmap_scale": 1.0}
_NOFLIP = {"flip_test": False}
_ALIGNABLE = {**_BLAZEPOSE, **_NOFLIP, "eval_people": "alignable"}

# Settings, epoch, AP, AP50, AP75, APm, APl. All on COCO val2017.
ROWS = [
    (_BASE, 400, (0.702, 0.904, 0.782, 0.677, 0.746)),
    (_BASE, 350, (0.702, 0.904, 0.782, 0.677, 0.744)),
    (_SCALE1, 350, (0.599, 0.843, 0.666, 0.574, 0.635)),
    (_SCALE1, 400, (0.606, 0.853, 0.669, 0.581, 0.644)),
    (_SCALE1, 500, (0.609, 0.853, 0.679, 0.586, 0.651)),
    (_SCALE1, 600, (0.613, 0.854, 0.680, 0.588, 0.653)),
    (_SCALE1, 700, (0.613, 0.854, 0.679, 0.589, 0.653)),
    (_SCALE1, 950, (0.613, 0.854, 0.679, 0.589, 0.653)),
    (_SQUARE, 400, (0.702, 0.904, 0.781, 0.676, 0.746)),
    (_SQUARE, 350, (0.703, 0.913, 0.781, 0.675, 0.748)),
    ({**_SQUARE, **_NOFLIP}, 400, (0.691, 0.902, 0.768, 0.665, 0.732)),
    ({**_SQUARE, **_NOFLIP}, 350, (0.690, 0.903, 0.759, 0.664, 0.731)),
    (_BLAZEPOSE, 400, (0.077, 0.120, 0.077, 0.091, 0.191)),
    ({**_BLAZEPOSE, **_NOFLIP}, 350, (0.077, 0.117, 0.079, 0.088, 0.185)),
    ({**_BLAZEPOSE, **_NOFLIP}, 200, (0.076, 0.116, 0.078, 0.087, 0.183)),
    (_ALIGNABLE, 400, (0.131, 0.202, 0.133, 0.175, 0.321)),
    (_ALIGNABLE, 350, (0.131, 0.202, 0.134, 0.175, 0.319)),
    (_ALIGNABLE, 200, (0.076, 0.116, 0.078, 0.087, 0.183)),
]
# tf-cpn's own row used a detector's boxes, whatever their file is called.
_DETECTOR = {name: value for name, value in _BASE.items() if name != "boxes"}
TF_CPN = (_DETECTOR, 350, (0.697, 0.883, 0.770, 0.662, 0.761))


def published(settings: dict, epoch: int) -> dict[str, float] | None:
    """The log's numbers for these settings of a metrics.json at this epoch, if it has them."""
    if Path(settings.get("val_annotations", "")).name != DATASET:
        return None
    rows = ROWS if settings.get("boxes", "gt") == "gt" else [TF_CPN]
    for wanted, row_epoch, values in rows:
        # What an older file does not tell had its default.
        if epoch == row_epoch and all(
            settings.get(name, value) == value for name, value in wanted.items()
        ):
            return dict(zip(LOG_METRICS, values))
    return None
