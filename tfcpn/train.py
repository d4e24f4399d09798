"""python -m tfcpn.train --heatmap_scale=255: train a CPN, go on where an earlier run of it stopped."""

from __future__ import annotations

import dataclasses
import math
import time
from pathlib import Path

import tensorflow as tf
from absl import logging

from tfcpn import checkpoint, coco, command_line, config, device, keras_weights, records, run_config
from tfcpn.augment import VIEWS, Ranges
from tfcpn.checkpoint import Snapshots
from tfcpn.config import FIELDS, Config
from tfcpn.cpn import build_cpn
from tfcpn.data_service import check_reachable, served
from tfcpn.errors import InputError
from tfcpn.evaluation import Evaluation, make_codec
from tfcpn.input_pipeline import crops_and_joints, training_batches
from tfcpn.people_order import open_source
from tfcpn.predict import Predictor
from tfcpn.progress import progress
from tfcpn.resnet import SCOPES
from tfcpn.run_log import RunLog
from tfcpn.training_step import Losses, TrainingStep, make_optimizer

LOG_EVERY = 20  # steps between looks at the losses, each of which waits for the device


def choose_init_weights(cfg: Config) -> str:
    """Path of the checkpoint that starts the backbone, "keras" or "none". Raises InputError if it is not there."""
    path = cfg.init_weights
    if path == "auto":
        path = f"data/imagenet/{SCOPES[cfg.backbone]}.ckpt"
        if not checkpoint.exists(path):
            logging.warning(
                "%s not found: the backbone starts from RANDOM weights, which costs AP; the README tells where "
                "slim's ImageNet weights are",
                path,
            )
            return "none"
    elif path not in ("none", "keras") and not checkpoint.exists(path):
        raise InputError(f"--init_weights={path} not found; none starts from random weights")
    return path


def start_backbone(model, cfg: Config) -> None:
    """Give the backbone its first weights, as --init_weights says."""
    if cfg.init_weights == "keras":
        done = keras_weights.init_from_keras(model, cfg.backbone, keras_weights.imagenet_model(cfg.backbone))
        logging.info("tf.keras.applications: %d variables set", len(done))
    elif cfg.init_weights != "none":
        matched, missing = checkpoint.init_backbone(model, cfg.init_weights)
        logging.info("%s: %d variables restored", cfg.init_weights, len(matched))
        if missing:
            logging.warning("%d of the backbone are not in it: %s", len(missing), ", ".join(missing))


def make_evaluation(cfg: Config, strategy: tf.distribute.Strategy) -> Evaluation | None:
    """The validation during training; None if it is off, or if nobody named a set and the usual one is not there."""
    usual = FIELDS["val_annotations"].default
    if cfg.eval_every and cfg.val_annotations == usual and not Path(usual).exists():
        logging.warning("%s not found: training without validation", usual)
        return None
    return Evaluation(cfg, strategy) if cfg.eval_every else None


def train_epoch(step_function, batches, epoch: int, steps: int, cfg: Config, replicas: int, log: RunLog) -> dict:
    """Train one epoch; returns its row for the log. Raises InputError for a loss that is not a number."""
    first = (epoch - 1) * steps
    rate = cfg.learning_rate_at(epoch)
    totals, fetched = tf.zeros(len(Losses._fields)), 0
    sums = tf.zeros_like(totals)
    began = time.time()
    with progress(steps * cfg.batch_size * replicas, f"epoch {epoch}/{cfg.epochs}", "crop") as bar:
        for i in range(steps):
            try:
                crops, joints = next(batches)
            except (tf.errors.DataLossError, tf.errors.InvalidArgumentError) as error:
                raise InputError(
                    f"{cfg.train_records}: a record is damaged ({error.message}); make it again"
                ) from error
            except (tf.errors.OpError, StopIteration) as error:
                source = "the training input stopped"
                if cfg.data_service:
                    source = f"--data_service={cfg.data_service} stopped"
                elif cfg.strategy == "multi_worker":
                    source = "another process was lost"
                raise InputError(f"{source} ({error}); start again, the last snapshot is kept") from error
            totals += step_function(crops, joints, tf.constant(first + i, tf.int64))
            if (i + 1) % LOG_EVERY and i + 1 < steps:
                continue
            count = i + 1 - fetched
            means = [float(v) / count for v in totals]
            if not all(math.isfinite(v) for v in means):
                raise InputError(
                    f"a loss is not a number near step {first + i + 1} (epoch {epoch}): {means}; the last good "
                    "snapshot is that of the epoch before; lower --learning_rate, or use --mixed_precision=float32"
                )
            values = dict(zip(("global", "refine", "decay", "total"), means))
            bar.set_postfix({**{k: f"{v:.4g}" for k, v in values.items()}, "lr": f"{rate:.2g}"}, refresh=False)
            bar.update(count * cfg.batch_size * replicas)
            elapsed = time.time() - began
            speed = (i + 1) * cfg.batch_size * replicas / elapsed
            log.step(first + i + 1, {**values, "learning_rate": rate, "crops_per_second": speed})
            sums, totals, fetched = sums + totals, tf.zeros_like(totals), i + 1
    means = [round(float(v) / steps, 6) for v in sums]
    return {
        "epoch": epoch,
        "step": first + steps,
        **dict(zip(("global", "refine", "decay", "total"), means)),
        "learning_rate": rate,
        "crops_per_second": round(speed, 2),
        "seconds": round(time.time() - began, 1),
    }


