"""MediaPipe's files for tests; without a download these tests are skipped."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from support.commands import ROOT, run_here


@pytest.fixture(scope="session")
def mediapipe():
    """Paths of MediaPipe's landmark network and of its detector."""
    fetched = run_here(
        "tools/get_models.py", f"--output={ROOT / 'data' / 'mediapipe'}", check=False
    )
    if fetched.status:
        pytest.skip(fetched.err.strip())
    folder = ROOT / "data" / "mediapipe"
    return SimpleNamespace(
        landmarks=str(folder / "pose_landmark_full.tflite"),
        detector=str(folder / "pose_detection.tflite"),
    )


def run_tflite(content: bytes | str | Path, images) -> dict[str, np.ndarray]:
    """Outputs of a file by name, for images (N, H, W, 3), one image at a time."""
    import tensorflow as tf

    how = {"model_content": content} if isinstance(content, bytes) else {"model_path": str(content)}
    interpreter = tf.lite.Interpreter(**how)
    interpreter.allocate_tensors()
    place, outputs = interpreter.get_input_details()[0]["index"], {}
    for image in np.asarray(images):
        interpreter.set_tensor(place, image[None])
        interpreter.invoke()
        for detail in interpreter.get_output_details():
            outputs.setdefault(detail["name"], []).append(
                interpreter.get_tensor(detail["index"])[0].copy()
            )
    return {name: np.stack(values) for name, values in outputs.items()}
