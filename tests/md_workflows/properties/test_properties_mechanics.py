"""Elastic tensors and equations of state against matscipy, pymatgen and exact forms."""

import warnings
from typing import Any

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.optimize import BFGS
from matscipy.elasticity import fit_elastic_constants

from md_workflows import PROPERTIES, ASEEngine
from md_workflows.properties.elastic import moduli, strain_tensor

ELASTIC, EOS = PROPERTIES["elastic"], PROPERTIES["eos"]


def tensor_of(values: dict[str, Any]) -> np.ndarray:
    tensor = np.zeros((6, 6))
    for i in range(6):
        for j in range(i, 6):
            tensor[i, j] = tensor[j, i] = values[f"C{i + 1}{j + 1}_GPa"]
    return tensor


def matscipy_tensor(atoms: Atoms, relaxed_ions: bool) -> np.ndarray:
    driven = atoms.copy()
    driven.calc = EMT()
    optimizer = {"optimizer": BFGS, "fmax": 1e-4, "logfile": None} if relaxed_ions else {}
    fitted, _ = fit_elastic_constants(
        driven, symmetry="triclinic", N_steps=5, delta=5e-3, verbose=False, graphics=False, **optimizer
    )
    return np.asarray(fitted) / units.GPa


def test_a_cubic_crystal(engine: Any, copper: Atoms) -> None:
    (measured,) = ELASTIC.measure([copper], engine, ELASTIC.settings())
    values, tensor = measured.values, tensor_of(measured.values)
    # the same five strains (0, ±0.5 %, ±1 %), the same straight lines
    assert tensor == pytest.approx(matscipy_tensor(copper, relaxed_ions=False), abs=0.02)
    c11, c12, c44 = tensor[0, 0], tensor[0, 1], tensor[3, 3]
    cubic = np.zeros((6, 6))
    cubic[:3, :3], cubic[range(3), range(3)], cubic[range(3, 6), range(3, 6)] = c12, c11, c44
    assert tensor == pytest.approx(cubic, abs=1e-4)
    assert values["bulk_modulus_vrh_GPa"] == pytest.approx((c11 + 2 * c12) / 3)
    assert values["elastic_smallest_eigenvalue_GPa"] == pytest.approx(min(c11 - c12, 2 * c44))
    assert values["elastically_stable"] is True
    assert abs(values["elastic_residual_pressure_GPa"]) < 0.05
    (equation,) = EOS.measure([copper], engine, EOS.settings(volume_range=0.04))
    # linear response against a fit over 8 % of the volume: third orders are left
    assert equation.values["eos_bulk_modulus_GPa"] == pytest.approx(values["bulk_modulus_vrh_GPa"], rel=0.01)


def hcp_copper(relaxed: Any) -> Atoms:
    return relaxed(bulk("Cu", "hcp", a=2.54, c=4.15))


def test_ions_follow_a_strain(engine: Any, relaxed: Any) -> None:
    atoms = hcp_copper(relaxed)  # a strain in the plane moves the two atoms against each other
    with_ions, clamped = (
        tensor_of(ELASTIC.measure([atoms], engine, ELASTIC.settings(relax_ions=ions, fmax=1e-4))[0].values)
        for ions in (True, False)
    )
    assert with_ions == pytest.approx(matscipy_tensor(atoms, relaxed_ions=True), abs=0.2)
    assert clamped == pytest.approx(matscipy_tensor(atoms, relaxed_ions=False), abs=0.2)
    assert clamped[0, 0] - with_ions[0, 0] > 5


def test_moduli_are_pymatgen_s() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a random tensor has no crystal's symmetry
        from pymatgen.analysis.elasticity import ElasticTensor

        random = np.random.default_rng(0).normal(size=(6, 6))
        tensor = random @ random.T + 3 * np.eye(6)
        theirs = ElasticTensor.from_voigt(tensor)
        named = {
            "bulk_modulus_voigt_GPa": theirs.k_voigt,
            "bulk_modulus_reuss_GPa": theirs.k_reuss,
            "bulk_modulus_vrh_GPa": theirs.k_vrh,
            "shear_modulus_voigt_GPa": theirs.g_voigt,
            "shear_modulus_reuss_GPa": theirs.g_reuss,
            "shear_modulus_vrh_GPa": theirs.g_vrh,
            "youngs_modulus_GPa": theirs.y_mod / 1e9,  # pymatgen gives it in Pa
            "poisson_ratio": theirs.homogeneous_poisson,
            "elastic_anisotropy": theirs.universal_anisotropy,
        }
    assert moduli(tensor, stable=True) == pytest.approx(named)


def test_an_unstable_crystal_has_no_hill_means(engine: Any, relaxed: Any) -> None:
    bcc = bulk("Cu", "bcc", a=2.86)  # which copper leaves along Bain's path: C11 < C12
    (measured,) = ELASTIC.measure([bcc], engine, ELASTIC.settings())
    assert measured.values["elastically_stable"] is False
    assert measured.values["elastic_smallest_eigenvalue_GPa"] < 0
    assert measured.values["bulk_modulus_voigt_GPa"] > 100
    assert "bulk_modulus_vrh_GPa" not in measured.values


def test_strain_tensor_is_half_of_an_engineering_shear() -> None:
    tensor = strain_tensor(np.array([1.0, 2, 3, 4, 5, 6]))
    assert tensor.tolist() == [[1, 3, 2.5], [3, 2, 2], [2.5, 2, 3]]


class BirchMurnaghan(Calculator):
    """An exact equation of state: E0 = -3.7 eV, V0 = 12 Å³, B0 = 140 GPa, B' = 4.8 for one atom."""

    implemented_properties = ("energy", "forces")

    def calculate(self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        number = len(self.atoms)
        x = (12.0 * number / self.atoms.get_volume()) ** (2 / 3) - 1
        energy = -3.7 + 9 * 12.0 * 140 * units.GPa / 16 * (x**3 * 4.8 + x**2 * (6 - 4 * (x + 1)))
        self.results = {"energy": number * energy, "forces": np.zeros((number, 3))}


def test_an_exact_equation_of_state_is_found() -> None:
    engine, atoms = ASEEngine(BirchMurnaghan()), bulk("Cu", cubic=True, a=3.6)
    (measured,) = EOS.measure([atoms], engine, EOS.settings())
    assert measured.error == ""
    expected = (12.0, -3.7, 140.0, 4.8, 0.0)
    assert list(measured.values.values()) == pytest.approx(expected, rel=1e-5, abs=1e-5)
    volumes, energies = measured.curves["eos"]
    assert volumes[0] == pytest.approx(0.9 * atoms.get_volume() / 4)
    assert volumes[5] == pytest.approx(atoms.get_volume() / 4)
    assert min(energies) == pytest.approx(-3.7, abs=0.01)


def test_no_minimum_no_fit() -> None:
    (measured,) = EOS.measure([bulk("Cu", a=4.2)], ASEEngine(BirchMurnaghan()), EOS.settings())
    assert measured.error.startswith("the energy is lowest at the smallest volume, so there is no minimum to fit")
    assert measured.curves["eos"]
    (measured,) = EOS.measure([bulk("Cu", a=3.2)], ASEEngine(BirchMurnaghan()), EOS.settings())
    assert "largest volume" in measured.error
    with pytest.raises(ValueError, match="an odd number is needed"):
        EOS.settings(points=6)


def test_no_stress_no_tensor() -> None:
    (measured,) = ELASTIC.measure([bulk("Cu")], ASEEngine(BirchMurnaghan()), ELASTIC.settings())
    assert measured.error == "the calculator gives no stress, which the elastic tensor is made of."
