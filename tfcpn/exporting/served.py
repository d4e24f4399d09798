"""What goes into an exported file: a function of crops, the batch norms folded, the normalization inside."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from tfcpn.codecs.codec import Codec
from tfcpn.evaluation.predictor import Predictor
from tfcpn.networks.folding import FoldedModel
from tfcpn.picture.cut import CropSpec
from tfcpn.picture.look import normalize

DECODED = ("joints", "scores", "person")


class ExportGraph(NamedTuple):
    """Functions of crops (N, H, W, 3) uint8 BGR to outputs by name. read: keypoints (N, K, 2) float32 x, y in crop
    pixels, scores (N, K) and person (N,), after the flip test if `predictor` has one. raw: what the network says of
    the crops themselves: heatmaps, and of BlazePose landmarks (N, L, 5) and person (N,) too. decoded: which of them
    `call` is. predictor: of the folded model.
    """

    raw: Callable
    read: Callable
    predictor: Predictor
    decoded: bool

    @property
    def call(self) -> Callable:
        return self.read if self.decoded else self.raw

    @property
    def crop_spec(self) -> CropSpec:
        return self.predictor.crop_spec

    @property
    def codec(self) -> Codec:
        return self.predictor.codec

    def decode(self, outputs: dict) -> tuple[tf.Tensor, tf.Tensor]:
        """Keypoints in crop pixels and scores, of outputs of `call` that some runtime returned."""
        if self.decoded:
            return outputs["joints"], outputs["scores"]
        return self.codec.decode(as_prediction(outputs, self.predictor))


def named(prediction, person: tf.Tensor | None) -> dict[str, tf.Tensor]:
    """A network's prediction as outputs with names."""
    parts = prediction._asdict() if hasattr(prediction, "_asdict") else {"heatmaps": prediction}
    return parts if person is None else {**parts, "person": person}


def as_prediction(outputs: dict, predictor: Predictor):
    """The inverse of `named`, for what a codec decodes."""
    form = predictor.network.prediction(predictor.model.output)
    if hasattr(form, "_asdict"):
        return type(form)(*(tf.convert_to_tensor(outputs[name]) for name in form._fields))
    return tf.convert_to_tensor(outputs["heatmaps"])


def functions_of(predictor: Predictor) -> tuple[Callable, Callable]:
    """`raw` and `read` of a `Served`, of any predictor."""
    network = predictor.network

    def raw(crops):
        outputs = predictor.model(normalize(crops, network.preprocessing), training=False)
        return named(
            network.prediction(outputs), network.person(outputs) if network.person else None
        )

    return raw, lambda crops: dict(zip(DECODED, predictor.read(crops)))


def build_export_graph(predictor: Predictor, decoded: bool) -> ExportGraph:
    """predictor: of a model as it was trained."""
    model = FoldedModel(predictor.model, predictor.network.build_for_inference).model
    kind = predictor.network, predictor.codec, predictor.crop_spec, predictor.flip_test
    graph = Predictor(model, *kind, joined=True)
    return ExportGraph(*functions_of(graph), graph, decoded)


def crops_spec(crop_spec: CropSpec, batch: int | None = None) -> tf.TensorSpec:
    """Of `batch` crops; None: of any number."""
    return tf.TensorSpec((batch, *crop_spec.size, 3), tf.uint8, name="crops")
