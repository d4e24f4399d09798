"""Record shards written by several processes at once, with progress over all of them."""

from __future__ import annotations

import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from tfcpn.base.progress import progress
from tfcpn.data.record_index import Shard

_done = None  # counts images over all workers, in a worker process


def _start_worker(counter) -> None:
    global _done
    _done = counter
    from tfcpn.base import device

    device.hide_gpus()


def _count() -> None:
    with _done.get_lock():
        _done.value += 1


def _write_shard(path: Path, items, image_dir: Path, skip_bad: bool) -> Shard:
    from tfcpn.data import records

    return records.write_shard(path, items, image_dir, skip_bad, _count)


def write_shards(
    todo: dict[Path, list],
    image_dir: Path,
    workers: int,
    skip_bad: bool,
    on_progress=lambda done: None,
) -> list[Shard]:
    """Write shards, path -> (image, people) pairs, in worker processes; the shards that are written.

    on_progress: called ten times a second with the number of images done so far.
    """
    # TensorFlow is imported once, by the server that the workers are forked from, and not by this process at all.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tfcpn.data.records"])
    counter = context.Value("q", 0)
    total = sum(map(len, todo.values()))
    pool = ProcessPoolExecutor(min(workers, len(todo)), context, _start_worker, (counter,))
    with pool, progress(total, "records", "image") as bar:
        jobs = [
            pool.submit(_write_shard, path, items, image_dir, skip_bad)
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
