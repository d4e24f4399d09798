"""The analysis of one evaluation, or of two side by side, as one HTML file that needs nothing else."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

import numpy as np

from tfcpn.analysis.calibration import rank_correlation, steps
from tfcpn.analysis.errors import (
    BACKGROUND,
    INVERSION,
    JITTER,
    KEYPOINT_KINDS,
    KINDS,
    MISS,
    SCORE,
    SWAP,
    UNSEEN,
)
from tfcpn.analysis.evaluated import LoadedEvaluation
from tfcpn.analysis.plot import plot
from tfcpn.analysis.portraits import person_thumbnail
from tfcpn.data.coco import Person
from tfcpn.report.table import cell

PORTRAITS = 12
_MEANING = {
    JITTER: "near its place, not on it",
    INVERSION: "on the same person's other side",
    SWAP: "on somebody else's keypoint",
    MISS: "on nobody's keypoint",
    SCORE: "the surest are not the best",
    BACKGROUND: "somebody found where nobody is",
    UNSEEN: "nobody found where somebody is",
}
_COLORS = {
    "good": "#4c9f70",
    JITTER: "#e8b04a",
    INVERSION: "#4a90d9",
    SWAP: "#8e6bbf",
    MISS: "#c8553d",
}
_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;margin:0 auto;max-width:70rem;padding:1rem;color:#222;overflow-wrap:anywhere}
h1{font-size:1.5rem}h2{font-size:1.2rem;margin-top:2.5rem}p{max-width:45rem}
.wide{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{padding:.25rem .6rem;border-bottom:1px solid #ddd;text-align:right;white-space:nowrap}
th:first-child,td:first-child{text-align:left;white-space:normal;min-width:6rem}
.bar{display:flex;height:.9rem;min-width:12rem}.bar span{display:block}
.legend span{display:inline-block;margin-right:1rem}
.legend i{display:inline-block;width:.8rem;height:.8rem;margin-right:.3rem}
.people{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,20rem),1fr));gap:1rem}
figure{margin:0}figure img{max-width:100%;height:auto;display:block}figcaption{font-size:.85rem;color:#555}
svg{max-width:100%;height:auto}
"""


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Cells are HTML."""
    lines = [
        "".join(f"<{tag}>{c}</{tag}>" for c in row)
        for tag, row in (("th", head), *(("td", r) for r in rows))
    ]
    return f'<div class="wide"><table>{"".join(f"<tr>{line}</tr>" for line in lines)}</table></div>'


def _number(value: float | None) -> str:
    return "n/a" if value is None or math.isnan(value) else f"{value:.3f}"


def _gain(value: float) -> str:
    return f"{value:+.3f}"


def page(evaluations: Sequence[LoadedEvaluation]) -> str:
    """One or two evaluations of the same annotations."""
    first = evaluations[0]
    parts = [_summary(evaluations), _kinds(evaluations)]
    parts += [_keypoints(e, len(evaluations) > 1) for e in evaluations]
    parts += [_groups(evaluations), _calibration(evaluations)]
    parts.append(_compared(*evaluations) if len(evaluations) == 2 else _worst_and_typical(first))
    title = html.escape(" against ".join(e.name for e in evaluations))
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{_STYLE}</style><h1>{title}</h1>{''.join(parts)}</html>\n"
    )


def _heads(evaluations: Sequence[LoadedEvaluation]) -> list[str]:
    return (
        ["AP"]
        if len(evaluations) == 1
        else [f"{letter}: {html.escape(e.name)}" for letter, e in zip("AB", evaluations)]
    )


def _summary(evaluations: Sequence[LoadedEvaluation]) -> str:
    rows = []
    names = [
        n
        for n in ("AP", "AP50", "AP75", "APm", "APl", "AR", "PCK@.2", "PCK@.1")
        if n in evaluations[0].metrics
    ]
    for name in names:
        rows.append([name, *(cell(e.metrics.get(name)) for e in evaluations)])
    for name, of in (
        ("people", lambda e: e.people),
        ("results", lambda e: e.results),
        ("not found", lambda e: e.missed),
    ):
        rows.append([name, *(str(len(of(e))) for e in evaluations)])
    annotations = html.escape(evaluations[0].annotations)
    return f"<p>On the people of {annotations}.</p>{_table(['', *_heads(evaluations)], rows)}"


def _kinds(evaluations: Sequence[LoadedEvaluation]) -> str:
    rows = []
    for kind in KINDS:
        count = [sum(kinds.count(kind) for kinds in e.kinds.values()) for e in evaluations]
        if kind == BACKGROUND:
            count = [
                sum(match.person is None and not match.ignored for match in e.found)
                for e in evaluations
            ]
        if kind == UNSEEN:
            count = [len(e.missed) for e in evaluations]
        cells = [
            c
            for e, n in zip(evaluations, count)
            for c in (_gain(e.gains[kind]), "" if kind == SCORE else str(n))
        ]
        rows.append([f"<b>{kind}</b>: {_MEANING[kind]}", *cells])
    head = ["AP to be won", "how many"] * len(evaluations)
    if len(evaluations) == 2:
        head = [f"{letter}: {name}" for letter, name in zip("AABB", head)]
    return (
        '<h2 id="kinds">Where the points of AP are lost</h2><p>What AP would win if all errors of one kind were put '
        "right and everything else stayed: a wrong keypoint goes onto its place. The kinds are those of Ronchi and "
        "Perona (2017); a keypoint is near its place from a similarity of .5 and right from .85.</p>"
        f"{_table(['', *head], rows)}"
    )


def _keypoints(evaluation: LoadedEvaluation, named: bool) -> str:
    legend = "".join(
        f'<span><i style="background:{_COLORS[kind]}"></i>{kind}</span>' for kind in KEYPOINT_KINDS
    )
    rows = []
    for row in evaluation.by_keypoint:
        counted = sum(row[kind] for kind in KEYPOINT_KINDS) or 1
        bar = "".join(
            f'<span style="width:{100 * row[kind] / counted:.2f}%;background:{_COLORS[kind]}" '
            f'title="{kind}: {row[kind]}"></span>'
            for kind in KEYPOINT_KINDS
        )
        numbers = [_number(row[name]) for name in ("similarity", "PCK@0.2", "PCK@0.1")]
        rows.append(
            [
                html.escape(row["keypoint"]),
                str(row["labeled"]),
                *numbers,
                f'<div class="bar">{bar}</div>',
            ]
        )
    title = f"Keypoints of {html.escape(evaluation.name)}" if named else "Joints"
    head = ["", "labeled", "similarity (OKS)", "PCK@.2", "PCK@.1", "kinds"]
    return f'<h2>{title}</h2><p class="legend">{legend}</p>{_table(head, rows)}'


def _groups(evaluations: Sequence[LoadedEvaluation]) -> str:
    parts = []
    for question, answers in evaluations[0].groups.items():
        rows = []
        for answer, ids in answers.items():
            values = [e.average_precision(e.results, ids) if ids else None for e in evaluations]
            rows.append([answer, str(len(ids)), *(cell(value) for value in values)])
        parts.append(f"<h3>By {question}</h3>{_table(['', 'people', *_heads(evaluations)], rows)}")
    told = "A result of nobody counts against every group, so AP by size is not COCO's APm and APl where there are such."
    return f'<h2 id="groups">AP of some people</h2><p>{told}</p>' + "".join(parts)


def _calibration(evaluations: Sequence[LoadedEvaluation]) -> str:
    parts = []
    for evaluation in evaluations:
        points = steps(evaluation.found)
        rows = [[_number(s.score), _number(s.oks), str(s.count)] for s in points]
        drawn = plot(
            [(s.score, s.oks) for s in points],
            "score",
            "similarity to the person (OKS)",
            joined=True,
        )
        agreement = rank_correlation(evaluation.found)
        parts.append(
            f"<p>{html.escape(evaluation.name)}: score and similarity go together by {_number(agreement)} (Spearman; "
            f"AP wants 1).</p>{drawn}{_table(['mean score', 'mean OKS', 'results'], rows)}"
        )
    return '<h2 id="calibration">Whether scores mean what they say</h2>' + "".join(parts)


def _people_by_oks(evaluation: LoadedEvaluation) -> list[tuple[Person, float]]:
    """Everybody who counts with the OKS of the own result, 0 for nobody's, the worst first."""
    value = {match.person.id: match.oks for match in evaluation.found if match.person is not None}
    return sorted(
        ((p, value.get(p.id, 0.0)) for p in evaluation.people),
        key=lambda pair: (pair[1], pair[0].id),
    )


