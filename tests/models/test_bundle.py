"""MediaPipe's .task bundles: made of networks, taken apart and put together."""

import zipfile

import pytest

from tfcpn import Pose
from tfcpn.models.blazepose.bundle import (
    TASK_METADATA,
    has_detector,
    make_bundle,
    replace_bundle_members,
    task_metadata,
)
from tfcpn.models.blazepose.weights import read_landmark_model
from tfcpn.models.tflite import read_metadata


@pytest.fixture
def networks(mediapipe):
    """Return the content of MediaPipe's landmark network and of its detector."""
    with open(mediapipe.landmarks, "rb") as a, open(mediapipe.detector, "rb") as b:
        return a.read(), b.read()


def contents(path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as bundle:
        for entry in bundle.infolist():
            assert entry.compress_type == zipfile.ZIP_STORED
        return {name: bundle.read(name) for name in bundle.namelist()}


def starts_of_models(path) -> list[int]:
    """Return where the TensorFlow Lite files of a bundle begin, by their identifier."""
    content, starts, at = path.read_bytes(), [], -1
    while (at := content.find(b"TFL3", at + 1)) >= 0:
        starts.append(at - 4)
    return starts


def test_a_bundle_has_both_networks_with_metadata_at_multiples_of_4(networks, tmp_path):
    landmarks, detector = networks
    path = tmp_path / "pose.task"
    path.write_bytes(make_bundle(landmarks, detector))
    found = contents(path)
    assert list(found) == ["pose_detector.tflite", "pose_landmarks_detector.tflite"]
    assert found["pose_detector.tflite"] == detector  # it has metadata already
    metadata = read_metadata(found["pose_landmarks_detector.tflite"], TASK_METADATA)
    assert metadata == task_metadata("pose landmarks", 0.0, 255.0) and metadata[4:8] == b"M001"
    starts = starts_of_models(path)
    assert len(starts) == 2 and all(start % 4 == 0 for start in starts)
    assert read_landmark_model(str(path))[1].name == "full"


def test_metadata_is_a_flatbuffer_with_the_normalization():
    import flatbuffers
    import numpy as np

    content = task_metadata("x", 127.5, 0.25)

    def table(position):
        return flatbuffers.table.Table(content, position)

    def child(parent, slot):
        return table(parent.Indirect(parent.Offset(4 + 2 * slot) + parent.Pos))

    def first(parent, slot):
        return table(parent.Indirect(parent.Vector(parent.Offset(4 + 2 * slot))))

    model = table(int.from_bytes(content[:4], "little"))
    tensor = first(first(model, 3), 2)
    unit = first(tensor, 4)
    assert content[unit.Pos + unit.Offset(4)] == 1  # NormalizationOptions
    options = child(unit, 1)
    values = [
        options.GetVectorAsNumpy(flatbuffers.number_types.Float32Flags, options.Offset(o))[0]
        for o in (4, 6)
    ]
    np.testing.assert_allclose(values, [127.5, 0.25])


def test_all_else_of_a_bundle_is_kept(networks, tmp_path):
    landmarks, detector = networks
    path = tmp_path / "theirs.task"
    with zipfile.ZipFile(path, "w") as bundle:
        bundle.writestr("notes.txt", b"kept")
        bundle.writestr("pose_landmarks_detector.tflite", landmarks)
        bundle.writestr("pose_detector.tflite", detector)
    copy = tmp_path / "ours.task"
    copy.write_bytes(replace_bundle_members(str(path), {"pose_landmark": landmarks[:-4] + b"abcd"}))
    found = contents(copy)
    assert list(found) == ["notes.txt", "pose_landmarks_detector.tflite", "pose_detector.tflite"]
    assert found["notes.txt"] == b"kept" and found["pose_detector.tflite"] == detector
    assert found["pose_landmarks_detector.tflite"].endswith(b"abcd")


def test_a_replaced_network_gets_the_metadata_of_the_old_one(networks, tmp_path):
    path, copy = tmp_path / "a.task", tmp_path / "b.task"
    path.write_bytes(make_bundle(*networks))
    copy.write_bytes(replace_bundle_members(str(path), {"pose_landmark": networks[0]}))
    assert read_metadata(networks[0], TASK_METADATA) is None
    old, new = (
        read_metadata(contents(p)["pose_landmarks_detector.tflite"], TASK_METADATA)
        for p in (path, copy)
    )
    assert old == new


def test_shipped_files_are_exported_and_predict_uses_both(mediapipe, command, tmp_path):
    path = tmp_path / "pose.task"
    files = [f"--template={mediapipe.landmarks}", f"--detector={mediapipe.detector}"]
    done = command("tools/export.py", f"--task={path}", *files)
    assert f"written: {path}; the full network" in done.out
    again = command("tools/export.py", f"--task={path}", *files, check=False)
    assert again.status == 1 and "already exists; --overwrite replaces it" in again.err
    bare = command("tools/export.py", f"--output={tmp_path / 'x.tflite'}", check=False)
    assert bare.status == 1 and "--model_dir is missing: which run" in bare.err
    assert has_detector(str(path)) and not has_detector(mediapipe.landmarks)
    assert Pose.load(path).keypoint_names[0] == "nose"
