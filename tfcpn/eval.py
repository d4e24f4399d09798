"""python -m tfcpn.eval --epoch=350: AP of a run's snapshots, and a results file to submit."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from tfcpn.base.progress import phase, start_tensorflow
from tfcpn.settings.command import Command, Options
from tfcpn.settings.config import FIELDS, REPORTED
from tfcpn.settings.heeded import check_heeded

COMMAND = Command("python -m tfcpn.eval", "Evaluate snapshots of a run: COCO's AP and a results file.", shared=True)


def main(options: Options) -> None:
    # Here, so that --help and a mistake in the flags do not wait for TensorFlow.
    start_tensorflow()
    from tfcpn.base import device
    from tfcpn.evaluation.evaluation import Evaluation
    from tfcpn.evaluation.predictor import Predictor
    from tfcpn.parts import make_parts
    from tfcpn.report.table import inherited, table
    from tfcpn.run import config_file
    from tfcpn.run.snapshots import FIRST_WEIGHTS, Snapshots
    from tfcpn.training.agreement import agree, checksum, checksum_of

    device.choose(options.config.device)
    run = config_file.for_evaluation(options.config, options.given)
    asked = dataclasses.replace(run.config, xla=options.config.xla, data_service=options.config.data_service)
    check_heeded(asked, options.given, evaluating=True)
    usual = run.config if run.unborn else config_file.load(run.config.model_dir).config
    usual = dataclasses.replace(usual, mixed_precision=device.resolve_precision(usual.mixed_precision))
    snapshots = Snapshots(run.config.model_dir)
    epochs = snapshots.parse(run.config.epoch)
    cfg = dataclasses.replace(run.config, mixed_precision=device.resolve_precision(run.config.mixed_precision))
    device.set_up(cfg.deterministic)
    strategy = device.make_strategy(cfg.strategy)
    parts = make_parts(cfg, run.skeleton)
    if FIRST_WEIGHTS in epochs:
        cfg = dataclasses.replace(cfg, init_weights=parts.network.find_weights(cfg.init_weights))
    evaluation = Evaluation(cfg, parts, run.skeleton, strategy, usual)
    facts = {
        "set of snapshots": checksum(epochs),
        "set of people, or way to evaluate them": checksum(evaluation.shared_work()),
        "set of settings": checksum(
            {name: getattr(cfg, name) for name in REPORTED if not FIELDS[name].metadata["path"]}
        ),
    }
    agree(strategy, facts)
    device.set_precision(cfg.mixed_precision)
    with phase("building the network"), strategy.scope():
        model = parts.network.build()
    variables = parts.network.variables(model)
    predictor = Predictor(model, parts.network, parts.codec, parts.crop_format, cfg.flip_test, strategy, fold=True)
    rows = []
    # First weights first: of random ones there is no other copy than the model as it was built.
    for epoch in sorted(epochs, key=lambda epoch: epoch != FIRST_WEIGHTS):
        if epoch == FIRST_WEIGHTS:
            parts.network.load_weights(model, cfg.init_weights)
        else:
            snapshots.restore(epoch, variables)
        agree(strategy, {"set of weights": checksum_of(strategy, variables)})
        rows.append((str(epoch), evaluation.evaluate(predictor.fresh(), epoch)))
    if not device.is_chief(strategy):
        return
    print(evaluation.describe())
    if not run.unborn:
        print(inherited(cfg, options.given), end="")
    print(
        table(rows) if evaluation.people.labelled else f"{cfg.val_annotations}: nobody is labelled, so there is no AP"
    )
    print(f"written: {Path(cfg.model_dir) / 'eval'}/epoch_*/results.json and metrics.json")


if __name__ == "__main__":
    COMMAND.run(main)
