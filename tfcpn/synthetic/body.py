"""A body: proportions, a pose, and the places of its 17 keypoints in camera space.

Body axes: X to the person's left, Y up, Z forward. Camera axes: x to the right, y up, z towards the
viewer, so that a person who faces the viewer shows the left side on the right. Lengths are in body
heights.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

LEFT, RIGHT = 1.0, -1.0


def rotation_about(axis: str, degrees: float) -> np.ndarray:
    """Return the rotation matrix (3, 3) about an axis: "x", "y" or "z"."""
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    if axis == "x":
        return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    if axis == "y":
        return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


@dataclass
class Body:
    """A posed body. points: name -> (3,) camera coordinates. face: unit vector out of the face."""

    points: dict[str, np.ndarray]
    face: np.ndarray
    forward: np.ndarray
    head_radius: float
    girth: float = 1.0
    extras: dict[str, np.ndarray] = field(default_factory=dict)


def _vary(rng: np.random.Generator, value: float, share: float = 0.12) -> float:
    return value * rng.uniform(1 - share, 1 + share)


def _limb(start, rotation, flexion, upper: float, lower: float):
    """Return knee or elbow and end of two segments that hang down (-Y) without rotation."""
    middle = start + rotation @ np.array([0, -upper, 0])
    end = middle + rotation @ flexion @ np.array([0, -lower, 0])
    return middle, end


def _arm_angles(rng: np.random.Generator, kind: str):
    """Return (forward, sideways, elbow) in degrees: hanging, walking, raised or anywhere."""
    style = rng.choice(["down", "swing", "wide", "up", "front"], p=[0.4, 0.2, 0.22, 0.1, 0.08])
    if kind == "sit":
        style = rng.choice(["down", "swing", "front"])
    forward = {
        "down": 0,
        "swing": rng.uniform(-40, 50),
        "wide": 0,
        "up": rng.uniform(-20, 30),
        "front": 65,
    }[style]
    sideways = {"down": 10, "swing": 10, "wide": 70, "up": 145, "front": 15}[style]
    elbow = {"down": 12, "swing": 35, "wide": 40, "up": 40, "front": 50}[style]
    return forward + rng.normal(0, 12), sideways + rng.normal(0, 12), abs(elbow + rng.normal(0, 22))


def _leg_angles(rng: np.random.Generator, kind: str):
    """Return (forward, sideways, knee) in degrees for both legs, left first."""
    if kind == "sit":
        return [(rng.normal(80, 10), rng.normal(10, 6), rng.normal(80, 15)) for _ in range(2)]
    if kind == "squat":
        return [(rng.normal(70, 15), rng.normal(20, 8), rng.normal(100, 15)) for _ in range(2)]
    if kind == "walk":
        stride = rng.uniform(12, 45) * rng.choice([-1, 1])
        bend = [abs(rng.normal(10, 10)), abs(rng.normal(35, 18))]
        if stride < 0:
            bend.reverse()
        return [(stride, rng.normal(4, 4), bend[0]), (-stride, rng.normal(4, 4), bend[1])]
    if kind == "jump":
        return [(rng.uniform(-30, 60), rng.uniform(0, 40), rng.uniform(0, 90)) for _ in range(2)]
    return [(rng.normal(0, 6), abs(rng.normal(8, 6)), abs(rng.normal(4, 5))) for _ in range(2)]


def pose_body(rng: np.random.Generator, fallen: float) -> Body:
    """Draw proportions and a pose. fallen: share of people who lie, lean far over or fall."""
    kind = rng.choice(["stand", "walk", "jump", "sit", "squat"], p=[0.52, 0.36, 0.06, 0.03, 0.03])
    # Most people face the viewer more or less; some show their side or back.
    yaw = rng.normal(0, 15) if rng.random() < 0.95 else rng.uniform(-180, 180)
    roll = rng.uniform(30, 180) * rng.choice([-1, 1]) if rng.random() < fallen else rng.normal(0, 7)
    lean = rotation_about("x", {"sit": -5, "squat": 25, "jump": 8}.get(kind, 0) + rng.normal(4, 8))
    spine = rotation_about("z", rng.normal(0, 6)) @ lean

    hip, shoulder = _vary(rng, 0.08), _vary(rng, 0.122)
    torso, neck, head = _vary(rng, 0.285), _vary(rng, 0.055), _vary(rng, 0.074)
    thigh, shank = _vary(rng, 0.245), _vary(rng, 0.235)
    upper_arm, forearm = _vary(rng, 0.165), _vary(rng, 0.15)

    points = {}
    twist = rotation_about("y", rng.normal(0, 7))
    chest = spine @ np.array([0, torso, 0])
    for side, name in ((LEFT, "left"), (RIGHT, "right")):
        points[f"{name}_hip"] = np.array([side * hip, 0, 0])
        points[f"{name}_shoulder"] = chest + spine @ twist @ np.array([side * shoulder, 0, 0])
        forward, sideways, elbow = _arm_angles(rng, kind)
        rotation = (
            spine @ twist @ rotation_about("z", side * sideways) @ rotation_about("x", -forward)
        )
        inward = rotation_about("y", side * rng.uniform(-70, 20)) @ rotation_about(
            "x", -min(elbow, 145)
        )
        points[f"{name}_elbow"], points[f"{name}_wrist"] = _limb(
            points[f"{name}_shoulder"], rotation, inward, upper_arm, forearm
        )
    for (forward, sideways, knee), (side, name) in zip(
        _leg_angles(rng, kind), ((LEFT, "left"), (RIGHT, "right"))
    ):
        rotation = rotation_about("z", side * sideways) @ rotation_about("x", -forward)
        points[f"{name}_knee"], points[f"{name}_ankle"] = _limb(
            points[f"{name}_hip"],
            rotation,
            rotation_about("x", min(max(knee, 0), 140)),
            thigh,
            shank,
        )
        points[f"{name}_toe"] = points[f"{name}_ankle"] + rotation @ np.array(
            [side * 0.015, -0.03, 0.075]
        )

    preprocessing = (
        spine @ rotation_about("y", rng.normal(0, 15)) @ rotation_about("x", rng.normal(0, 8))
    )
    center = chest + spine @ np.array([0, neck + head, 0.01])
    points["neck"] = chest
    points["head"] = center
    on_head = {
        "nose": (0, -0.1, 1.08),
        "left_eye": (0.4, 0.2, 0.88),
        "right_eye": (-0.4, 0.2, 0.88),
    }
    on_head |= {
        "left_ear": (1.0, 0.05, 0.0),
        "right_ear": (-1.0, 0.05, 0.0),
        "mouth": (0, -0.48, 0.86),
    }
    for name, place in on_head.items():
        points[name] = center + preprocessing @ (head * np.array(place))

    to_camera = (
        rotation_about("z", roll) @ rotation_about("x", rng.normal(4, 5)) @ rotation_about("y", yaw)
    )
    return Body(
        {name: to_camera @ p for name, p in points.items()},
        face=to_camera @ preprocessing @ np.array([0.0, 0, 1]),
        forward=to_camera @ spine @ np.array([0.0, 0, 1]),
        head_radius=head,
        girth=_vary(rng, 1.12, 0.2),
    )
