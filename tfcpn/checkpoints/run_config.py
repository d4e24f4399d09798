"""The config.json of a run, and how it constrains resuming and evaluating the run."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from tfcpn import skeleton as skeletons
from tfcpn.checkpoints.manager import INITIAL_EPOCH, CheckpointManager
from tfcpn.config import (
    AUGMENTATION_FIELDS,
    FIELDS,
    REMOVED_FIELDS,
    RENAMED_FIELDS,
    Config,
    fields_of_scope,
)
from tfcpn.data.coco import read_clean_file
from tfcpn.skeleton import COCO, Skeleton, skeleton_from_flag
from tfcpn.utils.errors import InputError
from tfcpn.utils.files import write_atomically

FILE = "config.json"
_log = logging.getLogger(__name__)


class Run(NamedTuple):
    """The content of a config.json.

    Attributes:
        config: The settings.
        skeleton: The annotated keypoints.
        trained_on: What the weights depend on besides the settings.
        untrained: No config.json yet; evaluating the initial weights (--epoch=0).
    """

    config: Config
    skeleton: Skeleton = COCO
    trained_on: dict | None = None
    untrained: bool = False


def save_run(run: Run) -> None:
    """Write the config.json of a run."""
    extra = {"keypoints": skeletons.to_dict(run.skeleton), "trained_on": run.trained_on}
    values = {**dataclasses.asdict(run.config), **extra}
    write_atomically(Path(run.config.model_dir) / FILE, json.dumps(values, indent=2) + "\n")


def load_run(model_dir: str | Path) -> Run:
    """Read the config.json of a run, also of tfcpn 1.x.

    Raises:
        InputError: If there is no run, or its file is damaged.
    """
    path = Path(model_dir) / FILE
    if not path.exists():
        raise InputError(
            f"{path} not found: {model_dir} contains no run; train one, or give its --model_dir"
        )
    try:
        values = json.loads(path.read_text())
        trained_on = values.pop("trained_on", None)
        keypoints = values.pop("keypoints", values.pop("joints", None))
        # Runs from before there were skeletons are of COCO.
        skeleton = COCO if keypoints is None else skeletons.from_dict(keypoints)
        values = _upgrade(values)
        config = Config(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})
        return Run(config, skeleton, trained_on)
    except (ValueError, TypeError, AttributeError, InputError) as error:
        raise InputError(f"{path}: not the config.json of a run ({error})") from error


def _upgrade(values: dict) -> dict:
    """Convert the fields of a 1.x config.json.

    Raises:
        ValueError: For a removed feature that the run uses.
    """
    values = {RENAMED_FIELDS.get(name, name): value for name, value in values.items()}
    for name in AUGMENTATION_FIELDS:
        values.pop(name, None)  # matters to training alone
    for name, neutral in REMOVED_FIELDS.items():
        if values.pop(name, neutral) != neutral:
            raise ValueError(f"--{name} was removed in 2.0; use tfcpn 1.0 for this run")
    if values.get("align_radius") == "joints":
        values["align_radius"] = "keypoints"
    return values


def differences(new: Config, old: Config, names: Collection[str]) -> list[str]:
    """Return the differences of some settings, each as "name: old -> new"."""
    return [
        f"{name}: {getattr(old, name)} -> {getattr(new, name)}"
        for name in FIELDS
        if name in names and getattr(new, name) != getattr(old, name)
    ]


def resume_config(cfg: Config, explicit: Collection[str] = ()) -> Config:
    """Return the settings to train with in `cfg.model_dir`.

    A run that resumes keeps what "auto" was resolved to, and the number of checkpoints to keep
    unless that was set, lest a default delete them.

    Args:
        cfg: The settings of the command.
        explicit: Names of the flags that were set.

    Raises:
        InputError: If the folder contains a run with other settings, naming the differences.
    """
    if not CheckpointManager(cfg.model_dir).positions():
        return cfg  # A run without a checkpoint may be restarted with other settings.
    if not (Path(cfg.model_dir) / FILE).exists():
        raise InputError(f"{cfg.model_dir} has checkpoints but no {FILE}; give another --model_dir")
    old = load_run(cfg.model_dir).config
    keep = {n for n in ("init_weights", "mixed_precision") if getattr(cfg, n) == "auto"}
    keep |= {"keep_checkpoints", "blazepose_norm"} - set(explicit)
    if cfg.init_weights and Path(old.init_weights).is_relative_to(cfg.init_weights):
        keep.add("init_weights")  # the checkpoint that the run it names had at that time
    cfg = dataclasses.replace(cfg, **{name: getattr(old, name) for name in keep})
    changed = differences(cfg, old, fields_of_scope("model", "train"))
    if cfg.lr_cosine and cfg.epochs != old.epochs:
        changed.append(f"epochs: {old.epochs} -> {cfg.epochs}, on which --lr_cosine depends")
    if changed:
        raise InputError(
            f"{cfg.model_dir} has a run with other settings ({'; '.join(changed)}): resume it with "
            "those, or give another --model_dir or --experiment"
        )
    return cfg


def training_settings(cfg: Config) -> dict:
    """Return the settings that all processes of a training share; paths may differ."""
    names = set(fields_of_scope("model", "train")) | {"epochs"}
    names = {name for name in names if not FIELDS[name].metadata["path"]}
    return {name: getattr(cfg, name) for name in sorted(names)}


def check_same_data(model_dir: str | Path, skeleton: Skeleton, trained_on: dict) -> dict:
    """Check that a run resumes with the keypoints, people and replicas it started with.

    Its detector may have trained on since: what the detector found at the start is stored.

    Args:
        model_dir: The folder of the run.
        skeleton: The annotated keypoints.
        trained_on: What the weights depend on besides the settings, now.

    Returns:
        `trained_on`, with the detector that the run started with.

    Raises:
        InputError: If one of them differs.
    """
    if not (Path(model_dir) / FILE).exists() or not CheckpointManager(model_dir).positions():
        return trained_on
    run = load_run(model_dir)
    go_on = f"to train on from its weights: --init_weights={model_dir} and a new --model_dir"
    if run.skeleton != skeleton:
        raise InputError(
            f"{model_dir} was trained on other keypoints, or with other pairs, roles or "
            f"tolerances; {go_on}"
        )
    for name, value in trained_on.items():
        old = (run.trained_on or trained_on).get(name)
        if old == value:
            continue
        if name == "detector":
            _log.warning(
                "--detector has changed since this run began; the run goes on with what the "
                "detector found then"
            )
            trained_on = trained_on | {name: old}
            continue
        what = _changes(old, value) if name == "records" else f"({old}, now {value})"
        raise InputError(f"{model_dir} was trained on other {name} {what}; {go_on}")
    return trained_on


def _changes(old: dict, new: dict) -> str:
    """Return which parts of the identity of records differ, in parentheses."""
    parts = {
        "annotations_sha256": "annotations",
        "images_sha256": "images",
        "skeleton_sha256": "keypoints",
        "shards": "--shards",
        "sets": "folders or shares",
    }
    names = [text for key, text in parts.items() if old.get(key) != new.get(key)]
    return f"({', '.join(names)} differ)"


def evaluation_config(cfg: Config, explicit: Collection[str]) -> Run:
    """Return the run in `cfg.model_dir`, with the evaluation flags of `cfg` that were set.

    Without a run, `cfg` itself describes initial weights to evaluate (--epoch=0).

    Args:
        cfg: The settings of the command.
        explicit: Names of the flags that were set.

    Raises:
        InputError: For flags that contradict the run's network or training.
    """
    if cfg.epoch.strip() == str(INITIAL_EPOCH) and not (Path(cfg.model_dir) / FILE).exists():
        skeleton = skeleton_from_flag(cfg.skeleton)
        if skeleton is None:
            skeleton = read_clean_file(cfg.val_annotations).skeleton
        return Run(cfg, skeleton, untrained=True)
    run = load_run(cfg.model_dir)
    in_eval = {name for name, field in FIELDS.items() if field.metadata["in_eval"]}
    fixed = set(fields_of_scope("model", "train")) - in_eval
    conflicts = differences(cfg, run.config, fixed & set(explicit))
    if conflicts:
        raise InputError(
            f"{cfg.model_dir} was trained with other settings ({'; '.join(conflicts)})"
        )
    # Which checkpoints to evaluate, and on which machine, never comes from the run.
    names = {"model_dir", "deterministic", "strategy", "epoch"} | (in_eval & set(explicit))
    config = dataclasses.replace(run.config, **{name: getattr(cfg, name) for name in names})
    return run._replace(config=config)
