"""tools/benchmark.py measures every part and writes the printed tables; the speed is not tested."""

import json
import os

import pytest
import tensorflow as tf
from tensorflow.tsl.profiler.protobuf import xplane_pb2

from benchmarking import gpu, measure, network, step_profile
from support.parsing import parse
from tfcpn.models.cpn import build_cpn, cpn_network
from tfcpn.models.layers import PyramidConv


def run(part, people, command, tmp_path, *more):
    """Run the tool on a small network; return the printed and the written output."""
    arguments = [
        f"--train_annotations={people.train_annotations}",
        f"--train_images={people.train}",
    ]
    arguments += [
        f"--train_records={people.records}",
        f"--val_annotations={people.val_annotations}",
    ]
    arguments += [
        f"--val_images={people.val}",
        "--input_size=64x64",
        "--batch_size=4",
        "--eval_batch_size=4",
    ]
    arguments += ["--rounds=1", "--people=80", "--copies=12", f"--json={tmp_path / 'b.json'}"]
    done = command("tools/benchmark.py", part, *arguments, *more)
    return done, json.loads((tmp_path / "b.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize(
    "part, rows",
    [
        ("input", ["original's way", "tfcpn", "tfcpn, each of 4 hosts"]),
        (
            "eval",
            [
                "original's way, without network",
                "tfcpn, without network",
                "COCO summary, 10,000 people",
            ],
        ),
        ("records", ["1 worker(s)", "2 worker(s)"]),
        ("step", ["tfcpn float32", "plain Keras float32", "tfcpn float32, late upsampling"]),
        (
            "forward",
            ["tfcpn float32", "tfcpn float32, flip test", "tfcpn float32, as it is trained"],
        ),
    ],
)
def test_every_part_is_measured(people, command, tiny_network, tmp_path, part, rows):
    done, written = run(part, people, command, tmp_path)
    assert [row[part if part != "eval" else "evaluation"] for row in written["rows"]][
        : len(rows)
    ] == rows
    assert written["peak_mb"] > 50 and written["machine"]["cores"] >= 1
    for row in written["rows"]:
        assert all(value > 0 for value in row.values() if isinstance(value, (int, float)))
    assert done.out.startswith(f"| {next(iter(written['rows'][0]))}") and "peak memory" in done.out


@pytest.mark.slow
def test_video_pipelines_are_measured(mediapipe, people, command, tiny_network, tmp_path):
    _, written = run("video", people, command, tmp_path, "--frames=4", "--python=none")
    assert [(row["video"], row["people"]) for row in written["rows"]][:2] == [
        ("BlazePose, TensorFlow Lite", 1),
        ("BlazePose, Keras float32", 1),
    ]
    assert {row["people"] for row in written["rows"]} == {1, 4}
    assert all(row["frames/s"] > 0 for row in written["rows"])
    assert written["rows"][0]["people seen a frame"] == 1


@pytest.mark.slow
def test_gpu_measurements_run_on_any_device(people, command, tiny_network, tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "_alone", lambda function, *arguments: function(*arguments))
    monkeypatch.setattr(gpu, "SECONDS", 0.1)
    _, written = run(
        "gpu", people, command, tmp_path, "--precisions=float32", "--minutes=0.01", "--epochs=2"
    )
    *steps, host = written["rows"]
    assert [(row["gpu"], row["XLA"], row["batch"]) for row in steps] == [
        ("float32", "no", 4),
        ("float32", "yes", 4),
    ]
    for row in steps:
        assert row["crops/s"] > 0 and row["first step, s"] > 0
        assert row["hours"] == pytest.approx(
            2 * 60000 / min(row["crops/s"], host["crops/s"]) / 3600
        )
    assert host["gpu"].startswith("host") and host["crops/s"] > 0


def test_a_crashed_process_is_reported_and_the_benchmark_continues():
    assert "died" in gpu._alone(os._exit, 1)["problem"]
    assert gpu._alone(divmod, 7, 2) == (3, 1)


def test_batches_double_until_one_does_not_fit(monkeypatch):
    def run_here(function, cfg, *people):
        if function is gpu._input_rate:
            return 500.0
        if cfg.batch_size > 128:
            return {"problem": gpu.NO_ROOM}
        speed = {"float32": 100.0, "float16": 300.0}[cfg.mixed_precision] + cfg.xla * 50
        return {
            "crops/s": speed + cfg.batch_size,
            "peak MB": 10.0 * cfg.batch_size,
            "first step, s": 1.0,
        }

    monkeypatch.setattr(gpu, "_alone", run_here)
    rows = gpu.benchmark_gpu(parse("--batch_size=32")[0], ("float32", "float16"), 80, 10.0)
    assert [(r["gpu"], r["XLA"], r["batch"]) for r in rows[4:-1]] == [
        ("float16", "yes", n) for n in (64, 128, 256)
    ]
    assert rows[-2]["crops/s"] == "does not fit" and rows[-2]["hours"] == ""
    assert rows[3]["hours"] == pytest.approx(400 * 60000 / 382 / 3600)
    assert rows[-3]["hours"] == pytest.approx(400 * 60000 / 478 / 3600), (
        "and never more than the host delivers"
    )


@pytest.mark.slow
def test_the_profile_lists_what_a_step_runs(people, command, tmp_path):
    rows = {row["profile"]: row for row in run("profile", people, command, tmp_path)[1]["rows"]}
    assert {"Conv2D", "Conv2DBackpropInput", "Conv2DBackpropFilter", "ResourceApplyAdam"} <= set(
        rows
    )
    assert sum(float(row["of the sum"].rstrip("%")) for row in rows.values()) == pytest.approx(
        100, abs=1
    )
    assert rows["ResourceApplyAdam"]["calls a step"] == 270  # the trainable variables


def test_a_trace_is_summed_by_operation_without_callers(tmp_path):
    space = xplane_pb2.XSpace()
    line = space.planes.add().lines.add()
    names = [
        "cpn/a/Conv2D:_MklNativeConv2D",
        "b:Conv2D",
        "c:Relu",
        "ExecutorState::Process",
        " __inference_f_1",
    ]
    for number, name in enumerate([*names, "d:StatefulPartitionedCall", "EagerExecute", "step: 3"]):
        space.planes[0].event_metadata[number].name = name
        line.events.add(metadata_id=number, duration_ps=(number + 1) * 10**9)
    (tmp_path / "host.xplane.pb").write_bytes(space.SerializeToString())
    assert step_profile.operation_times(tmp_path) == {
        "Conv2D": (pytest.approx(0.003), 2),
        "Relu": (0.003, 1),
    }


def test_an_unknown_part_is_reported_in_one_line(command):
    failed = command("tools/benchmark.py", "speed", check=False)
    components = "input, step, profile, forward, eval, records, video, gpu"
    assert (
        failed.err.strip()
        == f"error: expected one of {components}; see python tools/benchmark.py --help"
    )


def test_a_detector_has_no_forward_pass_of_crops(command):
    network = ("--network=blazepose_detector", "--align=image", "--input_size=224x224")
    failed = command("tools/benchmark.py", "forward", *network, check=False)
    assert failed.status == 1 and "error: forward: is for networks of keypoints" in failed.err


def test_the_flops_of_the_network_are_those_of_its_convolutions():
    size, unit = (64, 64), 2
    layers = {layer.name: layer for layer in build_cpn(size, "resnet50", 17).layers}
    only = lambda name: network.forward_flops(type("Model", (), {"layers": [layers[name]]})())  # noqa: E731
    assert only("resnet_v1_50/conv1") == unit * 32 * 32 * 64 * 7 * 7 * 3
    assert only("lateral/res5") == unit * 2 * 2 * 256 * 2048
    assert network.forward_flops(build_cpn((256, 192), "resnet50", 17)) == pytest.approx(
        14.46e9, rel=1e-3
    )


def test_convolutions_before_upsampling_are_counted_at_their_input_sizes():
    levels = [tf.keras.Input((32, 32, 8)), tf.keras.Input((16, 16, 4))]
    model = tf.keras.Model(levels, PyramidConv(5, (32, 32))(levels))
    assert network.forward_flops(model) == 2 * 5 * (32 * 32 * 8 + 16 * 16 * 4)


def test_inference_skips_global_maps_and_the_inference_model_needs_a_seventh_less():
    cpn50 = cpn_network((256, 192), "resnet50", 17)
    early, lean = (
        network.prediction_flops(cpn50, build())
        for build in (cpn50.build, cpn50.build_for_inference)
    )
    assert early == pytest.approx(13.6e9, rel=0.01) and lean / early == pytest.approx(
        0.85, abs=0.01
    )


def test_functions_are_timed_alternately_after_one_warm_up_call():
    calls = []
    times = measure.in_turn({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 2)
    assert calls == ["a", "b"] * 3 and [len(t) for t in times.values()] == [2, 2]
    assert measure.ratio([4.0, 9.0, 8.0], [2.0, 3.0, 4.0]) == 2
