"""Bodies that move: from pose to pose with limbs of one length."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tfcpn.synthetic.body import Body, pose_body, rotation_about

# Each point and the one from which it grows; the mid-hip is the origin.
_FACE = ("nose", "left_eye", "right_eye", "left_ear", "right_ear", "mouth")
_GROWS = {"left_hip": "", "right_hip": "", "neck": "", "head": "neck"}
for _side in ("left", "right"):
    _GROWS |= {
        f"{_side}_shoulder": "neck",
        f"{_side}_elbow": f"{_side}_shoulder",
        f"{_side}_wrist": f"{_side}_elbow",
    }
    _GROWS |= {
        f"{_side}_knee": f"{_side}_hip",
        f"{_side}_ankle": f"{_side}_knee",
        f"{_side}_toe": f"{_side}_ankle",
    }
_GROWS |= dict.fromkeys(_FACE, "head")


def facing(rng: np.random.Generator) -> Body:
    """Return a body that stands or walks and shows its front."""
    while True:
        body = pose_body(rng, 0)
        if body.forward[2] > 0.7 and body.points["head"][1] > 0.25:
            return body


def rotated(body: Body, axis: str, degrees: float) -> Body:
    """Return a body that is rotated about the mid-hip as a whole.

    Args:
        body: The body.
        axis: "z" for a rotation in the image, "y" to show another side.
        degrees: The angle.
    """
    rotation = rotation_about(axis, degrees)
    return replace(
        body,
        points={name: rotation @ point for name, point in body.points.items()},
        face=rotation @ body.face,
        forward=rotation @ body.forward,
    )


def _between(a: np.ndarray, b: np.ndarray, share: float) -> np.ndarray:
    """Return the interpolated direction, a unit vector."""
    way = (1 - share) * a / np.linalg.norm(a) + share * b / np.linalg.norm(b)
    length = np.linalg.norm(way)
    return way / length if length > 1e-6 else a / np.linalg.norm(a)


def interpolate_body(first: Body, a: Body, b: Body, share: float) -> Body:
    """Interpolate the pose of two bodies, with the limbs of `first`.

    Args:
        first: Body whose limbs' lengths are kept.
        a: Start.
        b: End.
        share: From 0 (a) to 1 (b).
    """
    share = (1 - np.cos(np.pi * share)) / 2  # slow at both ends
    points: dict[str, np.ndarray] = {}

    def limb(body: Body, name: str) -> np.ndarray:
        root = body.points[_GROWS[name]] if _GROWS[name] else np.zeros(3)
        return body.points[name] - root

    for name, root in _GROWS.items():
        way = _between(limb(a, name), limb(b, name), share) * np.linalg.norm(limb(first, name))
        points[name] = way + (points[root] if root else 0)
    turned = {
        field: _between(getattr(a, field), getattr(b, field), share)
        for field in ("face", "forward")
    }
    return replace(first, points=points, **turned)
