"""Structures of one composition: does a model put them in the order that DFT does, and how far apart?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.io import read

from benchmarks.in_use.elements import results_of
from md_workflows import CellSettings, Engine, RelaxSettings
from md_workflows.engine import evaluate_many
from md_workflows.properties.crystals import quiet_spglib

RELAX = RelaxSettings(optimizer="lbfgs", fmax=0.02, max_steps=300, cell=CellSettings())
"""Atoms and cell of the structures whose labels are of relaxed ones."""

QUIET = 0.3
"""EV/Å: forces of the TiO2 frames from which the three crystals are taken."""

TIO2 = {141: "anatase", 136: "rutile", 61: "brookite"}
"""By space group."""


@dataclass(frozen=True)
class Entry:
    """One structure. energy: eV/atom, as labelled."""

    name: str
    atoms: Atoms
    energy: float


@dataclass(frozen=True)
class Ranking:
    """Compositions of one set.

    head: which theory, "mp" or "lda" · about: labels and whether a model was trained on them · relaxed: the labels are
    of relaxed structures, so that relaxing by the model makes sense · groups: entries by composition, two at least.
    """

    name: str
    head: str
    about: str
    relaxed: bool
    groups: dict[str, list[Entry]]


def rankings(data: Path) -> list[Ranking]:
    """All sets that hold several structures of a composition.

    Raises:
        ValueError: a set is not in `data`.
    """
    return [wbm(data), mptrj(data), carbon(data), titania(data)]


def wbm(data: Path) -> Ranking:
    """DFT-relaxed structures of the evaluation set."""
    path = "matcalc_benchmark/equilibrium_wbm_random_pbe52"
    entries = [_entry(atoms, atoms.info["material_id"]) for atoms in _frames(data, path)]
    about = "PBE(+U), Materials Project settings; relaxed by DFT; not trained on"
    return Ranking("WBM", "mp", about, relaxed=True, groups=_groups(entries))


def mptrj(data: Path) -> Ranking:
    """Frames of Materials Project relaxations, and elements' ground states beside another structure."""
    entries = []
    for part in ("train", "test"):
        found = _frames(data, f"mptrj_1k/{part}")
        entries += [_entry(atoms, f"{atoms.info['mptrj_snapshot_id']} ({part})") for atoms in found]
    entries += [
        _entry(atoms, f"{atoms.info['element']} ground state")
        for atoms in _frames(data, "matcalc_benchmark/element_refs_mp_pbe")
    ]
    about = "PBE(+U), Materials Project settings; frames on the way of relaxations; trained on but those of test"
    return Ranking("MPtrj", "mp", about, relaxed=False, groups=_groups(entries))


def carbon(data: Path) -> Ranking:
    """Strained diamond and graphite of the LDA set."""
    entries = []
    for part in ("train", "test"):
        found = [atoms for atoms in _frames(data, f"carbon_lda/{part}") if atoms.info["config_type"] == "bulk_cryst"]
        kinds = [str(atoms.info["detailed_ct"]).removeprefix("dist_") for atoms in found]
        entries += [_entry(a, f"{kind} {i} ({part})") for i, (a, kind) in enumerate(zip(found, kinds, strict=True))]
    about = "LDA (CASTEP); strained diamond and graphite; trained on but those of test"
    return Ranking("carbon", "lda", about, relaxed=False, groups={"C": entries})


def titania(data: Path) -> Ranking:
    """Anatase, rutile and brookite: of each the lowest of the test frames with small forces and its space group."""
    import spglib

    lowest: dict[str, Entry] = {}
    for atoms in _frames(data, "tio2/test"):
        if np.abs(atoms.get_forces()).max() > QUIET:
            continue
        cell = (atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers)
        with quiet_spglib():
            dataset = spglib.get_symmetry_dataset(cell, symprec=0.1)
        name = TIO2.get(0 if dataset is None else dataset.number, "")
        entry = _entry(atoms, name)
        if name and (name not in lowest or entry.energy < lowest[name].energy):
            lowest[name] = entry
    about = "PBE (Quantum ESPRESSO, ultrasoft), another code and other pseudopotentials than the head's; not trained on"
    return Ranking("TiO2", "mp", about, relaxed=True, groups={"O2Ti": list(lowest.values())})


def _frames(data: Path, name: str) -> list[Atoms]:
    path = data / f"{name}.extxyz.gz"
    if not path.is_file():
        raise ValueError(f"{path} is not there; GFM_ASE_DATA or --data has to name the folder of the data sets.")
    frames: list[Atoms] = read(path, index=":")
    return frames


