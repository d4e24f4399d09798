"""The Cascaded Pyramid Network: GlobalNet over ResNet features, RefineNet over GlobalNet (arXiv 1711.07319)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfcpn.resnet import ConvLayers, resnet_features

PYRAMID_DEPTH = 256
REFINE_INNER = 128
STRIDE = 4  # input pixels per heatmap pixel


class CpnOutputs(NamedTuple):
    """What the network returns.

    global_maps: four (N, H/4, W/4, K) float32 tensors, from the finest pyramid level to the coarsest.
    refine: (N, H/4, W/4, K) float32, the prediction.
    """

    global_maps: tuple
    refine: tf.Tensor


def _upsampling_matrix(size: int, length: int) -> np.ndarray:
    """(size, length) matrix of TensorFlow 1's bilinear upsampling of a line of `length` pixels."""
    source = np.minimum(np.arange(size) * (length / size), length - 1)
    return np.maximum(0, 1 - np.abs(source[:, None] - np.arange(length)))


class Upsample(tf.keras.layers.Layer):
    """Bilinear upsampling to a fixed size as TensorFlow 1 did it: no half-pixel centres, no aligned corners.

    Output pixel i reads the input at i * in / out; TensorFlow 2's resize reads (i + .5) * in / out - .5.

    In float32 this is the original's own operation, to the last bit of its gradient. In half precision it is two
    matrix products, whose weights are exact there: the operation would compute in float32 and, on a CPU, run its
    gradient on one core (8% of a step).
    """

    def __init__(self, size: tuple[int, int], **kwargs):
        super().__init__(**kwargs)
        self.size = tuple(size)

    def call(self, x):
        if x.dtype == tf.float32:
            return tf.raw_ops.ResizeBilinear(images=x, size=self.size)
        (height, width), (h, w, c) = self.size, x.shape[1:]
        x = tf.matmul(tf.constant(_upsampling_matrix(height, h), x.dtype), tf.reshape(x, (-1, h, w * c)))
        x = tf.matmul(tf.constant(_upsampling_matrix(width, w), x.dtype), tf.reshape(x, (-1, w, c)))
        return tf.reshape(x, (-1, height, width, c))

    def get_config(self):
        return {**super().get_config(), "size": self.size}


def build_cpn(input_size: tuple[int, int], backbone: str, num_joints: int, seed: int = 0, output_gain: float = 1.0):
    """The network as a Keras functional model from (N, H, W, 3) images to `CpnOutputs`.

    input_size: (H, W), multiples of 32. output_gain: what the gain of the five output batch norms starts at. The
    output layers and all that follows them stay in float32 under a mixed precision policy.
    """
    layers = ConvLayers(seed)
    output = {"init": "glorot", "relu": False, "dtype": "float32", "gain": output_gain}
    out_size = (input_size[0] // STRIDE, input_size[1] // STRIDE)
    images = tf.keras.Input((*input_size, 3), name="image")
    features = resnet_features(images, backbone, layers)

    # GlobalNet, from C5 down to C2.
    pyramid, global_maps, above = {}, {}, None
    for level in (5, 4, 3, 2):
        c = features[level - 2]
        lateral = layers.conv_bn(c, PYRAMID_DEPTH, 1, f"lateral/res{level}", init="glorot", relu=True)
        if above is not None:
            up = Upsample(tuple(lateral.shape[1:3]), name=f"upsampling/res{level}")(above)
            up = layers.conv(up, PYRAMID_DEPTH, 1, f"merge/res{level}", init="glorot", bias=True)
            lateral = tf.keras.layers.Add(name=f"add/res{level}")([lateral, up])
        pyramid[level] = above = lateral
        x = layers.conv_bn(lateral, PYRAMID_DEPTH, 1, f"tmp/res{level}", init="glorot", relu=True)
        x = layers.conv_bn(x, num_joints, 3, f"pyramid/res{level}", **output)
        global_maps[level] = Upsample(out_size, name=f"global/res{level}", dtype="float32")(x)

    # RefineNet: the coarser a level, the more bottlenecks it passes.
    refined = []
    for depth, level in enumerate((2, 3, 4, 5)):
        x = pyramid[level]
        for i in range(depth):
            x = layers.bottleneck(x, PYRAMID_DEPTH, REFINE_INNER, f"res{level}/refine_conv{i}")
        refined.append(Upsample(out_size, name=f"refine/res{level}")(x))
    x = tf.keras.layers.Concatenate(name="refine/concat")(refined)
    x = layers.bottleneck(x, PYRAMID_DEPTH, REFINE_INNER, "final_bottleneck")
    refine = layers.conv_bn(x, num_joints, 3, "refine_out", **output)

    return tf.keras.Model(images, CpnOutputs(tuple(global_maps[n] for n in (2, 3, 4, 5)), refine), name="cpn")


def variables_by_name(model: tf.keras.Model) -> dict[str, tf.Variable]:
    """The model's variables under the names they have in tf-cpn's checkpoints, in the order of the graph."""
    return {v.name.split(":")[0].replace("/kernel", "/weights").replace("/bias", "/biases"): v for v in model.weights}


def conv_kernels(model: tf.keras.Model) -> list[tf.Variable]:
    """Every convolution's kernel: what weight decay acts on (no biases, no batch norm)."""
    return [v for name, v in variables_by_name(model).items() if name.endswith("/weights")]
