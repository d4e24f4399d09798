"""Images and their people, checked, in a shard of records."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfcpn.base.errors import InputError
from tfcpn.base.files import fsync_path, write_atomically
from tfcpn.data.coco import Person
from tfcpn.data.examples import encode
from tfcpn.data.people_file import ShardMetadata, offsets, write_shard_metadata
from tfcpn.data.pictures import check_image
from tfcpn.data.record_index import Shard, description, listing, shard_json
from tfcpn.picture.read import to_tensorflow_format


def _arrays(offset: np.ndarray, packed: list[list[Person]]) -> ShardMetadata:
    """What is written beside a shard of the people of each of its images."""
    everyone = [person for people in packed for person in people]
    return ShardMetadata(
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
                    encoded = to_tensorflow_format(
                        (Path(image_dir) / image.file_name).read_bytes(), image.file_name
                    )
                    orientation = check_image(image, encoded)
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
            write_shard_metadata(path, shard, _arrays(offsets(temporary), packed))
            fsync_path(temporary)
            write_atomically(description(path), shard_json(shard))
            temporary.replace(path)
            fsync_path(path.parent)
    finally:
        temporary.unlink(missing_ok=True)
    return shard
