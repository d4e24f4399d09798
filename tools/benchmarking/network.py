"""Cost of a step and a forward pass, a plain Keras step, and the machine's peak."""

from __future__ import annotations

import dataclasses

import numpy as np
import tensorflow as tf

from benchmarking.measure import in_turn, milliseconds, ratio
from tfcpn.builders import Components, build_components
from tfcpn.config import Config
from tfcpn.evaluation.predictor import Predictor
from tfcpn.models.layers import PyramidConv
from tfcpn.models.model import Network, conv_kernels
from tfcpn.skeleton import COCO
from tfcpn.training.augmentation import augmentation_for
from tfcpn.training.state import build_step, new_state
from tfcpn.transforms.normalize import normalize
from tfcpn.utils import device


def forward_flops(model: tf.keras.Model) -> int:
    """Return the FLOPs of one image's convolutions: two per multiply-add."""
    flops = 0
    for layer in model.layers:
        if isinstance(layer, PyramidConv):
            levels = (
                layer.input_shape if isinstance(layer.input_shape, list) else [layer.input_shape]
            )
            flops += 2 * layer.filters * sum(int(np.prod(level[1:])) for level in levels)
        elif isinstance(layer, (tf.keras.layers.Conv2D, tf.keras.layers.DepthwiseConv2D)):
            # Of a depthwise kernel every value is used once a pixel, as of any other.
            flops += (
                2 * int(np.prod(layer.output_shape[1:3])) * int(np.prod(layer.weights[0].shape))
            )
    return flops


def prediction_flops(network: Network, model: tf.keras.Model) -> int:
    """The same of what a prediction needs; TensorFlow leaves out the rest."""
    return forward_flops(tf.keras.Model(model.input, network.prediction(model.output)))


def matmul_flops_per_second(precision: str, rounds: int = 5) -> float:
    """What the machine reaches in a product of two 2048 x 2048 matrices."""
    dtype = tf.float32 if precision == "float32" else tf.as_dtype(precision)
    a = tf.cast(tf.random.stateless_normal((2048, 2048), (1, 2)), dtype)
    product = tf.function(lambda: tf.reduce_sum(tf.matmul(a, a)))
    times = in_turn({"matmul": lambda: product().numpy()}, rounds)["matmul"]
    return 2 * 2048**3 / min(times)


def random_batch(cfg: Config, people: int, size: tuple[int, int]):
    """Return random crops (P, *size, 3) uint8 and keypoints (P, K, 3), all inside."""
    rng = np.random.default_rng(0)
    crops = tf.constant(rng.integers(0, 256, (people, *size, 3)), tf.uint8)
    keypoints = rng.uniform(0.2, 0.8, (people, build_components(cfg, COCO).num_points, 3)) * [
        *size[::-1],
        0,
    ]
    keypoints[..., 2] = 2
    return crops, tf.constant(keypoints, tf.float32)


def our_step(cfg: Config, precision: str, crops, keypoints):
    """The network, and a function that trains it a step on the given crops and returns when that is
    done.
    """
    device.set_precision(precision)
    components, strategy = build_components(cfg, COCO), tf.distribute.get_strategy()
    found = (
        components.network.find_weights(cfg.init_weights)
        if components.network.logged_losses
        else "none"
    )
    state = new_state(
        dataclasses.replace(cfg, mixed_precision=precision, init_weights=found),
        components,
        strategy,
    )
    step = build_step(cfg, components, state, strategy)
    return state.model, lambda: step(crops, keypoints, tf.constant(1, tf.int64)).losses.numpy()


def _targets(cfg: Config, components: Components, crops, keypoints):
    images, keypoints, visibility = augmentation_for(cfg, components)(crops, keypoints, (0, 1))
    return images, components.codec.encode(keypoints, visibility)


