"""Measure a GPU before a training of days: speed by precision, maximum batch size, hours."""

from __future__ import annotations

import dataclasses
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import tensorflow as tf

from benchmarking import data, network
from benchmarking.measure import peak_memory_mb
from tfcpn.builders import build_components
from tfcpn.config import Config
from tfcpn.skeleton import COCO
from tfcpn.utils import device
from tfcpn.utils.console import progress_bar
from tfcpn.utils.errors import InputError

WARM_UP, LEAST_STEPS, SECONDS = 3, 5, 6.0
NO_ROOM = "does not fit"


def _one(cfg: Config) -> dict:
    """Return crops/s of training steps and their memory in MB, in a separate process."""
    device.select_device(cfg.device)
    device.configure(deterministic=False)
    gpus = tf.config.list_logical_devices("GPU")
    if cfg.mixed_precision == "tf32" and not (gpus and device.compute_capability() >= (8, 0)):
        return {"problem": "not on this device"}
    size = build_components(cfg, COCO).training_spec.size
    crops, keypoints = network.random_batch(cfg, cfg.batch_size // cfg.views, size)
    try:
        _, step = network.our_step(cfg, cfg.mixed_precision, crops, keypoints)
        began = time.perf_counter()
        step()
        compiled = time.perf_counter() - began
        for _ in range(WARM_UP - 1):
            step()
        steps, began = 0, time.perf_counter()
        while steps < LEAST_STEPS or time.perf_counter() - began < SECONDS:
            step()
            steps += 1
    except tf.errors.ResourceExhaustedError:
        return {"problem": NO_ROOM}
    except tf.errors.OpError as error:
        # Such as XLA without CUDA's libdevice, or a precision that the card does not compute.
        return {"problem": f"fails: {str(error.message).strip().splitlines()[0][:80]}"}
    seconds = time.perf_counter() - began
    # All that the process held, where there is no GPU to ask.
    peak = (
        tf.config.experimental.get_memory_info("GPU:0")["peak"] / 2**20
        if gpus
        else peak_memory_mb()
    )
    return {"crops/s": steps * cfg.batch_size / seconds, "peak MB": peak, "first step, s": compiled}


def _input_rate(cfg: Config, people: int) -> float:
    """Return training crops/s that all cores read, decode and crop, in a separate process."""
    device.hide_gpus()
    batches, count = data.our_batches(cfg, 8), people // 8
    for _ in range(8):
        next(batches)
    began = time.perf_counter()
    for _ in range(count):
        next(batches)
    return count * 8 * cfg.views / (time.perf_counter() - began)


def _alone(function, *args):
    """function(*args) in a process of its own, which leaves nothing behind and may die."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(function, *args).result()
        except BrokenProcessPool:
            return {"problem": "the process died, as one does that takes more memory than there is"}


def _room_for_twice(printed: dict) -> bool:
    """Whether a batch twice as large may be tried. A GPU says by itself that there is no room; a
    CPU's memory is shared, and using too much of it kills other programs.
    """
    info = Path("/proc/meminfo")
    if tf.config.list_physical_devices("GPU") or not info.exists():
        return True
    free = next(
        int(line.split()[1])
        for line in info.read_text().splitlines()
        if line.startswith("MemAvailable")
    )
    return 3 * printed["peak MB"] < free / 1024


def _row(cfg: Config, printed: dict, input_rate: float) -> dict:
    row = {"gpu": cfg.mixed_precision, "XLA": "yes" if cfg.xla else "no", "batch": cfg.batch_size}
    if "problem" in printed:
        return {**row, "crops/s": printed["problem"]} | dict.fromkeys(
            ("peak MB", "first step, s", "hours"), ""
        )
    hours = cfg.epochs * cfg.epoch_size / min(printed["crops/s"], input_rate) / 3600
    return {**row, **printed, "hours": hours}


def benchmark_gpu(
    cfg: Config, precisions: tuple[str, ...], people: int, minutes: float
) -> list[dict]:
    """Rows: a step in each precision, with XLA and without, at cfg.batch_size; then the fastest of
    them at batches twice as large each time, until one does not fit or `minutes` are over; and what
    the host delivers. Failures are in their rows. Hours are those of cfg.epochs
    epochs of cfg.epoch_size crops, at the slower of the step's rate and the host's.
    """
    began = time.monotonic()
    choices = [(precision, xla) for precision in precisions for xla in (False, True)]
    with progress_bar(len(choices) + 1, "gpu", "measurement") as bar:
        rate = _alone(_input_rate, cfg, people)
        if isinstance(rate, dict):
            raise InputError(
                f"{cfg.train_records}: the host's pipeline did not run: {rate['problem']}"
            )
        bar.update(1)
        rows, fastest = [], None
        for precision, xla in choices:
            chosen = dataclasses.replace(cfg, mixed_precision=precision, xla=xla)
            printed = _alone(_one, chosen)
            rows.append(_row(chosen, printed, rate))
            if "problem" not in printed and (
                fastest is None or printed["crops/s"] > fastest[1]["crops/s"]
            ):
                fastest = chosen, printed
            bar.update(1)
    while fastest and time.monotonic() - began < 60 * minutes and _room_for_twice(fastest[1]):
        larger = dataclasses.replace(fastest[0], batch_size=2 * fastest[0].batch_size)
        printed = _alone(_one, larger)
        rows.append(_row(larger, printed, rate))
        if "problem" in printed:
            break
        fastest = larger, printed
    host = {
        "gpu": "host: reading, decoding, cutting",
        "XLA": "",
        "batch": "",
        "crops/s": rate,
        "peak MB": "",
    }
    return [
        *rows,
        {**host, "first step, s": "", "hours": cfg.epochs * cfg.epoch_size / rate / 3600},
    ]
