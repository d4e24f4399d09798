"""python -m tfcpn.eval --epoch=350: AP of a run's snapshots, and a results file to submit."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from tfcpn import coco, command_line, config, device, run_config
from tfcpn.checkpoint import Snapshots
from tfcpn.cpn import build_cpn
from tfcpn.evaluation import Evaluation, make_codec
from tfcpn.predict import Predictor


def main() -> None:
    cfg = run_config.for_evaluation(config.from_flags(), config.given_flags())
    snapshots = Snapshots(cfg.model_dir)
    epochs = snapshots.parse(cfg.epoch)
    cfg = dataclasses.replace(cfg, mixed_precision=device.resolve_precision(cfg.mixed_precision))
    device.set_up(cfg.deterministic)
    strategy = device.make_strategy(cfg.strategy)
    usual = run_config.load(cfg.model_dir).val_annotations
    dataset = "" if cfg.val_annotations == usual else Path(cfg.val_annotations).stem
    evaluation = Evaluation(cfg, strategy, dataset)
    device.set_precision(cfg.mixed_precision)
    with strategy.scope():
        model = build_cpn(cfg.input_size, cfg.backbone, cfg.num_joints)
    predictor = Predictor(model, make_codec(cfg), cfg.flip_test, strategy)
    rows = []
    for epoch in epochs:
        snapshots.restore(epoch, model)
        rows.append((str(epoch), evaluation.evaluate(predictor, epoch)))
    if not device.is_chief(strategy):
        return
    print(evaluation.describe())
    print(coco.table(rows))
    print(f"written: {Path(cfg.model_dir) / 'eval'}/epoch_*/results.json and metrics.json")


if __name__ == "__main__":
    command_line.run(
        main,
        "python -m tfcpn.eval",
        "Evaluate snapshots of a run: COCO's AP and a results file.",
        config.GROUPS,
    )
