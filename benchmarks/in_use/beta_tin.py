"""Diamond and β-tin structures of an element: energies over volume, and the pressure at which one becomes the other."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.build import bulk
from ase.eos import EquationOfState, birchmurnaghan
from numpy.typing import NDArray
from scipy.optimize import brentq

from benchmarks.in_use.elements import CELL, results_of
from md_workflows import Engine
from md_workflows.engine import evaluate_many

RATIOS = np.linspace(0.44, 0.68, 13)
"""c/a that are tried at each volume; √2 would be diamond."""

DIAMOND = np.linspace(0.88, 1.08, 11)
BETA_TIN = np.linspace(0.62, 0.86, 13)
"""Volumes, in parts of that of relaxed diamond."""

HIGHEST_GPa = 40.0
"""Transitions are looked for from minus this to this."""

LITERATURE = {
    "Si": "by LDA and GGA functionals (PBE among them) 3.5 to 10.0 GPa, HSE06 12.4, diffusion Monte Carlo 14.0 ± 1.0,"
    " experiments 11.3 to 12.6 (R. G. Hennig et al., Phys. Rev. B 82, 014101 (2010), abstract)",
}


@dataclass(frozen=True)
class Phase:
    """A fitted curve. energy: eV/atom · modulus: eV/Å³ · slope: its pressure derivative · volume: Å³/atom."""

    energy: float
    modulus: float
    slope: float
    volume: float

    def energies(self, volumes: Any) -> Any:
        """EV/atom by Birch and Murnaghan's equation at volumes in Å³/atom."""
        return birchmurnaghan(volumes, self.energy, self.modulus, self.slope, self.volume)

    def pressure(self, volume: float) -> float:
        """EV/Å³, −dE/dV of the equation."""
        ratio = (self.volume / volume) ** (1 / 3)
        bracket = 1 + 0.75 * (self.slope - 4) * (ratio**2 - 1)
        return float(1.5 * self.modulus * (ratio**7 - ratio**5) * bracket)

    def volume_at(self, pressure: float) -> float:
        """Å³/atom at a pressure in eV/Å³.

        Raises:
            ValueError: not between half and 1.2 times the volume at rest.
        """
        low, high = 0.5 * self.volume, 1.2 * self.volume
        if not self.pressure(high) <= pressure <= self.pressure(low):
            raise ValueError(f"{pressure / units.GPa:.1f} GPa are beyond what the fitted equation of state reaches.")
        return float(brentq(lambda volume: self.pressure(volume) - pressure, low, high))

    def enthalpy(self, pressure: float) -> float:
        """EV/atom."""
        volume = self.volume_at(pressure)
        return float(self.energies(volume)) + pressure * volume


def beta_tin(element: str, volume: float, ratio: float) -> Atoms:
    """The primitive cell: two atoms, `volume` in Å³/atom, ratio c/a of the tetragonal cell of four."""
    a = (4 * volume / ratio) ** (1 / 3)
    c = ratio * a
    cell = np.array([[-a, a, c], [a, -a, c], [a, a, -c]]) / 2
    return Atoms([element] * 2, positions=[[0, 0, 0], [0, a / 2, c / 4]], cell=cell, pbc=True)


def compare_phases(element: str, a0: float, engine: Engine) -> dict[str, Any]:
    """Curves of both phases, the difference of their minima (eV/atom), and the pressure of the transition (GPa).

    a0: Å, of diamond, from which it is relaxed. `error` is a line where there is no minimum or no transition, and what
    follows from them is missing.
    """
    found: dict[str, Any] = {"element": element, "error": "", "literature": LITERATURE.get(element, "")}
    try:
        unit = relaxed_volume(bulk(element, "diamond", a=a0), engine)
        cells = [bulk(element, "diamond", a=2 * (unit * factor) ** (1 / 3)) for factor in DIAMOND]
        first = unit * DIAMOND, energies_of(cells, engine)
        found["diamond"] = _curve(*first)
        volumes, energies, ratios = relaxed_ratios(element, unit * BETA_TIN, engine)
        found["beta_tin"] = _curve(volumes, energies) | {"ratios": ratios.tolist()}
        phases = fit(*first), fit(volumes, energies)
        found["difference_eV"] = phases[1].energy - phases[0].energy
        for name, phase in zip(("diamond", "beta_tin"), phases, strict=True):
            found[name] |= {"volume": phase.volume, "B_GPa": phase.modulus / units.GPa, "fit": vars(phase)}
        found["beta_tin"]["ratio"] = float(np.interp(phases[1].volume, volumes, ratios))
        found["pressure_GPa"] = transition(*phases) / units.GPa
    except ValueError as failure:
        found["error"] = " ".join(str(failure).split())
    return found


