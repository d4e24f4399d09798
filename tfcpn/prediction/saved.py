"""A SavedModel that tools/export.py wrote, in a network's place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import tensorflow as tf

from tfcpn import skeleton as skeletons
from tfcpn.base.errors import InputError
from tfcpn.geometry.alignment import Alignment
from tfcpn.picture.cut import CropFormat
from tfcpn.skeleton import Skeleton

# What a SavedModel does not tell of itself: which joints these are, and which regions it wants.
ABOUT = "tfcpn.json"
SIGNATURE = "serving_default"


class _Codec(NamedTuple):
    """Of a codec what is left when its work is done in the graph."""

    empty_score: float
    absent: tuple[int, ...]


class Saved(NamedTuple):
    """What a SavedModel of ours is. reader: as a `Reader`."""

    reader: SavedReader
    skeleton: Skeleton
    alignment: Alignment


class SavedReader:
    """A SavedModel in a network's place."""

    def __init__(self, run, codec: _Codec, crop_format: CropFormat, least: float, batch_size: int = 32):
        self.codec, self.crop_format, self.least, self.batch_size = codec, crop_format, least, batch_size
        self._run = run

    def __call__(self, crops):
        """crops (N, H, W, 3) uint8 BGR -> joints (N, K, 2) in crop pixels, scores (N, K), person (N,)."""
        parts = [self._run(crops=crops[i : i + self.batch_size]) for i in range(0, len(crops), self.batch_size)]
        return tuple(tf.concat([part[name] for part in parts], axis=0) for name in ("joints", "scores", "person"))


def is_saved(folder: str) -> bool:
    """Whether a folder holds a SavedModel."""
    return (Path(folder) / "saved_model.pb").exists()


def read_saved(folder: str) -> Saved:
    """Raises InputError for a SavedModel that is not one of ours."""
    path = Path(folder) / ABOUT
    try:
        about = json.loads(path.read_text())
        skeleton, alignment = skeletons.from_dict(about["joints"]), Alignment(**about["alignment"])
        outside = None if about["outside"] is None else tuple(map(float, about["outside"]))
        crop_format = CropFormat(tuple(map(int, about["input_size"])), alignment.by_points, outside)
        codec = _Codec(float(about["empty_score"]), tuple(map(int, about["absent"])))
        loaded = tf.saved_model.load(folder)
        run = loaded.signatures[SIGNATURE]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, tf.errors.OpError) as error:
        raise InputError(f"{folder}: is no SavedModel of tools/export.py ({error!r})") from error
    run.loaded = loaded  # its variables live as long as somebody holds it
    return Saved(SavedReader(run, codec, crop_format, float(about["least_person"])), skeleton, alignment)
