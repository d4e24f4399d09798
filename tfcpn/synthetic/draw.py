"""Draw bodies, and keep track of what covers what.

A Canvas holds the image and, of the same size, who owns each pixel: `person * PARTS + part`, so
that a keypoint's visibility is read off the drawing itself. Everything is drawn at SUPERSAMPLE
times the final size.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from tfcpn.synthetic.body import Body

SUPERSAMPLE = 2
PARTS = 32
BACKGROUND, OBSTACLE = -1, -2  # owners that are no people
SIDES = ("left", "right")

# Parts, and for each keypoint the parts on which it may be seen.
PART = {
    name: i
    for i, name in enumerate(
        ["torso", "head", "neck", "hair"]
        + [
            f"{s}_{p}"
            for s in SIDES
            for p in ("upper_arm", "forearm", "hand", "thigh", "shank", "foot")
        ]
    )
}
CARRIERS = {"nose": ("head",), "left_eye": ("head",), "right_eye": ("head",)}
for _s in SIDES:
    CARRIERS[f"{_s}_ear"] = ("head", "hair")
    CARRIERS[f"{_s}_shoulder"] = ("torso", f"{_s}_upper_arm")
    CARRIERS[f"{_s}_elbow"] = (f"{_s}_upper_arm", f"{_s}_forearm")
    CARRIERS[f"{_s}_wrist"] = (f"{_s}_forearm", f"{_s}_hand")
    CARRIERS[f"{_s}_hip"] = ("torso", f"{_s}_thigh")
    CARRIERS[f"{_s}_knee"] = (f"{_s}_thigh", f"{_s}_shank")
    CARRIERS[f"{_s}_ankle"] = (f"{_s}_shank", f"{_s}_foot")


class Canvas:
    """pixels: (H, W, 3) uint8 BGR; owner: (H, W) int32."""

    def __init__(self, pixels: np.ndarray):
        self.pixels = pixels
        self.owner = np.full(pixels.shape[:2], BACKGROUND, np.int32)

    def polygon(self, points: np.ndarray, color, owner: int | None) -> None:
        """Fill a convex polygon, (N, 2) as x, y; owner None leaves the ownership as it is."""
        corners = cv2.convexHull(np.round(points * 16).astype(np.int32))
        cv2.fillConvexPoly(self.pixels, corners, tuple(map(float, color)), cv2.LINE_AA, 4)
        if owner is not None:
            cv2.fillConvexPoly(self.owner, corners, owner, cv2.LINE_8, 4)


@dataclass
class Clothes:
    """Colors (BGR) and cut of what a person wears."""

    skin: np.ndarray
    hair: np.ndarray
    shirt: np.ndarray
    trousers: np.ndarray
    shoes: np.ndarray
    long_sleeves: bool
    long_trousers: bool
    pattern: str
    trim: np.ndarray


def hsv(hue: float, saturation: float, value: float) -> np.ndarray:
    """Return BGR of OpenCV's HSV: hue in [0, 180), the rest in [0, 255]."""
    return cv2.cvtColor(np.array([[[hue % 180, saturation, value]]], np.uint8), cv2.COLOR_HSV2BGR)[
        0, 0
    ].astype(float)


def draw_clothes(rng: np.random.Generator) -> Clothes:
    """Choose clothes: bright shirts of any color, dark trousers, darker shoes."""
    skin = (
        np.array([70, 100, 150]) + rng.uniform(0, 1) * np.array([95, 95, 90]) + rng.normal(0, 6, 3)
    )
    return Clothes(
        skin=skin,
        hair=np.array([20, 25, 30]) + rng.uniform(0, 1) ** 2 * np.array([70, 120, 160]),
        shirt=hsv(rng.uniform(0, 180), rng.uniform(110, 230), rng.uniform(170, 250)),
        trousers=hsv(rng.normal(112, 25), rng.uniform(30, 170), rng.uniform(50, 140)),
        shoes=hsv(rng.uniform(0, 180), rng.uniform(0, 120), rng.uniform(15, 60)),
        long_sleeves=rng.random() < 0.45,
        long_trousers=rng.random() < 0.6,
        pattern=rng.choice(["plain", "stripes", "print"], p=[0.5, 0.3, 0.2]),
        trim=hsv(rng.uniform(0, 180), rng.uniform(0, 230), rng.uniform(60, 250)),
    )


