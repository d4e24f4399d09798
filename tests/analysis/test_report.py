"""tools/report.py: runs become rows of the table of the log."""

import csv
import dataclasses
import json

import pytest

from support.parsing import parse_row
from tfcpn.analysis.run_table import ROWS, TF_CPN, published
from tfcpn.config import REPORTED, Config
from tfcpn.evaluation.metrics import COCO_METRICS
from tfcpn.training.logger import columns


def make_run(folder, epochs, **changes):
    cfg = Config(experiment=folder.name, model_dir=str(folder), **changes)
    for epoch in epochs:
        path = folder / "eval" / f"epoch_{epoch:04d}" / "metrics.json"
        path.parent.mkdir(parents=True)
        report = {"experiment": folder.name, "epoch": epoch, "people": 20, "people_counted": 20}
        report |= {name: 0.5 + i / 100 for i, name in enumerate(COCO_METRICS)}
        path.write_text(
            json.dumps({**report, "settings": {name: getattr(cfg, name) for name in REPORTED}})
        )
    with (folder / "metrics.csv").open("w") as file:
        writer = csv.DictWriter(file, columns(("global", "refine"), COCO_METRICS), restval="")
        writer.writeheader()
        for epoch in (1, 2):
            writer.writerow(
                {
                    "epoch": epoch,
                    "global": 5,
                    "refine": 4,
                    "total": 9 / epoch,
                    "AP": "" if epoch == 1 else 0.1,
                }
            )
    return folder


@pytest.fixture
def runs(tmp_path):
    make_run(tmp_path / "runs" / "scale1", [350, 951], heatmap_scale=1.0)
    make_run(
        tmp_path / "runs" / "turned",
        [400],
        align="blazepose",
        input_size=(256, 256),
        align_source="two_pass",
    )
    make_run(tmp_path / "runs" / "elsewhere", [350], val_annotations="other.json")
    make_run(tmp_path / "runs" / "tf_cpn", [350], boxes="somewhere/detections.json")
    make_run(tmp_path / "runs" / "free", [350], heatmap_scale=1.0, scale_free=True)
    return tmp_path / "runs"


def test_each_evaluation_is_a_row_with_the_published_results(runs, command, tmp_path):
    done = command("tools/report.py", f"--runs={runs}/*", f"--output={tmp_path / 'out'}")
    lines = (tmp_path / "out/report.md").read_text().splitlines()
    cells = {
        (c[1], c[3]): c
        for c in ([w.strip() for w in line.split("|")] for line in lines if line.startswith("| "))
    }
    assert cells["scale1", "350"][4:14] == [
        ".500",
        ".510",
        ".520",
        ".530",
        ".540",
        ".599",
        ".843",
        ".666",
        ".574",
        ".635",
    ]
    assert cells["tf_cpn", "350"][9] == ".697" and "detections.json" in cells["tf_cpn", "350"][2]
    assert (
        cells["scale1", "951"][9:14]
        == cells["free", "350"][9:14]
        == cells["elsewhere", "350"][9:14]
        == cells["turned", "400"][9:14]
        == [""] * 5
    )
    assert (
        cells["turned", "400"][2]
        == "256x256, scale 255, blazepose rotated, two-pass, gt boxes, flip"
    )
    assert "report.html" in done.out
    page = (tmp_path / "out/report.html").read_text()
    assert "data:image/png;base64" in page and page.count("<tr>") == 7 and ".599" in page
    assert (tmp_path / "out/curves.png").stat().st_size > 5000


def test_every_row_of_the_log_is_found_by_the_settings(monkeypatch):
    """A run of a row of docs/reproduce.md gets the numbers of that row."""

    def row(name, epoch, **changes):
        cfg = dataclasses.replace(parse_row(name, monkeypatch)[0], **changes)
        return published(
            json.loads(json.dumps({key: getattr(cfg, key) for key in REPORTED})), epoch
        )

    expected = {
        ("scale255", 400): 0.702,
        ("scale1", 350): 0.599,
        ("scale1", 950): 0.613,
    }
    expected |= {
        ("square", 350): 0.703,
        ("square_noflip", 350): 0.690,
        ("square_noflip", 400): 0.691,
    }
    expected |= {("norotate", 400): 0.077, ("norotate_noflip", 200): 0.076}
    expected |= {
        ("norotate_alignable", 200): 0.076,
        ("norotate_alignable", 350): 0.131,
    }
    for (name, epoch), ap in expected.items():
        assert row(name, epoch)["AP"] == ap, name
    assert row("tf_cpn", 350, boxes="detections.json")["AP"] == 0.697
    for name in ("rotate", "points", "align_blazepose", "scale1_free", "filtered"):
        assert row(name, 350) is row(name, 400) is None, name
    # The same name with another recipe is a different experiment.
    assert row("scale255", 400, seed=7)["AP"] == 0.702
    for change in (
        {"weight_decay": 0.0},
        {"rotation": 20.0},
        {"label_kernels": (9, 9, 9, 9)},
        {"batch_size": 64},
    ):
        assert row("scale255", 400, **change) is None, change


