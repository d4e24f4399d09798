"""Training from where a run is to its last epoch: epochs, checkpoints, validations."""

from __future__ import annotations

import dataclasses
import logging
import zlib
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfcpn.base import device
from tfcpn.base.errors import InputError, PeerLostError, Preempted
from tfcpn.data.order import open_training_set, who
from tfcpn.data.record_sets import Records
from tfcpn.evaluation.average_precision import METRICS
from tfcpn.evaluation.evaluation import Evaluation
from tfcpn.evaluation.glimpses import ValidationVisualizer
from tfcpn.evaluation.pck import NAMES
from tfcpn.evaluation.predictor import Predictor
from tfcpn.parts import Parts, training_filter
from tfcpn.report.table import table
from tfcpn.run import config_file
from tfcpn.run.lock import Lock
from tfcpn.run.log import TrainingLogger, columns
from tfcpn.run.room import check_disk_space
from tfcpn.run.snapshots import CheckpointManager
from tfcpn.run.stop import StopRequest
from tfcpn.settings.config import Config
from tfcpn.skeleton import Skeleton
from tfcpn.training.agreement import (
    broadcast_from_chief,
    check_workers_in_sync,
    checksum,
    checksum_of,
    gather_per_replica_values,
    restore_per_replica_values,
)
from tfcpn.training.batches import first_images, make_batches, people_of_a_step
from tfcpn.training.epoch import Begun, Pace, Surroundings, lost, tells_of_loss, train_epoch
from tfcpn.training.learner import make_learner, make_step
from tfcpn.training.pauses import CheckpointSchedule

_log = logging.getLogger(__name__)


def train(
    cfg: Config,
    parts: Parts,
    annotated: Skeleton,
    records: Records,
    strategy: tf.distribute.Strategy,
    evaluation: Evaluation | None,
    request: StopRequest,
) -> None:
    """Train up to epoch cfg.epochs, from the newest good checkpoint in cfg.model_dir if there is one.

    annotated: the keypoints of the records' people. request: a wish to stop, after which Stopped is raised. Raises
    InputError, also if another process trains there.
    """
    with Lock(cfg.model_dir) if device.is_chief(strategy) else nullcontext() as lock:
        last_good = CheckpointManager(cfg.model_dir).last_good
        try:
            _Training(
                cfg, parts, annotated, records, strategy, evaluation, request, lock
            ).to_the_end()
        except OSError as error:
            where = error.filename or cfg.model_dir
            raise InputError(f"{where}: {error.strerror or error}; {last_good()}") from error
        except tf.errors.OpError as error:
            if not (device.is_distributed(strategy) and tells_of_loss(error)):
                raise
            raise PeerLostError(lost("another process was lost", error, last_good())) from error


