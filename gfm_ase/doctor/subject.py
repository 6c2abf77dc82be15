"""The calculator under examination: one way to ask it, its rounding noise, and the bounds that follow."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from gfm_ase.doctor.findings import Skipped
from md_workflows.attached import forget

Floats = NDArray[np.float64]

NOISE_STEP = 1e-4
"""Å between the points that noise is measured at: far above rounding, far below what changes in a smooth function."""

NOISE_POINTS, NOISE_ORDER = 10, 6
ROUNDING = 1e-10
"""Part of the largest force that float64 arithmetic may differ by; the contract's value for float64."""

NOISE_FACTOR = 100.0
"""Noise is a standard deviation of a few points; two evaluations elsewhere may differ by this many of it."""

VACUUM = 30.0
"""Å around structures without a cell, for calculators that need one."""

BATCH_ATOMS = 1024
"""In one batch of `Subject.many`."""

HARMFUL_ENERGY = 1e-5
"""eV/atom: what no simulation notices, a thousandth of a good potential's error."""

HARMFUL_FORCE = 1e-3
"""eV/Å: a tenth of the forces at which relaxations usually end."""

HARMFUL_STRESS = 1e-4
"""eV/Å³: 0.016 GPa."""

VALUE_SOURCE = (
    "rounding: 100 × the noise measured, at least 1e-10 of the largest force; a warning up to 0.01 meV/atom, 1 meV/Å,"
    " 0.016 GPa"
)


@dataclass(frozen=True)
class Answer:
    """Energy in eV, forces [N, 3] in eV/Å, stress [6] in eV/Å³ (Voigt; only where asked for)."""

    energy: float
    forces: Floats
    stress: Floats | None = None


@dataclass(frozen=True)
class Noise:
    """Standard deviation of rounding in energy (eV) and in a component of the forces (eV/Å)."""

    energy: float
    forces: float


@dataclass(frozen=True)
class Bounds:
    """What two evaluations of one structure may differ by: energy in eV, forces in eV/Å."""

    energy: float
    forces: float


