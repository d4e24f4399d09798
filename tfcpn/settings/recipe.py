"""tf-cpn's numbers that several rooms need and no flag changes."""

from __future__ import annotations

# Each person is trained on in four views at a time: rescaled, mirrored, twice turned.
VIEWS = 4
# A training crop is this much larger than the view that it is made for, so that rescaling has something to show.
TRAINING_MARGIN = 1.25
# The peak of the original's label heatmaps.
TF_CPN_SCALE = 255.0


def training_margin(shift: float) -> float:
    """Side of a training crop over that of the region: with views moved by `shift` of a side it reaches further."""
    return TRAINING_MARGIN * (1 + 2 * shift)
