"""The graph of an exported file, and the crops to calibrate and compare it with."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import NamedTuple

import cv2
import numpy as np
import tensorflow as tf

from tfcpn.builders import Components, training_filter
from tfcpn.codecs.codec import Codec
from tfcpn.config import Config
from tfcpn.data.pipeline import build_crop_fn, region_batches, training_batches
from tfcpn.data.record_sets import read_records
from tfcpn.data.sampling import open_training_set
from tfcpn.evaluation.estimate import regions_of_boxes
from tfcpn.evaluation.eval_dataset import ValidationSet
from tfcpn.evaluation.predictor import Predictor
from tfcpn.models.batchnorm_folding import FoldedModel
from tfcpn.skeleton import Skeleton
from tfcpn.transforms.cropping import CropSpec
from tfcpn.transforms.normalize import normalize
from tfcpn.utils.errors import InputError

DECODED = ("joints", "scores", "person")


class ExportGraph(NamedTuple):
    """Functions of crops (N, H, W, 3) uint8 BGR to outputs by name.

    Attributes:
        raw: The network's outputs: heatmaps, and of BlazePose landmarks (N, L, 5) and person (N,)
        too.
        read: Keypoints (N, K, 2) float32 x, y in crop pixels ("joints"), scores (N, K) and person
            (N,), with the flip test of `predictor`.
        predictor: Predictor of the folded model.
        decoded: Whether `call` is `read`.
    """

    raw: Callable
    read: Callable
    predictor: Predictor
    decoded: bool

    @property
    def call(self) -> Callable:
        """The function to export."""
        return self.read if self.decoded else self.raw

    @property
    def crop_spec(self) -> CropSpec:
        """What crops look like."""
        return self.predictor.crop_spec

    @property
    def codec(self) -> Codec:
        """The codec."""
        return self.predictor.codec

    def decode(self, outputs: dict) -> tuple[tf.Tensor, tf.Tensor]:
        """Return keypoints in crop pixels and scores of outputs that some runtime returned."""
        if self.decoded:
            return outputs["joints"], outputs["scores"]
        return self.codec.decode(as_prediction(outputs, self.predictor))


def named(prediction, person: tf.Tensor | None) -> dict[str, tf.Tensor]:
    """Return a network's prediction as named outputs."""
    outputs = prediction._asdict() if hasattr(prediction, "_asdict") else {"heatmaps": prediction}
    return outputs if person is None else {**outputs, "person": person}


def as_prediction(outputs: dict, predictor: Predictor):
    """Return named outputs as the codec decodes them: the inverse of `named`."""
    form = predictor.network.prediction(predictor.model.output)
    if hasattr(form, "_asdict"):
        return type(form)(*(tf.convert_to_tensor(outputs[name]) for name in form._fields))
    return tf.convert_to_tensor(outputs["heatmaps"])


def functions_of(predictor: Predictor) -> tuple[Callable, Callable]:
    """Return `raw` and `read` of an `ExportGraph`, for any predictor."""
    network = predictor.network

    def raw(crops):
        outputs = predictor.model(normalize(crops, network.preprocessing), training=False)
        return named(
            network.prediction(outputs),
            network.presence_score(outputs) if network.presence_score else None,
        )

    return raw, lambda crops: dict(zip(DECODED, predictor.predict_with_presence(crops)))


def build_export_graph(predictor: Predictor, decoded: bool) -> ExportGraph:
    """Return the graph to export of a predictor of the trained model."""
    model = FoldedModel(predictor.model, predictor.network.build_for_inference).model
    graph = Predictor(
        model,
        predictor.network,
        predictor.codec,
        predictor.crop_spec,
        flip_test=predictor.flip_test,
        single_batch_flip=True,
    )
    raw, read = functions_of(graph)
    return ExportGraph(raw=raw, read=read, predictor=graph, decoded=decoded)


def crops_spec(crop_spec: CropSpec, batch: int | None = None) -> tf.TensorSpec:
    """Return the spec of `batch` crops; None for any number."""
    return tf.TensorSpec((batch, *crop_spec.size, 3), tf.uint8, name="crops")


_BATCH = 16


class SampleCrops(NamedTuple):
    """Crops of people.

    Attributes:
        crops: (N, H, W, 3) uint8 BGR.
        regions: (N, 5) in their images.
        people: The people, the first N of which are cropped; None for random crops.
    """

    crops: np.ndarray
    regions: np.ndarray
    people: ValidationSet | None


def random_crops(crop_spec: CropSpec, count: int) -> SampleCrops:
    """Return random smooth images, where there are no people."""
    height, width = crop_spec.size
    small = np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3)).astype(np.uint8)
    crops = [cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC) for image in small]
    return SampleCrops(
        np.stack(crops), np.tile([width / 2, height / 2, width, height, 0.0], (count, 1)), None
    )


def validation_crops(people: ValidationSet, components: Components, maximum: int) -> SampleCrops:
    """Return crops of the first `maximum` people of a validation set; 0 for all."""
    boxes, image_files = people.boxes[: maximum or None], people.image_files[: maximum or None]
    regions = regions_of_boxes(boxes, image_files, components.alignment, components.crop_spec.size)
    batches = region_batches(image_files, regions, components.crop_spec, _BATCH)
    return SampleCrops(np.concatenate([batch.numpy() for batch in batches]), regions, people)


def record_crops(
    cfg: Config, components: Components, annotated: Skeleton, count: int
) -> np.ndarray:
    """Return crops (count, H, W, 3) of people of the records, cropped as in an evaluation."""
    records = read_records(cfg.train_records)
    if records.skeleton.keypoints != annotated.keypoints:
        raise InputError(
            f"{records.name}: its keypoints are not those of the network, "
            f"{', '.join(annotated.keypoints)}"
        )
    source = open_training_set(
        records, training_filter(cfg, annotated), cfg.seed, cfg.shuffle_buffer
    )
    work = build_crop_fn(
        alignment=components.alignment,
        skeleton=components.skeleton,
        crop_spec=components.crop_spec,
        margin=1.0,
    )
    batches = training_batches(source, 0, work, min(_BATCH, count))
    return np.concatenate([crops.numpy() for crops, _ in islice(batches, -(-count // _BATCH))])[
        :count
    ]