def _entry(atoms: Atoms, name: str) -> Entry:
    return Entry(name, atoms, atoms.get_potential_energy() / len(atoms))


def _groups(entries: Iterable[Entry]) -> dict[str, list[Entry]]:
    """By reduced formula, of those with at least two structures that are not the same (atoms and volume)."""
    found: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        same = found[entry.atoms.symbols.formula.reduce()[0].format("hill")]
        if not any(_alike(entry.atoms, other.atoms) for other in same):
            same.append(entry)
    return {formula: group for formula, group in found.items() if len(group) > 1}


def _alike(one: Atoms, other: Atoms) -> bool:
    return len(one) == len(other) and abs(one.get_volume() / other.get_volume() - 1) < 1e-3


def compare_ranking(ranking: Ranking, engine: Engine) -> dict[str, Any]:
    """`still` (geometries as labelled) and, where these are relaxed ones, `relaxed` (by the model): as `agreement`.

    `groups` holds for each composition its entries with `dft`, `still` and `relaxed` energies over the one that is
    lowest by DFT, meV/atom; what failed is None, and why in `failed`.
    """
    entries = [entry for group in ranking.groups.values() for entry in group]
    bare = [_bare(entry.atoms) for entry in entries]
    ways = {"still": evaluate_many(engine, bare)}
    if ranking.relaxed:
        ways["relaxed"] = engine.relax_many(bare, RELAX)
    energies: dict[str, list[float | None]] = {"dft": [entry.energy for entry in entries]}
    failed: list[str] = []
    for way, outcomes in ways.items():
        results = results_of(outcomes, len(bare))
        good = [not isinstance(one, str) and (way == "still" or one.converged) for one in results]
        energies[way] = [
            one.energy / len(one.atoms) if fine and not isinstance(one, str) else None
            for one, fine in zip(results, good, strict=True)
        ]
        reasons = [one if isinstance(one, str) else f"not relaxed in {one.steps} steps" for one in results]
        failed += [reason for reason, fine in zip(reasons, good, strict=True) if not fine]
    found: dict[str, Any] = {"name": ranking.name, "about": ranking.about, "failed": failed, "groups": {}}
    pairs: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    place = 0
    for formula, group in ranking.groups.items():
        part = {way: values[place : place + len(group)] for way, values in energies.items()}
        place += len(group)
        found["groups"][formula] = _over_lowest([entry.name for entry in group], part)
        for way in ways:
            pairs[way] += differences([entry.energy for entry in group], part[way])
    return found | {way: agreement(pairs[way]) for way in ways}


def differences(reference: Sequence[float], model: Sequence[float | None]) -> list[tuple[float, float]]:
    """Of each pair that the model has: energy of the later structure less that of the earlier, by both; eV/atom."""
    found = []
    for i, j in combinations(range(len(reference)), 2):
        first, second = model[i], model[j]
        if first is not None and second is not None:
            found.append((reference[j] - reference[i], second - first))
    return found


def agreement(pairs: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """Of pairs of differences (by DFT, by the model; eV/atom): how many there are, and how many agree in sign.

    mae: meV/atom · tau: Kendall's, agreeing less disagreeing pairs over all, pairs being of one composition ·
    spread: mean size of the differences by DFT in meV/atom, against which the MAE is to be seen.
    """
    if not pairs:
        return {"pairs": 0}
    dft, model = np.array(pairs).T
    signs = np.sign(dft) * np.sign(model)
    return {
        "pairs": len(pairs),
        "agreeing": int((signs > 0).sum()),
        "tau": float(signs.mean()),
        "mae": float(1000 * np.abs(model - dft).mean()),
        "spread": float(1000 * np.abs(dft).mean()),
    }


def _over_lowest(names: Sequence[str], energies: dict[str, list[float | None]]) -> list[dict[str, Any]]:
    lowest = int(np.argmin([value for value in energies["dft"] if value is not None]))
    rows = []
    for place, name in enumerate(names):
        row: dict[str, Any] = {"name": name}
        for way, values in energies.items():
            here, base = values[place], values[lowest]
            row[way] = None if here is None or base is None else 1000 * (here - base)
        rows.append(row)
    return rows


def _bare(atoms: Atoms) -> Atoms:
    copy = atoms.copy()
    copy.calc = None
    return copy
