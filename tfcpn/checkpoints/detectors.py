"""MediaPipe's detector from a file, a bundle, or a run that trained it."""

from __future__ import annotations

from pathlib import Path

from tfcpn.builders import build_components
from tfcpn.checkpoints.manager import CheckpointManager, TrainingPosition
from tfcpn.checkpoints.run_config import FILE, load_run
from tfcpn.models.blazepose.detector import DETECTOR_MEMBER, PoseDetector
from tfcpn.models.blazepose.detector_model import export_detector
from tfcpn.models.tflite import read_tflite_bytes
from tfcpn.utils.errors import InputError


def is_detector_run(path: str) -> bool:
    """Return whether a value of --detector is the folder of a run."""
    return Path(path).is_dir()


def read_detector_bytes(path: str) -> bytes:
    """Return a detector as the content of a .tflite file.

    Args:
        path: A .tflite file, a .task bundle, or a run of --network=blazepose_detector, of which the
            latest checkpoint is taken.

    Raises:
        InputError: If there is none.
    """
    if not is_detector_run(path):
        if not Path(path).exists() and not Path(path).suffix:
            raise InputError(
                f"--detector={path} not found; train it with flags/mediapipe_detector.cfg"
            )
        return read_tflite_bytes(path, DETECTOR_MEMBER)
    if not (Path(path) / FILE).exists():
        raise InputError(f"--detector={path}: the folder contains no run")
    run = load_run(path)
    network = build_components(run.config, run.skeleton).network
    if not network.whole_images:
        raise InputError(f"--detector={path}: is a run of --network={network.name}, no detector")
    checkpoints = CheckpointManager(path)
    # As in an evaluation: the last full epoch.
    (epoch,) = checkpoints.parse_epochs("latest")
    model = network.build()
    checkpoints.restore(TrainingPosition(epoch), network.variables(model))
    return export_detector(model, network.template)


def load_pose_detector(path: str, threshold: float = 0.5) -> PoseDetector:
    """Load a detector, see `read_detector_bytes`."""
    return PoseDetector(read_detector_bytes(path), threshold, name=path)
