"""One image with its people <-> one TFRecord example; many of them, checked, in a shard."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfcpn.base.errors import InputError
from tfcpn.base.files import sync, write_atomically
from tfcpn.data.coco import CocoImage, Person
from tfcpn.data.people_file import ShardPeople, offsets, write_people
from tfcpn.data.pictures import check_content
from tfcpn.data.record_index import Shard, description, listing, shard_json

_FEATURES = {
    "image/id": tf.io.FixedLenFeature([], tf.int64),
    "image/file_name": tf.io.FixedLenFeature([], tf.string),
    "image/size": tf.io.FixedLenFeature([2], tf.int64),
    "image/orientation": tf.io.FixedLenFeature([], tf.int64),
    "image/encoded": tf.io.FixedLenFeature([], tf.string),
    "people/id": tf.io.FixedLenSequenceFeature([], tf.int64, allow_missing=True),
    "people/box": tf.io.FixedLenSequenceFeature([4], tf.float32, allow_missing=True),
    "people/reach": tf.io.FixedLenSequenceFeature([], tf.float32, allow_missing=True),
    "people/area": tf.io.FixedLenSequenceFeature([], tf.float32, allow_missing=True),
    "people/trainable": tf.io.FixedLenSequenceFeature([], tf.int64, allow_missing=True),
}


def encode(image: CocoImage, people: list[Person], encoded: bytes, orientation: int) -> bytes:
    """The serialised example of one image: its file's bytes, its EXIF orientation and its people."""

    def ints(values):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))

    def floats(values):
        return tf.train.Feature(float_list=tf.train.FloatList(value=np.ravel(values)))

    def text(value):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

    features = {
        "image/id": ints([image.id]),
        "image/file_name": text(image.file_name.encode()),
        "image/size": ints([image.height, image.width]),
        "image/orientation": ints([orientation]),
        "image/encoded": text(encoded),
        "people/id": ints([p.id for p in people]),
        "people/box": floats([p.box for p in people]),
        "people/keypoints": floats([p.keypoints for p in people]),
        "people/reach": floats([p.reach for p in people]),
        "people/area": floats([p.area for p in people]),
        "people/trainable": ints([int(p.trainable) for p in people]),
    }
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def parse(serialized, num_joints: int) -> dict[str, tf.Tensor]:
    """The inverse of `encode`: features by name; those of people have the people as their first axis."""
    keypoints = tf.io.FixedLenSequenceFeature([num_joints, 3], tf.float32, allow_missing=True)
    return tf.io.parse_single_example(serialized, {**_FEATURES, "people/keypoints": keypoints})


def _arrays(offset: np.ndarray, packed: list[list[Person]]) -> ShardPeople:
    """What is written beside a shard of the people of each of its images."""
    everyone = [person for people in packed for person in people]
    return ShardPeople(
        offset,
        np.array([len(people) for people in packed], np.int64),
        np.array([p.id for p in everyone], np.int64),
        np.array([p.keypoints for p in everyone], np.float32),
        np.array([p.area for p in everyone], np.float32),
        np.array([p.trainable for p in everyone], bool),
    )


def write_shard(path: Path, items, image_dir: Path, skip_bad: bool, on_image=lambda: None) -> Shard:
    """Write (image, people) pairs to a shard, under a temporary name until it is whole.

    Images that are missing or bad are left out and listed in the shard's description, which is written beside
    the shard as JSON; unless skip_bad, there is no shard then. on_image: called after each image, for progress.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.tmp")
    good: list[str] = []
    packed: list[list[Person]] = []
    bad: dict[str, str] = {}
    content = hashlib.sha256()
    try:
        with tf.io.TFRecordWriter(str(temporary)) as writer:
            for image, people in items:
                try:
                    encoded = (Path(image_dir) / image.file_name).read_bytes()
                    orientation = check_content(image, encoded)
                    writer.write(encode(image, people, encoded, orientation))
                    content.update(hashlib.sha256(encoded).digest())
                    good.append(image.file_name)
                    packed.append(people)
                except OSError as error:
                    bad[image.file_name] = f"{image.file_name}: cannot be read ({error.strerror})"
                except InputError as error:
                    bad[image.file_name] = str(error)
                on_image()
        size = temporary.stat().st_size
        digests = content.hexdigest(), listing(image_dir, good)
        everyone = [person for people in packed for person in people]
        counts = len(good), len(everyone), sum(p.trainable for p in everyone)
        shard = Shard(path.name, size, *counts, *digests, bad)
        if skip_bad or not bad:
            write_people(path, shard, _arrays(offsets(temporary), packed))
            sync(temporary)
            write_atomically(description(path), shard_json(shard))
            temporary.replace(path)
            sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)
    return shard
