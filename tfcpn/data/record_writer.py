"""Write records in several processes."""

from __future__ import annotations

import hashlib
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfcpn.data.coco import PersonAnnotation
from tfcpn.data.image_headers import read_header
from tfcpn.data.images import check_image, is_annotated_as_stored, to_tensorflow_format
from tfcpn.data.record_format import (
    Shard,
    ShardMetadata,
    encode_example,
    files_digest,
    record_offsets,
    shard_info_path,
    shard_json,
    write_shard_metadata,
)
from tfcpn.utils.console import progress_bar
from tfcpn.utils.errors import InputError
from tfcpn.utils.files import fsync_path, write_atomically


def _arrays(offset: np.ndarray, packed: list[list[PersonAnnotation]]) -> ShardMetadata:
    """Return the metadata of a shard from the people of each of its images."""
    all_people = [person for people in packed for person in people]
    return ShardMetadata(
        offset,
        np.array([len(people) for people in packed], np.int64),
        np.array([p.id for p in all_people], np.int64),
        np.array([p.keypoints for p in all_people], np.float32),
        np.array([p.area for p in all_people], np.float32),
        np.array([p.trainable for p in all_people], bool),
    )


def write_shard(
    path: Path,
    items,
    image_dir: Path,
    skip_bad: bool,
    strict: bool = False,
    on_image=lambda: None,
) -> Shard:
    """Write images and their people to a shard, under a temporary name until it is complete.

    Missing and bad images are skipped and listed in the shard's description, which is written next
    to it; unless skip_bad, no shard is written then.

    Args:
        path: The shard.
        items: Pairs of an image and its people.
        image_dir: Folder of the images.
        skip_bad: Whether to skip bad images.
        strict: Whether an image that was annotated without its EXIF orientation is bad.
        on_image: Called after each image.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.tmp")
    good: list[str] = []
    packed: list[list[PersonAnnotation]] = []
    bad: dict[str, str] = {}
    content, stored = hashlib.sha256(), 0
    try:
        with tf.io.TFRecordWriter(str(temporary)) as writer:
            for image, people in items:
                try:
                    content_of_file = (Path(image_dir) / image.file_name).read_bytes()
                    header = read_header(content_of_file, image.file_name)
                    as_stored = is_annotated_as_stored(image, header) and not strict
                    encoded = to_tensorflow_format(
                        content_of_file, image.file_name, 1 if as_stored else None
                    )
                    orientation = check_image(image, encoded, strict)
                    writer.write(encode_example(image, people, encoded, orientation))
                    content.update(hashlib.sha256(encoded).digest())
                    stored += as_stored
                    good.append(image.file_name)
                    packed.append(people)
                except OSError as error:
                    bad[image.file_name] = f"{image.file_name}: cannot be read ({error.strerror})"
                except InputError as error:
                    bad[image.file_name] = str(error)
                on_image()
        size = temporary.stat().st_size
        digests = content.hexdigest(), files_digest(image_dir, good)
        all_people = [person for people in packed for person in people]
        counts = len(good), len(all_people), sum(p.trainable for p in all_people)
        shard = Shard(path.name, size, *counts, *digests, bad, stored)
        if skip_bad or not bad:
            write_shard_metadata(path, shard, _arrays(record_offsets(temporary), packed))
            fsync_path(temporary)
            write_atomically(shard_info_path(path), shard_json(shard))
            temporary.replace(path)
            fsync_path(path.parent)
    finally:
        temporary.unlink(missing_ok=True)
    return shard


_counter = None  # counts images over all workers, in a worker process


def _start_worker(counter) -> None:
    """Prepare a worker process."""
    global _counter
    _counter = counter
    from tfcpn.utils import device

    device.hide_gpus()


def _count() -> None:
    with _counter.get_lock():
        _counter.value += 1


def _write_shard(path: Path, items, image_dir: Path, skip_bad: bool, strict: bool) -> Shard:
    return write_shard(path, items, image_dir, skip_bad, strict, _count)


def write_shards(
    todo: dict[Path, list],
    image_dir: Path,
    workers: int,
    skip_bad: bool,
    strict: bool = False,
    on_progress=lambda done: None,
) -> list[Shard]:
    """Write shards in worker processes.

    Args:
        todo: Shards with their (image, people) pairs.
        image_dir: Folder of the images.
        workers: Number of processes.
        skip_bad: Whether to skip bad images.
        strict: Whether an image that was annotated without its EXIF orientation is bad.
        on_progress: Called ten times a second with the number of finished images.
    """
    # TensorFlow is imported once, by the server that the workers are forked from, and not by this
    # process at all.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tfcpn.data.record_writer"])
    counter = context.Value("q", 0)
    total = sum(map(len, todo.values()))
    pool = ProcessPoolExecutor(min(workers, len(todo)), context, _start_worker, (counter,))
    with pool, progress_bar(total, "records", "image") as bar:
        jobs = [
            pool.submit(_write_shard, path, items, image_dir, skip_bad, strict)
            for path, items in todo.items()
        ]
        try:
            while not all(job.done() for job in jobs):
                bar.update(counter.value - bar.n)
                on_progress(bar.n)
                time.sleep(0.1)
            bar.update(counter.value - bar.n)
            on_progress(bar.n)
            return [job.result() for job in jobs]
        except BaseException:
            for job in jobs:
                job.cancel()
            raise