def _circle(center, radius: float, count: int = 20) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return np.asarray(center)[:2] + radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def _capsule(canvas, a, b, radius_a, radius_b, color, owner, light) -> None:
    """Draw a tapered limb with a dark outline and a lit side."""
    canvas.polygon(
        np.concatenate([_circle(a, radius_a), _circle(b, radius_b)]), color * 0.55, owner
    )
    inner = 0.86
    canvas.polygon(
        np.concatenate([_circle(a, radius_a * inner), _circle(b, radius_b * inner)]), color, None
    )
    shift = light * 0.3
    lit = np.clip(color * 1.06 + 8, 0, 255)
    ends = [_circle(p[:2] + shift * r, r * 0.45) for p, r in ((a, radius_a), (b, radius_b))]
    canvas.polygon(np.concatenate(ends), lit, None)


def _torso(canvas, p, scale, girth, clothes, front: bool, owner, light) -> None:
    corners = [p[f"{s}_{j}"][:2] for s in SIDES for j in ("shoulder", "hip")]
    radii = [scale * girth * r for _ in SIDES for r in (0.052, 0.064)]
    hull = np.concatenate([_circle(c, r) for c, r in zip(corners, radii)])
    canvas.polygon(hull, clothes.shirt * 0.55, owner)
    canvas.polygon(
        np.concatenate([_circle(c, r * 0.85) for c, r in zip(corners, radii)]), clothes.shirt, None
    )
    top = (p["left_shoulder"][:2] + p["right_shoulder"][:2]) / 2
    bottom = (p["left_hip"][:2] + p["right_hip"][:2]) / 2
    across = (p["left_shoulder"][:2] - p["right_shoulder"][:2]) / 2
    down = bottom - top

    def band(u0, u1, v0, v1, color):
        """A patch of the shirt: u across from right (-1) to left (1), v down from 0 to 1."""
        canvas.polygon(
            np.array([top + u * across + v * down for u in (u0, u1) for v in (v0, v1)]), color, None
        )

    if clothes.pattern == "stripes":
        for v in (0.12, 0.32, 0.52, 0.72):
            band(-0.95, 0.95, v, v + 0.09, clothes.trim)
    canvas.polygon(
        np.concatenate(
            [_circle(c + light * r * 0.3, r * 0.4) for c, r in zip(corners[:2], radii[:2])]
        ),
        np.clip(clothes.shirt * 1.06 + 8, 0, 255),
        None,
    )
    # The front has a neckline, buttons or a print; the back has none: that, face and feet tell left
    # from right.
    if front:
        canvas.polygon(
            np.array([top - 0.4 * across, top + 0.4 * across, top + 0.28 * down]),
            clothes.skin,
            None,
        )
        if clothes.pattern == "print":
            band(-0.5, 0.5, 0.38, 0.62, clothes.trim)
        else:
            band(-0.06, 0.06, 0.28, 1.0, clothes.shirt * 0.4)
    belt = clothes.trousers * 0.7
    hips = [p[f"{s}_hip"][:2] for s in SIDES]
    canvas.polygon(np.concatenate([_circle(h, scale * girth * 0.06) for h in hips]), belt, None)


def _head(canvas, p, body: Body, scale, clothes, person: int) -> None:
    r = body.head_radius * scale
    center, face = p["head"], body.face
    canvas.polygon(
        _circle(center - r * 0.12 * face, r * 1.12), clothes.hair, person * PARTS + PART["hair"]
    )
    if face[2] > -0.55:
        # The face is the part of the head that looks towards the viewer.
        middle = center + r * np.array([0.28, 0.28, 0]) * face
        turned = np.clip((face[2] + 0.55) / 1.2, 0.35, 1)
        angle = np.arctan2(face[1], face[0])
        along, across = r * (0.45 + 0.55 * turned), r
        c, s = np.cos(angle), np.sin(angle)
        disc = _circle((0, 0), 1) * [along * 0.95, across * 0.95]
        disc = disc @ np.array([[c, s], [-s, c]])
        up = (p["head"] - p["neck"])[:2]
        up = up / (np.linalg.norm(up) + 1e-6)
        owner = person * PARTS + PART["head"]
        canvas.polygon(middle[:2] - up * r * 0.14 + disc, clothes.skin, owner)
        for side in SIDES:
            if (p[f"{side}_ear"] - center)[2] > -0.35 * r:
                canvas.polygon(_circle(p[f"{side}_ear"], r * 0.24, 10), clothes.skin * 0.8, owner)
        for name, size, color in (
            ("left_eye", 0.2, np.array([245, 245, 245.0])),
            ("right_eye", 0.2, np.array([245, 245, 245.0])),
            ("left_eye", 0.11, np.array([20, 20, 20.0])),
            ("right_eye", 0.11, np.array([20, 20, 20.0])),
            ("nose", 0.16, clothes.skin * 0.72),
            ("mouth", 0.17, np.array([60, 50, 170.0])),
        ):
            if (p[name] - center)[2] > 0.1 * r:
                canvas.polygon(_circle(p[name], r * size, 10), color, owner)


