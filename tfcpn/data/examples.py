"""One image with its people <-> one TFRecord example."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tfcpn.data.coco import CocoImage, Person

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
    """The serialized example of one image: its file's bytes, its EXIF orientation and its people."""

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
        "people/reach": floats([p.max_radius for p in people]),
        "people/area": floats([p.area for p in people]),
        "people/trainable": ints([int(p.trainable) for p in people]),
    }
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString(
        deterministic=True
    )


def parse(serialized, num_keypoints: int) -> dict[str, tf.Tensor]:
    """The inverse of `encode`: features by name; those of people have the people as their first axis."""
    keypoints = tf.io.FixedLenSequenceFeature([num_keypoints, 3], tf.float32, allow_missing=True)
    return tf.io.parse_single_example(serialized, {**_FEATURES, "people/keypoints": keypoints})
