"""Draw a video of moving people, with the keypoints of every frame."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from tfcpn.cli import Command, Options, boolean, enum, float_, integer, path
from tfcpn.data.coco import coco_categories
from tfcpn.inference.video import CODECS, VideoWriter
from tfcpn.synthetic.annotate import annotate
from tfcpn.synthetic.body import Body
from tfcpn.synthetic.draw import SUPERSAMPLE, Canvas, Clothes, draw_clothes, draw_person
from tfcpn.synthetic.motion import facing, interpolate_body, rotated
from tfcpn.synthetic.scenery import background
from tfcpn.utils.console import progress_bar
from tfcpn.utils.errors import InputError
from tfcpn.utils.files import write_atomically

# Rotation of the body as a whole: axis, degrees at the start, and degrees a second.
MOVEMENTS = {
    "walk": ("z", 0.0, 0.0),
    "handstand": ("z", 180.0, 0.0),
    "cartwheel": ("z", 0.0, 120.0),
    "lying": ("z", 90.0, 0.0),
    "behind": ("y", 180.0, 0.0),
    "embrace": ("z", 0.0, 0.0),
    "same_clothes": ("z", 0.0, 0.0),
}
# Seconds of an embrace: two people come together, hold each other, and part again.
_APPROACH, _HOLD = 2.0, 2.0
COMMAND = Command(
    "python tools/make_video.py",
    __doc__,
    {
        "What": [
            path(
                "output",
                None,
                "Video to write; its annotations are written to a .json file of the same name.",
                required=True,
            ),
            float_("seconds", 8.0, "How long it is.", minimum=0.1),
            float_("rate", 25.0, "Frames a second.", minimum=1, maximum=240),
            integer("width", 640, "Its width in pixels.", minimum=64),
            integer("height", 480, "Its height in pixels.", minimum=64),
            integer("people", 3, "How many people.", minimum=1, maximum=8),
            boolean(
                "still", False, "They stand still, to measure how much a still person jitters."
            ),
            enum(
                "movement",
                "walk",
                tuple(MOVEMENTS),
                "What they do: walk and look here; stand on their hands, turn cartwheels, lie, or "
                "stand with their backs to the camera; embrace, two by two; or walk in "
                "the same clothes.",
            ),
            integer("seed", 0, "Another seed draws other people.", minimum=0),
        ]
    },
)
POSE_SECONDS = 1.0  # from one pose of a body to the next


class Walker(NamedTuple):
    """A person of the video. poses: one after the other. start, speed: of the mid-hip, in parts of
    the width, and of the width a second. height: of the body in parts of the image's. ground: where
    it stands, in parts of it.
    """

    poses: list[Body]
    clothes: Clothes
    start: float
    speed: float
    height: float
    ground: float


def walkers(
    rng: np.random.Generator, count: int, seconds: float, still: bool, same_clothes: bool = False
) -> list[Walker]:
    """Return people; unless still, every second one walks across the others and leaves.

    Args:
        rng: Source of random numbers.
        count: How many people.
        seconds: Length of the video.
        still: Whether they stand still.
        same_clothes: Whether all wear what the first one wears.
    """
    people = []
    for place in range(count):
        start = (place + 0.5) / count
        speed = 0.0 if still or place % 2 == 0 else rng.choice([-1, 1]) * rng.uniform(0.12, 0.22)
        poses = [facing(rng) for _ in range(1 if still else int(seconds / POSE_SECONDS) + 2)]
        height = rng.uniform(0.6, 0.72)
        clothes = people[0].clothes if same_clothes and people else draw_clothes(rng)
        people.append(Walker(poses, clothes, start, speed, height, rng.uniform(0.9, 0.95)))
    return people


def _embracing(people: list[Walker], place: int, seconds: float) -> float:
    """Return the mid-hip's x over the width of a person who goes to the neighbor and back.

    Args:
        people: The people; the first embraces the second, the third the fourth.
        place: Index of the person.
        seconds: Time since the start.
    """
    start = people[place].start
    other = people[place ^ 1].start if place ^ 1 < len(people) else start
    closeness = np.clip(1 - (abs(seconds - _APPROACH - _HOLD / 2) - _HOLD / 2) / _APPROACH, 0, 1)
    # At a tenth of their distance one covers most of the other.
    return start + closeness * 0.45 * (other - start)


def _walking(walker: Walker, seconds: float) -> float:
    """Return the mid-hip's x over the width: back and forth between places outside the image."""
    low, high = -0.15, 1.15
    way = (walker.start + walker.speed * seconds - low) % (2 * (high - low))
    return low + (way if way <= high - low else 2 * (high - low) - way)


