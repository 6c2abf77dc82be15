"""Two atoms of one element against DFT, from inside the covalent radius to beyond the cutoff: never trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, covalent_radii

from benchmarks.card.subject import Record, Subject, number, table
from gfm_ase.adapters.batches import BatchedCalculator, Geometries
from gfm_ase.doctor.dimers import FALL, NEAREST, SPURIOUS, Curve, hole_of, minima_of
from gfm_ase.plots import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HEAD, MOLECULES = "pbe_mp", "pbe_def2svp"
CLOSEST = 0.9
"""Of one covalent radius: nearer, the DFT curves rise to hundreds of eV."""

WEAK = 0.1
"""eV/Å: forces below it have no sign to speak of."""

WALL = 1.0
"""eV above atoms far apart: what the shortest distance must cost at least."""

COLUMNS = 10


def measure(subject: Subject) -> Record:
    """Curves and their figures, of all elements that the head knows, and of the six pairs of H, C and O."""
    found: Record = {"elements": [], "unknown": [], "pairs": []}
    if subject.knows(HEAD):
        by_pair = grouped(subject.read("diatomics_dft/pbe.extxyz.gz"), with_forces=True)
        known = set(subject.elements(HEAD))
        found["unknown"] = sorted(pair[0] for pair in by_pair if pair[0] not in known)
        frames = {pair: each for pair, each in by_pair.items() if pair[0] in known}
        found["elements"] = judged_curves(subject, HEAD, frames)
    if subject.knows(MOLECULES):
        frames = grouped(subject.read("ethanol_methanol/test_dimers.extxyz.gz"), with_forces=False)
        found["pairs"] = judged_curves(subject, MOLECULES, frames)
    return found


def grouped(frames: Sequence[Atoms], *, with_forces: bool) -> dict[tuple[str, str], list[Atoms]]:
    """Frames of each pair by distance, from `CLOSEST` on; without labels that are not asked for."""
    found: dict[tuple[str, str], list[Atoms]] = {}
    for atoms in frames:
        pair = tuple(sorted(atoms.get_chemical_symbols()))
        radius = float(np.mean([covalent_radii[atomic_numbers[symbol]] for symbol in pair]))
        if atoms.get_distance(0, 1) < CLOSEST * radius:
            continue
        if with_forces and "forces" not in atoms.calc.results:
            continue
        found.setdefault((pair[0], pair[-1]), []).append(atoms)
    for pair, each in found.items():
        found[pair] = sorted(each, key=lambda atoms: float(atoms.get_distance(0, 1)))
    return dict(sorted(found.items(), key=lambda item: [atomic_numbers[symbol] for symbol in item[0]]))


def judged_curves(subject: Subject, head: str, frames: Mapping[tuple[str, str], list[Atoms]]) -> list[Record]:
    """Each pair with the model's curve, that of DFT, and what they are worth."""
    calculator = BatchedCalculator(subject.calculator(head))
    found = []
    for place, (pair, each) in enumerate(frames.items()):
        subject.progress(f"dimers: {'–'.join(pair)}", place, len(frames))
        model, reference = model_curve(calculator, pair, each), reference_curve(pair, each)
        found.append(compared(model, reference))
    return found


def curve_of(pair: tuple[str, str], each: Sequence[Atoms], energies: Sequence[float], forces: Sequence[Any]) -> Curve:
    """With the energy at the largest distance as zero, and forces along the bond (NaN where there are none)."""
    distances = np.array([atoms.get_distance(0, 1) for atoms in each])
    axes = [(atoms.positions[1] - atoms.positions[0]) / length for atoms, length in zip(each, distances, strict=True)]
    along = [
        np.nan if force is None else float(np.asarray(force)[1] @ axis)
        for force, axis in zip(forces, axes, strict=True)
    ]
    bonded = float(sum(covalent_radii[atomic_numbers[symbol]] for symbol in pair))
    zeroed = np.asarray(energies, dtype=float) - energies[-1]
    return Curve(pair, distances, zeroed, np.array(along), bonded, float(distances[-1]))


