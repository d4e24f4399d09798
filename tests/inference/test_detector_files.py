"""Detector files as they are published: their form is recognized by the shapes of the outputs."""

import zipfile

import numpy as np
import pytest
import tensorflow as tf

from support.photos import photo
from tfcpn.inference.detector_files import DetectorForm, FileDetector, form_of
from tfcpn.utils.errors import InputError

SIDE = 96
CELLS = 12 * 12 + 6 * 6 + 3 * 3  # of a grid of strides 8, 16 and 32
# A person in the input: center, width and height; in an image of 96 x 96 also in the image.
CENTER, EXTENT = (40.0, 60.0), (20.0, 40.0)
BOX = (30.0, 40.0, 20.0, 40.0)


def tflite_file(path, *outputs, dtype=tf.float32, size=(SIDE, SIDE), first=False):
    """A file that returns constants, and uses its input."""
    shape = (1, 3, *size) if first else (1, *size, 3)

    @tf.function(input_signature=[tf.TensorSpec(shape, dtype)])
    def detect(images):
        nothing = 0 * tf.reduce_mean(tf.cast(images, tf.float32))
        return [tf.constant(output, tf.float32) + nothing for output in outputs]

    converter = tf.lite.TFLiteConverter.from_concrete_functions([detect.get_concrete_function()])
    path.write_bytes(converter.convert())
    return str(path)


def onnx_file(path, outputs, names, *, dtype="FLOAT", shape=(1, 3, SIDE, SIDE), classes=None):
    onnx = pytest.importorskip("onnx")
    helper, types = onnx.helper, onnx.TensorProto
    nodes = [
        helper.make_node("Cast", ["images"], ["floats"], to=types.FLOAT),
        helper.make_node("ReduceMean", ["floats"], ["mean"], keepdims=0),
        helper.make_node("Sub", ["mean", "mean"], ["nothing"]),
    ]
    for name, output in zip(names, outputs):
        output = np.asarray(output, np.float32)
        value = helper.make_tensor(name, types.FLOAT, output.shape, output.ravel().tolist())
        nodes.append(helper.make_node("Constant", [], [f"c_{name}"], value=value))
        nodes.append(helper.make_node("Add", [f"c_{name}", "nothing"], [name]))
    given = helper.make_tensor_value_info("images", getattr(types, dtype), shape)
    results = [
        helper.make_tensor_value_info(name, types.FLOAT, np.shape(output))
        for name, output in zip(names, outputs)
    ]
    graph = helper.make_graph(nodes, "detector", [given], results)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    if classes:
        helper.set_model_props(model, {"names": repr(classes)})
    onnx.save(model, str(path))
    return str(path)


def yolo_rows(count, person=0, classes=3, objectness=False):
    """Rows of a raw YOLO: the person twice, a surer one of another class, and background."""
    rows = np.zeros((count, 4 + objectness + classes))
    rows[:, 2:4] = 1.0
    scores = np.zeros(classes)
    scores[person] = 0.8
    extra = [1.0] if objectness else []
    rows[3] = [*CENTER, *EXTENT, *extra, *scores]
    rows[5] = [CENTER[0] + 1, CENTER[1], *EXTENT, *extra, *(scores * 0.9)]
    rows[7] = [10, 10, 5, 5, *extra, *np.roll(scores, 1)]
    return rows


def people_of(path, image=None, threshold=0.3):
    found = FileDetector(path, threshold)(photo(SIDE, SIDE) if image is None else image)
    return [(*map(round, box.box), round(box.score, 3)) for box in found]


ONE = [(30, 40, 20, 40, 0.8)]


@pytest.mark.parametrize("transposed", [False, True], ids=["rows", "columns"])
def test_raw_yolo(tmp_path, transposed):
    rows = yolo_rows(300)
    path = tflite_file(tmp_path / "d.tflite", (rows.T if transposed else rows)[None])
    assert people_of(path) == ONE


def test_raw_yolo_in_fractions_of_the_input(tmp_path):
    rows = yolo_rows(300)
    rows[:, :4] /= SIDE
    assert people_of(tflite_file(tmp_path / "d.tflite", rows.T[None])) == ONE


