"""python -m tfcpn.eval --epoch=350: AP of a run's checkpoints, and a results file to submit."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from tfcpn.cli import Command, Options
from tfcpn.config import FIELDS, REPORTED, check_flags_apply
from tfcpn.utils.console import import_tensorflow, status

COMMAND = Command(
    "python -m tfcpn.eval",
    "Evaluate checkpoints of a run: COCO's AP and a results file.",
    uses_config=True,
)


def main(options: Options) -> None:
    """Run the command."""
    import_tensorflow()
    from tfcpn.builders import build_components
    from tfcpn.checkpoints import run_config
    from tfcpn.checkpoints.manager import INITIAL_EPOCH, CheckpointManager, TrainingPosition
    from tfcpn.checkpoints.transfer import start_from
    from tfcpn.evaluation.detection_metrics import DETECTION_METRICS
    from tfcpn.evaluation.detector_evaluator import DetectorEvaluator
    from tfcpn.evaluation.evaluator import Evaluator, inherited_settings
    from tfcpn.evaluation.metrics import metrics_table
    from tfcpn.evaluation.predictor import Predictor
    from tfcpn.training.distributed import (
        check_workers_in_sync,
        checksum,
        checksum_of_variables,
    )
    from tfcpn.utils import device

    given = options.config
    device.select_device(given.device)
    run = run_config.evaluation_config(given, options.explicit)
    used = dataclasses.replace(run.config, xla=given.xla, data_service=given.data_service)
    check_flags_apply(used, options.explicit, evaluating=True)
    trained = run.config if run.untrained else run_config.load_run(run.config.model_dir).config
    trained, cfg = (
        dataclasses.replace(c, mixed_precision=device.resolve_precision(c.mixed_precision))
        for c in (trained, run.config)
    )
    checkpoints = CheckpointManager(cfg.model_dir)
    epochs = checkpoints.parse_epochs(cfg.epoch)
    device.configure(cfg.deterministic)
    strategy = device.make_strategy(cfg.strategy)
    components = start_from(build_components(cfg, run.skeleton), cfg.init_weights)
    network = components.network
    if INITIAL_EPOCH in epochs:
        cfg = dataclasses.replace(cfg, init_weights=network.find_weights(cfg.init_weights))
    if network.whole_images:
        evaluator = DetectorEvaluator(cfg, components, strategy, run_config=trained)
    else:
        evaluator = Evaluator(cfg, components, run.skeleton, strategy, run_config=trained)
    settings = {n: getattr(cfg, n) for n in REPORTED if not FIELDS[n].metadata["path"]}
    facts = {
        "set of checkpoints": checksum(epochs),
        "set of people, or way to evaluate them": checksum(evaluator.shared_work()),
        "set of settings": checksum(settings),
    }
    check_workers_in_sync(strategy, facts)
    device.set_precision(cfg.mixed_precision)
    with status("building the network"), strategy.scope():
        model = network.build()
    variables = network.variables(model)
    if not network.whole_images:
        predictor = Predictor(
            model,
            network,
            components.codec,
            components.crop_spec,
            flip_test=cfg.flip_test,
            strategy=strategy,
            fold=True,
        )
    rows, tables = [], []
    # Initial weights first: random ones exist only in the model as it was built.
    for epoch in sorted(epochs, key=lambda epoch: epoch != INITIAL_EPOCH):
        if epoch == INITIAL_EPOCH:
            network.load_weights(model, cfg.init_weights)
        else:
            checkpoints.restore(TrainingPosition(epoch), variables)
        weights = checksum_of_variables(strategy, variables)
        check_workers_in_sync(strategy, {"set of weights": weights})
        if network.whole_images:
            rows.append((str(epoch), evaluator.evaluate(model, epoch)))
            tables.append(f"epoch {epoch}:\n{evaluator.table}")
        else:
            rows.append((str(epoch), evaluator.evaluate(predictor.refresh_weights(), epoch)))
    if not device.is_chief(strategy):
        return
    print(evaluator.describe())
    if not run.untrained and not network.whole_images:
        print(inherited_settings(cfg, options.explicit), end="")
    if network.whole_images:
        print(metrics_table(rows, DETECTION_METRICS), *tables, sep="\n\n")
    elif evaluator.people.num_labeled:
        print(metrics_table(rows))
    else:
        print(f"{cfg.val_annotations}: no person is labeled, so there is no AP")
    print(f"written: {Path(cfg.model_dir) / 'eval'}/epoch_*/results.json and metrics.json")


if __name__ == "__main__":
    COMMAND.run(main)
