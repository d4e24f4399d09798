"""tools/export.py to TensorFlow Lite and ONNX: outputs equal Keras, and files that fail are not
written."""

import re

import numpy as np
import onnx
import pytest
import tensorflow as tf

from tfcpn import Pose
from tfcpn.export import export as written
from tfcpn.export.comparison import Row, failure_reason
from tfcpn.export.onnx import OnnxFile
from tfcpn.export.tflite import TfliteFile
from tfcpn.utils.errors import InputError

RUNNING = {"tflite": TfliteFile, "onnx": OnnxFile}


pytestmark = pytest.mark.usefixtures("tolerate_ties")


def export(command, tiny_run, output, *arguments, check=True):
    return command(
        "tools/export.py", f"--model_dir={tiny_run}", f"--output={output}", *arguments, check=check
    )


def keypoints_of_keras(tiny_run, crops):
    pose = Pose.load(tiny_run, detector="none")
    return [value.numpy() for value in pose.backend(tf.constant(crops))[:3]]


def crops(count=3):
    return np.random.default_rng(1).integers(0, 256, (count, 64, 64, 3), np.uint8)


@pytest.mark.parametrize("kind", RUNNING)
def test_an_exported_file_equals_keras(command, tiny_run, tmp_path, kind):
    printed = export(command, tiny_run, tmp_path / "bare", f"--format={kind}").out
    heatmaps = RUNNING[kind]((tmp_path / "bare").read_bytes())(crops())
    assert set(heatmaps) == {"heatmaps"} and heatmaps["heatmaps"].shape == (3, 16, 16, 17)
    export(command, tiny_run, tmp_path / "whole", f"--format={kind}", "--with_decoder")
    found = RUNNING[kind]((tmp_path / "whole").read_bytes())(crops())
    for name, expected in zip(
        ("joints", "scores", "person"), keypoints_of_keras(tiny_run, crops())
    ):
        np.testing.assert_allclose(found[name], expected, atol=1e-3)
    assert re.search(r"\d people of .*person_keypoints_val.json", printed)
    table = (tmp_path / "bare.comparison.md").read_text()
    assert "| Keras float32 |" in table and "PCK@.1" in table and table in printed


def test_flags_of_an_evaluation_change_the_decoder(command, tiny_run, tmp_path, monkeypatch):
    """Without the flip test the scores of an asymmetric crop are different."""
    # The flip test makes maps of an even crop symmetric: rounding chooses one of two equal peaks.
    monkeypatch.setattr("tfcpn.export.comparison.NEAR", np.inf)
    found = []
    for arguments in (["--flip_test"], ["--noflip_test"]):
        file = tmp_path / f"file{len(found)}"
        export(command, tiny_run, file, "--format=tflite", "--with_decoder", *arguments)
        found.append(TfliteFile(file.read_bytes())(crops())["scores"])
    assert np.abs(found[0] - found[1]).max() > 1e-3


@pytest.mark.parametrize(
    "kind, quantize",
    [
        ("tflite", "float16"),
        ("onnx", "int8"),
        ("tflite", "int8"),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (("onnx", "float16"), ("tflite", "dynamic"), ("onnx", "dynamic"))
        ),
    ],
)
def test_quantized_files_differ_slightly_from_float(command, tiny_run, tmp_path, kind, quantize):
    export(
        command,
        tiny_run,
        tmp_path / "small",
        f"--format={kind}",
        f"--quantize={quantize}",
        "--people=0",
    )
    found = RUNNING[kind]((tmp_path / "small").read_bytes())(crops())["heatmaps"]
    export(command, tiny_run, tmp_path / "large", f"--format={kind}")
    expected = RUNNING[kind]((tmp_path / "large").read_bytes())(crops())["heatmaps"]
    # TensorFlow Lite leaves so few weights in float without the ranges of activations.
    threshold = 0 if (kind, quantize) == ("tflite", "dynamic") else 1e-9
    assert threshold <= np.abs(found - expected).max() < 0.2 * np.ptp(expected)


def test_a_file_in_full_int8_has_integers_only(command, tiny_run, tmp_path):
    """For accelerators: input, output and every tensor between them are integers."""
    export(command, tiny_run, tmp_path / "file", "--format=tflite", "--quantize=full_int8")
    running = tf.lite.Interpreter(model_path=str(tmp_path / "file"))
    running.allocate_tensors()
    types = {t["dtype"] for t in running.get_tensor_details() if t["name"]}
    assert types <= {np.int8, np.int32}
    (taken,), (given,) = running.get_input_details(), running.get_output_details()
    assert taken["dtype"] == given["dtype"] == np.int8 and tuple(given["shape"]) == (1, 16, 16, 17)
    scale, _ = taken["quantization"]
    assert scale == pytest.approx(1, abs=0.05)
    export(command, tiny_run, tmp_path / "float", "--format=tflite")
    float_file, file = (TfliteFile((tmp_path / n).read_bytes()) for n in ("float", "file"))
    expected = float_file(crops())["heatmaps"]
    assert np.abs(file(crops())["heatmaps"] - expected).mean() < 0.05 * np.ptp(expected)


