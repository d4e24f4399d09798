"""The TensorBoard logs of a run, and the report that watches a run."""

import glob

import numpy as np
import pytest
import tensorflow as tf

from support.small_run import flags


def summaries(folder) -> dict[str, list]:
    """The values of the events of a run by tag, in order."""
    found: dict[str, list] = {}
    for file in sorted(glob.glob(f"{folder}/events/*")):
        for event in tf.compat.v1.train.summary_iterator(file):
            for value in event.summary.value:
                found.setdefault(value.tag, []).append(tf.make_ndarray(value.tensor))
    return found


@pytest.fixture
def run(people, command, tiny_network, tmp_path):
    command("-m", "tfcpn.train", *flags(people, tmp_path / "run", "--epochs=2", "--eval_every=1"))
    return tmp_path / "run"


def test_a_validation_logs_people_and_keypoints(run):
    printed = summaries(run)
    assert len(printed["people"]) == 2
    width, height, *images = printed["people"][0]
    assert (int(width), int(height), len(images)) == (3 * 64, 64, 8)
    first = tf.io.decode_png(images[0]).numpy()
    annotated, found, warm = np.split(first, 3, axis=1)
    # All three show the drawn person; on top are keypoints in the colors of the sides, and the warm
    # colors of a heatmap.
    assert (
        0 < (annotated != found).any(axis=-1).mean() < 0.6
        and (found != warm).any(axis=-1).mean() > 0.5
    )
    assert len(printed["val_PCK@.2/left_wrist"]) == 2
    assert b"--heatmap_scale" in printed["settings"][0].ravel()[0]
    assert "train/gradient_norm" in printed


@pytest.mark.slow
def test_a_resumed_run_logs_the_next_validation(people, command, run):
    command("-m", "tfcpn.train", *flags(people, run, "--epochs=3", "--eval_every=1"))
    assert len(summaries(run)["people"]) == 3


def test_the_report_watches_a_run_until_it_is_interrupted(
    people, command, tiny_network, tmp_path, monkeypatch
):
    """Also before the first validation."""
    run, waits = tmp_path / "run", []
    command("-m", "tfcpn.train", *flags(people, run, "--epochs=1", "--eval_every=0"))

    def wait(seconds):
        waits.append(seconds)
        if len(waits) > 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", wait)
    arguments = [f"--runs={run}", f"--output={tmp_path / 'out'}"]
    done = command("tools/report.py", *arguments, "--watch=7", check=False)
    assert done.status == 130 and waits == [7, 7, 7] and done.out.count("written: ") == 3
    page = (tmp_path / "out" / "report.html").read_text()
    assert '<meta http-equiv="refresh" content="7">' in page and "data:image/png" in page
    assert "nothing is evaluated there" in command("tools/report.py", *arguments, check=False).err
    waits.clear()
    early = command("tools/report.py", f"--runs={tmp_path / 'not_yet'}", "--watch=7", check=False)
    assert early.status == 130 and early.out.count("there is no such folder") == 3
