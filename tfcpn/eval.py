"""python -m tfcpn.eval --epoch=350: AP of a run's checkpoints, and a results file to submit."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from tfcpn.base.progress import import_tensorflow, status
from tfcpn.settings.command import Command, Options
from tfcpn.settings.config import FIELDS, REPORTED
from tfcpn.settings.heeded import check_flags_apply

COMMAND = Command(
    "python -m tfcpn.eval",
    "Evaluate checkpoints of a run: COCO's AP and a results file.",
    shared=True,
)


def main(options: Options) -> None:
    # Here, so that --help and a mistake in the flags do not wait for TensorFlow.
    import_tensorflow()
    from tfcpn.base import device
    from tfcpn.evaluation.evaluation import Evaluation
    from tfcpn.evaluation.predictor import Predictor
    from tfcpn.parts import make_parts
    from tfcpn.report.table import inherited, table
    from tfcpn.run import config_file
    from tfcpn.run.snapshots import INITIAL_EPOCH, CheckpointManager
    from tfcpn.training.agreement import check_workers_in_sync, checksum, checksum_of

    device.select_device(options.config.device)
    run = config_file.evaluation_config(options.config, options.given)
    asked = dataclasses.replace(
        run.config, xla=options.config.xla, data_service=options.config.data_service
    )
    check_flags_apply(asked, options.given, evaluating=True)
    usual = run.config if run.untrained else config_file.load(run.config.model_dir).config
    usual = dataclasses.replace(
        usual, mixed_precision=device.resolve_precision(usual.mixed_precision)
    )
    checkpoints = CheckpointManager(run.config.model_dir)
    epochs = checkpoints.parse(run.config.epoch)
    cfg = dataclasses.replace(
        run.config, mixed_precision=device.resolve_precision(run.config.mixed_precision)
    )
    device.configure(cfg.deterministic)
    strategy = device.make_strategy(cfg.strategy)
    parts = make_parts(cfg, run.skeleton)
    if INITIAL_EPOCH in epochs:
        cfg = dataclasses.replace(cfg, init_weights=parts.network.find_weights(cfg.init_weights))
    evaluation = Evaluation(cfg, parts, run.skeleton, strategy, usual)
    facts = {
        "set of checkpoints": checksum(epochs),
        "set of people, or way to evaluate them": checksum(evaluation.shared_work()),
        "set of settings": checksum(
            {name: getattr(cfg, name) for name in REPORTED if not FIELDS[name].metadata["path"]}
        ),
    }
    check_workers_in_sync(strategy, facts)
    device.set_precision(cfg.mixed_precision)
    with status("building the network"), strategy.scope():
        model = parts.network.build()
    variables = parts.network.variables(model)
    predictor = Predictor(
        model, parts.network, parts.codec, parts.crop_spec, cfg.flip_test, strategy, fold=True
    )
    rows = []
    # First weights first: of random ones there is no other copy than the model as it was built.
    for epoch in sorted(epochs, key=lambda epoch: epoch != INITIAL_EPOCH):
        if epoch == INITIAL_EPOCH:
            parts.network.load_weights(model, cfg.init_weights)
        else:
            checkpoints.restore(epoch, variables)
        check_workers_in_sync(strategy, {"set of weights": checksum_of(strategy, variables)})
        rows.append((str(epoch), evaluation.evaluate(predictor.fresh(), epoch)))
    if not device.is_chief(strategy):
        return
    print(evaluation.describe())
    if not run.untrained:
        print(inherited(cfg, options.given), end="")
    print(
        table(rows)
        if evaluation.people.labeled
        else f"{cfg.val_annotations}: nobody is labeled, so there is no AP"
    )
    print(f"written: {Path(cfg.model_dir) / 'eval'}/epoch_*/results.json and metrics.json")


if __name__ == "__main__":
    COMMAND.run(main)