def test_tensorflow_lite_needs_no_flex(command, tiny_run, tmp_path):
    export(command, tiny_run, tmp_path / "file", "--format=tflite", "--with_decoder")
    details = tf.lite.Interpreter(model_path=str(tmp_path / "file"))._get_ops_details()
    assert details and not [
        op["op_name"] for op in details if "Flex" in op["op_name"] or "CUSTOM" in op["op_name"]
    ]


def test_norms_are_folded_and_input_and_output_names_are_printed(command, tiny_run, tmp_path):
    export(command, tiny_run, tmp_path / "file", "--format=onnx", "--with_decoder")
    graph = onnx.load(str(tmp_path / "file")).graph
    assert "BatchNormalization" not in {node.op_type for node in graph.node}
    assert [value.name for value in graph.input] == ["crops"]
    assert {value.name for value in graph.output} == {"joints", "scores", "person"}


def test_a_file_that_fails_the_parity_check_is_not_written(
    command, tiny_run, tmp_path, monkeypatch
):
    for kind in ("tflite", "savedmodel"):
        monkeypatch.setattr(
            written.ParityCheck, "failure_reason", lambda *args: "its AP is too low"
        )
        done = export(command, tiny_run, tmp_path / "bad", f"--format={kind}", check=False)
        assert (
            done.status == 1
            and "its AP is too low" in done.err
            and len(done.err.strip().splitlines()) == 1
        )
        assert list(tmp_path.iterdir()) == []


def row(ap=0.5, median=0.0, far=0.0, **accuracy):
    return Row(
        "file", {"AP": ap, **accuracy} if ap is not None else accuracy, 0.0, median, far, 1.0, 1.0
    )


@pytest.mark.parametrize(
    "keras, file, quantize, printed",
    [
        (row(), row(0.4995), "none", ""),
        (
            row(),
            row(0.4985),
            "none",
            "its AP is 0.0015 less than that of Keras, expected at most 0.001",
        ),
        (row(), row(0.4985), "float16", ""),
        (row(), row(0.47), "int8", "its AP is 0.0300 less"),
        (row(), row(0.6), "none", ""),  # a higher AP is accepted
        (
            row(0.0, **{"PCK@.1": 0.4}),
            row(0.0, **{"PCK@.1": 0.3}),
            "int8",
            "its PCK@.1 is 0.1000 less",
        ),
        (row(), row(far=9.0), "none", "99% of its keypoints are within 9.000 crop pixels only"),
        (row(), row(far=9.0), "int8", ""),
        (
            row(None),
            row(None, median=3.0),
            "int8",
            "the median distance to the keypoints of Keras is 3.00 crop pixels",
        ),
        (row(), row(median=np.nan), "int8", "its outputs are no numbers"),
    ],
)
def test_how_a_file_is_judged(keras, file, quantize, printed):
    assert failure_reason(keras, file, quantize).startswith(printed) and bool(
        failure_reason(keras, file, quantize)
    ) == bool(printed)


def test_files_that_are_no_exports_are_not_overwritten(command, tiny_run, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "work.txt").write_text("weeks")
    (tmp_path / "file").write_text("days")
    for kind, output in (("savedmodel", "mine"), ("savedmodel", "file"), ("tflite", "mine")):
        done = export(
            command, tiny_run, tmp_path / output, f"--format={kind}", "--overwrite", check=False
        )
        assert done.status == 1 and str(tmp_path / output) in done.err
    assert (tmp_path / "mine" / "work.txt").exists() and (tmp_path / "file").read_text() == "days"


@pytest.mark.slow
def test_a_failed_saved_model_keeps_the_previous_one(command, tiny_run, tmp_path, monkeypatch):
    export(command, tiny_run, tmp_path / "saved", "--format=savedmodel")
    monkeypatch.setattr(written.ParityCheck, "failure_reason", lambda *args: "its AP is too low")
    done = export(
        command, tiny_run, tmp_path / "saved", "--format=savedmodel", "--overwrite", check=False
    )
    assert done.status == 1 and sorted(p.name for p in tmp_path.iterdir()) == ["saved"]
    assert (tmp_path / "saved" / "saved_model.pb").exists() and (
        tmp_path / "saved" / "comparison.md"
    ).exists()


