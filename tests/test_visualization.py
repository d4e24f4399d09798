import json

import cv2
import numpy as np
import pytest

from tfcpn.commands import draw_poses
from tfcpn.data.coco import read_annotations
from tfcpn.data.detections import PersonBox, coco_result
from tfcpn.skeleton import COCO
from tfcpn.visualization import LEFT, RIGHT, draw_pose, sheet


def test_a_pose_is_drawn_where_its_keypoints_are_in_the_color_of_their_side():
    image = np.zeros((100, 100, 3), np.uint8)
    keypoints = np.full((17, 2), 50.0)
    keypoints[9], keypoints[10] = (80, 20), (20, 20)  # left and right wrist
    drawn = np.zeros(17, bool)
    drawn[[9, 10]] = True
    draw_pose(image, keypoints, drawn, COCO)
    assert image[20, 80].tolist() == list(LEFT) and image[20, 20].tolist() == list(RIGHT)
    assert not image[40:, :].any()


def test_a_sheet_keeps_the_shape_of_its_images():
    cells = [
        np.full((50, 100, 3), 200, np.uint8),
        np.full((100, 50, 3), 100, np.uint8),
        np.zeros((10, 10, 3), np.uint8),
    ]
    image = sheet(cells, 2, (60, 60))
    assert image.shape == (120, 120, 3)
    assert (image[:60, :60] == 200).all(axis=-1).sum() == 60 * 30
    assert (image[:60, 60:] == 100).all(axis=-1).sum() == 60 * 30


@pytest.mark.parametrize("with_results", [False, True])
def test_the_image_of_a_dataset_is_written(people, command, tmp_path, with_results):
    arguments = [
        f"--annotations={people.val_annotations}",
        f"--images={people.val}",
        f"--output={tmp_path / 'a.png'}",
    ]
    if with_results:
        _, annotated, *_ = read_annotations(people.val_annotations)
        boxes = [PersonBox(p.image_id, p.box, 1.0) for p in annotated if p.trainable]
        keypoints = {"keypoints": np.full((17, 2), 30.0), "scores": np.ones(17)}
        results = [coco_result(b, **keypoints) for b in boxes]
        (tmp_path / "results.json").write_text(json.dumps(results))
        arguments.append(f"--results={tmp_path / 'results.json'}")
    command("tools/draw_poses.py", *arguments, "--count=4", "--columns=2")
    assert cv2.imread(str(tmp_path / "a.png")).shape == (600, 680, 3)


def test_the_image_of_the_alignments_is_written(people, command, tmp_path):
    arguments = [f"--annotations={people.val_annotations}", f"--images={people.val}", "--count=3"]
    command("tools/show_crops.py", *arguments, f"--output={tmp_path / 'c.png'}")
    assert cv2.imread(str(tmp_path / "c.png")).shape == (4 * 200, 3 * 200, 3)


def test_the_image_of_a_training_batch_is_written(people, command, tmp_path):
    arguments = [
        f"--train_records={people.records}",
        "--input_size=64x64",
        "--people=3",
        f"--output={tmp_path / 'b.png'}",
    ]
    command("tools/show_batch.py", *arguments)
    assert cv2.imread(str(tmp_path / "b.png")).shape == (3 * 64, 12 * 64, 3)


def test_the_worst_results_are_those_farthest_from_the_annotation(people):
    _, drawn, *_ = read_annotations(people.val_annotations)
    first, second = drawn[0], next(p for p in drawn if p.image_id != drawn[0].image_id)

    def shifted(person, shift):
        keypoints = person.keypoints.copy()
        keypoints[:, :2] += shift
        keypoints[:, 2] = 1
        return {"image_id": person.image_id, "keypoints": keypoints.ravel().tolist(), "score": 1}

    side = max(second.box[2:])
    results = [
        shifted(first, 0),
        shifted(second, 0.3 * side),
        shifted(second, (0, 0.1 * side)),
    ]
    errors = draw_poses.errors_by_image([first, second], results)
    assert errors == {first.image_id: 0, second.image_id: pytest.approx(0.1, rel=1e-4)}
    assert draw_poses.errors_by_image([first], [])[first.image_id] == np.inf


@pytest.mark.parametrize("tool", ["draw_poses", "show_crops", "show_batch"])
def test_an_unknown_image_suffix_is_refused_before_reading(command, tmp_path, tool):
    arguments = [] if tool == "show_batch" else ["--annotations=nowhere.json", "--images=nowhere"]
    failed = command(f"tools/{tool}.py", *arguments, f"--output={tmp_path / 'x.gif'}", check=False)
    assert failed.status == 1 and "x.gif: expected a name that ends in .png or .jpg" in failed.err


def test_a_results_file_of_other_keypoints_is_named(people, command, tmp_path):
    (tmp_path / "r.json").write_text(
        json.dumps([{"image_id": 1, "score": 1, "keypoints": [1, 2, 1]}])
    )
    arguments = [
        f"--annotations={people.val_annotations}",
        f"--images={people.val}",
        f"--results={tmp_path / 'r.json'}",
    ]
    failed = command(
        "tools/draw_poses.py", *arguments, f"--output={tmp_path / 'a.png'}", check=False
    )
    assert (
        failed.status == 1
        and "r.json: entry number 0: expected 17 keypoints x 3 numbers" in failed.err
    )
    assert not (tmp_path / "a.png").exists()
