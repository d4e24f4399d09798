"""The blocks of MediaPipe's pose landmark networks: widths, kernels and strides, in the order of its files."""

from __future__ import annotations

from typing import NamedTuple

INPUT_SIZE = (256, 256)
HEATMAP_SIZE = (64, 64)
# 33 named keypoints, the two alignment points, four more that nobody names; each has x, y, z, visibility and presence.
NUM_LANDMARKS = 39
VALUES_PER_LANDMARK = 5
# Width of the branch that ends in the mask, and of what it takes from the first features.
MASK_CHANNELS = 8


class Block(NamedTuple):
    """An inverted bottleneck: to `expanded` channels, a depthwise kernel, down to `channels`.

    stride: 2 halves the features; from what such a block begins with the decoder takes its share.
    """

    expanded: int
    kernel: int
    stride: int
    channels: int


class BlazePoseSpec(NamedTuple):
    """A size of the network. stem: channels of the first convolution, and after the first bottleneck.

    last: channels and depthwise kernel of the features that all branches begin with, at 1/32 of the input.
    decoder: channels of the maps that add up to the heatmaps' features. regression: channels of the branch that ends
    in coordinates; residuals: how many residual blocks it has at 4x4 and at 2x2, behind the one that halves.
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
BLAZEPOSE_SPECS = {table.name: table for table in (FULL, LITE)}
