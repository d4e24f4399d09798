"""What was repaired in an annotation file and what looks wrong in it, with counts."""

from __future__ import annotations

import logging
from collections import Counter
from typing import NamedTuple

from tfcpn.utils.errors import InputError

_log = logging.getLogger(__name__)


class Finding(NamedTuple):
    """A kind of problem: what was found, and what was done about it or what to check."""

    what: str
    then: str


SIZE = Finding("images without a size", "read from the files")
NO_SIZE = Finding("images without a size and without annotations", "left out")
BACKSLASH = Finding("file names with backslashes", "taken for slashes")
ENCODED = Finding("file names with %20 and the like", "decoded")
BELOW = Finding("file names that start above the folder of the images", "only the end was used")
NO_KEYPOINTS = Finding(
    "annotations without keypoints", "taken for people without labeled keypoints"
)
WHOLE_BODY = Finding("people with feet, face and hands in lists of their own", "joined")
NO_COUNT = Finding("annotations without num_keypoints", "counted")
WRONG_COUNT = Finding("annotations whose num_keypoints is wrong", "counted again")
NO_BOX = Finding("labeled people whose box is missing or has no area", "box about the keypoints")
OUTLINE_AREA = Finding("annotations without an area", "area of the outline")
BOX_AREA = Finding("annotations without an area or outline", "area of the box")
CROWD = Finding("annotations whose iscrowd is true, false or null", "read as 1 or 0")
OUTLINE = Finding("annotations with an unreadable segmentation", "ignored")
TEXT_NUMBERS = Finding("records with numbers written as text", "read as numbers")
TRIPLES = Finding("annotations with keypoints as a list of lists", "joined")
NULLS = Finding("annotations with null in unlabeled keypoints", "read as 0")
SAME_IMAGE = Finding("image records that are there twice", "taken once")
NO_IDS = Finding("annotations without an id", "numbered from 1")
LIMBS_FROM_0 = Finding("categories whose skeleton counts from 0", "counted from 0")
LIMBS = Finding("limbs of keypoints that do not exist", "left out")
VISIBILITY = Finding(
    "people with visibility 1 where no keypoint has 2", "1 taken to say labeled and visible"
)
BEYOND_IMAGE = Finding(
    "boxes that reach beyond their image",
    "bbox is x, y, width, height; check that it is not x1, y1, x2, y2",
)
OUTSIDE_BOX = Finding("people with no keypoint in their box", "check boxes and keypoints")
UNPAIRED = Finding(
    "keypoints without one on the other side", "kept in place in mirror images; see --skeleton"
)
AS_STORED = Finding(
    "images that were annotated as stored in the file", "their EXIF orientation is ignored"
)
EMPTY_BOX = Finding("detections whose box has no area", "dropped")
OTHER_IMAGES = Finding("detections on images that are not annotated", "skipped")
OTHER_CATEGORY = Finding(
    "detections of another category than the people's", "all have the same one: taken for people"
)
# What may be wrong but was not changed.
SUSPICIOUS = (BEYOND_IMAGE, OUTSIDE_BOX, UNPAIRED, OTHER_IMAGES)


class Findings:
    """What was repaired in a file and what looks wrong, each with a count and the first record.

    Attributes:
        counts: Number of records by kind.
        notes: Lines about what was chosen, such as categories that count together.
    """

    def __init__(self, path):
        self.path = str(path)
        self.counts: Counter[Finding] = Counter()
        self.notes: list[str] = []
        self._first: dict[Finding, str] = {}

    def add(self, finding: Finding, record: str, count: int = 1) -> None:
        """Count a finding.

        Args:
            finding: The kind.
            record: Name of the record, such as "annotation id 7".
            count: Number of records.
        """
        self._first.setdefault(finding, record)
        self.counts[finding] += count

    def lines(self, suspicious: bool | None = None) -> list[str]:
        """Return a line for each kind.

        Args:
            suspicious: True for what looks wrong, False for what was repaired, None for both.
        """
        return [
            f"{finding.what}: {count}; {finding.then} (first: {self._first[finding]})"
            for finding, count in self.counts.items()
            if suspicious is None or (finding in SUSPICIOUS) == suspicious
        ]

    def report(self, strict: bool) -> None:
        """Log all lines.

        Raises:
            InputError: If strict and there is one.
        """
        if strict and self.counts:
            raise InputError(f"{self.path}: --strict: {'; '.join(self.lines())}")
        for line in (*self.notes, *self.lines()):
            _log.warning("%s: %s", self.path, line)


def listed(names: list[str], most: int = 10) -> str:
    """Return the first names, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
