"""Checkpoints as TensorFlow 1 wrote them."""

from __future__ import annotations

import tensorflow as tf


def write_tf1(path, variables: dict, version: int) -> None:
    """version: 1 is one file, 2 is an index and data."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        for name, value in variables.items():
            tf.compat.v1.get_variable(name, initializer=value)
        session.run(tf.compat.v1.global_variables_initializer())
        kind = tf.compat.v1.train.SaverDef.V1 if version == 1 else tf.compat.v1.train.SaverDef.V2
        tf.compat.v1.train.Saver(write_version=kind).save(session, str(path), write_meta_graph=False)
