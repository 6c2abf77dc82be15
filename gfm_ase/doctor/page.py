"""The report as one page of HTML that stands alone. All text that comes from data is escaped here."""

from __future__ import annotations

import base64
import io
import itertools
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gfm_ase._version import __version__
from gfm_ase.doctor.checks import CHECKS
from gfm_ase.doctor.findings import Report, Row, Verdict
from gfm_ase.doctor.pictures import pictures
from gfm_ase.doctor.style import STYLE
from gfm_ase.doctor.table import numbers_of
from gfm_ase.plots import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_ATOMS = 25


def check_page(path: Path) -> None:
    """Raise ValueError where no page could be written to `path`: another suffix, or no matplotlib."""
    if path.suffix.lower() not in {".html", ".htm"}:
        raise ValueError(f"cannot write a page to {path.name!r}; the name must end in .html")
    new_figure(1.0, 1.0)


def page_of(report: Report) -> str:
    """The whole document; nothing in it is fetched from elsewhere."""
    title = f"Examination of {report.subject}"
    parts = [_verdict(report)]
    for group, rows in itertools.groupby(report.rows, key=lambda row: row.group):
        parts.append(_section(group, _table(rows)))
    drawn = [_picture(figure, caption) for figure, caption in pictures(report)]
    if drawn:
        parts.append(_section("Curves", *drawn))
    parts += [*_outside(report), *_speeds(report), _section("What was examined", _facts(report))]
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(title)}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n<header><div><h1>{escape(title)}</h1>"
        f"<p>by gfm-ase {escape(__version__)}, in {report.seconds:.0f} s</p></div></header>\n<main>\n"
        + "\n".join(parts)
        + "\n</main>\n</body>\n</html>\n"
    )


def _verdict(report: Report) -> str:
    counts = "".join(
        f'<span><i class="badge {verdict}">{len(report.named(verdict))}</i> {words}</span>'
        for verdict, words in WORDS.items()
    )
    sentence = escape(report.sentence())
    return f'<div class="verdict {report.verdict}">{sentence}<div class="counts">{counts}</div></div>'


WORDS = {
    Verdict.PASS: "passed",
    Verdict.WARN: "warned",
    Verdict.FAIL: "failed",
    Verdict.SKIPPED: "skipped",
    Verdict.INFO: "measured",
}


def _section(title: str, *parts: str) -> str:
    return f"<section>\n<h2>{escape(title)}</h2>\n" + "\n".join(parts) + "\n</section>"


def _table(rows: Iterable[Row]) -> str:
    head = (
        '<tr><th></th><th>check</th><th class="number">number</th><th class="number">threshold</th><th>found</th></tr>'
    )
    return f"<table>\n<thead>{head}</thead>\n<tbody>\n" + "\n".join(map(_row, rows)) + "\n</tbody>\n</table>"


def _row(row: Row) -> str:
    check, finding = CHECKS[row.name], row.finding
    number, threshold = (escape(text) for text in numbers_of(finding))
    found = f"{escape(finding.detail)}"
    if row.verdict in {Verdict.WARN, Verdict.FAIL}:
        found += f'<p class="remedy">{escape(check.remedy)}</p>'
    if finding.source:
        source = escape(finding.source)
        found += f'<details class="source"><summary>where the threshold comes from</summary>{source}.</details>'
    return (
        f'<tr class="{row.verdict}"><td><span class="badge {row.verdict}">{row.verdict}</span></td>'
        f'<td class="check"><b>{escape(row.title)}</b><span>{escape(check.meaning)}</span></td>'
        f'<td class="number">{number}</td><td class="number">{threshold}</td><td class="found">{found}</td></tr>'
    )


def _picture(figure: Figure, caption: str) -> str:
    from matplotlib import rc_context

    drawn = io.BytesIO()
    # text becomes outlines, and looks the same everywhere
    with rc_context({"svg.fonttype": "path", "svg.hashsalt": "doctor"}):
        figure.savefig(drawn, format="svg", metadata={"Date": None})
    data = base64.b64encode(drawn.getvalue()).decode("ascii")
    image = f'<img alt="{escape(caption)}" src="data:image/svg+xml;base64,{data}">'
    return f"<figure>{image}<figcaption>{escape(caption)}</figcaption></figure>"


def _data(report: Report, name: str) -> dict[str, Any]:
    return next((dict(row.finding.data) for row in report.rows if row.name == name), {})


def _outside(report: Report) -> list[str]:
    """The atoms that lie farthest outside of the training data."""
    outside = _data(report, "environments").get("outside")
    if not outside:
        return []
    shown = [(e["structure"], str(e["atom"]), e["element"], f"{e['score']:.2f}") for e in outside[:MOST_ATOMS]]
    left = f'<p class="soft">{len(outside) - MOST_ATOMS} more are in the JSON.</p>' if len(outside) > MOST_ATOMS else ""
    return [
        _section("Atoms outside of the training data", _plain(("structure", "atom", "element", "score"), shown), left)
    ]


def _speeds(report: Report) -> list[str]:
    sizes = _data(report, "speed").get("sizes")
    if not sizes:
        return []
    shown = [(str(each["atoms"]), f"{each['ms']:.3g}", f"{each['us_per_atom']:.3g}") for each in sizes]
    return [_section("Speed by size", _plain(("atoms", "ms per call", "µs per atom"), shown))]


def _plain(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "\n".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"


def _facts(report: Report) -> str:
    return (
        "<dl>" + "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in report.facts) + "</dl>"
    )
