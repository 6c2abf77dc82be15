"""Structures to examine on where none are given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk, molecule
from ase.collections import g2
from ase.data import atomic_numbers, reference_states

CRYSTALS = {"fcc", "bcc", "diamond", "hcp"}
MOST_CRYSTALS, MOST_MOLECULES, LARGEST_MOLECULE = 3, 3, 12
RATTLE = 0.06
"""Å: off the symmetric sites, where forces would be zero."""


def own_structures(calculator: Any) -> dict[str, Atoms]:
    """Golden structures of a checkpoint: its maker chose them, mostly from the training data."""
    manifest = getattr(calculator, "manifest", None)
    golden = [] if manifest is None else [each for each in manifest.golden if each.head == calculator.head]
    return {f"golden {index} {each.atoms().get_chemical_formula()}": each.atoms() for index, each in enumerate(golden)}


def made_structures(symbols: Sequence[str]) -> dict[str, Atoms]:
    """Rattled crystals, an alloy, molecules and a cluster of given elements, as far as these elements make such."""
    crystals = [symbol for symbol in symbols if _structure_of(symbol) in CRYSTALS][:MOST_CRYSTALS]
    made = {f"{symbol} crystal": _crystal(symbol) for symbol in crystals}
    if len(crystals) > 1:
        alloy = bulk(crystals[0], cubic=_structure_of(crystals[0]) != "hcp") * (2, 1, 1)
        alloy.symbols = np.resize(crystals, len(alloy)).tolist()
        made["alloy of " + " ".join(crystals)] = alloy
    made.update(_molecules(symbols))
    for index, atoms in enumerate(made.values()):
        atoms.rattle(RATTLE, seed=index)
    return completed(made)


def completed(structures: Mapping[str, Atoms]) -> dict[str, Atoms]:
    """With a cluster cut out where all repeat, and a molecule in a cell where none does."""
    found = dict(structures)
    if structures and all(atoms.pbc.any() for atoms in structures.values()):
        name, atoms = max(structures.items(), key=lambda each: len(set(each[1].numbers)))
        found[f"cluster of {name}"] = cut_out(atoms)
    if structures and not any(atoms.pbc.all() for atoms in structures.values()):
        name, atoms = max(structures.items(), key=lambda each: len(each[1]))
        found[f"{name} in a cell"] = boxed(atoms)
    return found


def cut_out(atoms: Atoms, count: int = 13) -> Atoms:
    """The atoms nearest to the first one, without a cell."""
    repeats = np.where(atoms.pbc, np.ceil(12.0 / np.maximum(atoms.cell.lengths(), 1e-3)), 1).astype(int)
    large = atoms * repeats.tolist()
    centre = large.positions.mean(axis=0)
    order = np.argsort(np.linalg.norm(large.positions - centre, axis=1))[:count]
    cluster = large[order]
    cluster.pbc = False
    cluster.cell = None
    return cluster


def boxed(atoms: Atoms, gap: float = 3.0) -> Atoms:
    """A molecule that repeats in a slightly oblique cell, its images some 3 Å away."""
    spans = np.ptp(atoms.positions, axis=0) + gap
    cell = np.diag(spans)
    cell[1, 0], cell[2, 1] = 0.15 * spans[0], 0.1 * spans[1]
    box = atoms.copy()
    box.cell, box.pbc = cell, True
    return box


def _structure_of(symbol: str) -> str:
    state = reference_states[atomic_numbers[symbol]]
    return "" if state is None else str(state["symmetry"])


def _crystal(symbol: str) -> Atoms:
    return bulk(symbol) * (2, 1, 1) if _structure_of(symbol) == "hcp" else bulk(symbol, cubic=True)


def _molecules(symbols: Sequence[str]) -> dict[str, Atoms]:
    """Those of the G2 set that are made of these elements alone: the most various first, then the larger."""
    fitting = []
    for name in g2.names:
        atoms = g2[name]
        if 1 < len(atoms) <= LARGEST_MOLECULE and set(atoms.get_chemical_symbols()) <= set(symbols):
            fitting.append((name, len(set(atoms.numbers)), len(atoms)))
    fitting.sort(key=lambda each: (-each[1], -each[2], each[0]))
    return {name: molecule(name) for name, _, _ in fitting[:MOST_MOLECULES]}
