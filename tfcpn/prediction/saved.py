"""A trained network as a SavedModel, crops in and joints out, and such a one read again: both ways of one folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfcpn import skeleton as skeletons
from tfcpn.base.errors import InputError
from tfcpn.base.files import make_folder, remove_folder
from tfcpn.evaluation.predictor import Predictor
from tfcpn.geometry.alignment import Alignment
from tfcpn.picture.cut import CropFormat
from tfcpn.prediction.reading import KerasReader
from tfcpn.skeleton import Skeleton

# What a SavedModel does not tell of itself: which joints these are, and which regions it wants.
ABOUT = "tfcpn.json"
SIGNATURE = "serving_default"
_MOST = 0.05  # crop pixels, of the median joint


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


def write_saved(folder: str, predictor: Predictor, skeleton: Skeleton, alignment: Alignment) -> tuple[float, float]:
    """Write a predictor as a SavedModel; its flip test, if it has one, is in the graph, and so is its decoding.

    Its signature takes `crops` (N, H, W, 3) uint8 BGR and returns `joints` (N, K, 2) float32 x, y in crop pixels,
    `scores` (N, K) and `person` (N,). Returns the median and the greatest distance of a joint, in crop pixels, from
    the model's in memory, on made-up crops. Raises InputError, and leaves nothing behind, if the median is more than
    rounding explains; a single heatmap that is all but flat may have its peak elsewhere after rounding.
    """
    shape = tf.TensorSpec((None, *predictor.crop_format.size, 3), tf.uint8, name="crops")

    @tf.function(input_signature=[shape])
    def read(crops):
        return dict(zip(("joints", "scores", "person"), predictor.read(crops)))

    module = tf.Module()
    module.model, module.read = predictor.model, read
    network, codec, outside = predictor.network, predictor.codec, predictor.crop_format.outside
    about = {
        "joints": skeletons.to_dict(skeleton),
        "alignment": alignment._asdict(),
        "input_size": predictor.crop_format.size,
        "outside": outside,
        "empty_score": codec.empty_score,
        "absent": codec.absent,
        "least_person": KerasReader.least_of(network),
        "flip_test": predictor.flip_test,
    }

    def fill(place: Path) -> None:
        tf.saved_model.save(module, str(place), signatures={SIGNATURE: read})
        (place / ABOUT).write_text(json.dumps(about, indent=2) + "\n")

    make_folder(Path(folder), fill)
    crops = tf.constant(np.random.default_rng(0).integers(0, 256, (2, *predictor.crop_format.size, 3), np.uint8))
    away = [a - b for a, b in zip(read_saved(folder).reader(crops), predictor.read(crops))]
    distances = tf.norm(away[0], axis=-1).numpy()
    median, worst = float(np.median(distances)), float(np.max(distances))
    if not median <= _MOST:
        remove_folder(Path(folder))
        raise InputError(f"{folder}: its joints would be {median:.2f} crop pixels off those of the model (median)")
    return median, worst


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
