"""tfcpn: the Cascaded Pyramid Network (COCO keypoints 2017) in TensorFlow 2, and BlazePose that can be taught."""

import importlib.util
import os

# Keras 2, which newer TensorFlows keep apart as tf-keras. Has no effect on TensorFlow 2.15.
if importlib.util.find_spec("tf_keras"):
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")

# oneDNN's kernels also on processors without AVX-512, where TensorFlow leaves them out: they make a training step 1.5
# times as fast there (docs/performance.md).
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

# TensorFlow 2.15 greets every start with errors about plugins that are registered twice, which drown the one line
# that says what is wrong. TF_CPP_MIN_LOG_LEVEL=0 brings everything back.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

__all__ = ["Pose"]


def __getattr__(name: str):
    # When it is asked for: the rest of the package does not wait for TensorFlow.
    if name == "Pose":
        from tfcpn.prediction.pose import Pose

        return Pose
    raise AttributeError(f"module 'tfcpn' has no attribute {name!r}")