def draw_person(
    canvas: Canvas, body: Body, origin, scale: float, clothes: Clothes, person: int, light
) -> dict:
    """Draw a body, far parts first.

    Args:
        canvas: Where to draw.
        body: The body.
        origin: Pixel of the mid-hip.
        scale: Pixels per body height.
        clothes: Clothes and colors.
        person: Owner of the pixels.
        light: Direction of the light.

    Returns:
        x, y in canvas pixels and z in pixels towards the viewer, by point.
    """
    flip = np.array([1, -1, 1.0])
    p = {name: np.array([*origin, 0.0]) + scale * flip * q for name, q in body.points.items()}
    light = np.asarray(light, float)
    face = Body(body.points, body.face * flip, body.forward * flip, body.head_radius, body.girth)
    width = scale * body.girth

    jobs = []  # (depth, function)
    for side in SIDES:
        # Cloth below elbow and knee is shaded, so that the fold shows at the size of a crop.
        sleeve = clothes.shirt * 0.68 if clothes.long_sleeves else clothes.skin
        leg = np.clip(clothes.trousers * 1.7, 0, 255) if clothes.long_trousers else clothes.skin
        for part, a, b, ra, rb, color in (
            ("upper_arm", "shoulder", "elbow", 0.046, 0.036, clothes.shirt),
            ("forearm", "elbow", "wrist", 0.035, 0.026, sleeve),
            ("thigh", "hip", "knee", 0.068, 0.048, clothes.trousers),
            ("shank", "knee", "ankle", 0.047, 0.033, leg),
            ("foot", "ankle", "toe", 0.038, 0.03, clothes.shoes),
        ):
            start, end = p[f"{side}_{a}"], p[f"{side}_{b}"]
            owner = person * PARTS + PART[f"{side}_{part}"]
            args = (canvas, start, end, ra * width, rb * width, color, owner, light)
            # A limb hangs in front of what it grows from as far as its far end does.
            jobs.append((0.35 * start[2] + 0.65 * end[2], _capsule, args))
        hand = p[f"{side}_wrist"] + 0.14 * (p[f"{side}_wrist"] - p[f"{side}_elbow"])
        owner = person * PARTS + PART[f"{side}_hand"]
        args = (
            canvas,
            p[f"{side}_wrist"],
            hand,
            0.026 * width,
            0.029 * width,
            clothes.skin,
            owner,
            light,
        )
        jobs.append((hand[2] + 0.1, _capsule, args))
    shoulders = (p["left_shoulder"] + p["right_shoulder"]) / 2
    depth = (shoulders[2] + (p["left_hip"] + p["right_hip"])[2] / 2) / 2
    front = face.forward[2] > 0.2
    torso = person * PARTS + PART["torso"]
    jobs.append((depth, _torso, (canvas, p, scale, body.girth, clothes, front, torso, light)))
    neck = person * PARTS + PART["neck"]
    args = (canvas, shoulders, p["head"], 0.036 * width, 0.036 * width, clothes.skin, neck, light)
    jobs.append((depth + 0.001 * scale * np.sign(face.forward[2]), _capsule, args))
    jobs.append((p["head"][2] + 0.02 * scale, _head, (canvas, p, face, scale, clothes, person)))
    for _, function, args in sorted(jobs, key=lambda job: job[0]):
        function(*args)
    return p
