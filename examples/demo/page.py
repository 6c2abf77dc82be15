"""Pieces of a page of HTML that stands alone: tables, pictures, sections. All text is escaped here."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STYLE = Path(__file__).with_name("page.css")
STEP_COLOURS = ("#8ab6d6", "#1f5fa8", "#5e7fb1", "#c8553d", "#3a7d44", "#b8860b", "#7b4fa3")


@dataclass(frozen=True)
class Cell:
    """A cell of a table whose look means something: `kind` is "good", "bad", "soft" or "long"."""

    text: str
    kind: str


def page(title: str, lead: str, parts: Iterable[str]) -> str:
    """The whole document; nothing in it is fetched from elsewhere."""
    style = STYLE.read_text(encoding="utf-8")
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(title)}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>\n{style}</style>\n</head>\n<body>\n<header><div><h1>{escape(title)}</h1>{lead}</div></header>\n"
        "<main>\n" + "\n".join(parts) + "\n</main>\n</body>\n</html>\n"
    )


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph; what stands between backquotes is set as code."""
    pieces = escape(text, quote=False).split("`")
    coded = "".join(f"<code>{piece}</code>" if odd % 2 else piece for odd, piece in enumerate(pieces))
    return f'<p class="{kind}">{coded}</p>' if kind else f"<p>{coded}</p>"


def section(title: str, *parts: str) -> str:
    """A part of the page under a heading."""
    return f"<section>\n<h2>{escape(title)}</h2>\n" + "\n".join(parts) + "\n</section>"


def heading(text: str) -> str:
    """A heading within a section."""
    return f"<h3>{escape(text)}</h3>"


def table(columns: Sequence[str], rows: Iterable[Sequence[str | Cell]], texts: int = 1) -> str:
    """A table whose first `texts` columns are words, set to the left; the others are numbers."""
    head = "".join(
        f'<th class="text">{escape(c)}</th>' if i < texts else f"<th>{escape(c)}</th>" for i, c in enumerate(columns)
    )
    body = "\n".join("<tr>" + "".join(_cell(cell, i < texts) for i, cell in enumerate(row)) + "</tr>" for row in rows)
    return f'<div class="wide"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table></div>'


def _cell(cell: str | Cell, text: bool) -> str:
    kinds = [*(["text"] if text else []), *([cell.kind] if isinstance(cell, Cell) else [])]
    if isinstance(cell, Cell) and cell.kind == "long":
        kinds.append("text")
    words = escape(cell.text if isinstance(cell, Cell) else cell)
    return f'<td class="{" ".join(kinds)}">{words}</td>' if kinds else f"<td>{words}</td>"


def picture(figure: Figure, caption: str) -> str:
    """A figure drawn into the page itself, with its caption, which is also what stands for it where it is not seen."""
    from matplotlib import rc_context

    drawn = io.BytesIO()
    # Helvetica-like metrics do not matter: text becomes outlines, and looks the same everywhere
    with rc_context({"svg.fonttype": "path", "svg.hashsalt": "demo"}):
        figure.savefig(drawn, format="svg", dpi=130, metadata={"Date": None})
    data = base64.b64encode(drawn.getvalue()).decode("ascii")
    return (
        f'<figure><img alt="{escape(caption)}" src="data:image/svg+xml;base64,{data}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def facts(found: Iterable[tuple[str, str]]) -> str:
    """Large numbers with small words below: (number, words) each."""
    cards = "".join(f"<div><b>{escape(number)}</b><span>{escape(words)}</span></div>" for number, words in found)
    return f'<div class="facts">{cards}</div>'


def banner(passed: bool, lines: Sequence[str]) -> str:
    """What the page comes to, green or red: its first line is what it says, the others why."""
    first, *others = lines
    more = "".join(f"<p>{escape(line)}</p>" for line in others)
    return f'<div class="verdict {"good" if passed else "bad"}">{escape(first)}{more}</div>'


def time_bar(steps: Sequence[tuple[str, float]]) -> str:
    """Shares of the whole time, and seconds of each step: (name, seconds) each."""
    whole = sum(seconds for _, seconds in steps) or 1.0
    coloured = [(STEP_COLOURS[i % len(STEP_COLOURS)], *step) for i, step in enumerate(steps)]
    bars = "".join(
        f'<i style="width:{100 * seconds / whole:.2f}%;background:{colour}"></i>' for colour, _, seconds in coloured
    )
    key = "".join(
        f'<span><i style="background:{colour}"></i>{escape(name)} {seconds:.0f} s</span>'
        for colour, name, seconds in coloured
    )
    return f'<div class="steps">{bars}</div>\n<div class="key">{key}</div>'


def listing(text: str) -> str:
    """A file as it is."""
    return f"<pre>{escape(text, quote=False)}</pre>"
