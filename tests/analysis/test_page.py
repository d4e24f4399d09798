"""tools/report.py --analyze from the command line, and the page in a browser at the width of a
phone and of a desktop."""

import json
import re

import numpy as np
import pytest

from support.browsers import faults, wide
from support.commands import run_here
from support.small_run import flags
from support.tiny import in_the_cpns_place
from tfcpn.data.coco import read_annotations


@pytest.fixture(scope="module")
def evaluations(people, tmp_path_factory):
    """Two evaluations of a small run, after one epoch and after two; some keypoints are corrected
    in the second.
    """
    run = tmp_path_factory.mktemp("analysed") / "run"
    with in_the_cpns_place():
        run_here("-m", "tfcpn.train", *flags(people, run, "--epochs=2", "--eval_every=1"))
    folders = sorted((run / "eval").iterdir())
    _, annotated, *_ = read_annotations(people.val_annotations)
    results = json.loads((folders[1] / "results.json").read_text())
    for result, person in zip(results, [p for p in annotated if p.trainable]):
        keypoints = np.reshape(result["keypoints"], (-1, 3))
        keypoints[:12, :2] = person.keypoints[:12, :2]
        result["keypoints"] = keypoints.ravel().tolist()
    (folders[1] / "results.json").write_text(json.dumps(results))
    return folders


def analyse(command, output, *folders, check=True):
    arguments = [f"--analyze={','.join(map(str, folders))}", f"--output={output}"]
    return command("tools/report.py", *arguments, check=check)


def test_one_evaluation(command, evaluations, tmp_path):
    printed = analyse(command, tmp_path, evaluations[0]).out
    assert re.search(r"miss\s+[+-]\d\.\d{3} AP gain", printed)
    page = (tmp_path / "analysis.html").read_text()
    assert (
        page.count("data:image/jpeg;base64,") > 8
        and 'src="http' not in page
        and "<script" not in page
    )
    for word in (
        "Where the points of AP are lost",
        "inversion",
        "left_wrist",
        "By rotation of the torso",
        "The worst",
    ):
        assert word in page


def test_two_evaluations_are_compared_by_person(command, evaluations, tmp_path):
    analyse(command, tmp_path, *evaluations)
    page = (tmp_path / "analysis.html").read_text()
    assert (
        re.search(r"Of \d+ people [1-9]\d* are found better by B", page) and "Largest gains" in page
    )


@pytest.mark.parametrize("width", [360, 1440])
def test_the_page_in_a_browser(browser, command, evaluations, tmp_path, width):
    analyse(command, tmp_path, *evaluations)
    wide(browser, width)
    browser.get((tmp_path / "analysis.html").as_uri())
    assert not faults(browser)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    loaded = """const done = arguments[0], all = [...document.images];
      all.forEach(i => i.loading = 'eager');
      const look = () =>
        all.every(i => i.naturalWidth > 0) ? done(all.length) : setTimeout(look, 50);
      look()"""
    assert browser.execute_async_script(loaded) > 8
    tall = browser.execute_script(
        "return [...document.querySelectorAll('.bar')].map(b => b.clientWidth)"
    )
    assert min(tall) > 100


def test_without_images_the_page_still_has_the_numbers(command, evaluations, tmp_path):
    arguments = [
        f"--analyze={evaluations[0]}",
        f"--output={tmp_path}",
        f"--images={tmp_path / 'nowhere'}",
    ]
    command("tools/report.py", *arguments)
    assert "(image not found)" in (tmp_path / "analysis.html").read_text()


@pytest.mark.parametrize(
    "arguments, printed",
    [
        (["--analyze=nowhere"], "nowhere"),
        (["--analyze=a,b,c"], "expected one evaluation, or two"),
        (["--analyze=a", "--runs=b"], "expected --runs or --analyze, not both"),
    ],
)
def test_invalid_input_is_reported(command, tmp_path, arguments, printed):
    done = command("tools/report.py", *arguments, f"--output={tmp_path / 'out'}", check=False)
    assert done.status == 1 and printed in done.err and not (tmp_path / "out").exists()