def test_records_of_other_keypoints_are_refused_for_calibration(
    command, tiny_run, tmp_path, monkeypatch
):
    from tfcpn.data.record_sets import Records
    from tfcpn.skeleton import LSP

    monkeypatch.setattr(Records, "skeleton", property(lambda records: LSP))
    done = export(
        command, tiny_run, tmp_path / "file", "--format=tflite", "--quantize=int8", check=False
    )
    assert done.status == 1 and "its keypoints are not those of the network" in done.err


def test_layers_sensitive_to_int8_stay_in_float_and_are_named(
    command, tiny_run, tmp_path, monkeypatch
):
    seen = []

    def bad_at_first(judge, row, quantize):
        seen.append(row.heatmaps)
        return "" if len(seen) > 1 else "its AP is too low"

    monkeypatch.setattr(written.ParityCheck, "failure_reason", bad_at_first)
    monkeypatch.setattr(written, "_EXCLUDED_COUNTS", (0, 1))
    printed = export(command, tiny_run, tmp_path / "file", "--format=tflite", "--quantize=int8").out
    assert (
        "left in float, since int8 costs them most: " in printed
        and "only" in printed.split("most: ")[1]
    )
    assert seen[1] <= seen[0]  # on some processors the small network loses nothing


def test_without_people_the_export_is_compared_on_random_crops(
    command, tiny_run, tmp_path, monkeypatch
):
    monkeypatch.setattr("tfcpn.checkpoints.run_config.load_run", _without_people(tiny_run))
    printed = export(command, tiny_run, tmp_path / "file", "--format=tflite").out
    assert "not found: compared on random images" in printed and "8 random images" in printed


def _without_people(tiny_run):
    import dataclasses

    from tfcpn.checkpoints import run_config

    there = run_config.load_run(str(tiny_run))
    return lambda folder: there._replace(
        config=dataclasses.replace(there.config, val_annotations="nowhere.json")
    )


@pytest.mark.parametrize(
    "arguments, printed",
    [
        (
            ["--format=savedmodel", "--quantize=int8"],
            "--quantize needs --format=tflite or onnx, not savedmodel",
        ),
        (["--with_decoder"], "--with_decoder needs --format=tflite or onnx"),
        (["--format=onnx", "--task=a.task"], "--task needs --format=mediapipe, not onnx"),
        (["--format=onnx", "--learn_from=3"], "--learn_from needs --quantize=int8"),
        (["--format=onnx", "--quantize=full_int8"], "full_int8 needs --format=tflite"),
        (["--format=tflite", "--backbone=resnet101"], "was trained with other settings"),
        (["--format=tflite", "--quantize=int8", "--train_records=nowhere"], "nowhere"),
        (["--format=onnx", "--val_annotations=nowhere.json"], "nowhere.json"),
    ],
)
def test_an_invalid_request_is_reported(command, tiny_run, tmp_path, arguments, printed):
    done = export(command, tiny_run, tmp_path / "file", *arguments, check=False)
    assert done.status == 1 and printed in done.err and not (tmp_path / "file").exists()


def test_onnx_that_is_not_installed_is_reported(command, tiny_run, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tf2onnx", None)
    done = export(command, tiny_run, tmp_path / "file", "--format=onnx", check=False)
    assert done.status == 1 and "--format=onnx needs tf2onnx; pip install 'tfcpn[onnx]'" in done.err


def test_a_failed_tensorflow_lite_conversion_is_a_one_line_error(tiny_run, monkeypatch):
    from tfcpn.export import tflite

    class Converter:
        def convert(self):
            raise ValueError("some op\nand a long story")

    monkeypatch.setattr(tflite, "_converter", lambda *args: Converter())
    with pytest.raises(InputError, match="^TensorFlow Lite cannot take it: some op$"):
        tflite.to_tflite(None)


@pytest.mark.slow
def test_mediapipes_network_is_exported_to_every_format(mediapipe, command, tmp_path):
    """Landmarks, heatmaps and presence of crops equal those of Keras."""
    first = [f"--init_weights={mediapipe.landmarks}", "--network=blazepose", "--epoch=0"]
    for kind in RUNNING:
        arguments = [
            *first,
            f"--format={kind}",
            "--noflip_test",
            "--refine_landmarks",
            "--val_annotations=data/none.json",
        ]
        done = export(command, tmp_path, tmp_path / kind, *arguments, check=False)
        assert done.status == 1 and "data/none.json" in done.err
        done = export(command, tmp_path, tmp_path / kind, *arguments[:-1])
        outputs = RUNNING[kind]((tmp_path / kind).read_bytes())(
            np.random.default_rng(0).integers(0, 256, (2, 256, 256, 3), np.uint8)
        )
        assert {name: value.shape[1:] for name, value in outputs.items()} == {
            "landmarks": (39, 5),
            "heatmaps": (64, 64, 39),
            "person": (),
        }
