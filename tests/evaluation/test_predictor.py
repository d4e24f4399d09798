"""The code path of tfcpn.eval, from the output of the network to the results file."""

import json

import numpy as np
import pytest
import tensorflow as tf

from support import recipe
from tfcpn.codecs.heatmap import HeatmapCodec
from tfcpn.data.detections import PersonBox, coco_result
from tfcpn.evaluation.predictor import Predictor
from tfcpn.models.cpn import CpnOutputs, cpn_network
from tfcpn.skeleton import COCO
from tfcpn.transforms import regions
from tfcpn.transforms.cropping import CropSpec
from tfcpn.transforms.normalize import MEAN_BGR, Preprocessing
from tfcpn.transforms.regions import keypoints_to_image

SIZE = (256, 192)


def predictor_of(model, codec, flip_test=True, single_batch_flip=False):
    preprocessing = CropSpec(SIZE, False, MEAN_BGR)
    return Predictor(
        model,
        cpn_network(SIZE, "resnet50", 17),
        codec,
        preprocessing,
        flip_test=flip_test,
        single_batch_flip=single_batch_flip,
    )


class StoredMaps:
    """Stand-in for the network: returns stored heatmaps of the crops and then of the mirrored
    crops, in one batch or in two.
    """

    def __init__(self, straight, mirrored):
        self.maps, self.explicit = tf.constant(np.concatenate([straight, mirrored])), 0

    def __call__(self, images, training):
        assert not training
        begin, self.explicit = self.explicit, self.explicit + len(images)
        return CpnOutputs((), self.maps[begin : self.explicit])


@pytest.fixture
def golden():
    data = np.load(recipe.GOLDEN / "data_256x192.npz")
    pairs = data["decode/heatmaps_per_image_then_flipped"].reshape(6, 2, 64, 48, 17)
    return json.loads((recipe.GOLDEN / "data_256x192_decode.json").read_text()), pairs


@pytest.fixture
def codec():
    return HeatmapCodec(SIZE, (64, 48), (15, 11, 9, 7), 255, COCO.flip_indices)


def test_a_batch_of_golden_heatmaps_becomes_the_originals_results_file(golden, codec):
    listed, pairs = golden
    people = json.loads((recipe.GOLDEN / "people/person_keypoints.json").read_text())
    sizes = {i["id"]: (i["height"], i["width"]) for i in people["images"]}
    predictor = predictor_of(StoredMaps(pairs[:, 0], pairs[:, 1]), codec, flip_test=True)
    keypoints, scores = predictor(tf.zeros((6, *SIZE, 3), tf.uint8))
    detections = listed["detections"]
    boxes, image_sizes = [d["bbox"] for d in detections], [sizes[d["image_id"]] for d in detections]
    places = regions.region_from_rectangle(regions.crop_rectangle(boxes, image_sizes, SIZE))
    keypoints = keypoints_to_image(keypoints, places, SIZE).numpy()
    expected = {r["image_id"]: r for r in listed["results"]}
    for detection, person, score in zip(detections, keypoints, scores.numpy()):
        box = PersonBox(detection["image_id"], tuple(detection["bbox"]), detection["score"])
        actual, original = (
            coco_result(box, keypoints=person, scores=score),
            expected[detection["image_id"]],
        )
        np.testing.assert_allclose(actual["keypoints"], original["keypoints"], atol=0.01)
        assert actual["score"] == pytest.approx(
            original["score"], abs=1.01e-4
        )  # one rounding step of the file
        assert detection["score"] * float(np.mean(score)) == pytest.approx(
            original["score"], abs=1e-4
        )


def test_the_flip_test_changes_the_prediction_and_can_be_left_out(golden, codec):
    _, pairs = golden
    crops = tf.zeros((6, *SIZE, 3), tf.uint8)
    with_flip, _ = predictor_of(StoredMaps(pairs[:, 0], pairs[:, 1]), codec, flip_test=True)(crops)
    without, _ = predictor_of(StoredMaps(pairs[:, 0], pairs[:, 1]), codec, flip_test=False)(crops)
    expected, _ = codec.decode(pairs[:, 0])
    np.testing.assert_array_equal(without, expected)
    assert not np.array_equal(with_flip, without)


