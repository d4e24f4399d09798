"""How the region of a person is defined: the --align flags as a value."""

from __future__ import annotations

from typing import NamedTuple

MODES = ["person", "square", "blazepose", "image"]
RADII = ["body", "keypoints", "nose"]


class Alignment(NamedTuple):
    """How the region of a person is defined.

    Attributes:
        mode: One of `MODES`. The other attributes apply to "blazepose".
        rotate: Rotate the region until the body is upright.
        margin: Side of the region relative to the diameter of the circle around the body.
        radius: One of `RADII`, how the circle is found.
        missing: "drop" or "square": what to do with people whose keypoints do not define the
        region.
    """

    mode: str = "person"
    rotate: bool = True
    margin: float = 1.25
    radius: str = "body"
    missing: str = "square"

    @property
    def uses_points(self) -> bool:
        """Whether the region depends on alignment points rather than on the box alone."""
        return self.mode == "blazepose"