def test_the_logs_table_is_complete():
    """Eighteen rows of the log and those of tf-cpn, each with five numbers; some are checked by
    hand.
    """
    assert len(ROWS) == 18 and all(len(values) == 5 for _, _, values in [*ROWS, TF_CPN])
    values = [values for _, _, values in ROWS]
    assert values[1] == (0.702, 0.904, 0.782, 0.677, 0.744) and values[9] == (
        0.703,
        0.913,
        0.781,
        0.675,
        0.748,
    )
    assert values[16] == (0.131, 0.202, 0.134, 0.175, 0.319)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "--runs is missing"),
        (["--runs=nowhere"], "--runs=nowhere: there is no such folder"),
        (["--runs=tests"], "nothing is evaluated there"),
    ],
)
def test_invalid_input_is_reported_in_one_line(command, tmp_path, arguments, message):
    failed = command("tools/report.py", *arguments, f"--output={tmp_path / 'out'}", check=False)
    (line,) = failed.err.strip().splitlines()
    assert failed.status == 1 and message in line and not (tmp_path / "out").exists()


def test_a_damaged_file_is_named(runs, command, tmp_path):
    (runs / "turned/eval/epoch_0400/metrics.json").write_text('{"epoch": 400}')
    failed = command(
        "tools/report.py", f"--runs={runs}/turned", f"--output={tmp_path / 'out'}", check=False
    )
    (line,) = failed.err.strip().splitlines()
    assert "turned/eval/epoch_0400/metrics.json: not the metrics of an evaluation, lacks" in line


def test_a_damaged_log_is_named(runs, command, tmp_path):
    (runs / "free/metrics.csv").write_text("epoch,global\none,2\n")
    failed = command(
        "tools/report.py", f"--runs={runs}/free", f"--output={tmp_path / 'out'}", check=False
    )
    (line,) = failed.err.strip().splitlines()
    assert "free/metrics.csv: not the training log of a run" in line


def test_a_flag_of_another_command_is_refused(runs, command):
    failed = command("tools/report.py", f"--runs={runs}/free", "--rotation=3", check=False)
    assert (
        failed.status == 1 and "--rotation: python tools/report.py has no such flag" in failed.err
    )


def test_rows_with_other_evaluation_settings_name_them_and_have_no_published_results(
    command, tmp_path
):
    square = {"input_size": (256, 256)}
    ways = {
        "usual": {},
        "dark": {"decoder": "dark"},
        "oks": {"result_nms": "oks", "nms_oks": 0.7},
        "soft": {"result_nms": "soft"},
        "half": {"mixed_precision": "bfloat16"},
        "other_detector": {
            "align": "blazepose",
            "align_source": "detector",
            "detector": "other.tflite",
            **square,
        },
        "default_detector": {"align": "blazepose", "align_source": "detector", **square},
    }
    for name, changes in ways.items():
        make_run(tmp_path / "runs" / name, [350], **changes)
    command("tools/report.py", f"--runs={tmp_path}/runs/*", f"--output={tmp_path / 'out'}")
    lines = [
        line
        for line in (tmp_path / "out/report.md").read_text().splitlines()
        if line.startswith("| ")
    ]
    cells = {
        cell[1]: cell for cell in ([word.strip() for word in line.split("|")] for line in lines)
    }
    assert len({cells[name][2] for name in ways}) == len(ways)
    for name, text in (
        ("dark", "dark"),
        ("oks", "OKS-NMS at 0.7"),
        ("soft", "Soft-NMS"),
        ("half", "bfloat16"),
    ):
        assert text in cells[name][2]
    assert "MediaPipe's detector other.tflite" in cells["other_detector"][2]
    # The log's numbers appear only next to rows that were evaluated with the same settings.
    assert [name for name in ways if cells[name][9]] == ["usual"]
