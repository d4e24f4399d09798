"""Which replica takes each person of a global batch: those of one image together, where that can be."""

from __future__ import annotations

import tensorflow as tf


def assign_replicas(images, alone, replicas: int, batches: int = 1) -> tf.Tensor:
    """The replica, 0 and on, of each of the people of some global batches: int64, as many of a batch for each.

    images: (batches * people,) int64 numbers of their images, batch after batch, all of as many people, a multiple
    of `replicas`. alone: bool, likewise, whether nobody else of a pass is of that image.

    An image's number alone says who should take its people, in whatever batch they come: so a host decodes an image
    once for all of them. Too many for a replica go where there is room, those who are alone first: nobody shares
    their image.
    """
    hands = replicas * batches
    share = tf.shape(images, tf.int64)[0] // hands
    wish = images % replicas + replicas * (
        tf.range(tf.size(images, tf.int64)) // (share * replicas)
    )
    order = tf.argsort(2 * wish + tf.cast(alone, tf.int64), stable=True)
    wish = tf.gather(wish, order)
    place = tf.range(tf.size(wish)) - tf.searchsorted(wish, wish)
    stays = tf.cast(place, tf.int64) < share
    taken = tf.minimum(
        tf.math.bincount(tf.cast(wish, tf.int32), minlength=hands, dtype=tf.int64), share
    )
    room = tf.repeat(tf.range(hands, dtype=tf.int64), share - taken)
    # Both go up by batches, so that whoever has to move stays in theirs.
    hand = tf.tensor_scatter_nd_update(wish, tf.where(~stays), room)
    return tf.scatter_nd(order[:, None], hand, tf.shape(images)) % replicas
