"""Train a network from the state of its run to the last epoch."""

from __future__ import annotations

import dataclasses
import logging
import math
import re
import shutil
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfcpn.builders import Components, training_filter
from tfcpn.checkpoints import run_config
from tfcpn.checkpoints.detectors import read_detector_bytes
from tfcpn.checkpoints.manager import KEEP_EVERY, CheckpointManager, TrainingPosition
from tfcpn.checkpoints.transfer import find_source
from tfcpn.config import Config
from tfcpn.data.pipeline import build_crop_fn, from_data_service, training_batches
from tfcpn.data.record_sets import Records
from tfcpn.data.sampling import example_ids, open_training_set
from tfcpn.evaluation.detection_metrics import DETECTION_METRICS
from tfcpn.evaluation.detector_evaluator import DetectorEvaluator
from tfcpn.evaluation.evaluator import Evaluator
from tfcpn.evaluation.metrics import LOG_METRICS, metrics_table
from tfcpn.evaluation.predictor import Predictor
from tfcpn.evaluation.visualizer import ValidationVisualizer
from tfcpn.skeleton import Skeleton
from tfcpn.training.augmentation import augmentation_for
from tfcpn.training.distributed import (
    broadcast_from_chief,
    check_workers_in_sync,
    checksum,
    checksum_of_variables,
    gather_per_replica_values,
    restore_per_replica_values,
)
from tfcpn.training.initial_predictions import (
    INITIAL_PREDICTIONS_FILE,
    find_initial_predictions,
    uses_detector,
)
from tfcpn.training.lock import Lock
from tfcpn.training.logger import TrainingLogger, columns
from tfcpn.training.preemption import CheckpointSchedule, StopRequest
from tfcpn.training.schedule import learning_rate
from tfcpn.training.state import build_step, restore_or_initialize
from tfcpn.training.step import StepResult, TrainingStep
from tfcpn.utils import device
from tfcpn.utils.console import progress_bar, status
from tfcpn.utils.errors import InputError, PeerLostError, Preempted

LOG_EVERY = 20  # steps between reads of the losses, each of which waits for the device
# Batches of images that a network is calibrated on before training, if it needs that.
CALIBRATION_BATCHES = 32
_NUM_REPORTED_GRADIENTS = 3
_PEER_FAILURE_PATTERN = re.compile("aborted|heartbeat|unavailable|closed|preempted", re.I)
_PEER_FAILURES = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
)
_log = logging.getLogger(__name__)


class EpochProgress(NamedTuple):
    """Running totals of an unfinished epoch, saved with a checkpoint within it.

    Attributes:
        steps: Finished steps.
        last_logged_step: Step at which the losses were last read.
        totals: Sum of each loss up to that step.
        since_last_log: Sums since then.
        seconds: Training time of the epoch so far.
    """

    steps: int
    last_logged_step: int
    totals: list[float]
    since_last_log: list[float]
    seconds: float


def train(
    cfg: Config,
    components: Components,
    annotated: Skeleton,
    *,
    records: Records,
    strategy: tf.distribute.Strategy,
    evaluator: Evaluator | DetectorEvaluator | None,
    request: StopRequest,
) -> None:
    """Train up to epoch `cfg.epochs`, from the latest valid checkpoint in `cfg.model_dir` if any.

    Args:
        cfg: The settings.
        components: The network and its codec, crops and alignment.
        annotated: Keypoints of the records.
        records: The training data.
        strategy: The strategy of `cfg.strategy`.
        evaluator: Validates during training; None for no validation.
        request: A request to stop by a signal.

    Raises:
        InputError: For bad input, and if another process trains in `cfg.model_dir`.
        Preempted: After a signal, with everything saved.
    """
    with Lock(cfg.model_dir) if device.is_chief(strategy) else nullcontext() as lock:
        latest = CheckpointManager(cfg.model_dir).describe_latest
        try:
            trainer = Trainer(
                cfg=cfg,
                components=components,
                annotated=annotated,
                records=records,
                strategy=strategy,
                evaluator=evaluator,
                request=request,
                lock=lock,
            )
            trainer.fit()
        except OSError as error:
            where = error.filename or cfg.model_dir
            raise InputError(f"{where}: {error.strerror or error}; {latest()}") from error
        except tf.errors.OpError as error:
            if not (device.is_distributed(strategy) and is_peer_failure(error)):
                raise
            message = format_peer_failure("another process was lost", error, latest())
            raise PeerLostError(message) from error