def model_curve(calculator: BatchedCalculator, pair: tuple[str, str], each: Sequence[Atoms]) -> Curve:
    """What the model says of these frames, all in one batch."""
    count = len(each)
    zeros = np.zeros(count)
    geometries = Geometries(
        np.concatenate([atoms.numbers for atoms in each]),
        np.concatenate([atoms.positions for atoms in each]),
        np.repeat(np.arange(count), 2),
        np.zeros((count, 3, 3)),
        np.zeros((count, 3), dtype=bool),
        zeros,
        zeros,
    )
    computed = calculator(geometries)
    energies = computed["energy"].cpu().numpy()
    forces = computed["forces"].cpu().numpy().reshape(count, 2, 3)
    return curve_of(pair, each, energies.tolist(), list(forces))


def reference_curve(pair: tuple[str, str], each: Sequence[Atoms]) -> Curve:
    """What the labels of these frames say."""
    energies = [atoms.get_potential_energy() for atoms in each]
    return curve_of(pair, each, energies, [atoms.calc.results.get("forces") for atoms in each])


def compared(model: Curve, reference: Curve) -> Record:
    """Both curves with holes, minima, sign and size of errors.

    Where bonds can be (from 0.7 of the sum of covalent radii on) errors of forces and depths are taken.
    """
    outside = reference.distances >= NEAREST * reference.bonded
    strong = outside & (np.abs(reference.forces) > WEAK)
    errors = np.abs(model.forces - reference.forces)
    energies = np.abs(model.energies - reference.energies)
    return {
        "pair": reference.name,
        "distances": reference.distances.tolist(),
        "bonded": reference.bonded,
        "model": {"energies": model.energies.tolist(), "forces": _finite(model.forces), **shape(model)},
        "reference": {"energies": reference.energies.tolist(), "forces": _finite(reference.forces), **shape(reference)},
        "force_mae": float(np.nanmean(errors[outside])) if np.isfinite(errors[outside]).any() else None,
        "energy_mae": float(energies[outside].mean()),
        "same_sign": float((np.sign(model.forces) == np.sign(reference.forces))[strong].mean())
        if strong.any()
        else None,
    }


def shape(curve: Curve) -> Record:
    """Whether a curve falls on the way in, how deep it is and where, and how many minima it has."""
    fall, barrier, where = hole_of(curve)
    outside = np.flatnonzero(curve.distances >= NEAREST * curve.bonded)
    lowest = int(outside[np.argmin(curve.energies[outside])])
    return {
        "hole": fall > FALL,
        "fall": fall,
        "barrier": barrier,
        "hole_from": where,
        "minima": len(minima_of(curve)),
        "wall": float(curve.energies[0]),
        "depth": -float(curve.energies[lowest]),
        "length": float(curve.distances[lowest]),
    }


def _finite(values: Any) -> list[float | None]:
    return [float(value) if np.isfinite(value) else None for value in values]


def section(record: Record) -> str:
    """Numbers over all elements beside those of DFT, the worst of them, the six pairs, and the pictures."""
    parts = []
    if record["elements"]:
        unknown = f" Not known to the head: {', '.join(record['unknown'])}." if record["unknown"] else ""
        parts += [
            f"**{len(record['elements'])} homonuclear pairs, head `{HEAD}`, against PBE** (`diatomics_dft`), from 0.9"
            f" covalent radii on.{unknown} A *hole*: nearer than 0.7 of the sum of covalent radii the energy falls by"
            f" more than {FALL:g} eV on the way in. A *minimum* that counts is deeper than {SPURIOUS:g} eV on both"
            " sides.",
            overview(record["elements"]),
            named(record["elements"]),
            "![Curves of all elements](pictures/model_dimers.png)",
        ]
    if record["pairs"]:
        parts += [
            f"**Pairs of H, C and O, head `{MOLECULES}`, against UHF-PBE/def2-SVP** (`ethanol_methanol/test_dimers`,"
            " energies only).",
            pairs_table(record["pairs"]),
            "![Curves of six pairs](pictures/model_dimers_molecules.png)",
        ]
    return "\n\n".join(parts)


