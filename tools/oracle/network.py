"""tf-cpn's network and loss in plain TensorFlow operations, in the precision of the values it is
given.

Written from the description of what tf-cpn computes. It shares no code with the package and uses no
Keras layer, so that in float64, where rounding plays no part, the package's gradients can be
compared with its gradients on any processor.
"""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf

EPSILON = 1.001e-5
UNITS = (3, 4, 6, 3)


class Network:
    """The ResNet-50 CPN as a function of its variables.

    Args:
        values: Tensors of one dtype by their names in tf-cpn's checkpoints.
        num_keypoints: Number of keypoints K.
    """

    def __init__(self, values: Mapping[str, tf.Tensor], num_keypoints: int):
        self.values, self.num_keypoints = values, num_keypoints

    def conv(self, x: tf.Tensor, name: str, stride: int = 1) -> tf.Tensor:
        """Convolve (N, H, W, C), padded by half the kernel on every side."""
        kernel = self.values[f"{name}/weights"]
        pad = kernel.shape[0] // 2
        x = tf.pad(x, [[0, 0], [pad, pad], [pad, pad], [0, 0]])
        return tf.nn.conv2d(x, kernel, stride, "VALID")

    def conv_bn(self, x: tf.Tensor, name: str, stride: int = 1, relu: bool = True) -> tf.Tensor:
        """Convolve, then normalize by the statistics of the batch."""
        x = self.conv(x, name, stride)
        mean, variance = tf.nn.moments(x, [0, 1, 2])
        gamma, beta = (self.values[f"{name}/BatchNorm/{kind}"] for kind in ("gamma", "beta"))
        x = (x - mean) * tf.math.rsqrt(variance + EPSILON) * gamma + beta
        return tf.nn.relu(x) if relu else x

    def bottleneck(self, x: tf.Tensor, name: str, stride: int = 1) -> tf.Tensor:
        """1x1, 3x3 with the stride, 1x1, plus a shortcut that is projected where the checkpoint has
        a projection.
        """
        projected = f"{name}/shortcut/weights" in self.values
        shortcut = self.conv_bn(x, f"{name}/shortcut", stride, relu=False) if projected else x
        x = self.conv_bn(self.conv_bn(x, f"{name}/conv1"), f"{name}/conv2", stride)
        return tf.nn.relu(shortcut + self.conv_bn(x, f"{name}/conv3", relu=False))

    def __call__(self, images: tf.Tensor) -> tuple[list[tf.Tensor], tf.Tensor]:
        """Compute the four global outputs, finest level first, and the refine output.

        Args:
            images: (N, H, W, 3), H and W multiples of 32.

        Returns:
            Four (N, H/4, W/4, K) tensors in a list, and one more.
        """
        x = self.conv_bn(images, "resnet_v1_50/conv1", 2)
        x = tf.nn.max_pool2d(tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]]), 3, 2, "VALID")
        features = {}
        for block, units in enumerate(UNITS, start=1):
            for unit in range(1, units + 1):
                stride = 2 if block > 1 and unit == 1 else 1
                x = self.bottleneck(
                    x, f"resnet_v1_50/block{block}/unit_{unit}/bottleneck_v1", stride
                )
            features[block + 1] = x
        size = features[2].shape[1:3]

        above, pyramid, global_maps = None, {}, []
        for level in (5, 4, 3, 2):
            x = self.conv_bn(features[level], f"lateral/res{level}")
            if above is not None:
                up = upsample(above, x.shape[1:3])
                x += self.conv(up, f"merge/res{level}") + self.values[f"merge/res{level}/biases"]
            pyramid[level] = above = x
            x = self.conv_bn(self.conv_bn(x, f"tmp/res{level}"), f"pyramid/res{level}", relu=False)
            global_maps.insert(0, upsample(x, size))

        refined = []
        for depth, level in enumerate((2, 3, 4, 5)):
            x = pyramid[level]
            for i in range(depth):
                x = self.bottleneck(x, f"res{level}/refine_conv{i}")
            refined.append(upsample(x, size))
        x = self.bottleneck(tf.concat(refined, axis=-1), "final_bottleneck")
        return global_maps, self.conv_bn(x, "refine_out", relu=False)

    def losses(self, images, labels, visibility, weight_decay: float) -> dict[str, tf.Tensor]:
        """Compute tf-cpn's three losses.

        Args:
            images: (N, H, W, 3).
            labels: Four (N, H/4, W/4, K) maps, widest Gaussian first.
            visibility: (N, K), COCO's 0, 1 or 2.
            weight_decay: Factor of half the squared norm of all convolution kernels.

        Returns:
            "global", "refine" and "decay" as scalars.
        """
        global_maps, refine = self(images)
        visible = tf.cast(visibility > 1, refine.dtype)[:, None, None, :]
        levels = [
            tf.reduce_mean((o - label * visible) ** 2) for o, label in zip(global_maps, labels)
        ]
        labeled = tf.cast(visibility > 0, refine.dtype)
        errors = tf.sort(
            tf.reduce_mean((refine - labels[-1]) ** 2, axis=(1, 2)) * labeled,
            direction="DESCENDING",
        )
        kernels = [value for name, value in self.values.items() if name.endswith("/weights")]
        return {
            "global": tf.add_n(levels) / 8,
            "refine": tf.reduce_mean(errors[:, :8]),
            "decay": weight_decay * tf.add_n([tf.reduce_sum(k**2) for k in kernels]) / 2,
        }


def upsample(x: tf.Tensor, size) -> tf.Tensor:
    """Resize (N, h, w, C) to (N, *size, C) as TensorFlow 1 did: output i is input i * h / H."""
    for axis, length in zip((1, 2), size):
        place = tf.range(length, dtype=x.dtype) * (x.shape[axis] / length)
        low = tf.cast(tf.floor(place), tf.int32)
        high = tf.minimum(low + 1, x.shape[axis] - 1)
        share = tf.reshape(place - tf.cast(low, x.dtype), (-1, 1, 1) if axis == 1 else (-1, 1))
        x = tf.gather(x, low, axis=axis) * (1 - share) + tf.gather(x, high, axis=axis) * share
    return x