def is_peer_failure(error: tf.errors.OpError) -> bool:
    """Return whether an error is about another process."""
    return isinstance(error, _PEER_FAILURES) or bool(_PEER_FAILURE_PATTERN.search(error.message))


def format_peer_failure(what: str, error: Exception, latest: str) -> str:
    """Format the error for a lost worker or data service.

    Args:
        what: What was lost.
        error: TensorFlow's error, of which only the root-cause line is kept.
        latest: Description of the latest checkpoint.
    """
    message = str(getattr(error, "message", error))
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    relevant = [line for line in lines if _PEER_FAILURE_PATTERN.search(line)]
    cause = (relevant or lines or [type(error).__name__])[-1][:300]
    return f"{what} ({cause}); run the same command to resume; {latest}"


def check_disk_space(
    model_dir: str, *, size: int, existing: int, epochs: int, keep: int, at_least: int
) -> None:
    """Check that the disk can hold the checkpoints of a run.

    Args:
        model_dir: Folder of the run.
        size: Size of a checkpoint in bytes.
        existing: Number of epochs that have a checkpoint.
        epochs: Number of epochs to train.
        keep: Value of --keep_checkpoints.
        at_least: Number of checkpoints without which training cannot continue.

    Raises:
        InputError: If that many do not fit. If not all that are to stay fit, a warning is logged.
    """
    free = shutil.disk_usage(model_dir).free
    stay = min(epochs, keep + epochs // KEEP_EVERY) if keep else epochs
    # Besides those that stay: one within an epoch, and the one being written.
    minimum, total = at_least * size, (max(stay - existing, 0) + 2) * size
    free_mb, size_mb = free / 1e6, size / 1e6
    text = f"{model_dir}: {free_mb:.0f} MB are free; checkpoints of {size_mb:.0f} MB each will need"
    if free < minimum:
        raise InputError(
            f"{text} at least {minimum / 1e6:.0f}; free some, or give another --model_dir"
        )
    if free < total:
        _log.warning(
            "%s %.0f by epoch %d; --keep_checkpoints=N keeps fewer", text, total / 1e6, epochs
        )


class Trainer:
    """A training run: its state, data, log and checkpoints."""

    def __init__(
        self,
        *,
        cfg: Config,
        components: Components,
        annotated: Skeleton,
        records: Records,
        strategy: tf.distribute.Strategy,
        evaluator: Evaluator | DetectorEvaluator | None,
        request: StopRequest,
        lock: Lock | None,
    ):
        """Restore or initialize the run; see `train` for the arguments.

        Args:
            lock: Lock of the process that writes; None in the others.
        """
        self.cfg, self.components, self.strategy = cfg, components, strategy
        self.evaluator, self.request, self.lock = evaluator, request, lock
        self.checkpoints = CheckpointManager(cfg.model_dir)
        self.is_distributed = device.is_distributed(strategy)
        self.schedule = CheckpointSchedule(
            cfg.checkpoint_minutes,
            request,
            is_chief=lock is not None,
            is_distributed=self.is_distributed,
        )
        self.replicas = strategy.num_replicas_in_sync
        self.global_batch_size = cfg.batch_size * self.replicas
        self.steps_per_epoch = max(1, cfg.epoch_size // self.global_batch_size)
        # Read once: a run that is still training has another one later.
        detector = read_detector_bytes(cfg.detector) if uses_detector(cfg) else None
        trained_on = self._trained_on(records, detector)
        trained_on = run_config.check_same_data(cfg.model_dir, annotated, trained_on)
        person_filter = training_filter(cfg, annotated)
        self.training_set = open_training_set(records, person_filter, cfg.seed, cfg.shuffle_buffer)
        self.start = self.checkpoints.latest_valid()
        if lock:
            self.checkpoints.cleanup(self.start)
        self.state = restore_or_initialize(cfg, components, strategy, self.checkpoints, self.start)
        self.initial_predictions = find_initial_predictions(
            cfg,
            components,
            self.training_set,
            model=self.state.model if not any(self.start) else None,
            detector=detector,
            trained_on=trained_on,
            file=Path(cfg.model_dir) / INITIAL_PREDICTIONS_FILE,
            writes=lock is not None,
        )
        token = self._check_workers_in_sync(trained_on)
        # A name that only this start of this run has.
        self.start_id = f"{cfg.experiment}-{token:x}"
        if lock:
            self._check_disk_space()
            run_config.save_run(run_config.Run(cfg, annotated, trained_on))
        self.machine = {
            "device": device.describe_devices(),
            "precision": cfg.mixed_precision,
            "replicas": self.replicas,
        }
        self.detects = components.network.whole_images
        if not self.detects:
            self.predictor = Predictor(
                self.state.evaluated_model,
                components.network,
                components.codec,
                components.crop_spec,
                flip_test=cfg.flip_test,
                strategy=strategy,
                fold=evaluator is not None,
            )
        metric_names = (DetectorEvaluator if self.detects else Evaluator).metric_names
        names = columns(components.network.loss_names, metric_names)
        self.logger = TrainingLogger(
            cfg.model_dir, names, resumed_epoch=self.start.epoch, is_chief=lock is not None
        )
        self.logger.log_settings(dataclasses.asdict(cfg))
        self._visualizer: ValidationVisualizer | None = None

    def _trained_on(self, records: Records, detector: bytes | None) -> dict:
        """Return what the steps of the run depend on besides its settings.

        Args:
            records: The records.
            detector: Content of --detector, where the regions need it.
        """
        result = {"records": records.identity, "replicas": self.replicas}
        if detector is not None:
            result["detector"] = f"{zlib.crc32(detector):08x}"
        weights = Path(self.cfg.init_weights)
        network = self.components.network
        if (network.whole_images or network.logged_losses) and weights.exists():
            # The steps depend on the teacher, which is a file.
            if weights.is_dir():
                weights = find_source(self.cfg.init_weights).index_file
            result["first weights"] = f"{zlib.crc32(weights.read_bytes()):08x}"
        return result

    def _check_workers_in_sync(self, trained_on: dict) -> int:
        """Check that all processes would train the same; return a number unique to this start."""
        state = self.state
        work = self.evaluator.shared_work() if self.evaluator else []
        optimizer = {str(i): v for i, v in enumerate(state.optimizer.variables())}
        return check_workers_in_sync(
            self.strategy,
            {
                "epoch": self.start.epoch,
                "step within the epoch": self.start.steps,
                "set of settings": checksum(run_config.training_settings(self.cfg)),
                "set of records, replicas or initial weights": checksum(trained_on),
                "number of people to train on": self.training_set.people,
                "set of initial predictions": checksum(self._described_predictions()),
                "validation": self.cfg.eval_every if self.evaluator else 0,
                "set of people to validate on": checksum(work),
                "data service": int(bool(self.cfg.data_service)),
                "--deterministic": int(self.cfg.deterministic),
                "set of weights": checksum_of_variables(self.strategy, state.weights()),
                "state of the optimizer": checksum_of_variables(self.strategy, optimizer),
            },
        )

    def _described_predictions(self) -> list[int]:
        """Return checksums of the initial predictions. Processors may differ at a threshold; the
        next start finds the stored ones.
        """
        arrays = self.initial_predictions or ()
        return [checksum(np.ascontiguousarray(array).tobytes()) for array in arrays]

    def _check_disk_space(self) -> None:
        cfg, start = self.cfg, self.start
        # Not tf.size: reading some variables needs all processes.
        variables = self.state.all_variables().values()
        size = sum(v.shape.num_elements() * v.dtype.size for v in variables)
        at_least = 2
        if start.epoch >= cfg.epochs:
            at_least = 0
        elif start.steps or not cfg.checkpoint_minutes:
            at_least = 1  # one within an epoch exists already, or there will be none
        check_disk_space(
            cfg.model_dir,
            size=size,
            existing=len(self.checkpoints.epochs()),
            epochs=cfg.epochs,
            keep=cfg.keep_checkpoints,
            at_least=at_least,
        )

    def fit(self) -> None:
        """Train and validate up to the last epoch.

        Raises:
            Preempted: After a signal, with everything saved.
        """
        cfg, start = self.cfg, self.start
        _log.info(
            "%s, %s, %d replica(s); %s: %d people, %d steps per epoch, from epoch %d%s",
            *self.machine.values(),
            cfg.train_records,
            self.training_set.people,
            self.steps_per_epoch,
            start.epoch + 1,
            f", step {start.steps + 1}" if start.steps else "",
        )
        if start.epoch and not start.steps:
            self.validate(start.epoch)  # in case the run was stopped before it could
        if not any(start) and self.components.network.prepare:
            with self.strategy.scope():
                self.components.network.prepare(self.state.model, self._calibration_images())
        if self.is_distributed:
            broadcast_from_chief(self.strategy, self.state.all_variables())
        values = self.checkpoints.replica_values(start)
        restore_per_replica_values(self.strategy, self.state.all_variables(), values)
        saved = self.checkpoints.epoch_progress(start)
        progress = EpochProgress(**saved) if saved else None
        if start.epoch < cfg.epochs:
            batches = self._training_batches()
            step = build_step(cfg, self.components, self.state, self.strategy)
        for epoch in range(start.epoch + 1, cfg.epochs + 1):
            with self.request.deferred():
                row = self.train_epoch(step, batches, epoch, progress)
                progress = None
                self._check_lock()
                self.logger.log_epoch(row | self.machine)
                self.save(epoch)
                self.schedule.restart()
            if self.schedule.is_stopping or (self.request.signal_name and not self.is_distributed):
                raise Preempted(f"stopped after epoch {epoch}")
            self.validate(epoch)
        if self.lock:
            print(
                f"{cfg.model_dir}: trained up to epoch {max(start.epoch, cfg.epochs)}; "
                f"python -m tfcpn.eval --model_dir={cfg.model_dir} --epoch=latest evaluates it"
            )

    def train_epoch(
        self,
        step_function: TrainingStep,
        batches: Iterator,
        epoch: int,
        progress: EpochProgress | None = None,
    ) -> dict:
        """Train one epoch and return its log row.

        Args:
            step_function: The training step.
            batches: Crops and keypoints, from the position of `progress` on.
            epoch: Number of the epoch, from 1.
            progress: What was done of the epoch before; None for nothing.

        Raises:
            InputError: For a loss that is not a number and for a diverging network, at most
                `LOG_EVERY` steps later.
            Preempted: After a signal, with everything saved.
        """
        names, steps = step_function.loss_names, self.steps_per_epoch
        first_step = (epoch - 1) * steps
        zeros = [0.0] * len(names)
        progress = progress or EpochProgress(0, 0, zeros, zeros, 0.0)
        totals, since_last_log = tf.constant(progress.totals), tf.constant(progress.since_last_log)
        last_logged_step, pending, rate = progress.last_logged_step, [], None
        start_time = time.time() - progress.seconds
        with progress_bar(
            steps * self.global_batch_size,
            f"epoch {epoch}/{self.cfg.epochs}",
            "crop",
            initial=progress.steps * self.global_batch_size,
            immediate=False,
        ) as bar:
            for i in range(progress.steps, steps):
                is_first, is_last = i == progress.steps, i + 1 == steps
                with status("reading the first people") if is_first else nullcontext():
                    crops, keypoints = self._next_batch(batches)
                previous, rate = rate, learning_rate(self.cfg, first_step + i, steps)
                if rate != previous:
                    step_function.set_rate(rate)
                requests = self.schedule.requests()
                with tf.device("CPU:0"):  # see `augmentation.stateless_seed`
                    number = tf.constant(first_step + i, tf.int64)
                compiling = status("compiling the training step")
                with nullcontext() if step_function.compiled else compiling:
                    result = step_function(crops, keypoints, number, tf.constant(requests))
                step_function.compiled = True
                bar.update(self.global_batch_size)
                since_last_log += result.losses
                pending.append(result)
                if (i + 1) % LOG_EVERY == 0 or is_last:
                    self._check_finite(pending, step_function, first_step + i + 1, epoch)
                    count = i + 1 - last_logged_step
                    means = {n: float(v) / count for n, v in zip(names, since_last_log)}
                    self._check_diverged(means, first_step + i + 1, epoch)
                    shown = {name: f"{value:.4g}" for name, value in means.items()}
                    bar.set_postfix({**shown, "lr": f"{rate:.2g}"}, refresh=False)
                    speed = (i + 1) * self.global_batch_size / (time.time() - start_time)
                    norm = float(tf.norm(result.norms))
                    extra = {"gradient_norm": norm, "learning_rate": rate}
                    extra["crops_per_second"] = speed
                    self.logger.log_step(first_step + i + 1, {**means, **extra})
                    totals, since_last_log = totals + since_last_log, tf.zeros_like(since_last_log)
                    last_logged_step, pending = i + 1, []
                save, stop = self.schedule.decide(requests, result.requests, is_last=is_last)
                if (save or stop) and not is_last:
                    self._check_finite(pending, step_function, first_step + i + 1, epoch)
                    unfinished = EpochProgress(
                        steps=i + 1,
                        last_logged_step=last_logged_step,
                        totals=_floats(totals),
                        since_last_log=_floats(since_last_log),
                        seconds=time.time() - start_time,
                    )
                    self.save(epoch - 1, unfinished)
                if stop and not is_last:
                    raise Preempted(f"stopped within epoch {epoch}, after {i + 1} of {steps} steps")
        means = [round(float(v) / steps, 6) for v in totals]
        return {
            "epoch": epoch,
            "step": first_step + steps,
            **dict(zip(names, means)),
            "learning_rate": float(f"{rate:.6g}"),
            "crops_per_second": round(speed, 2),
            "seconds": round(time.time() - start_time, 1),
        }

    def save(self, epoch: int, progress: EpochProgress | None = None) -> None:
        """Write a checkpoint.

        Args:
            epoch: Number of finished epochs.
            progress: What was done of the next epoch; None at the end of an epoch.
        """
        steps = progress.steps if progress else 0
        step, latest = epoch * self.steps_per_epoch + steps, self.checkpoints.describe_latest()
        self.state.check_finite(f"step {step}", self._describe_batch(step), latest)
        self._check_lock()
        is_chief = self.lock is not None
        self.checkpoints.save(
            TrainingPosition(epoch, steps),
            **self.state.checkpoint_kwargs(),
            is_chief=is_chief,
            epoch_progress=progress._asdict() if progress else None,
            replica_values=gather_per_replica_values(self.strategy, self.state.all_variables()),
        )
        if is_chief:
            self.checkpoints.prune(self.cfg.keep_checkpoints)

    def validate(self, epoch: int) -> None:
        """Evaluate an epoch and log the result, if that is due and not done."""
        is_due = epoch == self.cfg.epochs or (self.evaluator and epoch % self.cfg.eval_every == 0)
        if not self.evaluator or not is_due or self.logger.has_validation(epoch):
            return
        # A process must not leave the others alone in a collective computation.
        with self.request.deferred() if self.is_distributed else nullcontext():
            if self.detects:
                metrics = self.evaluator.evaluate(self.state.evaluated_model, epoch)
            else:
                metrics = self.evaluator.evaluate(self.predictor.refresh_weights(), epoch)
        self._check_lock()
        shown = DETECTION_METRICS if self.detects else LOG_METRICS
        if self.lock:
            print(metrics_table([(str(epoch), metrics)], shown), flush=True)
        self.logger.log_validation(epoch, metrics)
        if self.detects:
            return
        images = self._validation_images()
        self.logger.log_images(epoch, images, self.evaluator.pck_by_keypoint)

    def _validation_images(self) -> np.ndarray:
        """Return images of some validation people; none if replicas would have to share them."""
        if self.replicas > 1:
            return np.zeros((0, 1, 1, 3), np.uint8)
        if self._visualizer is None:
            self._visualizer = ValidationVisualizer(self.evaluator.people, self.components)
        return self._visualizer.render(self.predictor)

    def _crop_fn(self) -> Callable:
        components = self.components
        return build_crop_fn(
            alignment=components.alignment,
            skeleton=components.skeleton,
            crop_spec=components.training_spec,
            margin=components.training_margin,
            initial_predictions=self.initial_predictions,
        )

    @property
    def _people_per_step(self) -> int:
        """Number of people in a step on all replicas."""
        return self.global_batch_size // self.cfg.views

    def _training_batches(self) -> Iterator:
        """Return the batches that training continues with."""
        cfg, crop_fn, training_set = self.cfg, self._crop_fn(), self.training_set
        people_per_replica = cfg.batch_size // cfg.views
        steps = self.start.epoch * self.steps_per_epoch + self.start.steps
        seen = steps * self._people_per_step

        def pipeline(context):
            if not cfg.data_service:
                return training_batches(training_set, seen, crop_fn, people_per_replica, context)
            people = from_data_service(
                cfg.data_service,
                run_name=self.start_id,
                training_set=training_set,
                crop_fn=crop_fn,
                first=seen,
                context=context,
            )
            return people.batch(people_per_replica, drop_remainder=True).prefetch(tf.data.AUTOTUNE)

        return iter(self.strategy.distribute_datasets_from_function(pipeline))

    def _calibration_images(self) -> Iterator[tf.Tensor]:
        """Yield network inputs of the first people in order, the same in every process."""
        cfg = self.cfg
        augment = augmentation_for(cfg, self.components)
        people_per_batch = cfg.batch_size // cfg.views
        batches = training_batches(self.training_set, 0, self._crop_fn(), people_per_batch)
        for number, (crops, keypoints) in enumerate(batches.take(CALIBRATION_BATCHES)):
            yield augment(crops, keypoints, (cfg.seed, number))[0]

    def _next_batch(self, batches: Iterator):
        try:
            return next(batches)
        except (tf.errors.DataLossError, tf.errors.InvalidArgumentError) as error:
            raise InputError(
                f"{self.cfg.train_records}: a record is damaged ({error.message}); make it again"
            ) from error
        except (tf.errors.OpError, StopIteration) as error:
            what, kind = "the training input stopped", InputError
            if self.cfg.data_service:
                what = f"--data_service={self.cfg.data_service} stopped"
            elif self.is_distributed:
                what = "another process was lost"
            if self.cfg.data_service or self.is_distributed:
                kind = PeerLostError  # unlike errors of this process, it may succeed next time
            latest = self.checkpoints.describe_latest()
            raise kind(format_peer_failure(what, error, latest)) from error

    def _check_finite(
        self,
        results: Sequence[StepResult],
        step_function: TrainingStep,
        last_step: int,
        epoch: int,
    ) -> None:
        """Raise InputError for the first of some steps whose losses are not numbers.

        Args:
            results: Results of consecutive steps.
            step_function: The training step.
            last_step: Number of the last of these steps.
            epoch: Number of the epoch.
        """
        for back, result in zip(range(len(results) - 1, -1, -1), results):
            losses = [float(v) for v in result.losses]
            if all(math.isfinite(v) for v in losses):
                continue
            pairs = zip(result.norms.numpy().tolist(), step_function.variable_names)
            # NaN first, then by size.
            pairs = sorted(pairs, key=lambda p: -math.inf if math.isnan(p[0]) else -p[0])
            norms = [f"{name} {norm:.3g}" for norm, name in pairs[:_NUM_REPORTED_GRADIENTS]]
            values = [f"{name} {v:.4g}" for name, v in zip(step_function.loss_names, losses)]
            step = last_step - back
            raise InputError(
                f"step {step} (epoch {epoch}): a loss is not a number ({', '.join(values)}); "
                f"{self._describe_batch(step)}; largest gradients: {', '.join(norms)}; "
                f"{self.checkpoints.describe_latest()}; lower --learning_rate, or use "
                "--mixed_precision=float32"
            )

    def _check_diverged(self, means: dict[str, float], step: int, epoch: int) -> None:
        check = self.components.network.check_diverged
        problem = check(means) if check else ""
        if problem:
            raise InputError(f"step {step} (epoch {epoch}): {problem}")

    def _check_lock(self) -> None:
        """Raise InputError if another process has taken the folder, before writing to it."""
        if self.lock:
            self.lock.check()

    def _describe_batch(self, step: int) -> str:
        """Return a description of the people in the batches of a step."""
        if self.cfg.data_service:
            return "people chosen by the data service"
        count = self._people_per_step
        ids = example_ids(self.training_set, (step - 1) * count, count)
        return f"people {', '.join(map(str, ids))}"


def _floats(values: tf.Tensor) -> list[float]:
    """Return float32 values as Python floats, which JSON stores to the last bit."""
    return [float(v) for v in values]
