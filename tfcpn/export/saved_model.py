"""A SavedModel: crops, or an image and boxes, in; keypoints and scores out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import tensorflow as tf

from tfcpn import skeleton as skeletons
from tfcpn.evaluation.estimate import predicted_alignment_points
from tfcpn.export.graph import ExportGraph, crops_spec
from tfcpn.inference.backends import SIGNATURE, min_presence_of
from tfcpn.models.specs import METADATA_FILE
from tfcpn.skeleton import Skeleton
from tfcpn.transforms.alignment import Alignment
from tfcpn.transforms.cropping import Window, crop_region
from tfcpn.transforms.regions import keypoints_to_image, person_region
from tfcpn.utils.files import atomic_dir

RAW, PEOPLE = "raw", "people"


def people_of_image(graph: ExportGraph, skeleton: Skeleton, alignment: Alignment):
    """Return the function from an encoded image and boxes to people.

    A network that needs alignment points predicts them in the square about each box first. EXIF
    orientations are ignored.

    Args:
        graph: The graph of crops.
        skeleton: Keypoints of the network.
        alignment: Regions that the network expects.

    Returns:
        A function of a scalar string and boxes (N, 4) float32 x, y, width, height in pixels.
        It returns "joints" (N, K, 2) in pixels of the image, "scores" (N, K), "person" (N,) and
        "regions" (N, 5).
    """
    crop_spec, codec = graph.crop_spec, graph.codec

    def predict(pixels, regions):
        window = Window(pixels, tf.zeros(2, tf.int32))
        crops = tf.map_fn(
            lambda region: crop_region(window, region, crop_spec),
            regions,
            fn_output_signature=tf.TensorSpec((*crop_spec.size, 3), tf.uint8),
        )
        keypoints, scores, person = graph.predictor.predict_with_presence(crops)
        return keypoints_to_image(keypoints, regions, crop_spec.size), scores, person

    def call(picture, boxes):
        pixels = tf.image.decode_image(picture, 3, expand_animations=False)
        pixels = tf.ensure_shape(pixels, (None, None, 3))
        count = tf.shape(boxes)[0]
        sizes = tf.tile(tf.shape(pixels)[None, :2], [count, 1])
        options = {"alignment": alignment, "input_size": crop_spec.size}
        unknown = tf.zeros((count, 2, 2), tf.float64), tf.zeros(count, tf.bool)
        regions = person_region(boxes, *unknown, sizes, **options)
        if alignment.uses_points:
            keypoints, scores, _ = predict(pixels, regions)
            points = predicted_alignment_points(
                keypoints,
                scores,
                empty_score=codec.empty_score,
                skeleton=skeleton,
                radius=alignment.radius,
                missing_keypoints=codec.missing_keypoints,
            )
            regions = person_region(boxes, points, tf.ones(count, tf.bool), sizes, **options)
        keypoints, scores, person = predict(pixels, regions)
        return {
            "joints": tf.cast(keypoints, tf.float32),
            "scores": scores,
            "person": person,
            "regions": tf.cast(regions, tf.float32),
        }

    return call


def write_saved_model(
    folder: str,
    graph: ExportGraph,
    skeleton: Skeleton,
    alignment: Alignment,
    judge: Callable[[Path], object],
) -> None:
    """Write a network as a SavedModel, with its decoding and flip test in the graph.

    Its signatures are "serving_default", crops to keypoints, scores and presence; "raw", crops to
    the network's own outputs; and "people", see `people_of_image`.

    Args:
        folder: The folder to write.
        graph: The graph of crops.
        skeleton: Keypoints of the network.
        alignment: Regions that the network expects.
        judge: Called with the folder before it gets its name; raises InputError if it is not good
            enough.
    """
    crops = crops_spec(graph.crop_spec)
    image = (
        tf.TensorSpec((), tf.string, name="picture"),
        tf.TensorSpec((None, 4), tf.float32, name="boxes"),
    )
    module = tf.Module()
    module.model = graph.predictor.model
    functions = {
        SIGNATURE: tf.function(graph.read, input_signature=[crops]),
        RAW: tf.function(graph.raw, input_signature=[crops]),
        PEOPLE: tf.function(people_of_image(graph, skeleton, alignment), input_signature=image),
    }
    network, predictor = graph.predictor.network, graph.predictor
    about = {
        "joints": skeletons.to_dict(skeleton),
        "alignment": alignment._asdict(),
        "input_size": graph.crop_spec.size,
        "outside": graph.crop_spec.pad_color,
        "corner_to_corner": graph.crop_spec.corner_to_corner,
        "empty_score": graph.codec.empty_score,
        "absent": graph.codec.missing_keypoints,
        "least_person": min_presence_of(network),
        "flip_test": predictor.flip_test,
    }

    def fill(place: Path) -> None:
        module.functions = list(functions.values())
        tf.saved_model.save(module, str(place), signatures=functions)
        (place / METADATA_FILE).write_text(json.dumps(about, indent=2) + "\n")
        judge(place)

    atomic_dir(Path(folder), fill)