@dataclass
class Subject:
    """What is examined, and on what.

    Attributes:
        calculator: any ASE calculator.
        structures: by name; without constraints, of elements that the calculator knows.
        refused: name to reason, of structures that are left out.
        elements: symbols the calculator knows, or none where it does not tell.
        told_cutoff: Å, or none where it does not tell.
        training: structures it was trained on, where they were given.
        seed: of all random directions.
        quick: fewer structures, directions and steps.
        needs_cell: what it raises on structures without a cell; these are then asked for in cells with 30 Å of vacuum.
        calls: structures asked so far.
        first_call: seconds, and atoms, of the first.
        kept: what several checks need, by name.
    """

    calculator: Any
    structures: Mapping[str, Atoms]
    refused: Mapping[str, str] = field(default_factory=dict)
    elements: tuple[str, ...] | None = None
    told_cutoff: float | None = None
    training: Sequence[Atoms] = ()
    seed: int = 0
    quick: bool = False
    needs_cell: str = ""
    calls: int = 0
    first_call: tuple[float, int] | None = None
    kept: dict[str, Any] = field(default_factory=dict)

    def answer(self, atoms: Atoms, *, fresh: bool = True, stress: bool = False) -> Answer:
        """What the calculator says of a structure; `fresh` lets it forget earlier ones first.

        Energies are free energies where there are any: these are what forces are derivatives of.
        """
        work = self.attached(atoms)
        if fresh:
            forget(self.calculator)
        start = time.perf_counter()
        energy = self.energy(work)
        forces = np.array(work.get_forces(apply_constraint=False), dtype=np.float64)
        voigt = np.array(work.get_stress(apply_constraint=False), dtype=np.float64) if stress else None
        self.calls += 1
        if self.first_call is None:
            self.first_call = (time.perf_counter() - start, len(atoms))
        return Answer(energy, forces, voigt)

    def attached(self, atoms: Atoms) -> Atoms:
        """A copy with the calculator, in a cell with vacuum where it needs one."""
        work = atoms.copy()
        if self.needs_cell and not work.pbc.any():
            work.cell, work.pbc = np.diag(np.ptp(work.positions, axis=0) + VACUUM), True
        work.calc = self.calculator
        return work

    def energy(self, attached: Atoms) -> float:
        """Of atoms with the calculator, the one that forces are derivatives of, eV."""
        free = "free_energy" in getattr(self.calculator, "implemented_properties", ())
        return float(np.asarray(attached.get_potential_energy(force_consistent=free)).reshape(()))

    def many(self, structures: Sequence[Atoms]) -> list[Answer]:
        """Energies and forces of many structures: in batches where the calculator is ours, else one after another.

        The check `batch` tells whether both are the same.
        """
        potential = None if getattr(self.calculator, "direct", False) else own_potential(self.calculator)
        if potential is None:
            return [self.answer(atoms) for atoms in structures]
        self.calls += len(structures)
        answers: list[Answer] = []
        size = max(1, BATCH_ATOMS // max(len(atoms) for atoms in structures))
        for start in range(0, len(structures), size):
            answers += in_batch(potential, structures[start : start + size])
        return answers

    def noise(self, atoms: Atoms) -> Noise:
        """Rounding noise at a structure, by differences of sixth order along a line (Moré & Wild 2011).

        J. J. Moré, S. M. Wild, SIAM J. Sci. Comput. 33, 1292.
        """
        key = f"noise {atoms.numbers.tolist()} {atoms.positions.round(9).tolist()} {atoms.cell.array.tolist()}"
        if key not in self.kept:
            random = np.random.default_rng(self.seed)
            way = random.uniform(-1, 1, atoms.positions.shape) * NOISE_STEP
            strain = random.uniform(-1, 1, (3, 3)) * NOISE_STEP / 10  # one atom and its images feel nothing of a move
            answers = self.many([_along(atoms, index * way, index * strain) for index in range(NOISE_POINTS)])
            energies = np.array([answer.energy for answer in answers])
            forces = np.array([answer.forces for answer in answers])
            self.kept[key] = Noise(_noise(energies), float(np.max(_noise_of_columns(forces))))
        noise: Noise = self.kept[key]
        return noise

    def bounds(self, atoms: Atoms, answer: Answer) -> Bounds:
        """What rounding may do to energy and forces of a structure."""
        noise = self.noise(atoms)
        scale = max(1.0, float(np.abs(answer.forces).max(initial=0.0)))
        least = ROUNDING * scale
        # forces that cancel by symmetry do not tremble; those of the same atoms written otherwise may, as energies do
        forces = max(noise.forces, noise.energy / len(atoms))
        return Bounds(max(len(atoms) * least, NOISE_FACTOR * noise.energy), max(least, NOISE_FACTOR * forces))

    def periodic(self) -> dict[str, Atoms]:
        """Structures that repeat in all directions.

        Raises:
            Skipped: there are none.
        """
        found = {name: atoms for name, atoms in self.structures.items() if atoms.pbc.all()}
        if not found:
            raise Skipped("no structure repeats in all directions")
        return found

    def some(self, structures: Mapping[str, Atoms], count: int, largest: int = 256) -> dict[str, Atoms]:
        """A few structures of at most `largest` atoms, for checks of many evaluations.

        Raises:
            Skipped: all are larger.
        """
        small = {name: atoms for name, atoms in structures.items() if len(atoms) <= largest}
        if not small:
            raise Skipped(f"all structures have more than {largest} atoms")
        return dict(list(small.items())[: 1 if self.quick else count])


def own_potential(calculator: Any) -> Any:
    """The potential of a checkpoint of ours, or none."""
    return getattr(calculator, "potential", None) if hasattr(calculator, "manifest") else None


def in_batch(potential: Any, structures: Sequence[Atoms]) -> list[Answer]:
    """What a potential of ours says of structures in one batch."""
    import torch

    from potentials.graph import batch
    from potentials.structures import graph_from_atoms

    graphs = [graph_from_atoms(atoms, potential.cutoff) for atoms in structures]
    with torch.no_grad():
        results = potential(batch(graphs).to(potential.device))
    ends = np.cumsum([len(atoms) for atoms in structures])[:-1]
    forces = np.split(results["forces"].cpu().numpy(), ends)
    return [Answer(float(energy), part) for energy, part in zip(results["energy"], forces, strict=True)]


def moved(atoms: Atoms, way: Floats) -> Atoms:
    """A copy with displaced atoms."""
    copy = atoms.copy()
    copy.positions += way
    return copy


def _along(atoms: Atoms, way: Floats, strain: Floats) -> Atoms:
    """A copy with displaced atoms and, where all directions repeat, a strained cell."""
    copy = moved(atoms, way)
    if copy.pbc.all():
        copy.set_cell(copy.cell.array @ (np.eye(3) + strain), scale_atoms=True)
    return copy


def _noise_of_columns(values: Floats) -> Floats:
    differences = np.diff(values, n=NOISE_ORDER, axis=0)
    gamma = math.factorial(NOISE_ORDER) ** 2 / math.factorial(2 * NOISE_ORDER)
    noise: Floats = np.sqrt(gamma * np.mean(differences**2, axis=0))
    return noise


def _noise(values: Floats) -> float:
    return float(_noise_of_columns(values))
