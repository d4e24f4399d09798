"""A SavedModel: crops, or an image and boxes, in; keypoints and scores out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import tensorflow as tf

from tfcpn import skeleton as skeletons
from tfcpn.base.files import atomic_dir
from tfcpn.evaluation.first_pass import points_of
from tfcpn.exporting.served import ExportGraph, crops_spec
from tfcpn.geometry.alignment import Alignment
from tfcpn.geometry.crops import keypoints_to_image
from tfcpn.geometry.regions import person_region, rectangle_from_region
from tfcpn.picture.cut import crop_and_resize, warp_region
from tfcpn.picture.decode import Window
from tfcpn.prediction.reading import KerasBackend
from tfcpn.prediction.saved import METADATA_FILE, SIGNATURE
from tfcpn.skeleton import Skeleton

RAW, PEOPLE = "raw", "people"


def people_of_image(graph: ExportGraph, skeleton: Skeleton, alignment: Alignment):
    """The function from an encoded image, a scalar string, and boxes (N, 4) float32 x, y, width, height in pixels,
    to the people in them: keypoints (N, K, 2) in pixels of the image, scores (N, K), person (N,), regions (N, 5).

    Where the network wants a region about alignment points, it looks at the square about the box first, and there
    finds them. The image is taken as it is stored: EXIF's turn is not obeyed.
    """
    size, pad_color = graph.crop_spec.size, graph.crop_spec.pad_color
    codec, turned = graph.codec, graph.crop_spec.rotated

    def read(pixels, regions):
        window = Window(pixels, tf.zeros(2, tf.int32))
        places = regions if turned else rectangle_from_region(regions)
        cut = warp_region if turned else crop_and_resize
        crops = tf.map_fn(
            lambda place: tf.ensure_shape(cut(window, place, size, pad_color), (*size, 3)),
            places,
            fn_output_signature=tf.TensorSpec((*size, 3), tf.uint8),
        )
        keypoints, scores, person = graph.predictor.read(crops)
        return keypoints_to_image(keypoints, regions, size), scores, person

    def call(image, boxes):
        pixels = tf.ensure_shape(
            tf.io.decode_image(image, 3, expand_animations=False), (None, None, 3)
        )
        count = tf.shape(boxes)[0]
        sizes = tf.tile(tf.shape(pixels)[None, :2], [count, 1])
        nobody = tf.zeros((count, 2, 2), tf.float64), tf.zeros(count, tf.bool)
        regions = person_region(boxes, *nobody, sizes, alignment, size)
        if alignment.uses_points:
            keypoints, scores, _ = read(pixels, regions)
            points = points_of(
                keypoints,
                scores,
                codec.empty_score,
                skeleton,
                alignment.radius,
                codec.missing_keypoints,
            )
            regions = person_region(boxes, points, tf.ones(count, tf.bool), sizes, alignment, size)
        keypoints, scores, person = read(pixels, regions)
        outputs = {"joints": tf.cast(keypoints, tf.float32), "scores": scores, "person": person}
        return outputs | {"regions": tf.cast(regions, tf.float32)}

    return call


def write_saved_model(
    folder: str,
    graph: ExportGraph,
    skeleton: Skeleton,
    alignment: Alignment,
    judge: Callable[[Path], object],
) -> None:
    """Write a network as a SavedModel, its flip test, if it has one, and its decoding in the graph.

    skeleton: the network's keypoints. Signatures: "serving_default", crops (N, H, W, 3) uint8 BGR ->
    keypoints (N, K, 2) in crop pixels, scores (N, K) and person (N,); "raw", crops -> what the network itself says;
    "people", an image's file and boxes -> people, as of `people_of_picture`. judge: looks at the folder before it is
    put in its place, and raises InputError if it is not good enough.
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
        "empty_score": graph.codec.empty_score,
        "absent": graph.codec.missing_keypoints,
        "least_person": KerasBackend.least_of(network),
        "flip_test": predictor.flip_test,
    }

    def fill(place: Path) -> None:
        module.functions = list(functions.values())
        tf.saved_model.save(module, str(place), signatures=functions)
        (place / METADATA_FILE).write_text(json.dumps(about, indent=2) + "\n")
        judge(place)

    atomic_dir(Path(folder), fill)
