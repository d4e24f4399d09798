"""Properties of the readers of external files, for hypothesis: a minute of them in the suite, or
any time with `python tests/support/fuzz.py --minutes=10`.

For any file, a reader raises a one-line InputError that names the file, or accepts it; accepted
values are valid."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import sys
import tempfile
import time
import warnings
from functools import lru_cache
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tfcpn  # noqa: F401  (quietens TensorFlow's start)
from support.photos import photo, write
from tfcpn.data.coco import CocoImage, coco_categories, read_annotations
from tfcpn.data.detections import read_detections
from tfcpn.data.record_format import RecordIndex, write_index
from tfcpn.data.record_sets import read_records
from tfcpn.data.record_writer import write_shard
from tfcpn.data.sampling import open_training_set, training_stream
from tfcpn.evaluation.metrics import coco_metrics
from tfcpn.models.tflite import TfliteGraph
from tfcpn.skeleton import COCO, read_skeleton_file
from tfcpn.utils.errors import InputError

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
SCALARS |= st.sampled_from([2**63, -(2**70), 1e300, 1e6, 1, 2, "nose", "../x", "\0"])
JSON = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4)
    ),
    max_leaves=8,
)


def places(value, path=()):
    """Return the path to every value inside a JSON value."""
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, inner in items:
        yield (*path, key)
        yield from places(inner, (*path, key))


@st.composite
def changed(draw, base):
    """Return a copy of a JSON value with up to three values replaced, removed or duplicated; or
    another value.
    """
    if draw(st.integers(0, 19)) == 0:
        return draw(JSON)
    value = copy.deepcopy(base)
    for _ in range(draw(st.integers(1, 3))):
        ways = list(places(value))
        if not ways:
            break
        *way, last = draw(st.sampled_from(ways))
        holder = value
        for key in way:
            holder = holder[key]
        kind = draw(st.sampled_from(["replace", "replace", "remove", "double"]))
        if kind == "remove":
            del holder[last]
        elif kind == "double" and isinstance(holder, list):
            holder.append(copy.deepcopy(holder[last]))
        else:
            holder[last] = draw(JSON)
    return value


@st.composite
def damaged(draw, base: bytes):
    """Return a copy of some bytes, some of them changed, possibly truncated or extended."""
    data = bytearray(base)
    for _ in range(draw(st.integers(0, 6))):
        at, what = draw(st.integers(0, len(data) - 1)), draw(st.binary(min_size=1, max_size=8))
        data[at : at + len(what)] = what
    if draw(st.integers(0, 4)) == 0:
        del data[draw(st.integers(0, len(data))) :]
    return bytes(data) + (draw(st.binary(max_size=9)) if draw(st.integers(0, 9)) == 0 else b"")


def person(number: int, image: int) -> dict:
    rng = np.random.default_rng(number)
    keypoints = np.concatenate([rng.uniform(5, 90, (17, 2)), rng.integers(0, 3, (17, 1))], axis=1)
    keypoints[0, 2] = 2
    return {
        "id": number,
        "image_id": image,
        "category_id": 1,
        "bbox": [5.0, 5.0, 85.0, 85.0],
        "area": 5000.0,
        "keypoints": [round(float(v), 1) for v in keypoints.ravel()],
        "num_keypoints": int((keypoints[:, 2] > 0).sum()),
        "iscrowd": 0,
        "segmentation": [[5, 5, 90, 5, 90, 90]],
    }


ANNOTATIONS = {
    "images": [{"id": i, "file_name": f"{i}.jpg", "height": 100, "width": 100} for i in (3, 4)],
    "annotations": [person(1, 3), person(2, 3), person(3, 4)],
    "categories": coco_categories(),
}
IMAGES = {i: CocoImage(i, f"{i}.jpg", 100, 100) for i in (3, 4)}
DETECTIONS = [
    {
        "image_id": 3,
        "category_id": 1,
        "bbox": [5, 5, 80, 80],
        "score": 0.5,
        "align_points": [1, 2, 3, 4],
    }
] * 2
SKELETON = {
    "name": "x",
    "keypoints": ["a", "b", "c", "d"],
    "pairs": [["a", "b"]],
    "limbs": [["a", "c"]],
}
SKELETON |= {
    "sigmas": [0.1] * 4,
    "hips": ["a", "b"],
    "shoulders": ["c", "d"],
    "nose": "a",
    "neck": "b",
    "head": "c",
}


@contextlib.contextmanager
def refused_or_fine(path):
    """Accept a one-line InputError that names the file."""
    try:
        yield
    except InputError as error:
        assert "\n" not in str(error) and Path(path).name in str(error), str(error)


FOLDER = Path(tempfile.mkdtemp())


def annotations(value) -> None:
    path = FOLDER / "annotations.json"
    path.write_text(json.dumps(value))
    with refused_or_fine(path):
        read = read_annotations(path)
        results = [
            {
                "image_id": p.image_id,
                "category_id": read.category,
                "keypoints": p.keypoints.ravel().tolist(),
                "score": 1.0,
            }
            for p in read.people
            if p.trainable
        ]
        found = coco_metrics(read, results)
        # COCO ignores all of them if they are too small.
        assert found["AP"] is None or abs(found["AP"] - 1) < 1e-6, found


def detections(value) -> None:
    path = FOLDER / "detections.json"
    path.write_text(json.dumps(value))
    with refused_or_fine(path):
        for box in read_detections(path, IMAGES):
            assert box.image_id in IMAGES and len(box.box) == 4 and min(box.box[2:]) > 0
            assert np.isfinite([*box.box, box.score]).all()


def skeleton(value) -> None:
    path = FOLDER / "skeleton.json"
    path.write_text(json.dumps(value))
    with refused_or_fine(path):
        read = read_skeleton_file(str(path))
        assert sorted(read.flip_indices) == list(range(read.num_keypoints)) and all(
            read.flip_indices[i] == j for j, i in enumerate(read.flip_indices)
        )


@lru_cache(maxsize=1)
def _records() -> dict[str, bytes]:
    """Return the files of a folder of records of three people, by name."""
    folder = FOLDER / "source"
    folder.mkdir()
    (FOLDER / "a.json").write_text(json.dumps(ANNOTATIONS))
    images, people, *_ = read_annotations(FOLDER / "a.json")
    for image in images.values():
        write(folder / image.file_name, photo(100, 100))
    items = [(image, [p for p in people if p.image_id == image.id]) for image in images.values()]
    shard = write_shard(folder / "people-00000-of-00001.tfrecord", items, folder, False)
    write_index(folder, RecordIndex({"annotations_sha256": "x"}, COCO, (shard,)))
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".jpg"}


def records(choice_and_data) -> None:
    """Damage one file of the folder; the people read are all or some of those written."""
    name, content = choice_and_data
    folder = Path(tempfile.mkdtemp(dir=FOLDER))
    for other, data in _records().items():
        (folder / other).write_bytes(data)
    (folder / name).write_bytes(content)
    with refused_or_fine(folder):
        source = open_training_set(read_records(folder), shuffle_buffer=2)
        try:
            got = [
                int(i)
                for i in training_stream(source, 1, lambda group: group["id"])
                .take(4)
                .as_numpy_iterator()
            ]
        except (tf.errors.DataLossError, tf.errors.InvalidArgumentError):
            return  # training reports it as InputError
        assert set(got) <= {1, 2, 3}


@lru_cache(maxsize=1)
def _tflite() -> bytes:
    """Two convolutions in a TensorFlow Lite file of float16."""
    images = tf.keras.Input((8, 8, 3))
    x = tf.keras.layers.Conv2D(4, 3, 2)(images)
    converter = tf.lite.TFLiteConverter.from_keras_model(
        tf.keras.Model(images, tf.keras.layers.DepthwiseConv2D(3, padding="same")(x))
    )
    converter.optimizations, converter.target_spec.supported_types = (
        [tf.lite.Optimize.DEFAULT],
        [tf.float16],
    )
    with contextlib.redirect_stderr(io.StringIO()):
        return converter.convert()


def tflite(content: bytes) -> None:
    with refused_or_fine("f.tflite"):
        graph = TfliteGraph(content, "f.tflite")
        assert all(c.kernel.ndim == 4 and c.stride >= 1 for c in graph.convolutions)


def properties() -> dict:
    """Return reader -> (property, strategy of its inputs)."""
    files = _records()
    return {
        "annotations": (annotations, changed(ANNOTATIONS)),
        "detections": (detections, changed(DETECTIONS)),
        "skeleton": (skeleton, changed(SKELETON)),
        "records": (
            records,
            st.sampled_from(sorted(files)).flatmap(
                lambda name: st.tuples(st.just(name), damaged(files[name]))
            ),
        ),
        "tflite": (tflite, damaged(_tflite())),
    }


NAMES = ("annotations", "detections", "skeleton", "records", "tflite")


def run(name: str, examples: int, the_same: bool = False) -> int:
    """Try a property on this many examples; return their number. Raise what the property raises.

    the_same: fixed examples, as a suite needs.
    """
    check, examples_of = properties()[name]
    tried = []

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=the_same,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )
    @given(examples_of)
    def holds(value):
        tried.append(1)
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            check(value)

    holds()
    return len(tried)


def main() -> None:
    minutes = float(next((w.split("=")[1] for w in sys.argv[1:] if w.startswith("--minutes=")), 10))
    chosen = [w for w in sys.argv[1:] if not w.startswith("--")] or NAMES
    for name in chosen:
        until, tried = time.monotonic() + 60 * minutes, 0
        while time.monotonic() < until:
            tried += run(name, 300)
        print(f"{name}: {tried} files in {minutes:g} minutes, nothing but InputError", flush=True)


if __name__ == "__main__":
    main()
