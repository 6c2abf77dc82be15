"""The elastic tensor from stresses at finite strains, and the moduli that follow from it."""

from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from ase import Atoms, units
from numpy.typing import NDArray
from pydantic import Field

from md_workflows.engine import Engine
from md_workflows.properties.base import Column, Measured, Property, Value
from md_workflows.properties.crystals import crystal, deformed
from md_workflows.properties.stream import Computed, Derived, IonSettings, measure_each

_ROOT2 = np.sqrt(2.0)
_KELVIN = np.array([1.0, 1.0, 1.0, _ROOT2, _ROOT2, _ROOT2])  # Voigt to Kelvin: eigenvalues do not depend on axes
_AXES = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
_UPPER = [(i, j) for i in range(6) for j in range(i, 6)]


class ElasticSettings(IonSettings):
    """Which strains.

    strains: engineering strains, each applied with both signs to each of the six Voigt components · the rest as
    IonSettings.
    """

    strains: Annotated[tuple[Annotated[float, Field(gt=0, lt=0.1)], ...], Field(min_length=1)] = (0.005, 0.01)
    fmax: Annotated[float, Field(gt=0)] = 0.005


COLUMNS = (
    Column("bulk_modulus_voigt_GPa", "bulk modulus, Voigt's upper bound"),
    Column("bulk_modulus_reuss_GPa", "bulk modulus, Reuss' lower bound"),
    Column("bulk_modulus_vrh_GPa", "bulk modulus, Hill's mean of both"),
    Column("shear_modulus_voigt_GPa", "shear modulus, Voigt's upper bound"),
    Column("shear_modulus_reuss_GPa", "shear modulus, Reuss' lower bound"),
    Column("shear_modulus_vrh_GPa", "shear modulus, Hill's mean of both"),
    Column("youngs_modulus_GPa", "Young's modulus of the polycrystal, from Hill's means"),
    Column("poisson_ratio", "Poisson's ratio of the polycrystal, from Hill's means"),
    Column("elastic_anisotropy", "universal anisotropy, 0 for an isotropic crystal"),
    Column("elastically_stable", "Born: the elastic energy is positive for every strain"),
    Column("elastic_smallest_eigenvalue_GPa", "smallest eigenvalue of the tensor (Kelvin's notation)"),
    Column("elastic_residual_pressure_GPa", "pressure of the structure as given: far from 0, it was not relaxed"),
    Column("elastic_fit_rms_GPa", "root of the mean squared deviation of the stresses from the linear fit"),
    *(Column(f"C{i + 1}{j + 1}_GPa", f"elastic constant {i + 1}{j + 1}, Voigt order, Cartesian") for i, j in _UPPER),
)


def measure(structures: Sequence[Atoms], engine: Engine, settings: ElasticSettings) -> list[Measured]:
    """Elastic tensors by least squares over strains of both signs and the structure itself.

    Stresses are Cauchy's. Moduli: R. Hill, Proc. Phys. Soc. A 65, 349 (1952); stability: F. Mouhat and F.-X. Coudert,
    Phys. Rev. B 90, 224104 (2014); anisotropy: S. I. Ranganathan and M. Ostoja-Starzewski, PRL 101, 055504 (2008).
    """
    strains_S6 = _strains(settings.strains)

    def derive(atoms: Atoms) -> Derived:
        base = crystal(atoms)
        return Derived([deformed(base, np.eye(3) + strain_tensor(strain)) for strain in strains_S6])

    def conclude(computed: Computed) -> Measured:
        stresses = [result.stress for result in computed.results()]
        if any(stress is None for stress in stresses):
            raise ValueError("the calculator gives no stress, which the elastic tensor is made of.")
        stress_S6 = np.array(stresses, dtype=float) / units.GPa
        return Measured(_values(*_fit(strains_S6, stress_S6)))

    return measure_each(structures, engine, derive, conclude, settings.relaxation)


