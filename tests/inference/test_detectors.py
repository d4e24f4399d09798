"""Person detectors from files, and the box of a body from MediaPipe's two alignment points."""

import cv2
import numpy as np
import pytest
import tensorflow as tf

from support.photos import photo
from tfcpn.data.detections import PersonBox
from tfcpn.inference.detector_files import FileDetector
from tfcpn.inference.detectors import (
    detect_boxes,
    detect_people,
    full_image_box,
    load_detector,
    points_of_people,
    zoomed,
)
from tfcpn.models.blazepose.detector import Detection, body_box
from tfcpn.utils.errors import InputError

# In a 96 x 96 square: a person, an uncertain person, another class; then a person that extends
# beyond the image.
ROWS = [
    [24, 36, 72, 60, 0.9, 0],
    [0, 30, 10, 50, 0.3, 0],
    [5, 40, 30, 60, 0.95, 2],
    [60, 10, 99, 70, 0.7, 0],
]


def onnx_file(path, rows=ROWS):
    onnx = pytest.importorskip("onnx")
    helper = onnx.helper
    values = helper.make_tensor(
        "rows", onnx.TensorProto.FLOAT, (1, len(rows), 6), np.ravel(rows).tolist()
    )
    # Use the mean of the image times zero, or the unused input would be removed.
    nodes = [
        helper.make_node("Constant", [], ["rows"], value=values),
        helper.make_node("ReduceMean", ["images"], ["mean"], keepdims=0),
        helper.make_node(
            "Constant",
            [],
            ["zero"],
            value=helper.make_tensor("z", onnx.TensorProto.FLOAT, (), [0.0]),
        ),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("Add", ["rows", "nothing"], ["people"]),
    ]
    given = helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, (1, 3, 96, 96))
    output = helper.make_tensor_value_info("people", onnx.TensorProto.FLOAT, (1, len(rows), 6))
    graph = helper.make_graph(nodes, "detector", [given], [output])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, str(path))
    return str(path)


def tflite_file(path, rows=ROWS, shape=(1, 96, 96, 3)):
    @tf.function(input_signature=[tf.TensorSpec(shape, tf.float32)])
    def detect(images):
        return tf.constant([rows], tf.float32) + 0 * tf.reduce_mean(images)

    converter = tf.lite.TFLiteConverter.from_concrete_functions([detect.get_concrete_function()])
    path.write_bytes(converter.convert())
    return str(path)


@pytest.mark.parametrize("make, name", [(onnx_file, "d.onnx"), (tflite_file, "d.tflite")])
def test_boxes_of_a_detector_file_are_mapped_to_the_image(tmp_path, make, name):
    """The 200 x 100 image is in the middle of the square at .48 of its size, under 24 gray rows."""
    find = load_detector(make(tmp_path / name), 0.5)
    boxes = find(photo(100, 200))
    assert [round(box.score, 2) for box in boxes] == [0.9, 0.7]
    assert boxes[0].box == pytest.approx((50, 25, 100, 50))
    assert boxes[1].box == pytest.approx((125, 0, 75, 95.83), abs=0.01)  # within the image
    assert all(box.points is None for box in boxes)
    assert FileDetector(str(tmp_path / name), 0.8)(photo(100, 200))[0].score == pytest.approx(0.9)
    assert len(FileDetector(str(tmp_path / name), 0.1)(photo(100, 200))) == 3


def test_invalid_detector_files_are_named(tmp_path):
    with pytest.raises(InputError, match=r"no.onnx not found"):
        FileDetector(str(tmp_path / "no.onnx"))
    (tmp_path / "text.onnx").write_text("no network")
    (tmp_path / "text.tflite").write_text("no network")
    with pytest.raises(InputError, match="cannot be read as ONNX"):
        FileDetector(str(tmp_path / "text.onnx"))
    with pytest.raises(InputError, match="cannot be read as TensorFlow Lite"):
        FileDetector(str(tmp_path / "text.tflite"))
    with pytest.raises(InputError, match=r"takes \[1, 96, 64, 4\], expected one image of three"):
        FileDetector(tflite_file(tmp_path / "alpha.tflite", shape=(1, 96, 64, 4)))
    with pytest.raises(InputError, match=r"returns \[1, 1, 4\]; expected rows \[1, N, 6\], raw"):
        FileDetector(tflite_file(tmp_path / "four.tflite", [[1, 2, 3, 4]]))


def test_a_body_box_fills_most_of_the_circle_and_follows_the_rotation():
    standing = body_box(np.array([[100.0, 200.0], [100.0, 100.0]]))
    assert standing == pytest.approx((45, 105, 110, 190))
    lying = body_box(np.array([[100.0, 200.0], [200.0, 200.0]]))
    assert lying == pytest.approx((5, 145, 190, 110))


