"""A run uses the requested device, and reports it."""

import pytest
import tensorflow as tf

from support.small_run import flags, logged
from tfcpn.utils import device
from tfcpn.utils.errors import InputError


@pytest.fixture
def no_gpu_seen(monkeypatch):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    monkeypatch.setattr(tf.test, "is_built_with_cuda", lambda: True)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def card_in(root):
    """A machine with an NVIDIA GPU, an NVIDIA sound device and a GPU of another vendor on the PCI
    bus.
    """
    for name, vendor, kind in (
        ("0", "0x8086", "0x030000"),
        ("1", "0x10de", "0x040300"),
        ("2", "0x10de", "0x030200"),
    ):
        folder = root / "sys/bus/pci/devices" / name
        folder.mkdir(parents=True)
        (folder / "vendor").write_text(vendor + "\n")
        (folder / "class").write_text(kind + "\n")


def test_gpus_are_found_with_and_without_a_driver(tmp_path):
    assert device.nvidia_devices(tmp_path) == [] and device.explain_unusable_gpu(tmp_path) == ""
    card_in(tmp_path)
    assert device.nvidia_devices(tmp_path) == [str(tmp_path / "sys/bus/pci/devices/2")]
    (tmp_path / "proc/driver/nvidia/gpus/0000:01:00.0").mkdir(parents=True)
    assert device.nvidia_devices(tmp_path) == [
        str(tmp_path / "proc/driver/nvidia/gpus/0000:01:00.0")
    ]


def test_libraries_that_cannot_be_loaded_are_named(tmp_path, monkeypatch):
    card_in(tmp_path)
    names = ["libc.so.6", "libcuda_that_is_not.so.1", "libcudnn_neither.so.8"]
    monkeypatch.setattr(device, "cuda_libraries", lambda build: names)
    printed = device.explain_unusable_gpu(tmp_path)
    assert (
        "cannot load libcuda_that_is_not.so.1, libcudnn_neither.so.8; install" in printed
        and "--device=cpu" in printed
    )


@pytest.mark.parametrize(
    "cuda, cudnn, names",
    [
        ("12.2", "8", {"libcudart.so.12", "libcufft.so.11", "libcusolver.so.11", "libcudnn.so.8"}),
        ("12.5.1", "9", {"libcudart.so.12", "libcublasLt.so.12", "libcudnn.so.9"}),
        ("13.0", "9", {"libcudart.so.13", "libcusparse.so.13", "libcufft.so.12"}),
    ],
)
def test_the_libraries_are_those_of_the_tensorflow_that_is_installed(cuda, cudnn, names):
    assert names | {"libcuda.so.1"} <= set(
        device.cuda_libraries({"cuda_version": cuda, "cudnn_version": cudnn})
    )
    assert "tensorflow[and-cuda]==" + tf.__version__ in device.install_hint()


def test_a_gpu_unusable_by_tensorflow_is_an_error_unless_the_cpu_is_requested(
    no_gpu_seen, monkeypatch
):
    monkeypatch.setattr(device, "explain_unusable_gpu", lambda: "there is an NVIDIA card")
    for name in ("auto", "gpu"):
        with pytest.raises(InputError, match=f"--device={name}: there is an NVIDIA card"):
            device.select_device(name)
    hidden = []
    monkeypatch.setattr(device, "hide_gpus", lambda: hidden.append(1))
    device.select_device("cpu")
    assert hidden
    # Hidden on purpose, for example by a scheduler.
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    device.select_device("auto")


def test_a_machine_without_a_gpu_uses_the_cpu(no_gpu_seen, monkeypatch):
    monkeypatch.setattr(device, "explain_unusable_gpu", lambda: "")
    device.select_device("auto")
    with pytest.raises(InputError, match="--device=gpu: there is no GPU here"):
        device.select_device("gpu")


def test_memory_growth_is_set_and_an_initialized_gpu_is_left_unchanged(monkeypatch):
    grown = []

    def grow(card, on):
        grown.append(card)
        if card == "in use":
            raise RuntimeError("Physical devices cannot be modified after being initialized")

    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: ["in use", "another"])
    monkeypatch.setattr(tf.config.experimental, "set_memory_growth", grow)
    device.grow_memory()
    assert grown == ["in use", "another"]


def test_gpus_are_reported_by_name(monkeypatch):
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: ["a", "b", "c"])
    names = {"a": "A100", "b": "A100", "c": "T4"}
    monkeypatch.setattr(
        tf.config.experimental, "get_device_details", lambda d: {"device_name": names[d]}
    )
    assert device.describe_devices() == "2 x A100, 1 x T4"


def test_a_run_prints_the_device_first_and_stores_it_in_the_metrics(
    people, command, tiny_network, tmp_path
):
    import json

    arguments = flags(
        people, tmp_path, "--epochs=1", "--epoch_size=16", "--eval_every=1", "--device=cpu"
    )
    done = command("-m", "tfcpn.train", *arguments)
    first = done.err.splitlines()[0]
    assert (
        first.startswith(f"{device.describe_devices()}, float32, 1 replica(s); ")
        and "CPU (" in first
    )
    row = logged(tmp_path)[0]
    assert (row["device"], row["precision"], row["replicas"]) == (
        device.describe_devices(),
        "float32",
        "1",
    )
    report = json.loads(next((tmp_path / "eval").glob("*/metrics.json")).read_text())
    assert (report["device"], report["replicas"]) == (device.describe_devices(), 1)


@pytest.mark.parametrize(
    "processor, expected",
    [
        ("vendor_id : GenuineIntel flags : avx512f avx512_bf16 amx_bf16 amx_tile", "bfloat16"),
        ("vendor_id : GenuineIntel flags : avx512f avx512_bf16", "float32"),
        ("vendor_id : AuthenticAMD flags : avx512f avx512_bf16", "bfloat16"),
        ("vendor_id : AuthenticAMD flags : avx512f", "float32"),
    ],
)
def test_auto_precision_is_bfloat16_on_processors_that_are_faster_in_it(
    tmp_path, monkeypatch, processor, expected
):
    monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS", raising=False)
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    (tmp_path / "cpuinfo").write_text(processor)
    monkeypatch.setattr(device, "_CPUINFO", tmp_path / "cpuinfo")
    assert device.resolve_precision("auto") == expected
    for name, value in (("TF_ENABLE_ONEDNN_OPTS", "0"), ("ONEDNN_MAX_CPU_ISA", "AVX2")):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            assert device.resolve_precision("auto") == "float32"  # the fast path is disabled
    monkeypatch.setattr(device, "_CPUINFO", tmp_path / "nowhere")
    assert (
        device.resolve_precision("auto") == "float32"
        and device.resolve_precision("float16") == "float16"
    )
