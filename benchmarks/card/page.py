"""Sections of a page that a command writes, between markers; what a person wrote around them stays."""

from __future__ import annotations

from pathlib import Path

from train.journal import replace_text


def markers(name: str) -> tuple[str, str]:
    """The lines before and after a section."""
    return f"<!-- begin {name}: made by a command, do not edit -->", f"<!-- end {name} -->"


def with_section(text: str, name: str, body: str) -> str:
    """The text of a page with another body between the markers of one section.

    Raises:
        ValueError: a marker is not there once, or they stand in the wrong order.
    """
    begin, end = markers(name)
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise ValueError(f"the page must hold each of the lines {begin!r} and {end!r} once, in this order")
    before, _, rest = text.partition(begin)
    after = rest.partition(end)[2]
    return f"{before}{begin}\n{body.strip()}\n{end}{after}"


def write_sections(page: Path, sections: dict[str, str]) -> None:
    """Replace these sections of a page; the file is complete or as it was.

    Raises:
        ValueError: the page is not there, or lacks markers.
    """
    if not page.exists():
        raise ValueError(f"{page} is not there; a page with the markers of {', '.join(sections)} is needed")
    text = page.read_text(encoding="utf-8")
    for name, body in sections.items():
        text = with_section(text, name, body)
    replace_text(page, text)
