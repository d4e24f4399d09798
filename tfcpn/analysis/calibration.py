"""Whether a score means what it says: results in steps of their score, beside how alike they are to their person."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tfcpn.analysis.matching import Match

STEPS = 10


class Step(NamedTuple):
    """Results of some scores: how many, their mean score and their mean OKS."""

    count: int
    score: float
    oks: float


def steps(found: list[Match]) -> list[Step]:
    """Steps of equally many results, by rising score; fewer where there are few results."""
    by_score = sorted(
        (match for match in found if not match.ignored), key=lambda match: match.score
    )
    parts = np.array_split(np.arange(len(by_score)), min(STEPS, len(by_score)) or 1)
    means = []
    for part in parts:
        some = [by_score[place] for place in part]
        if some:
            means.append(
                Step(
                    len(some),
                    *(float(np.mean([getattr(m, n) for m in some])) for n in ("score", "oks")),
                )
            )
    return means


def rank_correlation(found: list[Match]) -> float:
    """Spearman's correlation of score and OKS: 1 if the surer result is always the better one; NaN for under two."""
    found = [match for match in found if not match.ignored]
    if len(found) < 2:
        return float("nan")
    from scipy.stats import spearmanr

    return float(spearmanr([m.score for m in found], [m.oks for m in found]).statistic)
