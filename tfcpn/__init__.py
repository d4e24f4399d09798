"""tfcpn: the Cascaded Pyramid Network (COCO keypoints 2017) in TensorFlow 2."""

import os

# TensorFlow 2.15 greets every start with errors about plugins that are registered twice, which drown the one line
# that says what is wrong. TF_CPP_MIN_LOG_LEVEL=0 brings everything back.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
