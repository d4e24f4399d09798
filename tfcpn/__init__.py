"""tfcpn: tf-cpn (COCO keypoints 2017) in TensorFlow 2, and training for MediaPipe's BlazePose."""

import importlib.metadata
import importlib.util
import os


def _has_keras_2() -> bool:
    """Return whether TensorFlow comes with Keras 2, as up to 2.15."""
    try:
        return tuple(map(int, importlib.metadata.version("tensorflow").split(".")[:2])) < (2, 16)
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return False  # under another name, or none


# Newer TensorFlows keep Keras 2 apart as tf-keras.
if importlib.util.find_spec("tf_keras") and not _has_keras_2():
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")

# oneDNN's kernels also on processors without AVX-512, where TensorFlow leaves them out: they make a
# training step 1.5 times as fast there (docs/notes/performance.md).
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

# TensorFlow 2.15 greets every start with errors about plugins that are registered twice, which
# drown the one line that says what is wrong. TF_CPP_MIN_LOG_LEVEL=0 brings everything back.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

__all__ = ["Pose"]


def __getattr__(name: str):
    # When it is asked for: the rest of the package does not wait for TensorFlow.
    if name == "Pose":
        from tfcpn.inference.pose import Pose

        return Pose
    raise AttributeError(f"module 'tfcpn' has no attribute {name!r}")