def draw_frame(
    scene: np.ndarray,
    people: list[Walker],
    seconds: float,
    rng: np.random.Generator,
    movement: str = "walk",
) -> tuple[np.ndarray, list[dict]]:
    """Return the frame (H, W, 3) uint8 BGR and its annotations with `track_id` from 1."""
    axis, start, speed = MOVEMENTS[movement]
    canvas = Canvas(scene.copy())
    height, width = canvas.owner.shape
    light = np.array([-0.6, -0.8])
    drawn = {}
    # Who stands lower stands nearer.
    for place in sorted(range(len(people)), key=lambda place: people[place].ground):
        walker, step = people[place], seconds / POSE_SECONDS
        first, now = walker.poses[0], int(step) % len(walker.poses)
        body = interpolate_body(
            first, walker.poses[now], walker.poses[(now + 1) % len(walker.poses)], step - int(step)
        )
        if start or speed:
            body = rotated(body, axis, start + speed * seconds)
        scale = height * walker.height
        feet = min(p[1] for p in body.points.values())
        is_embrace = movement == "embrace"
        x = _embracing(people, place, seconds) if is_embrace else _walking(walker, seconds)
        origin = x * width, height * walker.ground + feet * scale
        drawn[place] = draw_person(canvas, body, origin, scale, walker.clothes, place, light)
    annotations = []
    for place, points in drawn.items():
        found = annotate(canvas, points, place)
        if found:
            annotations.append({**found, "track_id": place + 1})
    pixels = cv2.resize(
        canvas.pixels, (width // SUPERSAMPLE, height // SUPERSAMPLE), interpolation=cv2.INTER_AREA
    )
    pixels = pixels + rng.normal(0, 2.5, pixels.shape)
    return np.clip(pixels, 0, 255).astype(np.uint8), annotations


def main(options: Options) -> None:
    args = options.args
    output = Path(args.output)
    if output.suffix.lower() not in CODECS:
        raise InputError(f"--output={output}: expected a name that ends in {', '.join(CODECS)}")
    rng = np.random.default_rng([args.seed, 1])
    scene = background(rng, args.height, args.width)
    people = walkers(rng, args.people, args.seconds, args.still, args.movement == "same_clothes")
    count, images, annotations = max(1, round(args.seconds * args.rate)), [], []
    with VideoWriter(output, args.rate) as video, progress_bar(count, "drawing", "frame") as bar:
        for frame in range(count):
            pixels, found = draw_frame(scene, people, frame / args.rate, rng, args.movement)
            video.add(pixels)
            size = {"height": pixels.shape[0], "width": pixels.shape[1]}
            images.append(
                {"id": frame + 1, "file_name": f"{output.name}#{frame}", "frame": frame, **size}
            )
            for one in found:
                ids = {"id": len(annotations) + 1, "image_id": frame + 1, "category_id": 1}
                annotations.append({**ids, **one})
            bar.update()
    info = {"description": "a synthetic video drawn by tfcpn", "rate": args.rate}
    data = {
        "info": info,
        "images": images,
        "annotations": annotations,
        "categories": coco_categories(),
    }
    write_atomically(output.with_suffix(".json"), json.dumps(data))
    print(
        f"written: {output}, {count} frames, and {output.with_suffix('.json')}, {len(annotations)} "
        "people in them"
    )


if __name__ == "__main__":
    COMMAND.run(main)
