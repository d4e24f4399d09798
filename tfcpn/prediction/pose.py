"""Pose: poses of people in images and videos, for programs. `from tfcpn import Pose`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from tfcpn.prediction.estimator import PoseEstimator
from tfcpn.prediction.loading import load
from tfcpn.prediction.person import Person
from tfcpn.prediction.tracker import tracked


class Pose(PoseEstimator):
    """A network and what it takes to find people for it: `pose(image)` for an image, `pose.video(file)` for a video.

    Calls from several threads are safe and wait for each other.
    """

    @classmethod
    def load(cls, model: str | Path, **how) -> Pose:
        """A Pose from the folder of a run, or from a .tflite or .task file in MediaPipe's form.

        how: the keywords of `tfcpn.prediction.loading.load`, such as detector, keypoints and epoch. Raises InputError.
        """
        return cls(*load(str(model), **how))

    def batch(self, images: Iterable[np.ndarray]) -> list[list[Person]]:
        """The people of each of several images, as a call with each of them returns them."""
        return [self(image) for image in images]

    def video(
        self, frames: str | Path | int | Iterable[np.ndarray], **how
    ) -> Iterator[tuple[np.ndarray, list[Person]]]:
        """Each frame of a video, (H, W, 3) uint8 BGR, with its people, who keep their numbers from frame to frame.

        frames: a file, a camera's number, or the frames themselves, with rate=30.0 a second. how: the keywords of
        `tfcpn.prediction.tracker.Tracker`, such as detect_every and smooth.
        """
        return tracked(self, frames, **how)
