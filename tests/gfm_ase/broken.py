"""A sound pair potential, and the same with one fault each: what the doctor has to see."""

from typing import Any

import numpy as np
from ase.calculators.calculator import Calculator, all_changes

from potentials.neighbours import neighbour_list


class Sound(Calculator):  # type: ignore[misc]
    """Morse pairs that fade out with three derivatives at 6 Å; energy, forces and stress by hand."""

    implemented_properties = ("energy", "forces", "stress")
    cutoff = r_max = 6.0

    def curve(self, d: Any) -> tuple[Any, Any]:
        """Energy of a pair and its slope."""
        x, left = np.exp(-(d - 2.7)), 1 - (d / self.cutoff) ** 2
        morse, slope = 0.34 * (x * x - 2 * x), 0.34 * (-2 * x * x + 2 * x)
        return morse * left**4, slope * left**4 - morse * 8 * d / self.cutoff**2 * left**3

    def weights(self, i: Any, d: Any) -> Any:
        """Of each pair as seen from i."""
        return np.ones_like(d)

    def stretch(self) -> Any:
        return np.ones(3)

    def calculate(self, atoms: Any = None, properties: Any = None, system_changes: Any = all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        pairs = neighbour_list(self.atoms.positions, self.atoms.cell.array, self.atoms.pbc, 1.1 * self.cutoff)
        i, j = pairs.centre, pairs.neighbour
        vectors = self.atoms.positions[j] - self.atoms.positions[i] + pairs.shift @ self.atoms.cell.array
        seen = vectors * self.stretch()
        d = np.linalg.norm(seen, axis=1)
        inside = d < self.cutoff
        i, j, vectors, seen, d = i[inside], j[inside], vectors[inside], seen[inside], d[inside]
        energy, slope = self.curve(d)
        weights = self.weights(i, d)
        gradient = (0.5 * weights * slope / d)[:, None] * seen * self.stretch()
        forces = np.zeros((len(self.atoms), 3))
        np.add.at(forces, i, gradient)
        np.add.at(forces, j, -gradient)
        self.results = {"energy": float(0.5 * (weights * energy).sum()), "forces": forces}
        if self.atoms.cell.rank == 3:
            virial = vectors.T @ gradient / self.atoms.cell.volume
            self.results["stress"] = virial[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
        self.break_it()

    def break_it(self) -> None:
        """What goes wrong."""


class HardCutoff(Sound):
    def curve(self, d: Any) -> tuple[Any, Any]:
        energy, slope = super().curve(d)
        return energy - 0.02, slope


class Truncated(Sound):
    """The ten nearest neighbours of each atom alone."""

    def weights(self, i: Any, d: Any) -> Any:
        weights = np.ones_like(d)
        for atom in np.unique(i):
            own = np.flatnonzero(i == atom)
            weights[own[np.argsort(d[own])[10:]]] = 0.0
        return weights


class NotConservative(Sound):
    def break_it(self) -> None:
        self.results["forces"] = 1.05 * self.results["forces"]


class WrongStressSign(Sound):
    def break_it(self) -> None:
        if "stress" in self.results:
            self.results["stress"] = -self.results["stress"]


class Remembers(Sound):
    """The size of the structure before; `reset` lets it forget."""

    before: int | None = None

    def reset(self) -> None:
        super().reset()
        self.before = None

    def break_it(self) -> None:
        if self.before not in {None, len(self.atoms)}:
            self.results["energy"] += 0.02
        self.before = len(self.atoms)


class NotExtensive(Sound):
    def break_it(self) -> None:
        factor = 1 + 0.01 * np.log(len(self.atoms))
        self.results = {name: factor * value for name, value in self.results.items()}


class NoLoneAtoms(Sound):
    def break_it(self) -> None:
        if len(self.atoms) == 1:
            self.results["energy"] = float("nan")


class Hole(Sound):
    def curve(self, d: Any) -> tuple[Any, Any]:
        energy, slope = super().curve(d)
        turned = 2 * np.exp(-((d / 1.9) ** 8))
        change = turned * 8 * d**7 / 1.9**8
        return energy * (1 - turned), slope * (1 - turned) + energy * change


class KnowsUpAndDown(Sound):
    def stretch(self) -> Any:
        return np.array([1.0, 1.0, 1.02])


class CountsAtoms(Sound):
    def weights(self, i: Any, d: Any) -> Any:
        return 1 + 0.01 * (i == 0)


class Random(Sound):
    def __init__(self) -> None:
        super().__init__()
        self.random = np.random.default_rng(1)  # the same answers in each run of the tests

    def break_it(self) -> None:
        self.results["energy"] += 0.01 * self.random.normal()


class RefusesLoneAtoms(Sound):
    def break_it(self) -> None:
        if len(self.atoms) == 1:
            raise RuntimeError("no neighbours in [here]")


class NeedsCell(Sound):
    def break_it(self) -> None:
        if not self.atoms.pbc.any():
            raise ValueError("a cell, please")


class Smeared(Sound):
    """As electrons at a temperature: forces are the slope of the free energy, and the energy is another."""

    implemented_properties = ("energy", "free_energy", "forces", "stress")

    def break_it(self) -> None:
        self.results["free_energy"] = self.results["energy"]
        self.results["energy"] += 0.02 * float(np.sin(5 * self.atoms.positions).sum())


class NoisyWrongStress(Sound):
    """Energies that tremble by 1 meV, and stress that is 0.3 times too large."""

    def break_it(self) -> None:
        seed = int(1e9 * self.results["energy"]) % 2**32
        self.results["energy"] += 1e-3 * float(np.random.default_rng(seed).normal())
        if "stress" in self.results:
            self.results["stress"] = 1.3 * self.results["stress"]