def test_the_network_sees_the_normalized_crop_and_its_mirror_image(codec):
    seen = []

    def network(images, training):
        seen.append(images)
        return CpnOutputs((), tf.zeros((len(images), 64, 48, 17)))

    crops = np.random.default_rng(0).integers(0, 256, (2, *SIZE, 3)).astype(np.uint8)
    expected = (crops - np.array([102.9801, 115.9465, 122.7717])) / 255
    for joined, batches in ((False, 2), (True, 1)):
        seen.clear()
        predictor_of(network, codec, single_batch_flip=joined).outputs(tf.constant(crops))
        assert len(seen) == batches
        images = np.concatenate(seen)
        np.testing.assert_allclose(images[:2], expected, atol=1e-6)
        np.testing.assert_allclose(images[2:], expected[:, :, ::-1], atol=1e-6)


def test_crops_and_mirror_images_in_one_batch_or_in_two_are_the_same(codec):
    crops = tf.constant(np.random.default_rng(2).integers(0, 256, (3, *SIZE, 3)), tf.uint8)

    def pooled(images, training):
        rows = tf.nn.avg_pool2d(images, 4, 4, "SAME")
        return CpnOutputs((), tf.tile(rows, (1, 1, 1, 6))[..., :17])

    def sure(outputs):
        return tf.reduce_mean(outputs.refine, axis=(1, 2, 3))

    found = []
    for joined in (True, False):
        predictor = predictor_of(pooled, codec, single_batch_flip=joined)
        predictor.network = predictor.network._replace(presence_score=sure)
        found.append([value.numpy() for value in predictor.predict_with_presence(crops)])
    for one, two in zip(*found):
        np.testing.assert_array_equal(one, two)
    assert len(found[0][2]) == len(crops)


class Coordinates:
    """A codec without heatmaps: outputs are normalized keypoints with a score each."""

    empty_score = 0.0

    def flip(self, outputs):
        xy, score = outputs
        return tf.gather(xy * [-1.0, 1.0] + [1.0, 0.0], COCO.flip_indices, axis=1), tf.gather(
            score, COCO.flip_indices, axis=1
        )

    def decode(self, outputs):
        return outputs[0] * SIZE[::-1], outputs[1]


def test_the_flip_test_of_another_network_uses_the_codec_of_that_network():
    """The mirrored image gives the mirrored output plus a shift that averaging halves."""
    xy = np.random.default_rng(0).uniform(0.2, 0.8, (1, 17, 2)).astype(np.float32)
    mirrored = (xy * [-1, 1] + [1, 0])[:, COCO.flip_indices] + [0, 0.1]
    scores = np.concatenate([np.ones((1, 17)), np.zeros((1, 17))]).astype(np.float32)
    preprocessing = Preprocessing((0.0, 0.0, 0.0), 255.0, rgb=True, pad_color=(0.0, 0.0, 0.0))
    seen = []

    def model(images, training):
        turn = len(seen)
        seen.append(images)
        return {
            "joints": (
                tf.constant((xy, mirrored)[turn], tf.float32),
                tf.constant(scores[turn : turn + 1]),
            )
        }

    network = cpn_network(SIZE, "resnet50", 17)._replace(
        preprocessing=preprocessing, prediction=lambda outputs: outputs["joints"]
    )
    crops = np.random.default_rng(1).integers(0, 256, (1, *SIZE, 3)).astype(np.uint8)
    predictor = Predictor(
        model, network, Coordinates(), CropSpec(SIZE, False, preprocessing.pad_color)
    )
    keypoints, found = predictor._predict(tf.constant(crops))
    np.testing.assert_allclose(keypoints, (xy + np.array([0, 0.05])) * SIZE[::-1], rtol=1e-5)
    np.testing.assert_allclose(found, 0.5)
    np.testing.assert_allclose(seen[0][0], crops[0, ..., ::-1] / 255, atol=1e-6)
