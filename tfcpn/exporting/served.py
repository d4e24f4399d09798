"""What goes into an exported file: a function of crops, the batch norms folded, the normalisation inside."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from tfcpn.codecs.codec import Codec
from tfcpn.evaluation.predictor import Predictor
from tfcpn.networks.folding import Folded
from tfcpn.picture.cut import CropFormat
from tfcpn.picture.look import normalize

DECODED = ("joints", "scores", "person")


class Served(NamedTuple):
    """Functions of crops (N, H, W, 3) uint8 BGR to outputs by name. read: joints (N, K, 2) float32 x, y in crop
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
    def crop_format(self) -> CropFormat:
        return self.predictor.crop_format

    @property
    def codec(self) -> Codec:
        return self.predictor.codec

    def decode(self, outputs: dict) -> tuple[tf.Tensor, tf.Tensor]:
        """Joints in crop pixels and scores, of outputs of `call` that some runtime returned."""
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
        outputs = predictor.model(normalize(crops, network.look), training=False)
        return named(network.prediction(outputs), network.person(outputs) if network.person else None)

    return raw, lambda crops: dict(zip(DECODED, predictor.read(crops)))


def served(predictor: Predictor, decoded: bool) -> Served:
    """predictor: of a model as it was trained."""
    model = Folded(predictor.model, predictor.network.build_lean).model
    kind = predictor.network, predictor.codec, predictor.crop_format, predictor.flip_test
    made = Predictor(model, *kind, joined=True)
    return Served(*functions_of(made), made, decoded)


def crops_spec(crop_format: CropFormat, batch: int | None = None) -> tf.TensorSpec:
    """Of `batch` crops; None: of any number."""
    return tf.TensorSpec((batch, *crop_format.size, 3), tf.uint8, name="crops")