def strain_tensor(strain_6: NDArray[np.float64]) -> NDArray[np.float64]:
    """The symmetric tensor [3,3] of engineering strains in Voigt order [6]."""
    tensor = np.zeros((3, 3))
    for value, (i, j) in zip(strain_6, _AXES, strict=True):
        tensor[i, j] = tensor[j, i] = value if i == j else value / 2
    return tensor


def _strains(magnitudes: Sequence[float]) -> NDArray[np.float64]:
    """[1 + 12 magnitudes, 6]: none, then each component with each magnitude and sign."""
    rows = [sign * size * np.eye(6)[component] for component in range(6) for size in magnitudes for sign in (-1, 1)]
    return np.array([np.zeros(6), *rows])


def _fit(
    strains_S6: NDArray[np.float64], stress_S6: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Symmetric tensor [6,6], stress at no strain [6] and rms deviation, all in GPa."""
    design = np.column_stack([np.ones(len(strains_S6)), strains_S6])
    solution = np.linalg.lstsq(design, stress_S6, rcond=None)[0]
    rms = float(np.sqrt(np.mean((design @ solution - stress_S6) ** 2)))
    return (solution[1:] + solution[1:].T) / 2, solution[0], rms


def _values(tensor_66: NDArray[np.float64], residual_6: NDArray[np.float64], rms: float) -> dict[str, Value]:
    smallest = float(np.linalg.eigvalsh(tensor_66 * np.outer(_KELVIN, _KELVIN)).min())
    constants: dict[str, Value] = {f"C{i + 1}{j + 1}_GPa": float(tensor_66[i, j]) for i, j in _UPPER}
    return constants | {
        **moduli(tensor_66, stable=smallest > 0),
        "elastically_stable": smallest > 0,
        "elastic_smallest_eigenvalue_GPa": smallest,
        "elastic_residual_pressure_GPa": float(-residual_6[:3].mean()),
        "elastic_fit_rms_GPa": rms,
    }


def moduli(tensor_66: NDArray[np.float64], *, stable: bool) -> dict[str, Value]:
    """Voigt's moduli (GPa) of a tensor; of a stable one also Reuss', Hill's and what follows from these."""
    bulk_v, shear_v = _isotropic(tensor_66, engineering=False)
    values: dict[str, Value] = {"bulk_modulus_voigt_GPa": bulk_v, "shear_modulus_voigt_GPa": shear_v}
    if not stable:  # its compliance would be that of no body
        return values
    inverse_bulk, inverse_shear = _isotropic(np.linalg.inv(tensor_66), engineering=True)
    bulk_r, shear_r = 1 / inverse_bulk, 1 / inverse_shear
    bulk, shear = (bulk_v + bulk_r) / 2, (shear_v + shear_r) / 2
    return values | {
        "bulk_modulus_reuss_GPa": bulk_r,
        "bulk_modulus_vrh_GPa": bulk,
        "shear_modulus_reuss_GPa": shear_r,
        "shear_modulus_vrh_GPa": shear,
        "youngs_modulus_GPa": 9 * bulk * shear / (3 * bulk + shear),
        "poisson_ratio": (3 * bulk - 2 * shear) / (6 * bulk + 2 * shear),
        "elastic_anisotropy": 5 * shear_v / shear_r + bulk_v / bulk_r - 6,
    }


def _isotropic(matrix_66: NDArray[np.floating[Any]], *, engineering: bool) -> tuple[float, float]:
    """Isotropic means: K and G of a stiffness, 1/K and 1/G of a compliance (whose shears are engineering strains)."""
    normal = float(np.trace(matrix_66[:3, :3]))
    mixed = float(matrix_66[0, 1] + matrix_66[0, 2] + matrix_66[1, 2])
    shear = float(np.trace(matrix_66[3:, 3:]))
    if engineering:
        return normal + 2 * mixed, (4 * normal - 4 * mixed + 3 * shear) / 15
    return (normal + 2 * mixed) / 9, (normal - mixed + 3 * shear) / 15


ELASTIC = Property(
    "elastic tensor, moduli (Voigt, Reuss, Hill), Born stability",
    COLUMNS,
    ElasticSettings,
    measure,
)
