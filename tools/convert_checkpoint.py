"""Turn a TensorFlow 1 checkpoint of tf-cpn into a checkpoint that tfcpn.eval takes, or with --to_tf1 the way back."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from tfcpn.base.errors import InputError
from tfcpn.base.progress import import_tensorflow
from tfcpn.settings.command import Command, Options
from tfcpn.settings.flag import path, switch

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
            switch("to_tf1", False, "Write the checkpoint from the run's checkpoint."),
            switch(
                "overwrite", False, "Replace a checkpoint, or a checkpoint, that is already there."
            ),
            "model_dir",
            "epoch",
        ]
    },
    shared=True,
)


def _from_tf1(checkpoint: str, epoch: int, options: Options) -> None:
    from tfcpn.networks import tf1_weights
    from tfcpn.parts import make_parts
    from tfcpn.run import config_file
    from tfcpn.run.snapshots import CheckpointManager
    from tfcpn.skeleton import COCO

    if not tf1_weights.exists(checkpoint):
        raise InputError(f"--tf1_checkpoint={checkpoint} not found")
    reader = tf1_weights.open_tf1_checkpoint(checkpoint)
    cfg, given = options.config, options.given
    # The file tells the backbone; the input size is not in it, since the network is fully convolutional.
    backbone = tf1_weights.backbone_of(reader, checkpoint)
    if "backbone" in given and cfg.backbone != backbone:
        raise InputError(f"{checkpoint} holds a {backbone}, but --backbone={cfg.backbone}")
    cfg = dataclasses.replace(cfg, backbone=backbone, init_weights=checkpoint)
    checkpoints = CheckpointManager(cfg.model_dir)
    if epoch in checkpoints.epochs() and not options.own.overwrite:
        raise InputError(
            f"{checkpoints.path(epoch)} is already there: give another --epoch, or --overwrite"
        )
    new = not (Path(cfg.model_dir) / config_file.FILE).exists()
    run = config_file.Run(cfg, COCO)
    if not new:
        run = config_file.load(cfg.model_dir)
        changed = config_file.differences(cfg, run.config, ["backbone", *given])
        if changed:
            raise InputError(
                f"{cfg.model_dir} holds a run with other settings ({'; '.join(changed)})"
            )
    network = make_parts(run.config, run.skeleton).network
    model = network.build()
    problems = tf1_weights.compare(model, reader)
    if problems:
        print("\n".join(problems))
        raise InputError(
            f"{checkpoint}: does not fit the network, {len(problems)} variables are listed above"
        )
    tf1_weights.read(model, reader)
    checkpoints.save(epoch, network.variables(model))
    if new:
        config_file.save(run)
    print(
        f"{checkpoints.path(epoch)}: all {len(model.weights)} variables of {checkpoint} ({backbone}); "
        f"python -m tfcpn.eval --model_dir={cfg.model_dir} --epoch={epoch} evaluates it"
    )


def _to_tf1(checkpoint: str, epoch: int, options: Options) -> None:
    from tfcpn.networks import tf1_weights
    from tfcpn.parts import make_parts
    from tfcpn.run import config_file
    from tfcpn.run.snapshots import CheckpointManager

    run = config_file.load(options.config.model_dir)
    checkpoints = CheckpointManager(run.config.model_dir)
    checkpoints.parse(str(epoch))
    if tf1_weights.exists(checkpoint) and not options.own.overwrite:
        raise InputError(
            f"{checkpoint} is already there: give another --tf1_checkpoint, or --overwrite"
        )
    network = make_parts(run.config, run.skeleton).network
    model = network.build()
    checkpoints.restore(epoch, network.variables(model))
    tf1_weights.write(model, checkpoint)
    print(f"{checkpoint}: all {len(model.weights)} variables of {checkpoints.path(epoch)}")


def main(options: Options) -> None:
    if "model_dir" not in options.given:
        raise InputError(f"--model_dir is missing; see {COMMAND.program} --help")
    if not options.config.epoch.isdigit():
        raise InputError(
            f"--epoch={options.config.epoch}: want the number of the checkpoint, such as 350"
        )
    import_tensorflow()
    from tfcpn.base import device

    device.select_device(options.config.device)
    convert = _to_tf1 if options.own.to_tf1 else _from_tf1
    convert(options.own.tf1_checkpoint, int(options.config.epoch), options)


if __name__ == "__main__":
    COMMAND.run(main)
