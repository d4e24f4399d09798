"""The config.json of a run: what it was trained with, so that resuming and evaluating cannot mistake it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import NamedTuple

from tfcpn import skeleton as skeletons
from tfcpn.base.errors import InputError
from tfcpn.base.files import write_atomically
from tfcpn.data.coco import read_annotations
from tfcpn.data.skeleton_file import skeleton_from_flag
from tfcpn.run.snapshots import INITIAL_EPOCH, CheckpointManager
from tfcpn.settings.config import EVALUATION, FIELDS, Config
from tfcpn.skeleton import COCO, Skeleton

FILE = "config.json"
# These may differ in an evaluation: they change nothing of what the network is.
_BESIDE_THE_NETWORK = {"mixed_precision", "strategy", "align_missing"}


class Run(NamedTuple):
    """What a config.json tells. skeleton: the annotated keypoints. trained_on: what else decides the weights. unborn:
    whether there is no such file, since first weights are looked at before any training.
    """

    config: Config
    skeleton: Skeleton = COCO
    trained_on: dict | None = None
    untrained: bool = False


def save(run: Run) -> None:
    extra = {"keypoints": skeletons.to_dict(run.skeleton), "trained_on": run.trained_on}
    values = {**dataclasses.asdict(run.config), **extra}
    write_atomically(Path(run.config.model_dir) / FILE, json.dumps(values, indent=2) + "\n")


def load(model_dir) -> Run:
    """What lives in a folder. Raises InputError if there is no run or its file does not fit."""
    path = Path(model_dir) / FILE
    if not path.exists():
        raise InputError(
            f"{path} not found: no run lives in {model_dir}; train one, or give its --model_dir"
        )
    try:
        values = json.loads(path.read_text())
        trained_on, kept = (
            values.pop("trained_on", None),
            values.pop("keypoints", values.pop("joints", None)),
        )
        skeleton = (
            COCO if kept is None else skeletons.from_dict(kept)
        )  # a run that is older than skeletons
        config = Config(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})
        _check_kinds(config)
        return Run(config, skeleton, trained_on)
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not the config.json of a run ({error})") from error


def _check_kinds(config: Config) -> None:
    """Raise TypeError for a setting that is not of its kind, such as a text where a number belongs."""
    kinds = {"int": (int,), "float": (int, float), "bool": (bool,), "str": (str,)}
    for name, field in FIELDS.items():
        value, kind = getattr(config, name), field.type.removeprefix("tuple[").split(",")[0]
        inner = value if field.type.startswith("tuple[") else (value,)
        if not isinstance(inner, tuple) or not all(type(v) in kinds[kind] for v in inner):
            raise TypeError(f"{name} is {value!r}")


def differences(new: Config, old: Config, names=None) -> list[str]:
    """What would make `new` another experiment than `old`, each as "name: old -> new". names: look at these only."""
    return [
        f"{name}: {getattr(old, name)} -> {getattr(new, name)}"
        for name, field in FIELDS.items()
        if not field.metadata["free"]
        and (names is None or name in names)
        and getattr(new, name) != getattr(old, name)
    ]


def resume_config(cfg: Config, given: set[str] = frozenset()) -> Config:
    """The Config to train with in cfg.model_dir: a new run's own, or that of the run which goes on there.

    Where `cfg` says "auto", a run that goes on keeps what was chosen when it began; and so it does with the number of
    checkpoints that stay, lest a default delete them, unless that is among the flags that were given. Raises
    InputError, with the differences, if the folder holds another experiment.
    """
    if not CheckpointManager(cfg.model_dir).positions():
        return cfg  # what failed before its first checkpoint binds nobody
    if not (Path(cfg.model_dir) / FILE).exists():
        raise InputError(
            f"{cfg.model_dir} holds checkpoints but no {FILE}; give another --model_dir"
        )
    old = load(cfg.model_dir).config
    kept = {
        n: getattr(old, n) for n in ("init_weights", "mixed_precision") if getattr(cfg, n) == "auto"
    }
    # "auto" of the norm was decided by the first weights, which may be kept from the run themselves.
    kept |= {n: getattr(old, n) for n in {"keep_checkpoints", "blazepose_norm"} - set(given)}
    cfg = dataclasses.replace(cfg, **kept)
    changed = differences(cfg, old)
    if cfg.lr_cosine and cfg.epochs != old.epochs:
        changed.append(
            f"epochs: {old.epochs} -> {cfg.epochs}, on which every rate of --lr_cosine depends"
        )
    if changed:
        raise InputError(
            f"{cfg.model_dir} holds a run with other settings ({'; '.join(changed)}): go on with those, or give "
            "another --model_dir or --experiment"
        )
    return cfg


def training_settings(cfg: Config) -> dict:
    """The settings that decide what a run learns, which are the same in all processes of it; paths may differ."""
    kept = {
        name
        for name, field in FIELDS.items()
        if not field.metadata["free"] and not field.metadata["path"]
    }
    return {name: getattr(cfg, name) for name in sorted(kept | {"epochs"})}


def check_trained_on(model_dir, skeleton: Skeleton, trained_on: dict) -> None:
    """See that a run goes on with the keypoints, people and replicas it began with, on which its steps depend."""
    if not (Path(model_dir) / FILE).exists() or not CheckpointManager(model_dir).positions():
        return
    run = load(model_dir)
    if run.skeleton != skeleton:
        raise InputError(
            f"{model_dir} was trained on other keypoints, or with other pairs, roles or tolerances of them"
        )
    for name, value in trained_on.items():
        old = (run.trained_on or trained_on).get(name)
        if old != value:
            raise InputError(f"{model_dir} was trained on other {name} ({old}, now {value})")


def evaluation_config(cfg: Config, given: set[str]) -> Run:
    """The run in cfg.model_dir, to be evaluated as it was validated, but for what `cfg` says otherwise.

    given: names of the flags that were set. One that contradicts the run's architecture or labels is refused. Which
    checkpoints, and on which machine, is never the run's to say. Where no run lives, `cfg` itself may tell the first
    weights to evaluate, --epoch=0, on the keypoints of its validation set.
    """
    if cfg.epoch.strip() == str(INITIAL_EPOCH) and not (Path(cfg.model_dir) / FILE).exists():
        return Run(
            cfg,
            skeleton_from_flag(cfg.skeleton) or read_annotations(cfg.val_annotations)[2],
            untrained=True,
        )
    run = load(cfg.model_dir)
    conflicts = differences(cfg, run.config, given - _BESIDE_THE_NETWORK)
    if conflicts:
        raise InputError(
            f"{cfg.model_dir} was trained with other settings ({'; '.join(conflicts)})"
        )
    evaluating = {name for name, field in FIELDS.items() if field.metadata["group"] == EVALUATION}
    evaluating |= {"val_images", "val_annotations", *_BESIDE_THE_NETWORK}
    own = {"model_dir", "deterministic", "strategy", "epoch"} | (evaluating & given)
    return run._replace(
        config=dataclasses.replace(run.config, **{name: getattr(cfg, name) for name in own})
    )
