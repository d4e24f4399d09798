"""The config.json of a run: what it was trained with, so that resuming and evaluating cannot mistake it."""

from __future__ import annotations

import dataclasses
import json
import zlib
from pathlib import Path

from tfcpn.checkpoint import Snapshots
from tfcpn.config import EVALUATION, FIELDS, GROUPS, Config
from tfcpn.errors import InputError
from tfcpn.files import write_atomically

FILE = "config.json"
TRAINED_ON = "trained_on"


def save(cfg: Config, trained_on: dict | None = None) -> None:
    """Write config.json. trained_on: what besides the flags decides the weights (records, replicas)."""
    values = {**dataclasses.asdict(cfg), TRAINED_ON: trained_on}
    write_atomically(Path(cfg.model_dir) / FILE, json.dumps(values, indent=2) + "\n")


def load(model_dir) -> Config:
    """The Config that a run was trained with. Raises InputError if there is none or it does not fit."""
    path = Path(model_dir) / FILE
    if not path.exists():
        raise InputError(f"{path} not found: no run lives in {model_dir}; train one, or give its --model_dir")
    try:
        values = json.loads(path.read_text())
        values.pop(TRAINED_ON, None)
        return Config(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not the config.json of a run ({error})") from error


def differences(new: Config, old: Config, names=None) -> list[str]:
    """What would make `new` another experiment than `old`, each as "name: old -> new". names: look at these only."""
    return [
        f"{name}: {getattr(old, name)} -> {getattr(new, name)}"
        for name, field in FIELDS.items()
        if not field.metadata["free"]
        and (names is None or name in names)
        and getattr(new, name) != getattr(old, name)
    ]


def for_training(cfg: Config) -> Config:
    """The Config to train with in cfg.model_dir: a new run's own, or that of the run which goes on there.

    Where `cfg` says "auto", a run that goes on keeps what was chosen when it began. Raises InputError, with the
    differences, if the folder holds another experiment.
    """
    if not Snapshots(cfg.model_dir).epochs():
        return cfg  # what failed before its first snapshot binds nobody
    if not (Path(cfg.model_dir) / FILE).exists():
        raise InputError(f"{cfg.model_dir} holds snapshots but no {FILE}; give another --model_dir")
    old = load(cfg.model_dir)
    kept = {n: getattr(old, n) for n in ("init_weights", "mixed_precision") if getattr(cfg, n) == "auto"}
    cfg = dataclasses.replace(cfg, **kept)
    changed = differences(cfg, old)
    if changed:
        raise InputError(
            f"{cfg.model_dir} holds a run with other settings ({'; '.join(changed)}): go on with those, or give "
            "another --model_dir or --experiment"
        )
    return cfg


def fingerprint(cfg: Config, trained_on: dict) -> str:
    """A name that all processes of a training share and, as good as certainly, no other training has."""
    values = json.dumps([dataclasses.asdict(cfg), trained_on], sort_keys=True)
    return f"{cfg.experiment}-{zlib.crc32(values.encode()):08x}"


def check_trained_on(model_dir, trained_on: dict) -> None:
    """See that a run goes on with the people and replicas it began with, on which order and steps depend."""
    path = Path(model_dir) / FILE
    begun = path.exists() and Snapshots(model_dir).epochs()
    old = json.loads(path.read_text()).get(TRAINED_ON) if begun else None
    for name, value in trained_on.items():
        if old is not None and old.get(name) != value:
            raise InputError(f"{model_dir} was trained on other {name} ({old.get(name)}, now {value})")


def for_evaluation(cfg: Config, given: set[str]) -> Config:
    """The Config of the run in cfg.model_dir with the evaluation's settings of `cfg`.

    given: names of the flags that were set. One that contradicts the run's architecture or labels is refused.
    """
    old = load(cfg.model_dir)
    # These may differ: they change nothing of what the network is.
    others = {"mixed_precision", "strategy", "align_missing"}
    conflicts = differences(cfg, old, given - others)
    if conflicts:
        raise InputError(f"{cfg.model_dir} was trained with other settings ({'; '.join(conflicts)})")
    own = {"model_dir", "deterministic", "strategy", *GROUPS[EVALUATION]}
    own |= {"val_images", "val_annotations", *others} & given
    return dataclasses.replace(old, **{name: getattr(cfg, name) for name in own})
