"""All people of an image as points that training views move, and as targets of a detector."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from tfcpn.skeleton import Skeleton
from tfcpn.transforms.regions import UNLABELED, alignment_points, has_alignment_keypoints

# MediaPipe's detector marks faces. With a neck and a top of the head, the side of the face's box is
# this many times the distance between them, and its center lies this part of it above the neck.
FACE_SIDE, FACE_CENTER = 2.6, 0.1
# Without them the face is about the nose, with a side relative to the body's radius.
FACE_OF_RADIUS = 0.6
MAX_PEOPLE = 32  # of an image; those beyond are not seen
# Points of a person: mid-hip and point on the circle, center and edge of the face, and the corners
# of the box. The image's first and last corner follow those of all people.
POINTS_OF_PERSON, POINTS_OF_IMAGE = 8, 2
NUM_POINTS = MAX_PEOPLE * POINTS_OF_PERSON + POINTS_OF_IMAGE
_CORNERS = ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0))


class PeopleTargets(NamedTuple):
    """The people of N images, padded to P; in pixels of the input.

    Attributes:
        face: (N, P, 3) center x, y and side of the face.
        points: (N, P, 4) x, y of the mid-hip and of the point on the circle.
        radius: (N, P) of the body; 0 for a place without a person.
        ignored: (N, P, 4) corners of people whose points are unknown: neither positive nor
            negative; zeros for none.
    """

    face: tf.Tensor
    points: tf.Tensor
    radius: tf.Tensor
    ignored: tf.Tensor


def faces(keypoints, radius, skeleton: Skeleton) -> tf.Tensor:
    """Return the faces of people.

    Args:
        keypoints: (P, K, 3) x, y in pixels, visibility.
        radius: (P,) of the bodies.
        skeleton: The keypoints.

    Returns:
        (P, 3) float64 center x, y and side; NaN where they are unknown.
    """
    keypoints, radius = tf.cast(keypoints, tf.float64), tf.cast(radius, tf.float64)
    found = tf.fill([tf.shape(keypoints)[0], 3], tf.constant(float("nan"), tf.float64))
    if skeleton.nose:
        nose = keypoints[:, skeleton.nose[0]]
        about = tf.concat([nose[:, :2], FACE_OF_RADIUS * radius[:, None]], axis=1)
        found = tf.where(nose[:, 2:] > 0, about, found)
    if skeleton.neck and skeleton.head:
        neck, head = keypoints[:, skeleton.neck[0]], keypoints[:, skeleton.head[0]]
        offset = head[:, :2] - neck[:, :2]
        side = FACE_SIDE * tf.norm(offset, axis=1, keepdims=True)
        between = tf.concat([neck[:, :2] + FACE_CENTER * offset, side], axis=1)
        found = tf.where((neck[:, 2:] > 0) & (head[:, 2:] > 0), between, found)
    return found


def people_points(people: dict, image_size, skeleton: Skeleton) -> tf.Tensor:
    """Return the points of the people of an image, as keypoints that views move.

    Args:
        people: Tensors `box` (P, 4), `keypoints` (P, K, 3), `reach` (P,) and `trainable` (P,).
        image_size: (2,) height, width.
        skeleton: The keypoints.

    Returns:
        (NUM_POINTS, 3) float32 x, y in image pixels and visibility: 2, for the boxes of people
        whose points are known 1, and 0 for what is unknown.
    """
    keypoints = people["keypoints"]
    points = alignment_points(keypoints, people["reach"], skeleton, "body")
    radius = tf.norm(points[:, 1] - points[:, 0], axis=-1)
    face = faces(keypoints, radius, skeleton)
    known = has_alignment_keypoints(keypoints, skeleton, "body") & (people["trainable"] > 0)
    known &= (radius > 0) & (face[:, 2] > 0)
    edge = face[:, :2] + face[:, 2:] * [1.0, 0.0]
    box = tf.cast(people["box"], tf.float64)[:, None]
    corners = box[..., :2] + box[..., 2:] * tf.constant(_CORNERS, tf.float64)
    rows = tf.concat([points, face[:, None, :2], edge[:, None], corners], axis=1)
    of_points = tf.repeat(2 * tf.cast(known, tf.float64)[:, None], 4, axis=1)
    of_boxes = 2 - tf.cast(known, tf.float64)[:, None] * tf.ones([1, 4], tf.float64)
    rows = tf.concat([rows, tf.concat([of_points, of_boxes], axis=1)[..., None]], axis=2)
    rows = tf.where(rows[..., 2:] > 0, rows, [[[UNLABELED, UNLABELED, 0.0]]])
    # Those who can be learned from come first.
    rows = tf.gather(rows, tf.argsort(tf.cast(~known, tf.int32), stable=True))[:MAX_PEOPLE]
    missing = MAX_PEOPLE - tf.shape(rows)[0]
    missing_people = tf.tile(
        tf.constant([[[UNLABELED, UNLABELED, 0.0]]], tf.float64), [missing, POINTS_OF_PERSON, 1]
    )
    rows = tf.reshape(tf.concat([rows, missing_people], axis=0), (MAX_PEOPLE * POINTS_OF_PERSON, 3))
    height, width = tf.unstack(tf.cast(image_size, tf.float64))
    frame = tf.stack([[0.0, 0.0, 2.0], [width, height, 2.0]])
    return tf.cast(tf.concat([rows, tf.cast(frame, tf.float64)], axis=0), tf.float32)


class PeopleCodec:
    """Targets of a detector. It has no keypoints, so that nothing is decoded here."""

    empty_score = 0.0
    missing_keypoints = ()

    def encode(self, keypoints, visibility) -> PeopleTargets:
        """Return the people of views.

        Args:
            keypoints: (N, NUM_POINTS, 2) x, y in pixels of the view; negative where unknown.
            visibility: (N, NUM_POINTS), 0 for points outside the view.
        """
        people = (-1, MAX_PEOPLE, POINTS_OF_PERSON)
        rows = tf.reshape(keypoints[:, :-POINTS_OF_IMAGE], (*people, 2))
        seen = tf.reshape(visibility[:, :-POINTS_OF_IMAGE], people) > 0
        exists = tf.reduce_any(rows != -1.0, axis=-1)
        # A person whose face is outside cannot be found, and need not be.
        known = tf.reduce_all(exists[..., :4], axis=-1) & seen[..., 2]
        ignored = tf.reduce_all(exists[..., 4:], axis=-1) & ~exists[..., 0]
        points = rows[..., :2, :]
        radius = tf.norm(points[..., 1, :] - points[..., 0, :], axis=-1)
        center, edge = rows[..., 2, :], rows[..., 3, :]
        side = tf.norm(edge - center, axis=-1, keepdims=True)
        corners = rows[..., 4:, :]
        box = tf.concat([tf.reduce_min(corners, axis=-2), tf.reduce_max(corners, axis=-2)], axis=-1)
        return PeopleTargets(
            face=tf.where(known[..., None], tf.concat([center, side], axis=-1), 0.0),
            points=tf.where(known[..., None], tf.reshape(points, (-1, MAX_PEOPLE, 4)), 0.0),
            radius=tf.where(known, radius, 0.0),
            ignored=tf.where(ignored[..., None], box, 0.0),
        )
