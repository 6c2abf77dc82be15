"""Bulk and shear moduli as MatCalc's ElasticityCalc makes them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms, units
from numpy.typing import NDArray

from benchmarks.matcalc.lists import Row
from benchmarks.matcalc.relaxing import Relaxed, after_relaxation
from md_workflows.engine import Engine
from md_workflows.properties.base import Measured
from md_workflows.properties.crystals import crystal, deformed
from md_workflows.properties.stream import Computed, Derived, measure_each

LIST = "elasticity_mp_binary_pbe"
NORMAL = (-0.01, -0.005, 0.005, 0.01)
SHEAR = (-0.06, -0.03, 0.03, 0.06)
"""Entries of the Green-Lagrange strain, so that engineering shears are twice these."""

COMPONENTS = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
ZERO = 1e-7
"""eV/Å³; what is smaller in a tensor is zero."""

UNSTABLE = "tensor not positive"


def rows(structures: Sequence[Atoms], engine: Engine) -> list[Row]:
    """K and G (GPa) of relaxed structures; atoms follow the strained cell and are not relaxed in it."""
    return after_relaxation("elasticity", structures, engine, lambda relaxed: measure(relaxed, engine))


def measure(relaxed: Sequence[Relaxed], engine: Engine) -> list[Measured]:
    """Moduli beside those of DFT; one for each structure, in their order."""
    strains = [(number, size) for number in range(6) for size in (NORMAL if number < 3 else SHEAR)]
    deformations = [_deformation(COMPONENTS[number], size) for number, size in strains]

    def derive(atoms: Atoms) -> Derived:
        base = crystal(atoms)
        return Derived([base, *(deformed(base, matrix.T) for matrix in deformations)])

    def conclude(computed: Computed) -> Measured:
        stress_S6 = np.array([result.stress for result in computed.results()], dtype=float)
        return Measured(moduli(tensor(strains, stress_S6[1:], stress_S6[0])))

    found = measure_each([one.result.atoms for one in relaxed], engine, derive, conclude)
    for one, measured in zip(relaxed, found, strict=True):
        info = one.given.info
        measured.values["K_dft"] = float(info["bulk_modulus_vrh"])
        measured.values["G_dft"] = float(info["shear_modulus_vrh"])
    return found


def _deformation(component: tuple[int, int], size: float) -> NDArray[np.float64]:
    """The upper triangular deformation F [3,3] of a strain (FᵀF - 1) / 2 of one component."""
    strain = np.zeros((3, 3))
    strain[component] = strain[component[::-1]] = size
    return np.asarray(np.linalg.cholesky(2 * strain + np.eye(3)).T, dtype=float)


def tensor(
    strains: Sequence[tuple[int, float]], stress_S6: NDArray[np.float64], given_6: NDArray[np.float64]
) -> NDArray[np.float64]:
    """[6, 6] eV/Å³: row by row the slope of the stresses over one Voigt strain, the unstrained one among them."""
    rows_66 = np.zeros((6, 6))
    for component in range(6):
        chosen = [number for number, (voigt, _) in enumerate(strains) if voigt == component]
        factor = 1.0 if component < 3 else 2.0
        x = np.array([0.0, *(factor * strains[number][1] for number in chosen)])
        y = np.vstack([given_6, stress_S6[chosen]])
        rows_66[component] = np.polyfit(x, y, 1)[0]
    return rows_66


def moduli(tensor_66: NDArray[np.float64]) -> dict[str, Any]:
    """K and G (GPa), Hill's means, by pymatgen, whatever the tensor is; whether it is positive."""
    from pymatgen.analysis.elasticity import ElasticTensor

    with warnings.catch_warnings():  # that the tensor is not symmetric, which finite strains make it
        warnings.simplefilter("ignore")
        elastic = ElasticTensor.from_voigt(tensor_66).zeroed(ZERO)
        bulk, shear = float(elastic.k_vrh / units.GPa), float(elastic.g_vrh / units.GPa)
    positive = bool(np.linalg.eigvalsh((tensor_66 + tensor_66.T) / 2).min() > 0)
    return {"K": bulk, "G": shear, UNSTABLE: not positive}
