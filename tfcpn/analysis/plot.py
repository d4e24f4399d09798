"""Points in a square, as SVG."""

from __future__ import annotations

import html
from collections.abc import Sequence


def plot(points: Sequence[tuple[float, float]], across: str, up: str, joined: bool = False) -> str:
    """Points in a square from 0 to 1, or to the greatest x where that is more."""
    side, edge = 300, 36
    most = max([1.0, *(x for x, _ in points)])
    places = [(edge + side * x / most, edge + side * (1 - y)) for x, y in points]
    dots = "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="#4a90d9" fill-opacity=".6"/>'
        for x, y in places
    )
    line = ""
    if joined and places:
        line = f'<polyline fill="none" stroke="#4a90d9" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in places)}"/>'
    size = side + 2 * edge
    return (
        f'<svg viewBox="0 0 {size} {size}" width="{size}" role="img" aria-label="{across} and {up}">'
        f'<rect x="{edge}" y="{edge}" width="{side}" height="{side}" fill="none" stroke="#bbb"/>'
        f'<line x1="{edge}" y1="{edge + side}" x2="{edge + side / most}" y2="{edge}" stroke="#ddd"/>{line}{dots}'
        f'<text x="{size / 2}" y="{size - 8}" text-anchor="middle" font-size="12">{html.escape(across)} '
        f"(to {most:.2g})</text>"
        f'<text x="12" y="{size / 2}" font-size="12" text-anchor="middle" transform="rotate(-90 12 {size / 2})">'
        f"{html.escape(up)}</text></svg>"
    )
