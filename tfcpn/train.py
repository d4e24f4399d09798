"""python -m tfcpn.train --heatmap_scale=255: train a network, or resume its training."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

from tfcpn.cli import Command, Options
from tfcpn.config import FIELDS, Config, check_flags_apply
from tfcpn.utils.console import import_tensorflow

COMMAND = Command(
    "python -m tfcpn.train",
    "Train a Cascaded Pyramid Network, BlazePose or its detector on your data.",
    uses_config=True,
)
_log = logging.getLogger("tfcpn.train")  # __name__ is __main__ when it is run


def validation_config(cfg: Config) -> Config | None:
    """Return the Config to validate with during training.

    None if validation is off, or if the default annotations are not there.
    """
    default = FIELDS["val_annotations"].default
    if cfg.eval_every and cfg.val_annotations == default and not Path(default).exists():
        _log.warning("%s not found: training without validation", default)
        return None
    return cfg if cfg.eval_every else None


def main(options: Options) -> None:
    """Run the command."""
    import_tensorflow()
    from tfcpn.builders import build_components
    from tfcpn.checkpoints import run_config
    from tfcpn.checkpoints.manager import CheckpointManager
    from tfcpn.checkpoints.transfer import start_from
    from tfcpn.data.pipeline import check_reachable
    from tfcpn.data.record_sets import read_records, resolve_skeleton
    from tfcpn.evaluation.detector_evaluator import DetectorEvaluator
    from tfcpn.evaluation.evaluator import Evaluator
    from tfcpn.training.preemption import StopRequest
    from tfcpn.training.trainer import train
    from tfcpn.utils import device

    with StopRequest() as request:
        device.select_device(options.config.device)
        cfg = run_config.resume_config(options.config, options.explicit)
        is_new = not CheckpointManager(cfg.model_dir).positions()
        if is_new:
            check_flags_apply(cfg, options.explicit)  # a run that resumes keeps its settings
        records = read_records(cfg.train_records)
        annotated = resolve_skeleton(records, cfg.skeleton)
        components = start_from(build_components(cfg, annotated), cfg.init_weights)
        precision = device.resolve_precision(cfg.mixed_precision)
        cfg = dataclasses.replace(cfg, mixed_precision=precision)
        if cfg.data_service:
            check_reachable(cfg.data_service)
        device.configure(cfg.deterministic)
        strategy = device.make_strategy(cfg.strategy)
        # Not earlier: it may use the device, which is configured once.
        if is_new:
            init_weights = components.network.find_weights(cfg.init_weights)
            cfg = dataclasses.replace(cfg, init_weights=init_weights)
        validated = validation_config(cfg)
        evaluator = None
        if validated and components.network.whole_images:
            evaluator = DetectorEvaluator(validated, components, strategy)
        elif validated:
            evaluator = Evaluator(validated, components, annotated, strategy)
        train(
            cfg,
            components,
            annotated,
            records=records,
            strategy=strategy,
            evaluator=evaluator,
            request=request,
        )


if __name__ == "__main__":
    COMMAND.run(main)
