"""Convert a TensorFlow 1 checkpoint of tf-cpn to a checkpoint of a run, or back."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from tfcpn.cli import Command, Options, boolean, path
from tfcpn.config import fields_of_scope
from tfcpn.utils.console import import_tensorflow
from tfcpn.utils.errors import InputError

COMMAND = Command(
    "python tools/convert_checkpoint.py",
    __doc__,
    {
        "Conversion": [
            path(
                "tf1_checkpoint",
                None,
                "The checkpoint, as given to TensorFlow 1's Saver: .../snapshot_350.ckpt.",
                required=True,
            ),
            boolean("to_tf1", False, "Write a TensorFlow 1 checkpoint from that of the run."),
            boolean("overwrite", False, "Replace an existing checkpoint."),
            "model_dir",
            "epoch",
        ]
    },
    uses_config=True,
)


def _from_tf1(checkpoint: str, epoch: int, options: Options) -> None:
    from tfcpn.builders import build_components
    from tfcpn.checkpoints import run_config
    from tfcpn.checkpoints.manager import CheckpointManager, TrainingPosition
    from tfcpn.models import pretrained
    from tfcpn.skeleton import COCO

    if not pretrained.checkpoint_exists(checkpoint):
        raise InputError(f"--tf1_checkpoint={checkpoint} not found")
    reader = pretrained.open_tf1_checkpoint(checkpoint)
    cfg, given = options.config, options.explicit
    # The file tells the backbone; the input size is not in it, since the network is fully
    # convolutional.
    backbone = pretrained.detect_backbone(reader, checkpoint)
    if "backbone" in given and cfg.backbone != backbone:
        raise InputError(f"{checkpoint} holds a {backbone}, but --backbone={cfg.backbone}")
    cfg = dataclasses.replace(cfg, backbone=backbone, init_weights=checkpoint)
    checkpoints = CheckpointManager(cfg.model_dir)
    if epoch in checkpoints.epochs() and not options.args.overwrite:
        raise InputError(
            f"{checkpoints.path(epoch)} is already there: give another --epoch, or --overwrite"
        )
    new = not (Path(cfg.model_dir) / run_config.FILE).exists()
    run = run_config.Run(cfg, COCO)
    if not new:
        run = run_config.load_run(cfg.model_dir)
        names = {"backbone", *given} & set(fields_of_scope("model", "train"))
        changed = run_config.differences(cfg, run.config, names)
        if changed:
            raise InputError(
                f"{cfg.model_dir} holds a run with other settings ({'; '.join(changed)})"
            )
    network = build_components(run.config, run.skeleton).network
    model = network.build()
    problems = pretrained.compare_tf1_variables(model, reader)
    if problems:
        print("\n".join(problems))
        raise InputError(
            f"{checkpoint}: does not fit the network, {len(problems)} variables are listed above"
        )
    pretrained.read_tf1_variables(model, reader)
    checkpoints.save(TrainingPosition(epoch), network.variables(model))
    if new:
        run_config.save_run(run)
    print(
        f"{checkpoints.path(epoch)}: all {len(model.weights)} variables of {checkpoint} "
        f"({backbone}); "
        f"python -m tfcpn.eval --model_dir={cfg.model_dir} --epoch={epoch} evaluates it"
    )


def _to_tf1(checkpoint: str, epoch: int, options: Options) -> None:
    from tfcpn.builders import build_components
    from tfcpn.checkpoints import run_config
    from tfcpn.checkpoints.manager import CheckpointManager, TrainingPosition
    from tfcpn.models import pretrained

    run = run_config.load_run(options.config.model_dir)
    checkpoints = CheckpointManager(run.config.model_dir)
    checkpoints.parse_epochs(str(epoch))
    if pretrained.checkpoint_exists(checkpoint) and not options.args.overwrite:
        raise InputError(
            f"{checkpoint} is already there: give another --tf1_checkpoint, or --overwrite"
        )
    network = build_components(run.config, run.skeleton).network
    model = network.build()
    checkpoints.restore(TrainingPosition(epoch), network.variables(model))
    pretrained.write_tf1_checkpoint(model, checkpoint)
    print(f"{checkpoint}: all {len(model.weights)} variables of {checkpoints.path(epoch)}")


def main(options: Options) -> None:
    if "model_dir" not in options.explicit:
        raise InputError(f"--model_dir is missing; see {COMMAND.program} --help")
    if not options.config.epoch.isdigit():
        raise InputError(
            f"--epoch={options.config.epoch}: expected the number of the checkpoint, such as 350"
        )
    import_tensorflow()
    from tfcpn.utils import device

    device.select_device(options.config.device)
    convert = _to_tf1 if options.args.to_tf1 else _from_tf1
    convert(options.args.tf1_checkpoint, int(options.config.epoch), options)


if __name__ == "__main__":
    COMMAND.run(main)
