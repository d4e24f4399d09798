"""Training curves of runs."""

from __future__ import annotations

import io


def draw_curves(logs: dict[str, list[dict]]) -> bytes:
    """PNG of losses and AP by epoch, one line for each run."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    # Runs of several networks have several losses.
    names = list(dict.fromkeys(name for log in logs.values() for name in log[0] if name != "epoch"))
    names = [*(name for name in names if name not in ("total", "AP")), "total", "AP"]
    size = 4.2 * len(names) + 2, 3.6
    figure, axes = pyplot.subplots(1, len(names), figsize=size, layout="constrained")
    # Thirty runs can be told apart.
    looks = pyplot.cycler(linestyle=["-", "--", ":"]) * pyplot.rcParams["axes.prop_cycle"]
    for axis, name in zip(axes, names):
        values = []
        axis.set_prop_cycle(looks)
        for run, log in logs.items():
            points = [(row["epoch"], row[name]) for row in log if row.get(name) is not None]
            values += [value for _, value in points if value > 0]
            axis.plot(
                *zip(*(points or [(0, float("nan"))])),
                marker="o" if name == "AP" else None,
                label=run,
            )
        axis.set(title=name if name == "AP" else f"{name} loss", xlabel="epoch")
        # Runs of several heatmap scales lie orders of magnitude apart.
        if name != "AP" and values and max(values) > 20 * min(values):
            axis.set_yscale("log")
        if name == "AP":
            axis.set_ylim(bottom=0)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.3)
    figure.legend(
        *axes[0].get_legend_handles_labels(), loc="outside right center", fontsize="small"
    )
    png = io.BytesIO()
    figure.savefig(png, dpi=110, metadata={"Software": None})
    pyplot.close(figure)
    return png.getvalue()