def _figures(evaluations: Sequence[LoadedEvaluation], chosen: Sequence[tuple[Person, str]]) -> str:
    own = [{m.person.id: m for m in e.found if m.person is not None} for e in evaluations]
    parts = []
    for person, caption in chosen:
        shown = person_thumbnail(
            person, [(e, matches.get(person.id)) for e, matches in zip(evaluations, own)]
        )
        name = html.escape(evaluations[0].images[person.image_id].file_name)
        image = (
            f'<img src="{shown}" alt="{name}" loading="lazy">'
            if shown
            else "<p>(the image is not there)</p>"
        )
        parts.append(
            f"<figure>{image}<figcaption>{name}, person {person.id}: {caption}</figcaption></figure>"
        )
    return f'<div class="people">{"".join(parts)}</div>'


def _worst_and_typical(evaluation: LoadedEvaluation) -> str:
    ordered = _people_by_oks(evaluation)
    middle = max(0, len(ordered) // 2 - PORTRAITS // 2)
    shown = ""
    for title, some in (
        ("The worst", ordered[:PORTRAITS]),
        ("The most typical", ordered[middle : middle + PORTRAITS]),
    ):
        chosen = [(person, f"OKS {value:.2f}") for person, value in some]
        shown += (
            f"<h2>{title}</h2><p>As annotated, and as found.</p>{_figures([evaluation], chosen)}"
        )
    return shown


def _compared(a: LoadedEvaluation, b: LoadedEvaluation) -> str:
    """Person by person."""
    theirs, both = dict((p.id, value) for p, value in _people_by_oks(b)), []
    for person, value in _people_by_oks(a):
        if person.id in theirs:
            both.append((person, value, theirs[person.id]))
    gained = [(person, y - x, x, y) for person, x, y in both]
    won, lost = sum(d > 0.05 for _, d, *_ in gained), sum(d < -0.05 for _, d, *_ in gained)
    mean = float(np.mean([d for _, d, *_ in gained])) if gained else 0.0
    drawn = plot([(x, y) for _, x, y in both], "OKS of A", "OKS of B")
    shown = (
        f'<h2 id="people">Person by person</h2><p>Of {len(both)} people {won} are found better by B by more than .05 '
        f"OKS, {lost} worse; the mean difference is {mean:+.3f}.</p>{drawn}"
    )
    gained.sort(key=lambda row: (row[1], row[0].id))
    for title, some in (("Lost most", gained[:PORTRAITS]), ("Won most", gained[::-1][:PORTRAITS])):
        chosen = [(person, f"OKS {x:.2f} by A, {y:.2f} by B") for person, _, x, y in some]
        shown += f"<h2>{title}</h2><p>As annotated, as found by A, and by B.</p>{_figures([a, b], chosen)}"
    return shown