def _curve(volumes: NDArray[np.float64], energies: NDArray[np.float64]) -> dict[str, Any]:
    return {"volumes": volumes.tolist(), "energies": energies.tolist()}


def relaxed_volume(atoms: Atoms, engine: Engine) -> float:
    """Å³/atom of a cubic crystal.

    Raises:
        ValueError: it could not be relaxed.
    """
    (done,) = results_of(engine.relax_many([atoms], CELL), 1)
    if isinstance(done, str) or not done.converged:
        raise ValueError(f"diamond: {done if isinstance(done, str) else 'not relaxed'}.")
    return float(done.atoms.get_volume() / len(atoms))


def energies_of(structures: list[Atoms], engine: Engine) -> NDArray[np.float64]:
    """EV/atom of each.

    Raises:
        ValueError: one failed.
    """
    done = results_of(evaluate_many(engine, structures), len(structures))
    failed = [one for one in done if isinstance(one, str)]
    if failed:
        raise ValueError(f"{len(failed)} of {len(done)} energies failed, the first: {failed[0]}")
    return np.array([one.energy / len(one.atoms) for one in done if not isinstance(one, str)])


def relaxed_ratios(
    element: str, volumes: NDArray[np.float64], engine: Engine
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Volumes, energies (eV/atom) of β-tin with the best c/a at each, and these c/a, from a fit of fourth degree.

    Atoms stand at sites that symmetry fixes, so c/a is all there is to relax. Volumes at which the energy is lowest at
    an end of RATIOS, where there is no β-tin, are left out.

    Raises:
        ValueError: fewer than six volumes are left.
    """
    cells = [beta_tin(element, volume, ratio) for volume in volumes for ratio in RATIOS]
    grid = energies_of(cells, engine).reshape(len(volumes), len(RATIOS))
    inner = ~np.isin(np.argmin(grid, axis=1), (0, len(RATIOS) - 1))
    if inner.sum() < 6:
        raise ValueError(
            f"β-tin of {element} has a minimum in c/a from {RATIOS[0]:.2f} to {RATIOS[-1]:.2f} at {inner.sum()} of"
            f" {len(volumes)} volumes; 6 are needed."
        )
    middle, fine = float(RATIOS.mean()), np.linspace(RATIOS[0], RATIOS[-1], 2001)
    lowest, best = [], []
    for row in grid[inner]:
        curve = np.polynomial.Polynomial.fit(RATIOS - middle, row, 4)(fine - middle)
        lowest.append(float(curve.min()))
        best.append(float(fine[np.argmin(curve)]))
    return volumes[inner], np.array(lowest), np.array(best)


def fit(volumes: NDArray[np.float64], energies: NDArray[np.float64]) -> Phase:
    """Birch and Murnaghan's equation through points.

    Raises:
        ValueError: the lowest point is the first or the last.
    """
    if np.argmin(energies) in {0, len(energies) - 1}:
        raise ValueError(
            f"no minimum of the energy: lowest at an end of {volumes[0]:.2f} to {volumes[-1]:.2f} Å³/atom."
        )
    curve = EquationOfState(volumes, energies, eos="birchmurnaghan")
    curve.fit(warn=False)
    energy, modulus, slope, volume = (float(value) for value in curve.eos_parameters)
    return Phase(energy, modulus, slope, volume)


def transition(first: Phase, second: Phase) -> float:
    """EV/Å³: where both enthalpies are equal, which is the slope of the common tangent with the sign turned.

    Raises:
        ValueError: they are not equal anywhere within ±HIGHEST_GPa, or a curve does not reach the pressures.
    """

    def difference(pressure: float) -> float:
        return second.enthalpy(pressure) - first.enthalpy(pressure)

    wider = first if first.volume >= second.volume else second
    lower = first if difference(0.0) >= 0 else second
    sign = 1 if wider is lower else -1  # pressure favours the denser phase, tension the wider one
    tried = sign * np.linspace(0, HIGHEST_GPa, 81) * units.GPa
    for low, high in pairwise(tried):
        if difference(low) * difference(high) <= 0:
            return float(brentq(difference, low, high))
    raise ValueError(f"no transition between -{HIGHEST_GPa:g} and {HIGHEST_GPa:g} GPa.")
