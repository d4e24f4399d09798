"""A SavedModel that tools/export.py wrote, in a network's place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import tensorflow as tf

from tfcpn import skeleton as skeletons
from tfcpn.base.errors import InputError
from tfcpn.geometry.alignment import Alignment
from tfcpn.picture.cut import CropSpec
from tfcpn.skeleton import Skeleton

# What a SavedModel does not tell of itself: which keypoints these are, and which regions it wants.
METADATA_FILE = "tfcpn.json"
SIGNATURE = "serving_default"


class _Codec(NamedTuple):
    """Of a codec what is left when its work is done in the graph."""

    empty_score: float
    missing_keypoints: tuple[int, ...]


class Saved(NamedTuple):
    """What a SavedModel of ours is. reader: as a `Reader`."""

    reader: SavedModelBackend
    skeleton: Skeleton
    alignment: Alignment


class SavedModelBackend:
    """A SavedModel in a network's place."""

    def __init__(self, run, codec: _Codec, crop_spec: CropSpec, least: float, batch_size: int = 32):
        self.codec, self.crop_spec, self.least, self.batch_size = (
            codec,
            crop_spec,
            least,
            batch_size,
        )
        self._run = run

    def __call__(self, crops):
        """crops (N, H, W, 3) uint8 BGR -> keypoints (N, K, 2) in crop pixels, scores (N, K), person (N,)."""
        parts = [
            self._run(crops=crops[i : i + self.batch_size])
            for i in range(0, len(crops), self.batch_size)
        ]
        return tuple(
            tf.concat([part[name] for part in parts], axis=0)
            for name in ("joints", "scores", "person")
        )


def is_saved_model(folder: str) -> bool:
    """Whether a folder holds a SavedModel."""
    return (Path(folder) / "saved_model.pb").exists()


def load_saved_model(folder: str) -> Saved:
    """Raises InputError for a SavedModel that is not one of ours."""
    path = Path(folder) / METADATA_FILE
    try:
        about = json.loads(path.read_text())
        skeleton, alignment = skeletons.from_dict(about["joints"]), Alignment(**about["alignment"])
        pad_color = None if about["outside"] is None else tuple(map(float, about["outside"]))
        crop_spec = CropSpec(tuple(map(int, about["input_size"])), alignment.uses_points, pad_color)
        codec = _Codec(float(about["empty_score"]), tuple(map(int, about["absent"])))
        loaded = tf.saved_model.load(folder)
        run = loaded.signatures[SIGNATURE]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, tf.errors.OpError) as error:
        raise InputError(f"{folder}: is no SavedModel of tools/export.py ({error!r})") from error
    run.loaded = loaded  # its variables live as long as somebody holds it
    return Saved(
        SavedModelBackend(run, codec, crop_spec, float(about["least_person"])), skeleton, alignment
    )
