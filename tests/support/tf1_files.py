"""Checkpoints as TensorFlow 1 wrote them."""

from __future__ import annotations

import numpy as np
import tensorflow as tf


def write_tf1(path, variables: dict, version: int) -> None:
    """version: 1 is one file, 2 is an index and data."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        made = []
        for name, value in variables.items():
            value = np.asarray(value)
            zeros = tf.compat.v1.zeros_initializer()
            made.append(
                tf.compat.v1.get_variable(name, value.shape, value.dtype, initializer=zeros)
            )
        feed = {v.initializer.inputs[1]: value for v, value in zip(made, variables.values())}
        session.run([v.initializer for v in made], feed)
        kind = tf.compat.v1.train.SaverDef.V1 if version == 1 else tf.compat.v1.train.SaverDef.V2
        tf.compat.v1.train.Saver(write_version=kind).save(
            session, str(path), write_meta_graph=False
        )
