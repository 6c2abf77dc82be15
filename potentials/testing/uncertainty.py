"""Uncertainties: what turning, numbering, copying and company must not change, and what is never certain."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from ase import Atoms
from numpy.typing import ArrayLike

from potentials.graph import AtomicGraph, batch
from potentials.last_layer import GIVEN
from potentials.testing.samples import ELEMENTS, cluster, crystal, lattice_of_four, lattice_of_one, slab
from potentials.testing.subject import Floats, PotentialUnderTest, require_close
from potentials.testing.symmetry import random_rotation

Uncertainties = dict[str, Floats]
"""Of one structure: energy_uncertainty [] eV, forces_uncertainty [N] eV/Å, uncertainty [] eV/Å."""


def _of(subject: PotentialUnderTest, graphs: Sequence[AtomicGraph]) -> list[Uncertainties]:
    if not subject.potential.uncertainties:
        raise AssertionError("this potential gives no uncertainties: nothing to test")
    with torch.no_grad():
        results = subject.potential(batch(graphs))
    values = {name: results[name].cpu().numpy() for name in GIVEN}
    forces = np.split(values["forces_uncertainty"], np.cumsum([graph.n_atoms for graph in graphs])[:-1])
    return [
        {name: forces[row] if name == "forces_uncertainty" else np.asarray(values[name][row]) for name in GIVEN}
        for row in range(len(graphs))
    ]


def _alone(subject: PotentialUnderTest, atoms: Atoms) -> Uncertainties:
    return _of(subject, [subject.graph(atoms)])[0]


def _require(subject: PotentialUnderTest, what: str, got: Uncertainties, wanted: Uncertainties) -> None:
    for name in GIVEN:
        _close(subject, f"{what}: {name}", got[name], wanted[name])


def _close(subject: PotentialUnderTest, what: str, got: ArrayLike, wanted: ArrayLike) -> None:
    """Within a part of the largest number: 10 times what energies may be off by, for a square root of squares it is."""
    require_close(what, got, wanted, 10 * subject.tolerances.value * max(1.0, float(np.max(wanted))))


def _samples(cutoff: float) -> dict[str, Atoms]:
    return {"cluster": cluster(cutoff, 12), "crystal": crystal(cutoff), "slab": slab(cutoff)}


def symmetries(subject: PotentialUnderTest) -> None:
    """Moved, turned or mirrored as a whole all stay, and renumbered they follow; the largest of the atoms is told."""
    rotation = random_rotation()
    for name, atoms in _samples(subject.cutoff).items():
        before = _alone(subject, atoms)
        subject.require_signal(f"uncertainty of the {name}", before["energy_uncertainty"])
        subject.require_signal(f"uncertainties of atoms of the {name}", before["forces_uncertainty"])
        require_close(f"{name}: the largest", before["uncertainty"], before["forces_uncertainty"].max(), 0.0)
        for how, matrix in (("rotated", rotation), ("reflected", -rotation)):
            turned = atoms.copy()
            turned.set_cell(atoms.cell.array @ matrix.T)
            turned.positions = atoms.positions @ matrix.T + subject.cutoff * np.array([1.37, -2.11, 0.73])
            _require(subject, f"{name} {how}", _alone(subject, turned), before)
        order = np.random.default_rng(6).permutation(len(atoms))
        wanted = {**before, "forces_uncertainty": before["forces_uncertainty"][order]}
        _require(subject, f"{name} renumbered", _alone(subject, atoms[order]), wanted)


def supercells(subject: PotentialUnderTest) -> None:
    """In a supercell atoms are as uncertain as in the cell, and the energy as many times: the cells err alike."""
    for atoms in (crystal(subject.cutoff), lattice_of_one(subject.cutoff), lattice_of_four(subject.cutoff)):
        cell, double = _alone(subject, atoms), _alone(subject, atoms.repeat((2, 1, 1)))
        wanted = {
            "energy_uncertainty": 2 * cell["energy_uncertainty"],
            "forces_uncertainty": np.tile(cell["forces_uncertainty"], 2),
            "uncertainty": cell["uncertainty"],
        }
        _require(subject, f"supercell of {len(atoms)} atoms", double, wanted)


def batch_members(subject: PotentialUnderTest) -> None:
    """A member of a batch is as uncertain as alone, whatever the others are, and whatever their heads."""
    samples = [*_samples(subject.cutoff).values(), Atoms(numbers=[ELEMENTS[0]], positions=[[0, 0, 0]])]
    heads = subject.potential.heads
    graphs = [subject.graph(atoms, head=head) for atoms in samples for head in heads]
    for number, together in enumerate(_of(subject, graphs)):
        _require(subject, f"member {number}", together, _of(subject, [graphs[number]])[0])


def isolated_atoms(subject: PotentialUnderTest) -> None:
    """Atoms without neighbours have numbers, and far from each other those that they have alone."""
    for number in ELEMENTS:
        one = Atoms(numbers=[number], positions=[[0, 0, 0]])
        pair = Atoms(numbers=[number] * 2, positions=[[0, 0, 0], [0, 0, 3 * subject.cutoff]])
        alone = _alone(subject, one)
        if not all(np.isfinite(value).all() for value in alone.values()):
            raise AssertionError(f"uncertainties of a lone atom of element {number} are {alone}")
        if not subject.potential.backbone.is_local:
            continue
        apart = _alone(subject, pair)
        wanted = {
            "energy_uncertainty": 2 * alone["energy_uncertainty"],
            "forces_uncertainty": np.tile(alone["forces_uncertainty"], 2),
            "uncertainty": alone["uncertainty"],
        }
        _require(subject, f"two atoms of element {number} far apart", apart, wanted)


def unseen_elements(subject: PotentialUnderTest) -> None:
    """An element without training atoms is never certain: its atoms, and structures with one, are at infinity."""
    last_layer = subject.potential.last_layer
    assert last_layer is not None
    strangers = torch.nonzero(~last_layer.seen_DZ[0])[1:, 0].tolist()  # 0 is no element
    if not strangers:
        raise AssertionError("every element was seen: nothing to test")
    atoms = cluster(subject.cutoff, 12)
    atoms.numbers[3] = strangers[-1]
    found = _alone(subject, atoms)
    for name in ("energy_uncertainty", "uncertainty"):
        if not np.isposinf(found[name]):
            raise AssertionError(f"{name} of a structure with an element never seen is {found[name]}, not infinite")
    infinite = np.isposinf(found["forces_uncertainty"])
    if not (infinite == (np.arange(len(atoms)) == 3)).all():
        raise AssertionError(f"infinite are atoms {np.flatnonzero(infinite).tolist()}, the one never seen is 3")


UNCERTAINTY_CONTRACT: dict[str, Callable[[PotentialUnderTest], None]] = {
    "symmetries": symmetries,
    "supercells": supercells,
    "batch_members": batch_members,
    "isolated_atoms": isolated_atoms,
    "unseen_elements": unseen_elements,
}
"""Name to check, for potentials with `PotentialConfig.last_layer`."""
