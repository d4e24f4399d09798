"""Run the experiments of docs/notes/experiments.md. Finished runs are skipped, others resumed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tfcpn.cli import Command, Options, enum, path, string
from tfcpn.utils.errors import InputError

COMMAND = Command(
    "python tools/experiments.py",
    __doc__,
    {
        "Experiments": [
            enum(
                "group",
                "all",
                ("all", "scale", "align", "modern", "photographs"),
                "Heatmap scale 1.0 (scale), the alignments on drawn people (align), both (all), "
                "the parts of flags/modern.cfg one by one (modern), or the alignments on "
                "photographs.",
            ),
            string("only", "", "Name of one experiment."),
            path(
                "archive",
                "",
                "For photographs: folder of Leeds Sports Pose Extended, with images/ and "
                "joints.mat.",
            ),
        ]
    },
)

# Small runs on people 96 pixels high: minutes on two CPU cores.
SMALL = [
    "--label_kernels=11,9,7,5",
    "--init_weights=none",
    "--mixed_precision=auto",
    "--batch_size=16",
    "--epoch_size=1600",
    "--keep_checkpoints=1",
]


def _drawn(folder: str) -> list[str]:
    """Return the flags of a folder of drawn people."""
    annotations = f"data/{folder}/annotations/person_keypoints_val.json"
    return [
        f"--train_records=data/{folder}/records",
        f"--val_images=data/{folder}/val",
        f"--val_annotations={annotations}",
    ]


# Flags that the runs of a group share.
GROUPS = {
    # People who stand, 600 steps.
    "scale": [
        *SMALL,
        *_drawn("drawn_upright"),
        "--input_size=96x64",
        "--epochs=6",
        "--learning_rate=1e-3",
        "--lr_halving=4",
        "--eval_every=3",
    ],
    # Four of ten people lie, lean or stand on their head; 1000 steps.
    "align": [
        *SMALL,
        *_drawn("drawn_fallen"),
        "--epochs=10",
        "--learning_rate=2e-3",
        "--lr_halving=3",
        "--eval_every=5",
    ],
    # The demo's people at half their size, 300 steps.
    "modern": [
        *SMALL,
        *_drawn("demo"),
        "--input_size=96x64",
        "--epoch_size=400",
        "--epochs=12",
        "--learning_rate=2e-3",
        "--lr_halving=3",
        "--eval_every=0",
    ],
    # 2000 steps of 16 athletes. Short runs from random weights learn faster with scale-free losses
    # and one view per person.
    "photographs": [
        *SMALL,
        "--train_records=data/lsp/records",
        "--val_images=data/lsp/images",
        "--val_annotations=data/lsp/annotations_val.json",
        "--heatmap_scale=1",
        "--scale_free",
        "--views=1",
        "--input_size=64x64",
        "--epochs=20",
        "--learning_rate=2e-3",
        "--lr_halving=6",
        "--eval_every=0",
    ],
}
# Their folders in runs/.
FOLDERS = {
    "scale": "drawn_scale",
    "align": "drawn_align",
    "modern": "drawn_modern",
    "photographs": "photographs",
}
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
PARTS = ("views", "free", "schedule", "norms", "mean")  # of flags/modern.cfg, each alone
SEVERAL_SEEDS = (
    "scale255",
    "scale1",
    "scale1_free",
    "faithful",
    *PARTS,
    "together",
    "together_ohkm",
)
BLAZEPOSE_DEFAULTS = ["--align=blazepose", "--input_size=96x96"]
ALIGN = {
    "person": ["--align=person", "--input_size=96x64"],
    "square": ["--align=square", "--input_size=96x96"],
    "norotate": [*BLAZEPOSE_DEFAULTS, "--noalign_rotate"],
    "norotate_points": [*BLAZEPOSE_DEFAULTS, "--noalign_rotate", "--predict_align_points"],
    "rotate": BLAZEPOSE_DEFAULTS,
    "rotate_points": [*BLAZEPOSE_DEFAULTS, "--predict_align_points"],
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
# Each part alone, all together, and what else was tried on top.
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
PEOPLE = {
    "scale": ("drawn_upright", ["--train=1000", "--val=120", "--fallen=0"]),
    "align": ("drawn_fallen", ["--train=1400", "--val=160", "--fallen=0.4", "--seed=7"]),
    "modern": ("demo", []),
}
TWO_PASS = [["--align_source=two_pass"], ["--align_source=two_pass", "--first_pass_rotations=4"]]


def experiments(group: str) -> dict[str, list[str]]:
    """Return the runs of a group: their own flags by name."""
    if group in ("align", "photographs"):
        return {"align": ALIGN, "photographs": PHOTOGRAPHS}[group]
    runs = {}
    for seed in range(3):
        for name, words in {"scale": SCALE, "modern": MODERN}[group].items():
            if seed == 0 or name in SEVERAL_SEEDS:
                runs[f"{name}_seed{seed}"] = [*words, f"--seed={seed}"]
    return runs


def call(*words: str) -> None:
    """Run a command of this project.

    Raises:
        InputError: If it fails.
    """
    if subprocess.run([sys.executable, *words]).returncode:
        raise InputError(f"{' '.join(words[:2])} failed; the same command resumes")


def make_people(group: str) -> None:
    """Draw the people of a group and pack their records."""
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
    """Import the archive: the first 8,000 images for training, the others for validation.

    Raises:
        InputError: If it is not there.
    """
    place = [f"--images={archive}/images", f"--joints={archive}/joints.mat"]
    if not archive or not Path(archive, "joints.mat").exists():
        raise InputError(
            f"--archive={archive}: expected the folder of Leeds Sports Pose Extended, with "
            "joints.mat"
        )
    for split, share in (("train", ["--last=8000"]), ("val", ["--first=8001"])):
        call("tools/import_lsp.py", *place, *share, f"--output=data/lsp/annotations_{split}.json")
    annotations = "--annotations=data/lsp/annotations_train.json"
    call("tools/make_records.py", annotations, place[0], "--output=data/lsp/records", "--shards=16")


def draw_best_and_worst(runs: Path, archive: str) -> None:
    """Draw the people that each run predicts best and worst, next to the report."""
    place = [f"--images={archive}/images", "--annotations=data/lsp/annotations_val.json"]
    for results in sorted(runs.glob("*/eval/*/results.json")):
        for order in ("best", "worst"):
            name = f"{results.parent.parent.parent.name}_{results.parent.name}_{order}.jpg"
            output = f"--output={runs}_report/{name}"
            call("tools/draw_poses.py", *place, f"--results={results}", f"--order={order}", output)


def run(group: str, name: str, words: list[str], archive: str = "") -> None:
    """Train and evaluate one experiment, in runs/<folder of the group>/<name>.

    Raises:
        InputError: If the folder has the same experiment with other flags.
    """
    model_dir = Path("runs") / FOLDERS[group] / name
    flags, finished = " ".join([*GROUPS[group], *words]), model_dir / "finished"
    if finished.exists():
        if finished.read_text() != flags:
            raise InputError(f"{model_dir} was made with other flags; delete it, or move it away")
        print(f"{model_dir}: already there, nothing to do")
        return
    place = [f"--experiment={name}", f"--model_dir={model_dir}"]
    images = [f"--val_images={archive}/images"] if archive else []
    call("-m", "tfcpn.train", *GROUPS[group], *place, *images, *words)
    # Runs of the first two groups are validated during training, with annotated points.
    sources = {"photographs": [[]], "modern": [[], ["--decoder=dark"]]}.get(group, [])
    for source in sources + (TWO_PASS if "--align=blazepose" in words else []):
        call("-m", "tfcpn.eval", f"--model_dir={model_dir}", *source)
    finished.write_text(flags)


def main(options: Options) -> None:
    """Run the chosen experiments and write their reports."""
    args = options.args
    groups = ["scale", "align"] if args.group == "all" else [args.group]
    chosen = {
        (g, n): words for g in groups for n, words in experiments(g).items() if args.only in ("", n)
    }
    if not chosen:
        raise InputError(f"--only={args.only}: there is no such experiment in {', '.join(groups)}")
    for group in {g: None for g, _ in chosen}:
        if group == "photographs":
            import_photographs(args.archive)
        else:
            make_people(group)
    for (group, name), words in chosen.items():
        run(group, name, words, args.archive if group == "photographs" else "")
    for group in {g: None for g, _ in chosen}:
        runs = f"runs/{FOLDERS[group]}"
        call("tools/report.py", f"--runs={runs}/*", f"--output={runs}_report")
        if group == "photographs":
            call(
                "tools/pck_by_rotation.py",
                f"--evaluations={runs}/*/eval/*",
                f"--output={runs}_report/pck_by_rotation.md",
            )
            draw_best_and_worst(Path(runs), args.archive)


if __name__ == "__main__":
    COMMAND.run(main)
