"""Run the experiments of docs/experiments.md; what is finished is not run again, what was interrupted goes on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tfcpn.base.errors import InputError
from tfcpn.settings.command import Command, Options
from tfcpn.settings.flag import choice, path, text

COMMAND = Command(
    "python tools/experiments.py",
    __doc__,
    {
        "What": [
            choice(
                "group",
                "all",
                ("all", "scale", "align", "modern", "photographs"),
                "Question 1 (scale 1.0), the alignments on drawn people, both; the parts of flags/modern.cfg one by "
                "one; or the alignments on photographs.",
            ),
            text("only", "", "Name of one experiment."),
            path(
                "archive",
                "",
                "Of photographs: folder of Leeds Sports Pose Extended, with images/ and keypoints.mat.",
            ),
        ]
    },
)

SCALE1 = ["--heatmap_scale=1"]
SCALE = {
    "scale255": [],
    "scale1": SCALE1,
    "scale1_nodecay": [*SCALE1, "--weight_decay=0"],
    "scale1_free": [*SCALE1, "--scale_free"],
    "scale5_free": ["--heatmap_scale=5", "--scale_free"],
    "scale25_free": ["--heatmap_scale=25", "--scale_free"],
    "scale255_decay": ["--weight_decay=0.65025"],
}
PARTS = ("views", "free", "schedule", "norms", "mean")  # of the recipe, each alone
SEVERAL_SEEDS = (
    "scale255",
    "scale1",
    "scale1_free",
    "faithful",
    *PARTS,
    "together",
    "together_ohkm",
)
BLAZEPOSE = ["--align=blazepose", "--input_size=96x96"]
ALIGN = {
    "person": ["--align=person", "--input_size=96x64"],
    "square": ["--align=square", "--input_size=96x96"],
    "norotate": [*BLAZEPOSE, "--noalign_rotate"],
    "norotate_points": [*BLAZEPOSE, "--noalign_rotate", "--predict_align_points"],
    "rotate": BLAZEPOSE,
    "rotate_points": [*BLAZEPOSE, "--predict_align_points"],
}
# All of one size.
PHOTOGRAPHS = {
    "rotate": ["--align=blazepose"],
    "norotate": ["--align=blazepose", "--noalign_rotate"],
    "square": ["--align=square"],
    "person": ["--align=person"],
}
SCHEDULE = ["--warmup_steps=50", "--lr_cosine", "--lr_halving=60"]
NORMS_AND_MEAN = ["--batch_norm_momentum=0.95", "--ema=0.95"]
TOGETHER = ["--views=1", *SCALE1, "--scale_free", *SCHEDULE, *NORMS_AND_MEAN]
HALVING = ["--views=1", *SCALE1, "--scale_free", *NORMS_AND_MEAN]
# One part of it alone, all of them together, and what else was tried on top.
MODERN = {
    "faithful": [],
    "views": ["--views=1"],
    "free": [*SCALE1, "--scale_free"],
    "schedule": SCHEDULE,
    "norms": ["--batch_norm_momentum=0.95"],
    "mean": ["--ema=0.95"],
    "together": TOGETHER,
    "together_four_views": [*SCALE1, "--scale_free", *SCHEDULE, *NORMS_AND_MEAN],
    "together_halving": HALVING,
    "together_ohkm": [*TOGETHER, "--hard_keypoints=17"],
    "together_ohkm12": [*TOGETHER, "--hard_keypoints=12"],
    "together_ohkm_halving": [*HALVING, "--hard_keypoints=17"],
    "together_ohkm_rate": [*TOGETHER, "--hard_keypoints=17", "--learning_rate=4e-3"],
    "together_half_body": [*TOGETHER, "--random_half_body=0.3"],
    "together_occlusion": [*TOGETHER, "--random_erasing=0.3"],
    "together_colour": [*TOGETHER, "--color_jitter=0.3"],
    "together_rotation": [*TOGETHER, "--rotation=20"],
    "together_wide": [*TOGETHER, "--label_kernels=13,11,9,7"],
    "together_narrow": [*TOGETHER, "--label_kernels=9,7,5,3"],
}
GROUPS = {
    "scale": "drawn_scale",
    "align": "drawn_align",
    "modern": "drawn_modern",
    "photographs": "photographs",
}  # with their flagfiles
PEOPLE = {
    "scale": ("drawn_upright", ["--train=1000", "--val=120", "--fallen=0"]),
    "align": ("drawn_fallen", ["--train=1400", "--val=160", "--fallen=0.4", "--seed=7"]),
    "modern": ("demo", []),
}
TWO_PASS = [["--align_source=two_pass"], ["--align_source=two_pass", "--first_pass_rotations=4"]]


def experiments(group: str) -> dict[str, list[str]]:
    """Names of runs with their flags."""
    if group in ("align", "photographs"):
        return {"align": ALIGN, "photographs": PHOTOGRAPHS}[group]
    runs = {}
    for seed in range(3):
        for name, words in {"scale": SCALE, "modern": MODERN}[group].items():
            if seed == 0 or name in SEVERAL_SEEDS:
                runs[f"{name}_seed{seed}"] = [*words, f"--seed={seed}"]
    return runs


def call(*words: str) -> None:
    """Run a command of this project; its bars and messages show."""
    if subprocess.run([sys.executable, *words]).returncode:
        raise InputError(
            f"{' '.join(words[:2])} did not finish; the same command goes on from there"
        )


def make_people(group: str) -> None:
    folder, words = PEOPLE[group]
    folder = f"data/{folder}"
    call("tools/make_people.py", f"--output={folder}", *words)
    annotations = f"--annotations={folder}/annotations/person_keypoints_train.json"
    call(
        "tools/make_records.py",
        annotations,
        f"--images={folder}/train",
        f"--output={folder}/records",
        "--shards=16",
    )


def import_photographs(archive: str) -> None:
    """The first 8,000 of the archive to train on, the rest to validate on. Raises InputError if it is not there."""
    place = [f"--images={archive}/images", f"--joints={archive}/joints.mat"]
    if not archive or not Path(archive, "joints.mat").exists():
        raise InputError(
            f"--archive={archive}: want the folder of Leeds Sports Pose Extended, with keypoints.mat"
        )
    for split, share in (("train", ["--last=8000"]), ("val", ["--first=8001"])):
        call("tools/import_lsp.py", *place, *share, f"--output=data/lsp/annotations_{split}.json")
    annotations = "--annotations=data/lsp/annotations_train.json"
    call("tools/make_records.py", annotations, place[0], "--output=data/lsp/records", "--shards=16")


def draw_best_and_worst(runs: Path, archive: str) -> None:
    """An image of the people whom each run finds best, and one of those whom it finds worst, beside the report."""
    place = [f"--images={archive}/images", "--annotations=data/lsp/annotations_val.json"]
    for results in sorted(runs.glob("*/eval/*/results.json")):
        for order in ("best", "worst"):
            name = f"{results.parent.parent.parent.name}_{results.parent.name}_{order}.jpg"
            output = f"--output={runs}_report/{name}"
            call("tools/draw_poses.py", *place, f"--results={results}", f"--order={order}", output)


def run(group: str, name: str, words: list[str], archive: str = "") -> None:
    """Train and evaluate one experiment; its run lies in runs/<flagfile of the group>/<name>."""
    file = GROUPS[group]
    model_dir = Path("runs") / file / name
    files = "".join(Path(f"flags/{f}.cfg").read_text() for f in ("drawn", file))
    made_by, finished = f"{' '.join(words)}\n{files}", model_dir / "finished"
    if finished.exists():
        if finished.read_text() != made_by:
            raise InputError(f"{model_dir} was made with other flags; delete it, or move it away")
        print(f"{model_dir}: already there, nothing to do")
        return
    flagfile, place = (
        f"--flagfile=flags/{file}.cfg",
        [f"--experiment={name}", f"--model_dir={model_dir}"],
    )
    images = [f"--val_images={archive}/images"] if archive else []
    call("-m", "tfcpn.train", flagfile, *place, *images, *words)
    # In the first two groups people were evaluated in training, the points annotated.
    sources = {"photographs": [[]], "modern": [[], ["--decoder=dark"]]}.get(group, [])
    for source in sources + (TWO_PASS if "--align=blazepose" in words else []):
        call("-m", "tfcpn.eval", f"--model_dir={model_dir}", *source)
    finished.write_text(made_by)


def main(options: Options) -> None:
    own = options.own
    groups = ["scale", "align"] if own.group == "all" else [own.group]
    chosen = {
        (g, n): words for g in groups for n, words in experiments(g).items() if own.only in ("", n)
    }
    if not chosen:
        raise InputError(f"--only={own.only}: there is no such experiment in {', '.join(groups)}")
    for group in {g: None for g, _ in chosen}:
        if group == "photographs":
            import_photographs(own.archive)
        else:
            make_people(group)
    for (group, name), words in chosen.items():
        run(group, name, words, own.archive if group == "photographs" else "")
    for group in {g: None for g, _ in chosen}:
        runs = f"runs/{GROUPS[group]}"
        call("tools/report.py", f"--runs={runs}/*", f"--output={runs}_report")
        if group == "photographs":
            call(
                "tools/pck_by_turn.py",
                f"--evaluations={runs}/*/eval/*",
                f"--output={runs}_report/pck_by_turn.md",
            )
            draw_best_and_worst(Path(runs), own.archive)


if __name__ == "__main__":
    COMMAND.run(main)
