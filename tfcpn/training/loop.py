"""Training from the newest snapshot to the last epoch: model, input, epochs, snapshots, validations."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import tensorflow as tf

from tfcpn.base import device
from tfcpn.data.order import Source, open_source
from tfcpn.data.pipeline import crops_and_joints, training_batches
from tfcpn.data.record_sets import Records
from tfcpn.data.service import served
from tfcpn.evaluation.average_precision import METRICS
from tfcpn.evaluation.evaluation import Evaluation
from tfcpn.evaluation.pck import NAMES
from tfcpn.evaluation.predictor import Predictor
from tfcpn.parts import Parts, training_filter
from tfcpn.report.table import table
from tfcpn.run import config_file
from tfcpn.run.log import RunLog, columns
from tfcpn.run.snapshots import Snapshots
from tfcpn.settings.config import Config
from tfcpn.settings.recipe import TRAINING_MARGIN
from tfcpn.skeleton import Skeleton
from tfcpn.training.augmentation import Ranges
from tfcpn.training.epoch import Pace, train_epoch
from tfcpn.training.step import TrainingStep, make_optimizer
from tfcpn.training.views import views_of

_log = logging.getLogger(__name__)
# Batches of images that a network is prepared on, if it asks for some.
PREPARING_BATCHES = 32


class Learner(NamedTuple):
    """A network that is being trained: its model, the optimiser, the variables that snapshots keep, its teacher."""

    model: tf.keras.Model
    optimizer: tf.keras.optimizers.legacy.Optimizer
    variables: dict[str, tf.Variable]
    teacher: Callable | None = None


def make_learner(
    cfg: Config, parts: Parts, strategy: tf.distribute.Strategy, snapshots: Snapshots, done: int
) -> Learner:
    """The model and its optimiser after epoch `done`: from that snapshot, or from the first weights."""
    device.set_precision(cfg.mixed_precision)
    with strategy.scope():
        model = parts.network.build()
        optimizer = make_optimizer(cfg.learning_rate, cfg.mixed_precision, model.trainable_variables)
        teacher = parts.network.teacher(cfg.init_weights)
    variables = parts.network.variables(model)
    if done:
        snapshots.restore(done, variables, optimizer)
    else:
        parts.network.load_weights(model, cfg.init_weights)
    return Learner(model, optimizer, variables, teacher)


def make_step(cfg: Config, parts: Parts, learner: Learner, strategy: tf.distribute.Strategy) -> TrainingStep:
    ranges = Ranges(cfg.rescale_min, cfg.rescale_max, cfg.rotation)
    return TrainingStep(
        learner.model,
        learner.optimizer,
        parts.network,
        parts.codec,
        strategy,
        views=views_of(cfg.views, ranges, parts.skeleton.mirror, parts.network.look, cfg.input_size),
        weight_decay=cfg.weight_decay,
        seed=cfg.seed,
        data_loss_weight=cfg.effective_data_loss_weight(),
        teacher=learner.teacher,
    )


def make_batches(
    cfg: Config, parts: Parts, source: Source, strategy: tf.distribute.Strategy, run: str, done: int, pace: Pace
) -> Iterator:
    """The stream of batches that training goes on with after epoch `done`. run: a name that no other run has."""
    work = crops_and_joints(parts.alignment, parts.skeleton, parts.training_format, TRAINING_MARGIN)
    share = cfg.batch_size // cfg.views
    people_an_epoch = pace.steps * pace.crops // cfg.views
    seen, needed = done * people_an_epoch, (cfg.epochs - done) * people_an_epoch

    def pipeline(context):
        if not cfg.data_service:
            return training_batches(source, seen, work, share, context)
        people = served(cfg.data_service, run, source, work, seen, needed, context)
        return people.batch(share, drop_remainder=True).prefetch(tf.data.AUTOTUNE)

    return iter(strategy.distribute_datasets_from_function(pipeline))


def first_images(cfg: Config, parts: Parts, source: Source) -> Iterator[tf.Tensor]:
    """Images of the first people of the training order, the same in every process: batches of a step's size."""
    work = crops_and_joints(parts.alignment, parts.skeleton, parts.training_format, TRAINING_MARGIN)
    ranges = Ranges(cfg.rescale_min, cfg.rescale_max, cfg.rotation)
    views = views_of(cfg.views, ranges, parts.skeleton.mirror, parts.network.look, cfg.input_size)
    people = training_batches(source, 0, work, cfg.batch_size // cfg.views)
    for number, (crops, joints) in enumerate(people.take(PREPARING_BATCHES)):
        yield views(crops, joints, (cfg.seed, number))[0]


def _stopped(cfg: Config) -> str:
    """What has probably happened when no more batches come."""
    if cfg.data_service:
        return f"--data_service={cfg.data_service} stopped"
    return "another process was lost" if cfg.strategy == "multi_worker" else "the training input stopped"


def train(
    cfg: Config,
    parts: Parts,
    annotated: Skeleton,
    records: Records,
    strategy: tf.distribute.Strategy,
    evaluation: Evaluation | None,
) -> None:
    """Train up to epoch cfg.epochs, from the newest snapshot in cfg.model_dir if there is one.

    annotated: the joints of the records' people.
    """
    chief, replicas = device.is_chief(strategy), strategy.num_replicas_in_sync
    trained_on = {"records": records.identity, "replicas": replicas}
    if parts.network.told and Path(cfg.init_weights).exists():
        # The steps depend on the teacher, which is a file.
        trained_on["first weights"] = f"{zlib.crc32(Path(cfg.init_weights).read_bytes()):08x}"
    config_file.check_trained_on(cfg.model_dir, annotated, trained_on)
    rules = training_filter(cfg, annotated)
    source = open_source(records, rules, cfg.seed, cfg.shuffle_buffer)
    snapshots = Snapshots(cfg.model_dir)
    done = (snapshots.epochs() or [0])[-1]
    learner = make_learner(cfg, parts, strategy, snapshots, done)
    if chief:
        config_file.save(config_file.Run(cfg, annotated, trained_on))
    step = make_step(cfg, parts, learner, strategy)
    predictor = Predictor(learner.model, parts.network, parts.codec, parts.crop_format, cfg.flip_test, strategy)
    crops = cfg.batch_size * replicas
    pace = Pace(max(1, cfg.epoch_size // crops), crops, cfg.epochs, cfg.warmup_steps)
    _log.info(
        "%s: %d people, %d steps an epoch, %s, %d replica(s), from epoch %d",
        *(cfg.train_records, source.people, pace.steps, cfg.mixed_precision, replicas, done + 1),
    )
    log = RunLog(cfg.model_dir, columns(parts.network.loss_names, (*METRICS, *NAMES)), done, chief)

    def validate(epoch: int) -> None:
        due = evaluation and (epoch % cfg.eval_every == 0 or epoch == cfg.epochs)
        if due and not log.validated(epoch):
            metrics = evaluation.evaluate(predictor, epoch)
            if chief:
                print(table([(str(epoch), metrics)]), flush=True)
            log.validation(epoch, metrics)

    if done:
        validate(done)  # if the run was stopped before it could
    if not done and parts.network.prepare:
        with strategy.scope():
            parts.network.prepare(learner.model, first_images(cfg, parts, source))
    if done < cfg.epochs:
        run = config_file.fingerprint(cfg, trained_on)
        batches = make_batches(cfg, parts, source, strategy, run, done, pace)
    for epoch in range(done + 1, cfg.epochs + 1):
        learner.optimizer.learning_rate = cfg.learning_rate_at(epoch)
        # The optimiser is asked, so that the log tells what was done and not what was meant.
        rate = float(f"{learner.optimizer.learning_rate.numpy():.6g}")
        names = {"learning_rate": rate, "source": cfg.train_records}
        log.epoch(train_epoch(step, batches, epoch, pace, log, **names, stopped=_stopped(cfg)))
        snapshots.save(epoch, learner.variables, learner.optimizer, chief)
        if chief:
            snapshots.prune(cfg.keep_snapshots)
        validate(epoch)
    if chief:
        print(
            f"{cfg.model_dir}: trained up to epoch {max(done, cfg.epochs)}; "
            f"python -m tfcpn.eval --model_dir={cfg.model_dir} --epoch=latest evaluates it"
        )
