"""What makes views harder without moving a joint: other colours, and things in front."""

from __future__ import annotations

import tensorflow as tf

from tfcpn.picture.look import Look

# Sides of what is in front, in parts of the view's.
_LEAST, _MOST = 0.1, 0.4


def _fold(seed, number: int):
    return tf.random.experimental.stateless_fold_in(tf.stack([tf.cast(s, tf.int64) for s in seed]), number)


def other_colours(images, seed, amount: float) -> tf.Tensor:
    """Views (N, H, W, 3), normalised, with a contrast and a saturation of 1 - amount to 1 + amount times their own,
    and by up to amount / 2 brighter or darker, where 1 is from black to white. The draws depend on the seed, a pair
    of integers, alone.
    """
    draws = tf.random.stateless_uniform((3, tf.shape(images)[0], 1, 1, 1), _fold(seed, 11), -amount, amount)
    grey = tf.reduce_mean(images, axis=-1, keepdims=True)
    coloured = grey + (1 + draws[0]) * (images - grey)
    middle = tf.reduce_mean(coloured, axis=(1, 2), keepdims=True)
    return middle + (1 + draws[1]) * (coloured - middle) + draws[2] / 2


def something_in_front(images, seed, share: float, look: Look) -> tf.Tensor:
    """Views (N, H, W, 3), normalised; in a `share` of them a rectangle of one colour, its sides .1 to .4 of the
    view's, hides what is there (random erasing, arXiv 1708.04896). Joints behind it are to be found all the same.
    """
    count, (height, width) = tf.shape(images)[0], images.shape[1:3]
    draws = tf.random.stateless_uniform((8, count), _fold(seed, 12))
    hidden = []
    for axis, size in enumerate((height, width)):
        half = size * (_LEAST + (_MOST - _LEAST) * draws[axis]) / 2
        away = tf.abs(tf.range(size, dtype=tf.float32) + 0.5 - size * draws[2 + axis][:, None])
        hidden.append(away < half[:, None])
    place = hidden[0][:, :, None] & hidden[1][:, None, :] & (draws[4] < share)[:, None, None]
    colour = (255 * tf.transpose(draws[5:]) - tf.constant(look.mean)) / look.divisor
    return tf.where(place[..., None], colour[:, None, None], images)