def main() -> None:
    cfg = run_config.for_training(config.from_flags())
    index = records.read_index(cfg.train_records)
    if not Snapshots(cfg.model_dir).epochs():
        cfg = dataclasses.replace(cfg, init_weights=choose_init_weights(cfg))
    cfg = dataclasses.replace(cfg, mixed_precision=device.resolve_precision(cfg.mixed_precision))
    if cfg.data_service:
        check_reachable(cfg.data_service)
    device.set_up(cfg.deterministic)
    strategy = device.make_strategy(cfg.strategy)
    train(cfg, index, strategy, make_evaluation(cfg, strategy))


def train(cfg: Config, index: records.Index, strategy: tf.distribute.Strategy, evaluation: Evaluation | None) -> None:
    """Train up to epoch cfg.epochs, from the newest snapshot in cfg.model_dir if there is one."""
    chief = device.is_chief(strategy)
    replicas = strategy.num_replicas_in_sync
    trained_on = {"records": index.source, "replicas": replicas}
    run_config.check_trained_on(cfg.model_dir, trained_on)
    source = open_source(cfg.train_records, index, cfg.training_filter, cfg.seed, cfg.shuffle_buffer)
    snapshots = Snapshots(cfg.model_dir)
    done = (snapshots.epochs() or [0])[-1]
    device.set_precision(cfg.mixed_precision)
    with strategy.scope():
        model = build_cpn(cfg.input_size, cfg.backbone, cfg.num_joints, cfg.seed, cfg.effective_output_gain())
        optimizer = make_optimizer(cfg.learning_rate, cfg.mixed_precision, model.trainable_variables)
    if done:
        snapshots.restore(done, model, optimizer)
    else:
        start_backbone(model, cfg)
    if chief:
        run_config.save(cfg, trained_on)
    codec = make_codec(cfg)
    step_function = TrainingStep(
        model,
        optimizer,
        codec,
        strategy,
        ranges=Ranges(cfg.rescale_min, cfg.rescale_max, cfg.rotation),
        weight_decay=cfg.weight_decay,
        seed=cfg.seed,
        data_loss_weight=cfg.effective_data_loss_weight(),
    )
    predictor = Predictor(model, codec, cfg.flip_test, strategy)

    steps = max(1, cfg.epoch_size // (cfg.batch_size * replicas))
    people_seen = done * steps * replicas * cfg.batch_size // VIEWS
    logging.info(
        "%s: %d people, %d steps an epoch, %s, %d replica(s), from epoch %d",
        *(cfg.train_records, source.people, steps, cfg.mixed_precision, replicas, done + 1),
    )

    work = crops_and_joints(cfg.alignment, cfg.input_size, cfg.predict_align_points)
    share = cfg.batch_size // VIEWS
    needed = (cfg.epochs - done) * steps * replicas * share

    def pipeline(context):
        if not cfg.data_service:
            return training_batches(source, people_seen, work, share, context)
        run = run_config.fingerprint(cfg, trained_on)
        people = served(cfg.data_service, run, source, work, people_seen, needed, context)
        return people.batch(share, drop_remainder=True).prefetch(tf.data.AUTOTUNE)

    batches = iter(strategy.distribute_datasets_from_function(pipeline)) if done < cfg.epochs else None
    log = RunLog(cfg.model_dir, done, chief)

    def validate(epoch: int) -> None:
        due = evaluation and (epoch % cfg.eval_every == 0 or epoch == cfg.epochs)
        if due and not log.validated(epoch):
            metrics = evaluation.evaluate(predictor, epoch)
            if chief:
                print(coco.table([(str(epoch), metrics)]), flush=True)
            log.validation(epoch, metrics)

    if done:
        validate(done)  # if the run was stopped before it could
    for epoch in range(done + 1, cfg.epochs + 1):
        optimizer.learning_rate = cfg.learning_rate_at(epoch)
        log.epoch(train_epoch(step_function, batches, epoch, steps, cfg, replicas, log))
        snapshots.save(epoch, model, optimizer, chief)
        if chief:
            snapshots.prune(cfg.keep_snapshots)
        validate(epoch)
    if chief:
        print(
            f"{cfg.model_dir}: trained up to epoch {max(done, cfg.epochs)}; "
            f"python -m tfcpn.eval --model_dir={cfg.model_dir} --epoch=latest evaluates it"
        )


if __name__ == "__main__":
    command_line.run(main, "python -m tfcpn.train", "Train a Cascaded Pyramid Network on COCO people.", config.GROUPS)