def test_the_whole_image_is_one_person():
    assert [box.box for box in full_image_box(photo(100, 200))] == [(0.0, 0.0, 200.0, 100.0)]


class FaceFinder:
    """Finds white squares of 20 pixels or more and takes each as a face above a body."""

    def __init__(self):
        self.asked = []

    def __call__(self, image):
        self.asked.append(image.shape[:2])
        small = cv2.resize(
            image,
            None,
            fx=96 / max(image.shape),
            fy=96 / max(image.shape),
            interpolation=cv2.INTER_AREA,
        )
        count, _, stats, middles = cv2.connectedComponentsWithStats(
            (small[..., 0] > 200).astype(np.uint8)
        )
        found = []
        for stat, middle in zip(stats[1:count], middles[1:count]):
            if stat[2] >= 12:
                face = middle / (96 / max(image.shape))
                points = np.stack([face + np.array([0, 60]), face - np.array([0, 15])])
                found.append(Detection(0.5 + stat[2] / 200, np.zeros(4), points))
        return found


def test_tiles_find_smaller_people_once_each():
    image = np.zeros((300, 600, 3), np.uint8)
    for x, y in ((60, 60), (300, 140), (560, 100)):
        cv2.rectangle(image, (x - 18, y - 18), (x + 18, y + 18), (255, 255, 255), -1)
    finder = FaceFinder()
    assert detect_people(finder, image) == []
    boxes = detect_people(finder, image, 3)
    assert finder.asked[0] == finder.asked[1] == (300, 600) and set(finder.asked[2:]) == {
        (300, 360),
        (240, 240),
    }
    middles = sorted(box.points[:2] for box in boxes)
    assert (
        len(boxes) == 3
        and np.abs(np.array(middles) - [(60, 120), (300, 200), (560, 160)]).max() < 6
    )
    assert [box.score for box in boxes] == sorted((box.score for box in boxes), reverse=True)


def person_at(x: float, score: float = 0.9, radius: float = 60.0) -> Detection:
    return Detection(score, np.zeros(4), np.array([[x, 150.0], [x, 150.0 - radius]]))


class Scripted:
    """Returns given boxes for each part of the image, in coordinates of the whole image."""

    def __init__(self, *answers):
        self.answers = list(answers)

    def __call__(self, image):
        return self.answers.pop(0) if self.answers else []


@pytest.mark.parametrize("tiles", [1, 2, 3])
def test_people_separated_in_the_whole_image_stay_separate_with_tiles(tiles):
    """Their circles overlap by more than .3, like those of two people embracing."""
    two = [person_at(300), person_at(340, 0.8)]
    assert len(detect_people(Scripted(two), np.zeros((300, 600, 3), np.uint8), tiles)) == 2


def test_a_person_found_again_in_a_tile_is_one_box_at_the_more_confident_place():
    two, again = (
        [person_at(300, 0.6), person_at(340, 0.8)],
        [person_at(305, 0.9), person_at(338, 0.7)],
    )
    image = np.zeros((300, 600, 3), np.uint8)
    boxes = detect_people(Scripted(two, again), image, 2)
    assert [(box.points[0], box.score) for box in boxes] == [(305, 0.9), (340, 0.8)]
    alone = detect_people(
        Scripted([person_at(300)], [person_at(300, 0.7), person_at(304, 0.6)]),
        np.zeros((300, 600, 3)),
        2,
    )
    assert len(alone) == 1  # one tile finds a person twice
    another = detect_people(Scripted([person_at(300)], [person_at(300), person_at(345)]), image, 2)
    assert len(another) == 2


def with_input(path, kind):
    """An .onnx detector with inputs of another dtype; the score is the greatest input value."""
    onnx = pytest.importorskip("onnx")
    helper, types = onnx.helper, onnx.TensorProto
    rows = helper.make_tensor("rows", types.FLOAT, (1, 1, 6), [24, 36, 72, 60, 0.0, 0])
    place = helper.make_tensor("place", types.FLOAT, (1, 1, 6), [0, 0, 0, 0, 1, 0])
    nodes = [
        helper.make_node("Constant", [], ["rows"], value=rows),
        helper.make_node("Constant", [], ["place"], value=place),
        helper.make_node("Cast", ["images"], ["floats"], to=types.FLOAT),
        helper.make_node("ReduceMax", ["floats"], ["most"], keepdims=0),
        helper.make_node("Mul", ["place", "most"], ["score"]),
        helper.make_node("Add", ["rows", "score"], ["people"]),
    ]
    given = helper.make_tensor_value_info("images", getattr(types, kind), (1, 3, 96, 96))
    output = helper.make_tensor_value_info("people", types.FLOAT, (1, 1, 6))
    graph = helper.make_graph(nodes, "detector", [given], [output])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8),
        str(path),
    )
    return str(path)