def test_yolo_v5_with_the_score_of_the_box(tmp_path):
    path = tflite_file(tmp_path / "d.tflite", yolo_rows(3 * CELLS, objectness=True)[None])
    assert FileDetector(path).form == DetectorForm("yolo_v5")
    assert people_of(path) == ONE


def test_raw_yolox_is_relative_to_the_cells_of_its_grids(tmp_path):
    rows = yolo_rows(CELLS, objectness=True)
    # The first grid has the stride 8; its row 7 of 12 cells, column 5.
    place = 7 * 12 + 5
    rows[[3, place]] = rows[[place, 3]]
    rows[place, :4] = CENTER[0] / 8 - 5, CENTER[1] / 8 - 7, *np.log(np.array(EXTENT) / 8)
    rows[5, 4] = 0  # its place in the grid is another one
    path = tflite_file(tmp_path / "d.tflite", rows[None])
    assert FileDetector(path).form == DetectorForm("yolox")
    assert people_of(path) == ONE


def test_yolox_has_the_image_in_the_corner_and_others_in_the_middle(tmp_path):
    wide = photo(SIDE, 2 * SIDE)
    rows = np.array([[24, 36, 72, 60, 0.9, 0]], float)
    assert people_of(tflite_file(tmp_path / "r.tflite", rows[None]), wide) == [
        (48, 24, 96, 48, 0.9)
    ]
    grid = yolo_rows(CELLS, objectness=True)
    grid[[3, 5]] = grid[0]
    grid[0, :4], grid[0, 4:] = (2.0, 2.0, *np.log(np.array(EXTENT) / 8)), (1, 0.8, 0, 0)
    found = people_of(tflite_file(tmp_path / "x.tflite", grid[None]), wide)
    assert found == [(12, 0, 40, 72, 0.8)]


def test_rows_without_duplicates_in_pixels_or_fractions(tmp_path):
    rows = np.array([[30, 40, 50, 80, 0.8, 0], [1, 1, 9, 9, 0.9, 2]])
    assert people_of(tflite_file(tmp_path / "p.tflite", rows[None])) == ONE
    rows[:, :4] /= SIDE
    assert people_of(tflite_file(tmp_path / "f.tflite", rows[None])) == ONE


SSD_BOXES = np.array([[[40, 30, 80, 50], [1, 1, 9, 9], [0, 0, 0, 0]]]) / SIDE
SSD_SCORES, SSD_CLASSES = np.array([[0.8, 0.9, 0.0]]), np.array([[0.0, 2.0, 0.0]])


@pytest.mark.parametrize("order", ["as in TensorFlow Lite", "scores first"])
def test_an_ssd_with_four_outputs_in_any_order(tmp_path, order):
    outputs = [SSD_BOXES, SSD_CLASSES, SSD_SCORES, [3.0]]
    if order == "scores first":
        outputs = [SSD_SCORES, SSD_BOXES, [3.0], SSD_CLASSES]
    path = tflite_file(tmp_path / "d.tflite", *outputs, dtype=tf.uint8)
    assert people_of(path) == ONE
    # It sees the image stretched to its square.
    assert people_of(path, photo(SIDE, 2 * SIDE)) == [(60, 40, 40, 40, 0.8)]


def test_classes_of_the_object_detection_api_begin_with_1(tmp_path):
    names = ["num_detections", "detection_boxes", "detection_scores", "detection_classes"]
    outputs = [[3.0], SSD_BOXES, SSD_SCORES, SSD_CLASSES + 1]
    shape = (1, SIDE, SIDE, 3)
    path = onnx_file(tmp_path / "d.onnx", outputs, names, dtype="UINT8", shape=shape)
    assert people_of(path) == ONE


def test_the_class_of_people_is_found_by_name(tmp_path):
    rows = yolo_rows(300, person=2)
    names = {0: "car", 1: "dog", 2: "Person"}
    path = onnx_file(tmp_path / "d.onnx", [rows.T[None]], ["out"], classes=names)
    assert people_of(path) == ONE
    none = onnx_file(tmp_path / "n.onnx", [rows.T[None]], ["out"], classes={0: "car", 1: "dog"})
    with pytest.raises(InputError, match="n.onnx: knows car, dog, and no person"):
        FileDetector(none)


