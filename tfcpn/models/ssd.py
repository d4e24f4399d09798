"""A frozen SSD of TensorFlow's Object Detection API as a TensorFlow Lite file."""

from __future__ import annotations

import tensorflow as tf

from tfcpn.utils.console import suppress_stderr
from tfcpn.utils.errors import InputError

SIDE = 300
# Tensors of the graph: the normalized image, encodings of the boxes and their anchors, and scores.
_IMAGE = "Preprocessor/sub:0"
_BOXES, _ANCHORS, _SCORES = "Squeeze:0", "Postprocessor/Reshape:0", "Postprocessor/convert_scores:0"
_PERSON = 1  # class 0 is the background
# How boxes are encoded relative to anchors: y, x, height and width.
_FACTORS = (10.0, 10.0, 5.0, 5.0)
_NMS_IOU, _MAX_PEOPLE, _MIN_SCORE = 0.6, 100, 0.05


def convert_ssd(frozen_graph: bytes) -> bytes:
    """Return an SSD as a .tflite file that finds people, without duplicates.

    Args:
        frozen_graph: The content of frozen_inference_graph.pb.

    Returns:
        A file from an image (1, 300, 300, 3) uint8 RGB to boxes (1, 100, 4) as y0, x0, y1, x1 in
        fractions of the image, classes (1, 100) that are all 0, scores (1, 100), and their number
        (1,): what TensorFlow Lite's own detectors return.

    Raises:
        InputError: For another graph.
    """
    definition = tf.compat.v1.GraphDef()
    try:
        definition.ParseFromString(frozen_graph)
        wrapped = tf.compat.v1.wrap_function(
            lambda: tf.import_graph_def(definition, name=""), signature=[]
        )
        names = (_BOXES, _ANCHORS, _SCORES)
        fetched = [wrapped.graph.get_tensor_by_name(name) for name in names]
        network = wrapped.prune([wrapped.graph.get_tensor_by_name(_IMAGE)], fetched)
    except Exception as error:  # TensorFlow's errors here have no common class
        raise InputError(f"the graph is no SSD of the Object Detection API ({error})") from error
    _, anchors, _ = network(tf.zeros((1, SIDE, SIDE, 3)))
    # They depend on the size of the image alone.
    anchors = anchors.numpy().reshape(-1, 4)
    corner, extent = anchors[:, :2], anchors[:, 2:] - anchors[:, :2]

    @tf.function(input_signature=[tf.TensorSpec((1, SIDE, SIDE, 3), tf.uint8)])
    def detect(image):
        normalized = tf.cast(image, tf.float32) * (2 / 255) - 1
        encoded, _, scores = network(normalized)
        encoded = tf.reshape(encoded, (len(anchors), 4)) / tf.constant(_FACTORS)
        center = encoded[:, :2] * extent + corner + extent / 2
        half = tf.exp(encoded[:, 2:]) * extent / 2
        boxes = tf.concat([center - half, center + half], axis=1)
        scores = tf.reshape(scores, (len(anchors), -1))[:, _PERSON]
        chosen, count = tf.raw_ops.NonMaxSuppressionV4(
            boxes=boxes,
            scores=scores,
            max_output_size=_MAX_PEOPLE,
            iou_threshold=_NMS_IOU,
            score_threshold=_MIN_SCORE,
            pad_to_max_output_size=True,
        )
        is_person = tf.cast(tf.range(_MAX_PEOPLE) < count, tf.float32)
        return {
            "boxes": tf.gather(boxes, chosen)[None],
            "classes": tf.zeros((1, _MAX_PEOPLE)),
            "scores": (tf.gather(scores, chosen) * is_person)[None],
            "count": tf.cast(count, tf.float32)[None],
        }

    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [detect.get_concrete_function()], detect
    )
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_types = [tf.float16]
    with suppress_stderr():  # statistics of the converter
        return converter.convert()
