"""Run the small experiments of docs/experiments.md on drawn people; what is finished is not run again."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tfcpn.base.errors import InputError
from tfcpn.settings.command import Command, Options
from tfcpn.settings.flag import choice, text

COMMAND = Command(
    "python tools/experiments.py",
    __doc__,
    {
        "What": [
            choice("group", "all", ("all", "scale", "align"), "Question 1 (scale 1.0), the alignments, or both."),
            text("only", "", "Name of one experiment."),
        ]
    },
)

SCALE1 = ["--heatmap_scale=1"]
GAIN = [f"--output_gain={1 / 255:.8f}"]
SCALE = {
    "scale255": [],
    "scale1": SCALE1,
    "scale1_nodecay": [*SCALE1, "--weight_decay=0"],
    "scale1_weighted": [*SCALE1, "--data_loss_weight=65025"],
    "scale1_gain": [*SCALE1, *GAIN],
    "scale1_gain_nodecay": [*SCALE1, *GAIN, "--weight_decay=0"],
    "scale1_free": [*SCALE1, "--scale_free"],
    "scale255_decay": ["--weight_decay=0.65025"],
    "scale255_gain": ["--output_gain=20"],
}
SEVERAL_SEEDS = ("scale255", "scale1", "scale1_free")
BLAZEPOSE = ["--align=blazepose", "--input_size=96x96"]
ALIGN = {
    "person": ["--align=person", "--input_size=96x64"],
    "square": ["--align=square", "--input_size=96x96"],
    "norotate": [*BLAZEPOSE, "--noalign_rotate"],
    "norotate_points": [*BLAZEPOSE, "--noalign_rotate", "--predict_align_points"],
    "rotate": BLAZEPOSE,
    "rotate_points": [*BLAZEPOSE, "--predict_align_points"],
}
PEOPLE = {
    "scale": ("drawn_upright", ["--train=1000", "--val=120", "--fallen=0"]),
    "align": ("drawn_fallen", ["--train=1400", "--val=160", "--fallen=0.4", "--seed=7"]),
}
TWO_PASS = [["--align_source=two_pass"], ["--align_source=two_pass", "--first_pass_turns=4"]]


def experiments(group: str) -> dict[str, list[str]]:
    """Names of runs with their flags."""
    if group == "align":
        return ALIGN
    runs = {}
    for seed in range(3):
        for name, words in SCALE.items():
            if seed == 0 or name in SEVERAL_SEEDS:
                runs[f"{name}_seed{seed}"] = [*words, f"--seed={seed}"]
    return runs


def call(*words: str) -> None:
    """Run a command of this project; its bars and messages show."""
    if subprocess.run([sys.executable, *words]).returncode:
        raise InputError(f"{' '.join(words[:2])} did not finish; the same command goes on from there")


def make_people(group: str) -> None:
    folder, words = PEOPLE[group]
    folder = f"data/{folder}"
    call("tools/make_people.py", f"--output={folder}", *words)
    annotations = f"--annotations={folder}/annotations/person_keypoints_train.json"
    call(
        "tools/make_records.py", annotations, f"--images={folder}/train", f"--output={folder}/records", "--shards=16"
    )


def run(group: str, name: str, words: list[str]) -> None:
    """Train and evaluate one experiment; its run lies in runs/drawn_<group>/<name>."""
    model_dir = Path("runs") / f"drawn_{group}" / name
    files = "".join(Path(f"flags/{file}.cfg").read_text() for file in ("drawn", f"drawn_{group}"))
    made_by, finished = f"{' '.join(words)}\n{files}", model_dir / "finished"
    if finished.exists():
        if finished.read_text() != made_by:
            raise InputError(f"{model_dir} was made with other flags; delete it, or move it away")
        print(f"{model_dir}: already there, nothing to do")
        return
    flagfile, place = f"--flagfile=flags/drawn_{group}.cfg", [f"--experiment={name}", f"--model_dir={model_dir}"]
    call("-m", "tfcpn.train", flagfile, *place, *words)
    for source in TWO_PASS if "--align=blazepose" in words else []:
        call("-m", "tfcpn.eval", f"--model_dir={model_dir}", *source)
    finished.write_text(made_by)


def main(options: Options) -> None:
    own = options.own
    groups = ["scale", "align"] if own.group == "all" else [own.group]
    chosen = {(g, n): words for g in groups for n, words in experiments(g).items() if own.only in ("", n)}
    if not chosen:
        raise InputError(f"--only={own.only}: there is no such experiment in {', '.join(groups)}")
    for group in {g: None for g, _ in chosen}:
        make_people(group)
    for (group, name), words in chosen.items():
        run(group, name, words)
    for group in {g: None for g, _ in chosen}:
        call("tools/report.py", f"--runs=runs/drawn_{group}/*", f"--output=runs/drawn_{group}_report")


if __name__ == "__main__":
    COMMAND.run(main)
