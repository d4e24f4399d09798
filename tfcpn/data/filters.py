"""Which people of a dataset are trained on, or kept by tools/filter_coco.py: one rule for both."""

from __future__ import annotations

from typing import NamedTuple


class PersonFilter(NamedTuple):
    """What a person must have; the defaults let everyone pass who has a labeled keypoint.

    min_joints: labeled keypoints. required: keypoints that must be among them. max_people: labeled people in the image,
    0 for any number. min_area: of the person's segmentation, in square pixels.
    """

    min_keypoints: int = 1
    required: tuple[int, ...] = ()
    max_people: int = 0
    min_area: float = 0.0


NO_FILTER = PersonFilter()


def keep(keypoints, area, people_in_image, rules: PersonFilter):
    """Whether each of the people passes: a bool tensor (...).

    keypoints: (..., K, 3) x, y, visibility. area: (...) square pixels. people_in_image: (...) or scalar.
    """
    import tensorflow as tf  # settings know Filter and start without

    labeled = tf.convert_to_tensor(keypoints)[..., 2] > 0
    passes = tf.reduce_sum(tf.cast(labeled, tf.int32), axis=-1) >= rules.min_keypoints
    if rules.required:
        passes &= tf.reduce_all(tf.gather(labeled, list(rules.required), axis=-1), axis=-1)
    if rules.max_people:
        passes &= tf.cast(people_in_image, tf.int32) <= rules.max_people
    return passes & (tf.cast(area, tf.float32) >= rules.min_area)
