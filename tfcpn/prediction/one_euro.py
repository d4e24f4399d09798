"""The One Euro filter: still things stand still, and what moves fast is not delayed."""

from __future__ import annotations

import numpy as np


class OneEuro:
    """A low-pass filter whose cutoff grows with speed (Casiez, Roussel, Vogel, CHI 2012), for arrays of one shape.

    With MediaPipe's numbers (its pose graph) for landmarks. least: cutoff in Hz of what does not move. slope: Hz that
    it grows by for a speed of one size a second. speed_cutoff: that of the speed's own filter, in Hz.
    """

    def __init__(self, least: float = 0.05, slope: float = 80.0, speed_cutoff: float = 1.0):
        self.least, self.slope, self.speed_cutoff = least, slope, speed_cutoff
        self._raw = self._smooth = self._speed = None
        self._seconds = 0.0

    def __call__(self, values: np.ndarray, seconds: float, size: float) -> np.ndarray:
        """The values, smoothed. seconds: when they are from. size: of the object, in the values' unit.

        The first ones, and those that come no later than the last, are returned as they are.
        """
        values = np.asarray(values, float)
        if self._raw is None:
            self._speed = np.zeros_like(values)
            self._smooth = values
        elif seconds <= self._seconds:
            return values
        else:
            step = seconds - self._seconds
            speed = (values - self._raw) / size / step
            self._speed = self._speed + _share(self.speed_cutoff, step) * (speed - self._speed)
            cutoff = self.least + self.slope * np.abs(self._speed)
            self._smooth = self._smooth + _share(cutoff, step) * (values - self._smooth)
        self._raw, self._seconds = values, seconds
        return self._smooth


def _share(cutoff, step: float):
    """What counts of a new value: that of an exponential filter of this cutoff in Hz, after `step` seconds."""
    return 1 / (1 + 1 / (2 * np.pi * cutoff * step))


def for_landmarks() -> OneEuro:
    """With MediaPipe's numbers for the landmarks of a pose."""
    return OneEuro()


def for_region() -> OneEuro:
    """With MediaPipe's numbers for the two points that the next frame's region is made of."""
    return OneEuro(0.01, 10.0, 1.0)
