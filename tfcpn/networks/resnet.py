"""ResNet v1 as tf-cpn has it: bottlenecks that stride on the 3x3 of a block's first unit.

Layers carry the scope names of the TensorFlow 1 program, so a checkpoint of it maps on by name.
"""

from __future__ import annotations

import tensorflow as tf

from tfcpn.networks.layers import ConvLayers
from tfcpn.networks.resnet_table import EXPANSION, SCOPES, UNITS, WIDTHS


def resnet_features(images, backbone: str, layers: ConvLayers) -> list:
    """The outputs of block1..block4 (C2..C5), at 1/4, 1/8, 1/16 and 1/32 of the input.

    images: (N, H, W, 3) float, H and W multiples of 32.
    """
    scope = SCOPES[backbone]
    x = layers.conv_bn(images, 64, 7, f"{scope}/conv1", stride=2, init="he", relu=True)
    # tf-cpn pads with zeros, not minus infinity; after a ReLU it makes no difference to the maximum.
    x = tf.keras.layers.ZeroPadding2D(1, name=f"{scope}/pool1/pad")(x)
    x = tf.keras.layers.MaxPool2D(3, 2, "valid", name=f"{scope}/pool1")(x)
    features = []
    for block, (units, width) in enumerate(zip(UNITS[backbone], WIDTHS), start=1):
        for unit in range(1, units + 1):
            stride = 2 if block > 1 and unit == 1 else 1
            x = layers.bottleneck(
                x,
                width * EXPANSION,
                width,
                f"{scope}/block{block}/unit_{unit}/bottleneck_v1",
                stride=stride,
            )
        features.append(x)
    return features
