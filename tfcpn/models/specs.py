"""Architecture tables and default files of the networks. Needs no TensorFlow."""

from __future__ import annotations

from typing import NamedTuple

# MediaPipe's networks, as `make models` stores them.
DEFAULT_LANDMARK_MODEL = "data/mediapipe/pose_landmark_full.tflite"
DEFAULT_DETECTION_MODEL = "data/mediapipe/pose_detection.tflite"
DEFAULT_PERSON_DETECTOR = "data/detector/person_detection.tflite"

# Units of block1 to block4; the widths are the same for every depth.
UNITS = {"resnet50": (3, 4, 6, 3), "resnet101": (3, 4, 23, 3)}
WIDTHS = (64, 128, 256, 512)
EXPANSION = 4
# Input pixels per pixel of C2, and so of the CPN's maps.
STRIDE = 4
# Variable scopes in TensorFlow 1's programs.
SCOPES = {"resnet50": "resnet_v1_50", "resnet101": "resnet_v1_101"}


BLAZEPOSE_INPUT_SIZE = (256, 256)
BLAZEPOSE_HEATMAP_SIZE = (64, 64)
# 33 named keypoints, two alignment points and four unnamed ones; each has x, y, z, visibility and
# presence.
NUM_LANDMARKS = 39
VALUES_PER_LANDMARK = 5
# Channels of the mask branch and of its skip connection.
MASK_CHANNELS = 8


class Block(NamedTuple):
    """An inverted bottleneck.

    Attributes:
        expanded: Channels after the expansion.
        kernel: Size of the depthwise kernel.
        stride: 2 halves the features; the decoder has a skip connection from the input of such a
        block.
        channels: Channels after the projection.
    """

    expanded: int
    kernel: int
    stride: int
    channels: int


class BlazePoseSpec(NamedTuple):
    """The architecture of a size of BlazePose.

    Attributes:
        name: "full" or "lite".
        stem: Channels of the first convolution, and after the first bottleneck.
        blocks: Inverted bottlenecks.
        last: Channels and depthwise kernel of the features at 1/32 of the input.
        decoder: Channels of the decoder's maps.
        regression: Channels of the regression branch.
        residuals: Number of its residual blocks at 4x4 and at 2x2, after the one that halves.
    """

    name: str
    stem: tuple[int, int]
    blocks: tuple[Block, ...]
    last: tuple[int, int]
    decoder: int
    regression: int
    residuals: tuple[int, int]


FULL = BlazePoseSpec(
    "full",
    (24, 16),
    (
        *(Block(64, 3, 2, 24), Block(144, 3, 1, 24)),
        *(Block(144, 5, 2, 32), Block(192, 5, 1, 32)),
        *(Block(192, 3, 2, 64), Block(384, 3, 1, 64), Block(384, 3, 1, 64)),
        *(Block(384, 5, 1, 88), Block(528, 5, 1, 88), Block(528, 5, 1, 88)),
        *(
            Block(528, 5, 2, 144),
            Block(864, 5, 1, 144),
            Block(864, 5, 1, 144),
            Block(864, 5, 1, 144),
        ),
    ),
    (864, 3),
    48,
    288,
    (4, 5),
)
LITE = BlazePoseSpec(
    "lite",
    (24, 8),
    (
        *(Block(32, 3, 2, 16), Block(96, 3, 1, 16)),
        *(Block(96, 5, 2, 24), Block(144, 5, 1, 24)),
        *(Block(144, 3, 2, 40), Block(240, 3, 1, 40), Block(240, 3, 1, 40)),
        *(Block(240, 5, 1, 56), Block(336, 5, 1, 56), Block(336, 5, 1, 56)),
        *(Block(336, 5, 2, 96), Block(576, 5, 1, 96), Block(576, 5, 1, 96), Block(576, 5, 1, 96)),
    ),
    (576, 3),
    32,
    192,
    (2, 3),
)
BLAZEPOSE_SPECS = {spec.name: spec for spec in (FULL, LITE)}

# What a SavedModel does not describe itself: its keypoints and the regions that it expects.
METADATA_FILE = "tfcpn.json"
