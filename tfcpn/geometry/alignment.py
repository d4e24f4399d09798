"""How the region of a person is found: what the flags --align, --align_rotate and so on say, as a value."""

from __future__ import annotations

from typing import NamedTuple

MODES = ["person", "square", "blazepose"]
RADII = ["body", "joints", "nose"]


class Alignment(NamedTuple):
    """mode: one of MODES. The rest is for "blazepose". rotate: turn the region until the body is upright. margin:
    side of the region over the diameter of the circle around the body. radius: one of RADII, how that circle is
    found. missing: "drop" or "square", what becomes of people whose joints do not tell it.
    """

    mode: str = "person"
    rotate: bool = True
    margin: float = 1.25
    radius: str = "body"
    missing: str = "square"

    @property
    def by_points(self) -> bool:
        """Whether the region hangs on a person's alignment points, not on the box alone."""
        return self.mode == "blazepose"
