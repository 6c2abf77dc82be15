"""From columns, rows and structures to one HTML file; rows and structures stream through, a block at a time."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeAlias

from ase import Atoms
from ase.data import chemical_symbols, covalent_radii
from ase.data.colors import jmol_colors
from pydantic import Field

from md_workflows.durable import check_directory, write_beside
from md_workflows.page.document import asset, code_block, data_block, head, json_bytes
from md_workflows.page.packing import AttachmentPacker, RowPacker, nearest
from md_workflows.properties.base import Column, Value
from md_workflows.settings import Settings

SCRIPTS = ("data", "filter", "axes", "bars", "plot", "table", "shapes", "viewer", "scene", "texts", "detail", "main")
"""In the order in which the page needs them: assets/NAME.js."""

Drawn: TypeAlias = Atoms | Mapping[str, Atoms] | None
Structures: TypeAlias = Callable[[str], Drawn] | Mapping[str, Drawn] | Iterable[tuple[str, Drawn]]
Curves: TypeAlias = Mapping[str, tuple[Sequence[float], Sequence[float]]]


class PageSettings(Settings):
    """How a page looks at first, and how much it keeps.

    identifier: the column that tells rows apart · about: a sentence under the title · structures_MB: structures and
    curves are kept up to this size in the file · x, y, colour: the columns plotted at first; chosen by the page where
    None · curve_axes: labels of both axes by the name of a curve, as in ``{"eos": ("volume_A3", "energy_eV")}``.
    """

    identifier: str = "identifier"
    about: str = ""
    structures_MB: float = Field(64.0, ge=0)
    x: str | None = None
    y: str | None = None
    colour: str | None = None
    curve_axes: dict[str, tuple[str, str]] = Field(default_factory=dict)


@dataclass(frozen=True)
class PageWritten:
    """What a page holds; `left_out` is the sentence on structures that it does not hold, or empty."""

    rows: int
    structures: int
    left_out: str


def write_page(
    path: Path | str,
    title: str,
    columns: Sequence[Column],
    rows: Iterable[Mapping[str, Value]],
    structures: Structures | None = None,
    *,
    curves: Callable[[str], Curves | None] | None = None,
    settings: PageSettings | None = None,
) -> PageWritten:
    """Write the page beside `path` and rename it; each row is read once and not kept.

    structures: asked by identifier while the rows stream, or pairs of identifier and structures, read after the rows;
    several structures of one row go by names · curves: asked by identifier, named pairs of x and y. Progress is the
    caller's to show: rows are taken one after another.

    Raises:
        ValueError: for what `RowPacker` and `AttachmentPacker` refuse, a structure of no row, a column to plot that is
            not there, a directory that is not there. Nothing is written then, and an older page stays as it was.
    """
    path, chosen = Path(path), settings or PageSettings()
    check_directory(path)
    page = _Page(title, columns, chosen)
    written: list[PageWritten] = []

    def write(handle: IO[bytes]) -> None:
        for part in page.parts(rows, structures, curves):
            handle.write(part.encode())
        written.append(page.summary)

    write_beside(path, write)
    return written[0]


class _Page:
    """The parts of one page, in their order, and what they hold."""

    def __init__(self, title: str, columns: Sequence[Column], settings: PageSettings) -> None:
        self.title, self.columns, self.settings = title, columns, settings
        self.rows = RowPacker(columns, settings.identifier)
        self.attached = AttachmentPacker(settings.structures_MB * 1e6)
        self.left_out = ""
        for name in (settings.x, settings.y, settings.colour):
            if name is not None and name not in self.rows.known:
                raise ValueError(
                    f"{name!r} cannot be plotted, for no column is called so: {nearest(name, self.rows.names)}"
                )

    @property
    def summary(self) -> PageWritten:
        return PageWritten(len(self.rows.numbers), self.attached.structures, self.left_out)

    def parts(
        self,
        rows: Iterable[Mapping[str, Value]],
        structures: Structures | None,
        curves: Callable[[str], Curves | None] | None,
    ) -> Iterator[str]:
        script = "'use strict';(()=>{\n" + "".join(asset(f"{name}.js") for name in SCRIPTS) + "})();"
        yield head(self.title, asset("page.css"), script) + asset("body.html")
        ask = structures if callable(structures) else None
        for identifiers, block in self.rows.blocks(rows):
            yield data_block("rows", block)
            for identifier in identifiers if ask or curves else ():
                yield from self._attach(identifier, ask, curves)
        if isinstance(structures, Mapping):
            yield from self._attach_all(structures.items())
        elif structures is not None and not callable(structures):
            yield from self._attach_all(structures)
        yield from self._flush()
        yield data_block("page", json_bytes(self._description()))
        yield code_block(script) + "</body>\n</html>\n"

    def _attach(
        self, identifier: str, structures: Callable[[str], Drawn] | None, curves: Callable[[str], Curves | None] | None
    ) -> Iterator[str]:
        """Structures and curves of one row, asked for while there is room."""
        row = self.rows.numbers[identifier]
        if self.attached.full:
            self._leave_out(f"of the rows after number {row}, in the order of the run,")
            return
        if structures:
            self.attached.add_structures(row, structures(identifier))
        if curves:
            self.attached.add_curves(row, identifier, curves(identifier) or {})
        if self.attached.ready:
            yield from self._flush()

    def _attach_all(self, structures: Iterable[tuple[str, Drawn]]) -> Iterator[str]:
        """Structures of rows in any order, read while there is room."""
        for identifier, drawn in structures:
            if identifier not in self.rows.numbers:
                near = nearest(identifier, self.rows.numbers)
                raise ValueError(f"There is a structure {identifier!r}, and no row is called so: {near}")
            if self.attached.full:
                self._leave_out(f"that came after the first {self.attached.structures:,}")
                return
            self.attached.add_structures(self.rows.numbers[identifier], drawn)
            if self.attached.ready:
                yield from self._flush()

    def _leave_out(self, which: str) -> None:
        if not self.left_out:
            limit = f"{self.settings.structures_MB:g} MB"
            self.left_out = f"Structures {which} are left out: this page keeps {limit} of structures and curves."

    def _flush(self) -> Iterator[str]:
        if block := self.attached.take():
            text = data_block("attached", block)
            self.attached.written += len(text)
            yield text

    def _description(self) -> dict[str, Any]:
        """What the script has to know beside the values."""
        colours = ["#" + "".join(f"{round(255 * part):02x}" for part in colour) for colour in jmol_colors]
        chosen = self.settings
        return {
            "title": self.title,
            "about": chosen.about,
            "columns": [{"name": column.name, "meaning": column.meaning} for column in self.columns],
            "identifier": chosen.identifier,
            "plotted": {"x": chosen.x, "y": chosen.y, "colour": chosen.colour},
            "curve_axes": chosen.curve_axes,
            "left_out": self.left_out,
            "index": self.attached.index,
            "elements": {
                "symbols": chemical_symbols,
                "colours": colours,
                "radii": [round(float(radius), 3) for radius in covalent_radii],
            },
        }
