"""make demo: as much training as fits into the time, with a printed result."""

import json
import re

import demo
import pytest

from support.commands import ROOT, run_process


@pytest.fixture(autouse=True)
def _in_the_checkout(monkeypatch):
    monkeypatch.chdir(ROOT)  # flagfiles refer to each other from here


def plan_of(crop_milliseconds, seconds):
    return demo.choose(
        demo.Speed(building=2.0, crop=crop_milliseconds / 1000, update=0.1, flop=4.7e9), seconds
    )


def test_a_slow_machine_trains_the_small_recipe_and_a_fast_one_the_large_one():
    slow, fast = plan_of(130, 280), plan_of(20, 320)
    assert slow.flagfile == demo.SMALL and 120 <= slow.steps <= 220
    assert fast.flagfile == demo.LARGE and 300 <= fast.steps <= 400
    # The work of a crop is proportional to the pixels.
    assert slow.teraflop == pytest.approx(slow.steps * 8 * 4.7e-3) and 45 < fast.teraflop < 65


def test_more_time_gives_more_steps_and_at_last_the_large_recipe():
    plans = [plan_of(130, 60 * minutes) for minutes in (2, 4, 8, 16, 32, 64)]
    assert [plan.teraflop for plan in plans] == sorted(plan.teraflop for plan in plans)
    assert plans[0].flagfile == demo.SMALL and plans[-1].flagfile == demo.LARGE
    assert all(plan.steps % demo.EPOCHS == 0 for plan in plans)


def test_the_slowest_machine_runs_one_step_per_epoch():
    assert plan_of(60_000, 30).steps == demo.EPOCHS


@pytest.mark.slow
def test_the_demo_writes_an_image_and_does_not_train_twice(tmp_path):
    arguments = [
        "tools/demo.py",
        "--minutes=2",
        f"--data={tmp_path / 'data'}",
        f"--runs={tmp_path / 'runs'}",
    ]
    done = run_process(*arguments)
    run = tmp_path / "runs" / "demo_2_minutes"
    assert (run / "poses.png").stat().st_size > 50_000
    plan = json.loads((run / "demo.json").read_text())
    said = re.search(
        r"AP (0\.\d{3}) on 215 drawn people .* after (\d+) steps of (\d+) people", done.out
    )
    assert said and int(said[2]) == plan["steps"] and "make demo MINUTES=8 goes further" in done.out
    again = run_process(*arguments)
    assert said[0] in again.out and "compiling the training step" not in again.err
    other = run_process(*arguments, "--seed=1", check=False)
    assert other.status == 1 and "is a demo of another --seed" in other.err