def overview(rows: Sequence[Record]) -> str:
    """Counts and medians."""

    def count(who: str, is_so: Any) -> str:
        return f"{sum(bool(is_so(row[who])) for row in rows)} of {len(rows)}"

    def median(values: Sequence[float | None]) -> str:
        return number(float(np.median([value for value in values if value is not None])))

    def of_both(name: str, is_so: Any) -> list[str]:
        return [name, count("model", is_so), count("reference", is_so)]

    off = [abs(row["model"]["depth"] - row["reference"]["depth"]) for row in rows]
    apart = [abs(row["model"]["length"] - row["reference"]["length"]) for row in rows]
    lines = [
        of_both("holes at short range", lambda each: each["hole"]),
        of_both("holes behind a barrier below 5 eV", lambda each: each["hole"] and each["barrier"] < 5),
        of_both(f"more than {WALL:g} eV at the shortest distance", lambda each: each["wall"] > WALL),
        of_both("exactly one minimum", lambda each: each["minima"] == 1),
        of_both("bound by more than 0.1 eV", lambda each: each["depth"] > 0.1),
        ["median error of the depth, eV", median(off), "–"],
        ["median error of the bond length, Å", median(apart), "–"],
        ["median MAE of the force where bonds can be, eV/Å", median([row["force_mae"] for row in rows]), "–"],
        [
            f"sign of the force right (|F| > {WEAK:g} eV/Å), median",
            median([None if row["same_sign"] is None else 100 * row["same_sign"] for row in rows]) + " %",
            "–",
        ],
    ]
    return table(["", "this model", "DFT"], lines)


def named(rows: Sequence[Record]) -> str:
    """Which elements have holes, and which force errors are the largest."""
    holes = [row["pair"].split("–")[0] for row in rows if row["model"]["hole"]]
    worst = sorted((row for row in rows if row["force_mae"] is not None), key=lambda row: -row["force_mae"])[:8]
    largest = ", ".join(f"{row['pair'].split('–')[0]} {row['force_mae']:.2g}" for row in worst)
    return f"Holes: {', '.join(holes) or 'none'}. Largest MAE of the force, eV/Å: {largest}."


def pairs_table(rows: Sequence[Record]) -> str:
    """A row for each pair, with what DFT says in brackets."""
    lines = []
    for row in rows:
        model, dft = row["model"], row["reference"]
        lines.append(
            [
                row["pair"],
                f"{model['length']:.2f} ({dft['length']:.2f})",
                f"{model['depth']:.2f} ({dft['depth']:.2f})",
                number(row["energy_mae"]),
                f"{model['minima']} ({dft['minima']})",
                f"falls by {model['fall']:.2g} eV below {model['hole_from']:.2f} Å" if model["hole"] else "no",
            ]
        )
    return table(
        ["pair", "bond length, Å (DFT)", "depth, eV (DFT)", "MAE of energy, eV", "minima (DFT)", "hole"], lines
    )


def pictures(record: Record) -> dict[str, Figure]:
    """Grids of curves."""
    found = {}
    for name, columns in (("elements", COLUMNS), ("pairs", 6)):
        if record[name]:
            file = "model_dimers.png" if name == "elements" else "model_dimers_molecules.png"
            found[file] = grid(record[name], columns)
    return found


def grid(rows: Sequence[Record], columns: int) -> Figure:
    """A panel for each pair: DFT in grey, the model in blue, red where it has a hole."""
    lines = -(-len(rows) // columns)
    figure, axes = new_figure(1.55 * columns, 1.35 * lines + 0.4, columns, lines)
    for axis in axes[len(rows) :]:
        axis.set_axis_off()
    for axis, row in zip(axes, rows, strict=False):
        distances = np.array(row["distances"]) / row["bonded"]
        depth = max(row["reference"]["depth"], row["model"]["depth"], 0.5)
        colour = "#b3261e" if row["model"]["hole"] else "#1f5fa8"
        axis.plot(distances, row["reference"]["energies"], color="0.6", linewidth=2.2)
        axis.plot(distances, row["model"]["energies"], color=colour, linewidth=1.1)
        axis.axhline(0.0, color="0.9", linewidth=0.6, zorder=0)
        axis.set_xlim(0.4, 2.4)
        axis.set_ylim(-1.25 * depth, 2.0 * depth)
        axis.text(0.95, 0.9, row["pair"], transform=axis.transAxes, ha="right", va="top", fontsize=8)
        axis.tick_params(labelsize=5.5, length=2, pad=1)
    title = "energy of two atoms, eV, against their distance over the sum of covalent radii: DFT grey, the model blue"
    figure.suptitle(f"{title}, red where it has a hole", fontsize=9)
    return figure
