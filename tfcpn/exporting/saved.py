"""A SavedModel: crops, or a picture and boxes, in; joints and scores out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import tensorflow as tf

from tfcpn import skeleton as skeletons
from tfcpn.base.files import make_folder
from tfcpn.evaluation.first_pass import points_of
from tfcpn.exporting.served import Served, crops_spec
from tfcpn.geometry.alignment import Alignment
from tfcpn.geometry.crops import joints_to_image
from tfcpn.geometry.regions import person_region, region_rectangle
from tfcpn.picture.cut import cut_rectangle, cut_turned
from tfcpn.picture.decode import Window
from tfcpn.prediction.reading import KerasReader
from tfcpn.prediction.saved import ABOUT, SIGNATURE
from tfcpn.skeleton import Skeleton

RAW, PEOPLE = "raw", "people"


def people_of_picture(made: Served, skeleton: Skeleton, alignment: Alignment):
    """The function from an encoded picture, a scalar string, and boxes (N, 4) float32 x, y, width, height in pixels,
    to the people in them: joints (N, K, 2) in pixels of the picture, scores (N, K), person (N,), regions (N, 5).

    Where the network wants a region about alignment points, it looks at the square about the box first, and there
    finds them. The picture is taken as it is stored: EXIF's turn is not obeyed.
    """
    size, outside = made.crop_format.size, made.crop_format.outside
    codec, turned = made.codec, made.crop_format.turned

    def read(pixels, regions):
        window = Window(pixels, tf.zeros(2, tf.int32))
        places = regions if turned else region_rectangle(regions)
        cut = cut_turned if turned else cut_rectangle
        crops = tf.map_fn(
            lambda place: tf.ensure_shape(cut(window, place, size, outside), (*size, 3)),
            places,
            fn_output_signature=tf.TensorSpec((*size, 3), tf.uint8),
        )
        joints, scores, person = made.predictor.read(crops)
        return joints_to_image(joints, regions, size), scores, person

    def call(picture, boxes):
        pixels = tf.ensure_shape(tf.io.decode_image(picture, 3, expand_animations=False), (None, None, 3))
        count = tf.shape(boxes)[0]
        sizes = tf.tile(tf.shape(pixels)[None, :2], [count, 1])
        nobody = tf.zeros((count, 2, 2), tf.float64), tf.zeros(count, tf.bool)
        regions = person_region(boxes, *nobody, sizes, alignment, size)
        if alignment.by_points:
            joints, scores, _ = read(pixels, regions)
            points = points_of(joints, scores, codec.empty_score, skeleton, alignment.radius, codec.absent)
            regions = person_region(boxes, points, tf.ones(count, tf.bool), sizes, alignment, size)
        joints, scores, person = read(pixels, regions)
        outputs = {"joints": tf.cast(joints, tf.float32), "scores": scores, "person": person}
        return outputs | {"regions": tf.cast(regions, tf.float32)}

    return call


def write_saved(
    folder: str, made: Served, skeleton: Skeleton, alignment: Alignment, judge: Callable[[Path], object]
) -> None:
    """Write a network as a SavedModel, its flip test, if it has one, and its decoding in the graph.

    skeleton: the network's joints. Signatures: "serving_default", crops (N, H, W, 3) uint8 BGR ->
    joints (N, K, 2) in crop pixels, scores (N, K) and person (N,); "raw", crops -> what the network itself says;
    "people", a picture's file and boxes -> people, as of `people_of_picture`. judge: looks at the folder before it is
    put in its place, and raises InputError if it is not good enough.
    """
    crops = crops_spec(made.crop_format)
    picture = tf.TensorSpec((), tf.string, name="picture"), tf.TensorSpec((None, 4), tf.float32, name="boxes")
    module = tf.Module()
    module.model = made.predictor.model
    functions = {
        SIGNATURE: tf.function(made.read, input_signature=[crops]),
        RAW: tf.function(made.raw, input_signature=[crops]),
        PEOPLE: tf.function(people_of_picture(made, skeleton, alignment), input_signature=picture),
    }
    network, predictor = made.predictor.network, made.predictor
    about = {
        "joints": skeletons.to_dict(skeleton),
        "alignment": alignment._asdict(),
        "input_size": made.crop_format.size,
        "outside": made.crop_format.outside,
        "empty_score": made.codec.empty_score,
        "absent": made.codec.absent,
        "least_person": KerasReader.least_of(network),
        "flip_test": predictor.flip_test,
    }

    def fill(place: Path) -> None:
        module.functions = list(functions.values())
        tf.saved_model.save(module, str(place), signatures=functions)
        (place / ABOUT).write_text(json.dumps(about, indent=2) + "\n")
        judge(place)

    make_folder(Path(folder), fill)