@pytest.mark.parametrize(
    ("member", "text"),
    [
        ("labelmap.txt", "car\ndog\nperson\n"),
        ("temp_meta.txt", "{'task': 'detect', 'names': {0: 'car', 1: 'dog', 2: 'person'}}"),
        ("metadata.json", '{"names": {"0": "car", "1": "dog", "2": "person"}, "dynamic": false}'),
    ],
)
def test_names_that_are_appended_to_a_tflite_file(tmp_path, member, text):
    path = tflite_file(tmp_path / "d.tflite", yolo_rows(300, person=2).T[None])
    with zipfile.ZipFile(path, "a") as appended:
        appended.writestr(member, text)
    assert people_of(path) == ONE


@pytest.mark.parametrize("dtype", ["FLOAT16", "UINT8"])
def test_files_that_take_half_floats_or_bytes_of_any_size(tmp_path, dtype):
    rows = yolo_rows(300)
    rows[:, :4] *= 640 / SIDE
    shape = ("batch", 3, "height", "width")
    path = onnx_file(tmp_path / "d.onnx", [rows.T[None]], ["out"], dtype=dtype, shape=shape)
    assert people_of(path) == ONE


def test_a_size_that_is_not_square(tmp_path):
    rows = np.array([[30, 20, 50, 60, 0.8, 0]])
    path = tflite_file(tmp_path / "d.tflite", rows[None], size=(SIDE // 2, SIDE), first=True)
    assert people_of(path, photo(SIDE // 2, SIDE)) == [(30, 20, 20, 28, 0.8)]


def test_yolox_takes_bgr_bytes_and_others_fractions(tmp_path):
    seen = []

    def watched(path):
        detector = FileDetector(path)
        run = detector._file.run
        detector._file = detector._file._replace(run=lambda batch: seen.append(batch) or run(batch))
        return detector

    blue = np.zeros((SIDE, SIDE, 3), np.uint8)
    blue[..., 0] = 255
    watched(tflite_file(tmp_path / "x.tflite", yolo_rows(CELLS, objectness=True)[None]))(blue)
    watched(tflite_file(tmp_path / "y.tflite", yolo_rows(300).T[None]))(blue)
    watched(tflite_file(tmp_path / "s.tflite", SSD_BOXES, SSD_CLASSES, SSD_SCORES, [3.0]))(blue)
    assert [batch[0, 50, 50].tolist() for batch in seen] == [[255, 0, 0], [0, 0, 1], [-1, -1, 1]]


def test_files_with_one_class_and_of_more_strides_are_told_apart():
    """(1, N, 6) is raw where N is the number of cells."""
    raw, size = np.zeros((1, CELLS, 6)), (SIDE, SIDE)
    assert form_of([raw], size) == DetectorForm("yolox")
    assert form_of([raw + 30], size) == DetectorForm("yolo_v5"), "decoded already"
    assert form_of([np.zeros((1, 3 * CELLS, 6))], size) == DetectorForm("yolo_v5")
    assert form_of([np.zeros((1, 3 * (CELLS + 1), 85))], size) == DetectorForm("yolo_v5")
    assert form_of([np.zeros((1, 100, 6))], size) == DetectorForm("rows")


def test_keypoints_behind_the_classes_are_passed_over(tmp_path):
    rows = np.zeros((300, 4 + 1 + 51))
    rows[:, 2:4], rows[3, :5], rows[3, 5:] = 1, (*CENTER, *EXTENT, 0.8), 50
    path = onnx_file(tmp_path / "pose.onnx", [rows.T[None]], ["out"], classes={0: "person"})
    assert people_of(path) == ONE


def test_the_number_of_an_ssd_may_have_a_batch_axis(tmp_path):
    outputs = [SSD_BOXES, SSD_CLASSES, SSD_SCORES, [[3.0]]]
    assert people_of(tflite_file(tmp_path / "d.tflite", *outputs, dtype=tf.uint8)) == ONE


def test_unknown_forms_are_refused():
    assert form_of([np.zeros((1, 3, 4))], (SIDE, SIDE)) is None
    assert form_of([np.zeros((2, 10, 6))], (SIDE, SIDE)) is None
    assert form_of([np.zeros((1, 10)), np.zeros((1, 10))], (SIDE, SIDE)) is None
