"""Turn a TensorFlow 1 checkpoint of tf-cpn into a snapshot that tfcpn.eval takes, or with --to_tf1 the way back."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from absl import flags

from tfcpn import command_line, config, run_config, tf1_checkpoint
from tfcpn.checkpoint import Snapshots, exists
from tfcpn.cpn import build_cpn
from tfcpn.errors import InputError

FLAGS = flags.FLAGS
flags.DEFINE_string(
    "tf1_checkpoint", None, "The checkpoint, as given to TensorFlow 1's Saver: .../snapshot_350.ckpt."
)
flags.DEFINE_bool("to_tf1", False, "Write the checkpoint from the run's snapshot.")
GROUPS = {
    "Conversion": ["tf1_checkpoint", "to_tf1", "model_dir", "epoch"],
    **config.GROUPS,
}


def _from_tf1(path: str, epoch: int) -> None:
    if not exists(path):
        raise InputError(f"--tf1_checkpoint={path} not found")
    reader = tf1_checkpoint.open_checkpoint(path)
    cfg, given = config.from_flags(), config.given_flags()
    # The file tells the backbone; the input size is not in it, since the network is fully convolutional.
    backbone = tf1_checkpoint.backbone_of(reader, path)
    if "backbone" in given and cfg.backbone != backbone:
        raise InputError(f"{path} holds a {backbone}, but --backbone={cfg.backbone}")
    cfg = dataclasses.replace(cfg, backbone=backbone, init_weights=path, model_dir=FLAGS.model_dir)
    if (Path(cfg.model_dir) / run_config.FILE).exists():
        changed = run_config.differences(cfg, run_config.load(cfg.model_dir), ["backbone", *given])
        if changed:
            raise InputError(f"{cfg.model_dir} holds a run with other settings ({'; '.join(changed)})")
    model = build_cpn(cfg.input_size, cfg.backbone, cfg.num_joints)
    problems = tf1_checkpoint.compare(model, reader)
    if problems:
        print("\n".join(problems))
        raise InputError(f"{path}: does not fit the network, {len(problems)} variables are listed above")
    tf1_checkpoint.read(model, reader)
    Snapshots(cfg.model_dir).save(epoch, model)
    if not (Path(cfg.model_dir) / run_config.FILE).exists():
        run_config.save(cfg)
    print(
        f"{Snapshots(cfg.model_dir).path(epoch)}: all {len(model.weights)} variables of {path} ({backbone}); "
        f"python -m tfcpn.eval --model_dir={cfg.model_dir} --epoch={epoch} evaluates it"
    )


def _to_tf1(path: str, epoch: int) -> None:
    cfg = run_config.load(FLAGS.model_dir)
    snapshots = Snapshots(FLAGS.model_dir)
    snapshots.parse(str(epoch))
    model = build_cpn(cfg.input_size, cfg.backbone, cfg.num_joints)
    snapshots.restore(epoch, model)
    tf1_checkpoint.write(model, path)
    print(f"{path}: all {len(model.weights)} variables of {snapshots.path(epoch)}")


def main() -> None:
    for name in ("tf1_checkpoint", "model_dir"):
        if not FLAGS[name].value:
            raise InputError(f"--{name} is missing; see python tools/convert_checkpoint.py --help")
    if not FLAGS.epoch.isdigit():
        raise InputError(f"--epoch={FLAGS.epoch}: want the number of the snapshot, such as 350")
    (_to_tf1 if FLAGS.to_tf1 else _from_tf1)(FLAGS.tf1_checkpoint, int(FLAGS.epoch))


if __name__ == "__main__":
    command_line.run(main, "python tools/convert_checkpoint.py", __doc__, GROUPS)
