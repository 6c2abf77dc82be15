"""The periodic table with a stripe for each head that knows an element."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from gfm_ase.plots import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LINES = (
    (0.0, 0, "H"),
    (0, 17, "He"),
    (1, 0, "Li Be"),
    (1, 12, "B C N O F Ne"),
    (2, 0, "Na Mg"),
    (2, 12, "Al Si P S Cl Ar"),
    (3, 0, "K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr"),
    (4, 0, "Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe"),
    (5, 0, "Cs Ba"),
    (5, 3, "Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn"),
    (6, 0, "Fr Ra"),
    (7.3, 2, "La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu"),
    (8.3, 2, "Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr"),
)
"""Row, first column, and symbols beside each other."""


def places() -> dict[str, tuple[float, int]]:
    """Row and column of each element."""
    return {
        symbol: (row, first + place) for row, first, symbols in LINES for place, symbol in enumerate(symbols.split())
    }


def elements_figure(known: Mapping[str, Sequence[str]], colours: Mapping[str, str]) -> Figure:
    """A box for each element; stripes below its symbol, one place for each head, filled where the head knows it."""
    from matplotlib.patches import Patch, Rectangle

    figure, axes = new_figure(10.5, 5.6)
    axis, heads = axes[0], list(known)
    width = 0.88 / max(len(heads), 1)
    for symbol, (row, column) in places().items():
        of_it = [head for head in heads if symbol in known[head]]
        axis.add_patch(Rectangle((column, -row), 0.94, 0.94, facecolor="white" if of_it else "0.94", edgecolor="0.75"))
        axis.text(
            column + 0.47, -row + 0.62, symbol, ha="center", va="center", fontsize=9, color="black" if of_it else "0.6"
        )
        for place, head in enumerate(heads):
            if head in of_it:
                corner = (column + 0.03 + place * width, -row + 0.05)
                axis.add_patch(Rectangle(corner, width, 0.28, facecolor=colours[head], edgecolor="none"))
    labels = [Patch(color=colours[head], label=f"{head}: {len(known[head])}") for head in heads]
    axis.legend(handles=labels, loc="upper center", bbox_to_anchor=(0.42, 1.0), ncols=2, fontsize=8, frameon=False)
    axis.set_xlim(-0.1, 18.1)
    axis.set_ylim(-8.4, 1.1)
    axis.set_aspect("equal")
    axis.set_axis_off()
    return figure