@pytest.mark.parametrize("kind, most", [("FLOAT", 1.0), ("FLOAT16", 1.0), ("UINT8", 255.0)])
def test_a_detector_file_may_take_float16_or_bytes(tmp_path, kind, most):
    (box,) = load_detector(with_input(tmp_path / "d.onnx", kind), 0.5)(
        np.full((96, 96, 3), 255, np.uint8)
    )
    assert box.score == pytest.approx(most)
    with pytest.raises(InputError, match=r"takes tensor\(int64\), expected floats or bytes"):
        load_detector(with_input(tmp_path / "d.onnx", "INT64"))


def test_a_tflite_file_of_bytes_is_read_too(tmp_path):
    @tf.function(input_signature=[tf.TensorSpec((1, 96, 96, 3), tf.uint8)])
    def detect(images):
        most = tf.reduce_max(tf.cast(images, tf.float32)) / 255
        return tf.constant([[[24.0, 36, 72, 60, 0, 0]]]) + most * tf.constant(
            [[[0.0, 0, 0, 0, 1, 0]]]
        )

    converter = tf.lite.TFLiteConverter.from_concrete_functions([detect.get_concrete_function()])
    (tmp_path / "d.tflite").write_bytes(converter.convert())
    (box,) = load_detector(str(tmp_path / "d.tflite"), 0.5)(np.full((96, 96, 3), 255, np.uint8))
    assert box.score == pytest.approx(1.0)


def test_a_file_that_cannot_be_run_is_reported_before_the_first_image(tmp_path):
    with pytest.raises(
        InputError, match=r"d.tflite: returns \[1, 4, 5\]; expected rows \[1, N, 6\]"
    ):
        load_detector(tflite_file(tmp_path / "d.tflite", [row[:5] for row in ROWS]))


def test_a_box_gets_the_points_that_mediapipes_detector_finds_about_it():
    """The detector sees the part about the box only; its points are moved back into the image."""
    seen = []

    def detector(part):
        seen.append(part.shape[:2])
        height, width = part.shape[:2]
        hip = np.array([width / 2, height / 2])
        fits = Detection(0.6, np.zeros(4), np.stack([hip, hip - [0, 50]]))
        elsewhere = Detection(0.9, np.zeros(4), np.stack([[5, 5], [5, 2]]).astype(float))
        return [elsewhere, fits]

    box = PersonBox(0, (300.0, 200.0, 60.0, 100.0), 0.8)
    found = zoomed(detector, np.zeros((600, 800, 3), np.uint8), box)
    assert seen == [(160, 96)], "1.6 times the box"
    assert found.points == pytest.approx((330, 250, 330, 200)) and found.box == box.box
    assert zoomed(lambda part: [], np.zeros((600, 800, 3), np.uint8), box) == box


def test_a_box_has_the_points_of_the_person_of_the_whole_image_that_it_overlaps_most():
    """Two people side by side, a third one in a tiny box, and a fourth one without a box."""

    def person(x, y, radius, score):
        points = np.array([[x, y], [x, y - radius]], float)
        return PersonBox(0, body_box(points), score, points=tuple(points.ravel()))

    left, right = person(100, 200, 90, 0.9), person(160, 200, 90, 0.8)
    large, missed = person(600, 200, 90, 0.7), person(900, 200, 90, 0.6)
    boxes = [PersonBox(0, one.box, 0.9) for one in (right, left)]
    boxes.append(PersonBox(0, (590.0, 190.0, 20.0, 20.0), 0.9))  # mostly within a person
    found, more = points_of_people(boxes, [left, right, large, missed])
    assert [box.points for box in found] == [right.points, left.points, None]
    assert more == [missed]
    # Of two people in one box, the one who fits gives the points, and the other is in it.
    found, more = points_of_people([PersonBox(0, left.box, 0.9)], [person(115, 205, 80, 1.0), left])
    assert found[0].points == left.points and not more
    assert points_of_people([], [missed]) == ([], [missed])


def test_a_person_cut_by_a_tile_is_one_person():
    """The tile sees the upper half of a person that the whole image shows."""

    def detector(tile):
        if tile.shape[:2] == (300, 600):
            return [PersonBox(0, (100.0, 50.0, 80.0, 200.0), 0.9)]
        return [PersonBox(0, (100.0, 50.0, 80.0, 100.0), 0.7)]

    image = np.zeros((300, 600, 3), np.uint8)
    assert len(detect_boxes(detector, image)) == 1
    boxes = detect_boxes(detector, image, tiles=2)
    assert boxes[0].score == 0.9
    assert [box.box[:2] for box in boxes[1:]] == [(340.0, 50.0)], "the second tile's own"
