"""The table of runs as Markdown and as one HTML file."""

from __future__ import annotations

import base64
import html

from tfcpn.report.runs import header

_STYLE = (
    "body{font:15px system-ui,sans-serif;margin:2rem auto;max-width:75rem;padding:0 1rem}"
    "table{border-collapse:collapse}th,td{padding:.3rem .6rem;border-bottom:1px solid #ddd;text-align:right}"
    "th:first-child,td:first-child,th:nth-child(2),td:nth-child(2){text-align:left}img{max-width:100%}"
)


def markdown(table: list[list[str]], with_curves: bool) -> str:
    lines = [
        "# Runs",
        "",
        *("| " + " | ".join(row) + " |" for row in [header(), ["---"] * len(header()), *table]),
    ]
    lines += [
        "",
        "The log's numbers are the published ones of the same settings, on COCO val2017.",
    ]
    return "\n".join(lines + (["", "![Training curves](curves.png)"] if with_curves else [])) + "\n"


def page(table: list[list[str]], curves: bytes | None, watch: int = 0) -> str:
    """The same as one HTML file, with the curves inside. watch: seconds after which it loads anew; 0, never."""

    def line(tag, cells):
        return "<tr>" + "".join(f"<{tag}>{html.escape(c)}</{tag}>" for c in cells) + "</tr>"

    body = line("th", header()) + "".join(line("td", row) for row in table)
    again = f'<meta http-equiv="refresh" content="{watch}">' if watch else ""
    image = ""
    if curves:
        image = f'<img alt="Training curves" src="data:image/png;base64,{base64.b64encode(curves).decode()}">'
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8">{again}<title>Runs</title><style>{_STYLE}</style>'
        f"<h1>Runs</h1><table>{body}</table>"
        f"<p>The log's numbers are the published ones of the same settings, on COCO val2017.</p>{image}"
        "</html>\n"
    )