def _plain_keras(cfg: Config, images, targets):
    """A step as one would write it with Keras alone: finished images and labels, Keras's Adam."""
    device.set_precision("float32")
    network = build_components(cfg, COCO).network
    model = network.build()
    optimizer = tf.keras.optimizers.Adam(cfg.learning_rate)
    kernels = conv_kernels(model)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            outputs = model(images, training=True)
            loss = tf.add_n(list(network.losses(outputs, targets, None).values()))
            loss += cfg.weight_decay * tf.add_n([tf.nn.l2_loss(k) for k in kernels])
        optimizer.apply_gradients(
            zip(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
        )
        return loss

    return lambda: step().numpy()


def _around_the_network(cfg: Config, crops, keypoints):
    """Augmentation, labels and losses alone."""
    components = build_components(cfg, COCO)
    outputs = components.network.build()(
        tf.zeros((cfg.views * len(crops), *cfg.input_size, 3)), training=False
    )

    @tf.function
    def work():
        _, targets = _targets(cfg, components, crops, keypoints)
        return tf.add_n(list(components.network.losses(outputs, targets, None).values()))

    return lambda: work().numpy()


def benchmark_step(cfg: Config, rounds: int) -> list[dict]:
    """Return table rows: a training step of cfg.batch_size crops, and late upsampling."""
    cfg = dataclasses.replace(cfg, late_upsampling=False)
    size = build_components(cfg, COCO).training_spec.size
    crops, keypoints = random_batch(cfg, cfg.batch_size // cfg.views, size)
    half = device.resolve_precision("auto")
    model, ours = our_step(cfg, "float32", crops, keypoints)
    models = {"plain Keras float32": model, "tfcpn float32": model}
    functions = {
        "tfcpn float32": ours,
        "plain Keras float32": _plain_keras(
            cfg, *_targets(cfg, build_components(cfg, COCO), crops, keypoints)
        ),
    }
    others = {}
    if cfg.network == "cpn":
        others["tfcpn float32, late upsampling"] = (
            dataclasses.replace(cfg, late_upsampling=True),
            "float32",
        )
    if half != "float32":
        others[f"tfcpn {half}"] = cfg, half
    for name, (how, precision) in others.items():
        models[name], functions[name] = our_step(how, precision, crops, keypoints)
    functions["augmentation, labels, losses"] = _around_the_network(cfg, crops, keypoints)
    times = in_turn(functions, rounds)
    rows = []
    for name, seconds in times.items():
        row = {"step": name, "ms a crop": milliseconds(seconds, cfg.batch_size)}
        row["crops/s"] = 1000 / row["ms a crop"]
        row["times float32"] = ratio(times["tfcpn float32"], seconds)
        if name not in models:
            row |= {"GFLOP/s": "", "of a matrix product": ""}
        else:
            # A step goes through the network three times: forward, and back to the inputs and to
            # the weights.
            speed = 3 * forward_flops(models[name]) / (row["ms a crop"] / 1000)
            limit = matmul_flops_per_second(half if name.endswith(half) else "float32")
            row |= {"GFLOP/s": speed / 1e9, "of a matrix product": f"{speed / limit:.0%}"}
        rows.append(row)
    return rows


def benchmark_forward(cfg: Config, rounds: int) -> list[dict]:
    """Rows of the table: prediction of cfg.eval_batch_size crops, with flip test and without, and
    by the network as it is trained: with batch norms, and by default with tf-cpn's order of
    upsampling and convolutions.
    """
    crops, _ = random_batch(cfg, cfg.eval_batch_size, cfg.input_size)
    cfg = dataclasses.replace(cfg, late_upsampling=False)
    half = device.resolve_precision("auto")
    functions, models, flops = {}, {}, {}
    for precision in dict.fromkeys(["float32", half]):
        device.set_precision(precision)
        components = build_components(cfg, COCO)
        models[precision] = model = components.network.build()
        lean = (
            components.network.build_for_inference()
            if components.network.build_for_inference
            else model
        )
        ways = {"": {}, ", flip test": {"flip_test": True}, ", as it is trained": {"fold": False}}
        for name, how in ways.items():
            how = {"flip_test": False, "fold": True, **how}
            needed = prediction_flops(components.network, lean if how["fold"] else model)
            flops[f"tfcpn {precision}{name}"] = needed * (2 if how["flip_test"] else 1)
            predictor = Predictor(
                model, components.network, components.codec, components.crop_spec, **how
            )
            functions[f"tfcpn {precision}{name}"] = lambda p=predictor: p(crops)[0].numpy()
    plain, images = (
        tf.function(models["float32"]),
        normalize(crops, components.network.preprocessing),
    )
    functions["plain Keras float32, no decoding"] = lambda: tf.nest.flatten(
        components.network.prediction(plain(images, training=False))
    )[0].numpy()
    flops["plain Keras float32, no decoding"] = forward_flops(models["float32"])
    times = in_turn(functions, rounds)
    rows = []
    for name, seconds in times.items():
        row = {"forward": name, "ms a crop": milliseconds(seconds, len(crops))}
        row["crops/s"] = 1000 / row["ms a crop"]
        row["times float32"] = ratio(times["tfcpn float32"], seconds)
        row["GFLOP/s"] = flops[name] / row["ms a crop"] / 1e6
        rows.append(row)
    return rows