class _Training:
    """A run that goes on. lock: that of the process that writes; None in the others."""

    def __init__(
        self,
        cfg: Config,
        parts: Parts,
        annotated: Skeleton,
        records: Records,
        strategy: tf.distribute.Strategy,
        evaluation: Evaluation | None,
        request: StopRequest,
        lock: Lock | None,
    ):
        self.cfg, self.parts, self.strategy, self.evaluation = cfg, parts, strategy, evaluation
        self.request, self.lock, self.checkpoints = request, lock, CheckpointManager(cfg.model_dir)
        self.together = device.is_distributed(strategy)
        self.pauses = CheckpointSchedule(
            cfg.checkpoint_minutes, request, lock is not None, self.together
        )
        replicas = strategy.num_replicas_in_sync
        trained_on = {"records": records.identity, "replicas": replicas}
        if parts.network.told and Path(cfg.init_weights).exists():
            # The steps depend on the teacher, which is a file.
            trained_on["first weights"] = f"{zlib.crc32(Path(cfg.init_weights).read_bytes()):08x}"
        config_file.check_trained_on(cfg.model_dir, annotated, trained_on)
        self.source = open_training_set(
            records, training_filter(cfg, annotated), cfg.seed, cfg.shuffle_buffer
        )
        crops = cfg.batch_size * replicas
        self.pace = Pace(max(1, cfg.epoch_size // crops), crops, cfg.epochs)
        self.done = self.checkpoints.newest()
        if lock:
            self.checkpoints.tidy(self.done)
        self.state = make_learner(cfg, parts, strategy, self.checkpoints, self.done)
        self.start = f"{cfg.experiment}-{self._agreed(trained_on):x}"
        if lock:
            everything = self.state.everything().values()
            # Not tf.size: to read some variables takes all processes.
            size = sum(v.shape.num_elements() * v.dtype.size for v in everything)
            there = len(self.checkpoints.epochs())
            # One at a time where one within an epoch is there already, or none will be.
            turns = (
                0
                if self.done.epoch >= cfg.epochs
                else 1
                if self.done.steps or not cfg.checkpoint_minutes
                else 2
            )
            check_disk_space(cfg.model_dir, size, there, cfg.epochs, cfg.keep_checkpoints, turns)
            config_file.save(config_file.Run(cfg, annotated, trained_on))
        self.machine = {
            "device": device.describe_devices(),
            "precision": cfg.mixed_precision,
            "replicas": replicas,
        }
        predicted = self.state.evaluated, parts.network, parts.codec, parts.crop_spec, cfg.flip_test
        self.predictor = Predictor(*predicted, strategy, fold=evaluation is not None)
        names = columns(parts.network.loss_names, (*METRICS, *NAMES))
        self.log = TrainingLogger(cfg.model_dir, names, self.done.epoch, lock is not None)
        self.log.settings(dataclasses.asdict(cfg))
        self.visualizer: ValidationVisualizer | None = None

    def _agreed(self, trained_on: dict) -> int:
        """See that all processes would train the same; a number that only this start has. Raises InputError."""
        return check_workers_in_sync(
            self.strategy,
            {
                "epoch": self.done.epoch,
                "step within the epoch": self.done.steps,
                "set of settings": checksum(config_file.training_settings(self.cfg)),
                "set of records, replicas or first weights": checksum(trained_on),
                "number of people to train on": self.source.people,
                "validation": int(self.evaluation is not None) and self.cfg.eval_every,
                "set of people to validate on": checksum(self._validated()),
                "data service": int(bool(self.cfg.data_service)),
                "--deterministic": int(self.cfg.deterministic),
                "set of weights": checksum_of(self.strategy, self.state.weights()),
                "state of the optimizer": checksum_of(
                    self.strategy,
                    {str(i): v for i, v in enumerate(self.state.optimizer.variables())},
                ),
            },
        )

    def _validated(self) -> list:
        """What decides how many crops the processes predict together."""
        return self.evaluation.shared_work() if self.evaluation else []

    def to_the_end(self) -> None:
        cfg, pace, done = self.cfg, self.pace, self.done
        _log.info(
            "%s, %s, %d replica(s); %s: %d people, %d steps an epoch, from epoch %d%s",
            *self.machine.values(),
            *(cfg.train_records, self.source.people, pace.steps, done.epoch + 1),
            f", step {done.steps + 1} of it" if done.steps else "",
        )
        if done.epoch and not done.steps:
            self._validate(done.epoch)  # if the run was stopped before it could
        if not any(done) and self.parts.network.prepare:
            with self.strategy.scope():
                self.parts.network.prepare(
                    self.state.model, first_images(cfg, self.parts, self.source)
                )
        if self.together:
            broadcast_from_chief(self.strategy, self.state.everything())
        restore_per_replica_values(
            self.strategy, self.state.everything(), self.checkpoints.of_replicas(done)
        )
        begun = self.checkpoints.begun(done)
        if done.epoch < cfg.epochs:
            batches = make_batches(
                cfg, self.parts, self.source, self.strategy, self.start, done, pace
            )
            step = make_step(cfg, self.parts, self.state, self.strategy)
        for epoch in range(done.epoch + 1, cfg.epochs + 1):
            with self.request.held():
                row = train_epoch(
                    step,
                    batches,
                    epoch,
                    pace,
                    self.log,
                    self._surroundings(epoch),
                    Begun(**begun) if begun else None,
                )
                begun = None
                self._check_lock()
                self.log.epoch(row | self.machine)
                self._save(epoch)
                self.pauses.saved()
            if self.pauses.stopping or (self.request.wanted and not self.together):
                raise Preempted(f"stopped after epoch {epoch}")
            self._validate(epoch)
        if self.lock:
            print(
                f"{cfg.model_dir}: trained up to epoch {max(done.epoch, cfg.epochs)}; "
                f"python -m tfcpn.eval --model_dir={cfg.model_dir} --epoch=latest evaluates it"
            )

    def _surroundings(self, epoch: int) -> Surroundings:
        outside = ""
        if self.cfg.data_service:
            outside = f"--data_service={self.cfg.data_service} stopped"
        elif self.together:
            outside = "another process was lost"

        def save(begun: Begun) -> None:
            self._save(epoch - 1, begun)

        def rate(step: int) -> float:
            return self.cfg.learning_rate_at(step, self.pace.steps)

        return Surroundings(
            rate,
            self.cfg.train_records,
            outside,
            self.pauses,
            save,
            self._whom,
            self.checkpoints.last_good,
        )

    def _save(self, epoch: int, begun: Begun | None = None) -> None:
        """A checkpoint of an epoch's end, or of a step of the next one."""
        step = epoch * self.pace.steps + (begun.steps if begun else 0)
        self.state.check_finite(f"step {step}", self._whom(step), self.checkpoints.last_good())
        self._check_lock()
        own = gather_per_replica_values(self.strategy, self.state.everything())
        within = {"steps": begun.steps, "begun": begun._asdict()} if begun else {}
        chief = self.lock is not None
        self.checkpoints.save(epoch, chief=chief, of_replicas=own, **self.state.kept(), **within)
        if chief:
            self.checkpoints.prune(self.cfg.keep_checkpoints)

    def _check_lock(self) -> None:
        """Raise InputError if another process has taken the folder, before anything is written to it."""
        if self.lock:
            self.lock.check()

    def _validate(self, epoch: int) -> None:
        due = self.evaluation and (epoch % self.cfg.eval_every == 0 or epoch == self.cfg.epochs)
        if due and not self.log.validated(epoch):
            # One of several processes must not leave the others alone within what they compute together.
            with self.request.held() if self.together else nullcontext():
                metrics = self.evaluation.evaluate(self.predictor.fresh(), epoch)
            self._check_lock()
            if self.lock:
                print(table([(str(epoch), metrics)]), flush=True)
            self.log.validation(epoch, metrics)
            self.log.visualizer(epoch, self._visualizer(), self.evaluation.shares)

    def _visualizer(self) -> np.ndarray:
        """Images of some people of the validation; none where several replicas would have to share them."""
        if self.strategy.num_replicas_in_sync > 1:
            return np.zeros((0, 1, 1, 3), np.uint8)
        if self.visualizer is None:
            self.visualizer = ValidationVisualizer(self.evaluation.people, self.parts)
        return self.visualizer.render(self.predictor)

    def _whom(self, step: int) -> str:
        """The people of a step's batches, in words."""
        if self.cfg.data_service:
            return "whoever the data service gave"
        count = people_of_a_step(self.cfg, self.pace)
        return f"people {', '.join(map(str, who(self.source, (step - 1) * count, count)))}"
