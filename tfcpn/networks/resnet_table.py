"""ResNet v1's depths, widths and scopes as tables. Needs no TensorFlow."""

from __future__ import annotations

# Units of block1..block4; their widths are the same for every depth.
UNITS = {"resnet50": (3, 4, 6, 3), "resnet101": (3, 4, 23, 3)}
WIDTHS = (64, 128, 256, 512)
EXPANSION = 4
# Input pixels per pixel of C2, and so of the CPN's maps.
STRIDE = 4
# Where TensorFlow 1's programs keep the variables.
SCOPES = {"resnet50": "resnet_v1_50", "resnet101": "resnet_v1_101"}
