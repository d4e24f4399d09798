"""The AP table in the form of tf-cpn's experiment log, and what an evaluation took over from its run."""

from __future__ import annotations

from tfcpn.report.published import LOG_METRICS
from tfcpn.settings.config import EVALUATION, FIELDS, Config


def cell(value: float | None) -> str:
    """.702 as the log writes it; COCO's -1 means that there is nobody of that size, None that nothing was scored."""
    if value is None or not value >= 0:
        return "n/a"
    return f"{value:.3f}".replace("0.", ".", 1) if value < 0.9995 else "1.000"


def table(rows: list[tuple[str, dict[str, float]]]) -> str:
    """Rows of (label, metrics) as a Markdown table in the experiment log's form, with PCK behind it where it is."""
    names = [
        *LOG_METRICS,
        *dict.fromkeys(n for _, metrics in rows for n in metrics if n.startswith("PCK")),
    ]
    width = max([len("epoch"), *(len(label) for label, _ in rows)])
    lines = [
        f"| {'epoch':<{width}} | " + " | ".join(f"{n:>{max(5, len(n))}}" for n in names) + " |"
    ]
    lines.append(f"|{'-' * (width + 2)}|" + "|".join("-" * 7 for n in names) + "|")
    for label, metrics in rows:
        lines.append(
            f"| {label:<{width}} | "
            + " | ".join(f"{cell(metrics.get(n)):>{max(5, len(n))}}" for n in names)
            + " |"
        )
    return "\n".join(lines)


def inherited(cfg: Config, given: set[str]) -> str:
    """A line that names the settings of the run which an evaluation goes by unasked; empty if all are the usual."""
    names = [
        name
        for name, field in FIELDS.items()
        if field.metadata["group"] == EVALUATION and name != "epoch"
    ]
    names += ["val_annotations", "val_images", "align_missing", "mixed_precision"]
    words = [
        f"--{name}={getattr(cfg, name)}"
        for name in names
        if name not in given and getattr(cfg, name) != FIELDS[name].default
    ]
    return f"as the run was validated: {' '.join(words)}\n" if words else ""
