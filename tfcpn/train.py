"""python -m tfcpn.train --heatmap_scale=255: train a network, go on where an earlier run of it stopped."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

from tfcpn.base.progress import import_tensorflow
from tfcpn.settings.command import Command, Options
from tfcpn.settings.config import FIELDS, Config
from tfcpn.settings.heeded import check_flags_apply

COMMAND = Command(
    "python -m tfcpn.train", "Train a Cascaded Pyramid Network on COCO people.", shared=True
)
USUAL_BOXES = "data/coco/person_detections_val2017.json"  # what flags/tf_cpn.cfg names and users have to provide
_log = logging.getLogger("tfcpn.train")  # whose name is __main__ when it is run


def validated_as(cfg: Config) -> Config | None:
    """The Config to validate with during training; None if that is off, or if the usual set is not there."""
    usual = FIELDS["val_annotations"].default
    if cfg.eval_every and cfg.val_annotations == usual and not Path(usual).exists():
        _log.warning("%s not found: training without validation", usual)
        return None
    if cfg.eval_every and cfg.boxes == USUAL_BOXES and not Path(cfg.boxes).exists():
        _log.warning(
            "%s not found: training without validation; tfcpn.eval will want the file", cfg.boxes
        )
        return None
    return cfg if cfg.eval_every else None


def main(options: Options) -> None:
    # Here, so that --help and a mistake in the flags do not wait for TensorFlow.
    import_tensorflow()
    from tfcpn.base import device
    from tfcpn.data.record_sets import read_records, resolve_skeleton
    from tfcpn.data.service import check_reachable
    from tfcpn.evaluation.evaluation import Evaluation
    from tfcpn.parts import make_parts
    from tfcpn.run import config_file
    from tfcpn.run.snapshots import CheckpointManager
    from tfcpn.run.stop import StopRequest
    from tfcpn.training.loop import train

    with StopRequest() as request:
        device.select_device(options.config.device)
        cfg = config_file.resume_config(options.config, options.given)
        if not CheckpointManager(cfg.model_dir).positions():
            check_flags_apply(cfg, options.given)  # a run that continues has what it began with
        records = read_records(cfg.train_records)
        annotated = resolve_skeleton(records, cfg.skeleton)
        parts = make_parts(cfg, annotated)
        cfg = dataclasses.replace(
            cfg, mixed_precision=device.resolve_precision(cfg.mixed_precision)
        )
        if cfg.data_service:
            check_reachable(cfg.data_service)
        device.configure(cfg.deterministic)
        strategy = device.make_strategy(cfg.strategy)
        # Not before: it may use the device, which is set up once.
        if not CheckpointManager(cfg.model_dir).positions():
            cfg = dataclasses.replace(
                cfg, init_weights=parts.network.find_weights(cfg.init_weights)
            )
        validated = validated_as(cfg)
        evaluation = Evaluation(validated, parts, annotated, strategy) if validated else None
        train(cfg, parts, annotated, records, strategy, evaluation, request)


if __name__ == "__main__":
    COMMAND.run(main)
