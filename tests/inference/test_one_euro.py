"""The One Euro filter on still and on moving points."""

import numpy as np
import pytest

from tfcpn.inference.tracker import OneEuroFilter, for_landmarks


def plain(values, times, size, least, slope, speed_cutoff):
    """The algorithm of the paper for one number, with the speed in sizes per second."""

    def alpha(cutoff, step):
        tau = 1 / (2 * np.pi * cutoff)
        return 1 / (1 + tau / step)

    shown, speed, before = [values[0]], 0.0, values[0]
    for value, now, then in zip(values[1:], times[1:], times):
        step = now - then
        a = alpha(speed_cutoff, step)
        speed = a * (value - before) / size / step + (1 - a) * speed
        a = alpha(least + slope * abs(speed), step)
        shown.append(a * value + (1 - a) * shown[-1])
        before = value
    return np.array(shown)


def test_the_filter_equals_the_papers_algorithm_for_each_number():
    rng = np.random.default_rng(0)
    times = np.cumsum(rng.uniform(0.01, 0.1, 40))
    values = np.cumsum(rng.normal(0, 5, (40, 3, 2)), axis=0)
    smooth = OneEuroFilter(0.3, 20.0, 0.7)
    found = np.stack([smooth(value, now, 150.0) for value, now in zip(values, times)])
    for place in np.ndindex(3, 2):
        expected = plain(values[(slice(None), *place)], times, 150.0, 0.3, 20.0, 0.7)
        np.testing.assert_allclose(found[(slice(None), *place)], expected, rtol=1e-12)


def test_a_still_point_jitters_less_and_a_fast_one_does_not_lag():
    rng = np.random.default_rng(1)
    times = np.arange(200) / 30
    still = 100 + rng.normal(0, 0.5, 200)
    smooth = for_landmarks()
    shown = np.array([smooth([x], t, 300.0)[0] for x, t in zip(still, times)])
    assert np.abs(np.diff(shown[20:])).mean() < 0.25 * np.abs(np.diff(still[20:])).mean()
    fast = 600 * times  # two sizes per second
    smooth = for_landmarks()
    shown = np.array([smooth([x], t, 300.0)[0] for x, t in zip(fast, times)])
    assert np.abs(shown - fast)[10:].max() < 0.02 * 300


def test_the_filter_does_not_depend_on_the_image_size():
    values, times = np.random.default_rng(2).normal(0, 9, 30), np.arange(30) / 25
    small, large = for_landmarks(), for_landmarks()
    for value, now in zip(values, times):
        assert large([value * 7], now, 210.0)[0] == pytest.approx(7 * small([value], now, 30.0)[0])


def test_a_frame_with_the_same_time_is_not_filtered():
    smooth = for_landmarks()
    smooth([1.0], 0.0, 10.0)
    assert smooth([5.0], 0.0, 10.0) == [5.0]
    assert np.isnan(smooth([np.nan], 1.0, 10.0)).all()  # a missing keypoint stays missing
