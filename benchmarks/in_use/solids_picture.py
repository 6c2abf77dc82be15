"""Picture of what `benchmarks.model_solids` has computed: curves of Si and Ge, and surface energies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import units

from benchmarks.in_use.beta_tin import Phase
from gfm_ase.plots import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = {"Cu": "#b5651d", "Li": "#7a3e9d", "Mo": "#2a7f62", "Si": "#1f5fa8", "Ge": "#c0392b"}


def solids_figure(found: Mapping[str, Any]) -> Figure:
    """Energies over volume of Si and Ge by the first PBE head there is, and surface energies beside DFT.

    Raises:
        ValueError: neither was computed, or matplotlib is not installed.
    """
    by_head = found.get("phases") or {}
    curves = next(iter(by_head.values()), {})
    slabs = found.get("elements") or {}
    if not curves and not slabs:
        raise ValueError("nothing to draw: neither phases nor elements were computed.")
    figure, axes = new_figure(4.2 * (len(curves) + bool(slabs)), 3.9, len(curves) + bool(slabs))
    for axis, (name, one) in zip(axes, curves.items(), strict=False):
        _curves(axis, name, one)
    if slabs:
        _surfaces(axes[-1], slabs)
    figure.suptitle(f"{found['model']}, {found['written']}", fontsize=9)
    return figure


def _curves(axis: Any, name: str, one: Mapping[str, Any]) -> None:
    base = min(one["diamond"]["energies"]) if "diamond" in one else 0.0
    drawn = (("diamond", "diamond", "#1f5fa8"), ("beta_tin", "β-tin", "#c0392b"))
    for key, label, colour in drawn:
        if key not in one:
            continue
        volumes, energies = np.array(one[key]["volumes"]), np.array(one[key]["energies"]) - base
        axis.plot(volumes, energies, "o", markersize=3.5, color=colour, label=label)
        if "fit" in one[key]:
            fine = np.linspace(volumes.min(), volumes.max(), 200)
            axis.plot(fine, Phase(**one[key]["fit"]).energies(fine) - base, "-", linewidth=1, color=colour)
    title = f"{name}: {one['error']}" if one["error"] else f"{name}: {one['difference_eV']:.3f} eV/atom"
    if "pressure_GPa" in one:
        _tangent(axis, one, base)
        title += f", transition at {one['pressure_GPa']:.1f} GPa"
    axis.set_title(title, fontsize=9, wrap=True)
    axis.set_xlabel("volume, Å³/atom", fontsize=9)
    axis.set_ylabel("energy over diamond, eV/atom", fontsize=9)
    axis.tick_params(labelsize=8)
    axis.legend(fontsize=8, frameon=False)


def _tangent(axis: Any, one: Mapping[str, Any], base: float) -> None:
    pressure = one["pressure_GPa"] * units.GPa
    ends = [Phase(**one[key]["fit"]) for key in ("beta_tin", "diamond")]
    volumes = [phase.volume_at(pressure) for phase in ends]
    energies = [float(phase.energies(volume)) - base for phase, volume in zip(ends, volumes, strict=True)]
    axis.plot(volumes, energies, "--", color="0.3", linewidth=1, label="common tangent")


def _surfaces(axis: Any, elements: Mapping[str, Any]) -> None:
    reached = [0.0]
    for name, one in elements.items():
        rows = [(slab["dft"], slab["model"]) for slab in one["slabs"] if slab["model"] is not None]
        if not rows:
            continue
        dft, model = np.array(rows).T
        reached += [*dft, *model]
        axis.plot(dft, model, "o", markersize=3.5, color=COLOURS.get(name, "0.4"), label=name, alpha=0.8)
    top = 1.05 * max(reached)
    axis.plot([0, top], [0, top], color="0.6", linewidth=1, zorder=0)
    axis.set_title("surface energies of the frames of mlearn", fontsize=9)
    axis.set_xlabel("DFT, J/m²", fontsize=9)
    axis.set_ylabel("model, J/m²", fontsize=9)
    axis.tick_params(labelsize=8)
    axis.legend(fontsize=8, frameon=False)
