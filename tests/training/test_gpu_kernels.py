"""Every operation of the compiled steps has a GPU kernel, so that none falls back to the host
unnoticed."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import kernels

from support.parsing import parse
from tfcpn.builders import build_components
from tfcpn.evaluation.predictor import Predictor
from tfcpn.skeleton import COCO
from tfcpn.training.state import build_step, new_state
from tfcpn.utils import device

# Operations that TensorFlow expands, or runs on the host by design.
STRUCTURE = {
    "PartitionedCall",
    "StatefulPartitionedCall",
    "If",
    "StatelessIf",
    "While",
    "StatelessWhile",
    "NoOp",
}
ON_GPUS = ("GPU", "DEFAULT")  # the second for any device
STRUCTURE |= {"Placeholder", "_Arg", "_Retval", "Assert", "SymbolicGradient"}


@pytest.fixture(autouse=True)
def _gpu_registry():
    if not tf.sysconfig.get_build_info().get("is_cuda_build"):
        pytest.skip("this TensorFlow is built without CUDA, and knows of no GPU kernels")


@pytest.fixture(autouse=True)
def _float32_afterwards():
    yield
    device.set_precision("float32")


def nodes_of(function) -> list:
    """All nodes of a traced function and of the functions it calls."""
    graph = function.graph.as_graph_def(add_shapes=True)
    return [*graph.node, *(node for called in graph.library.function for node in called.node_def)]


def without_gpu_kernel(nodes) -> set[str]:
    """Operations, with their types, that have no registered GPU kernel."""
    missing = set()
    for node in nodes:
        if node.op in STRUCTURE or "CPU" in node.device:
            continue
        types = {name: value.type for name, value in node.attr.items() if value.type}
        for kernel in kernels.get_registered_kernels_for_op(node.op).kernel:
            allowed = {c.name: c.allowed_values.list.type for c in kernel.constraint}
            if kernel.device_type in ON_GPUS and all(
                types.get(n, t[0]) in t for n, t in allowed.items() if t
            ):
                break
        else:
            missing.add(f"{node.op} {sorted(tf.as_dtype(t).name for t in types.values())}")
    return missing


def step_nodes(*arguments) -> list:
    cfg, _ = parse("--input_size=64x64", "--init_weights=none", "--batch_size=4", *arguments)
    components = build_components(cfg, COCO)
    device.set_precision(cfg.mixed_precision)
    strategy = tf.distribute.get_strategy()
    step = build_step(cfg, components, new_state(cfg, components, strategy), strategy)
    people, size = cfg.batch_size // cfg.views, components.training_spec.size
    crops, keypoints = (
        np.zeros((people, *size, 3), np.uint8),
        np.zeros((people, components.num_points, 3), np.float32),
    )
    trace = type(step).__call__.get_concrete_function
    return nodes_of(trace(step, crops, keypoints, tf.constant(0, tf.int64), [0.0, 0.0]))


ONE_VIEW = (
    "--views=1",
    "--shift=0.1",
    "--any_rotation=0.3",
    "--random_half_body=0.3",
    "--random_erasing=0.3",
    "--color_jitter=0.3",
)
ONE_VIEW += ("--ema=0.99",)
BLAZEPOSE_DEFAULTS = ("--network=blazepose", "--input_size=256x256")


def test_the_registry_separates_operations_without_a_gpu_kernel():
    """A control: decoding a JPEG has no GPU kernel, a convolution has one."""

    @tf.function
    def decode(content, images, kernel):
        return tf.io.decode_jpeg(content), tf.nn.conv2d(images, kernel, 1, "SAME")

    spec = tf.TensorSpec((), tf.string), tf.TensorSpec((1, 8, 8, 3)), tf.TensorSpec((3, 3, 3, 4))
    assert without_gpu_kernel(nodes_of(decode.get_concrete_function(*spec))) == {"DecodeJpeg []"}


@pytest.mark.parametrize("arguments", [(), ONE_VIEW], ids=["four views", "one view"])
def test_a_step_of_the_tiny_network_has_gpu_kernels(tiny_network, arguments):
    nodes = step_nodes(*arguments)
    assert len(nodes) > 100 and without_gpu_kernel(nodes) == set()


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--mixed_precision=bfloat16",),
        ("--mixed_precision=float16",),
        (*ONE_VIEW, "--late_upsampling"),
        BLAZEPOSE_DEFAULTS,
    ],
    ids=["float32", "bfloat16", "float16", "all flags", "blazepose"],
)
def test_a_step_has_gpu_kernels(arguments):
    nodes = step_nodes(*arguments)
    assert len(nodes) > 2000 and without_gpu_kernel(nodes) == set()


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments", [("--mixed_precision=float16",), BLAZEPOSE_DEFAULTS], ids=["cpn", "blazepose"]
)
def test_a_prediction_has_gpu_kernels(arguments):
    cfg, _ = parse("--input_size=64x64", "--init_weights=none", *arguments)
    components = build_components(cfg, COCO)
    device.set_precision(cfg.mixed_precision)
    predictor = Predictor(
        components.network.build(),
        components.network,
        components.codec,
        components.crop_spec,
        flip_test=True,
        fold=True,
    )
    nodes = nodes_of(predictor.predict.get_concrete_function())
    assert len(nodes) > 500 and without_gpu_kernel(nodes) == set()


def test_the_seed_of_a_step_is_computed_on_the_host(tiny_network):
    """Otherwise the host would wait for the GPU once per step."""
    for arguments in ((), ONE_VIEW):
        seeds = [
            n
            for n in step_nodes(*arguments)
            if n.op == "Pack" and n.attr["T"].type == tf.int64.as_datatype_enum
        ]
        assert seeds and all("CPU" in node.device for node in seeds)


def test_the_norms_of_all_gradients_use_one_square_root(tiny_network):
    roots = [node for node in step_nodes() if node.op == "Sqrt"]
    assert len(roots) <= 2
