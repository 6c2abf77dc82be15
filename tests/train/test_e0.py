"""Reference energies: exact where they can be, sensible where compositions cannot tell elements apart."""

from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule

from train.config import DatasetConfig
from train.data import Dataset, label
from train.e0 import SCALE_RANGE, fit_e0, references_for
from train.frame import Frame
from train.labelled import Labelled
from train.structures import Held
from train.summary import summarise

TRUE = {"H": -13.6, "C": -1029.0, "O": -2041.5}


def additive(name: str) -> float:
    return sum(TRUE[symbol] for symbol in molecule(name).get_chemical_symbols())


def one(name: str, energy: float | None, forces: float | None = None) -> Labelled:
    atoms = Atoms(name) if name in TRUE else molecule(name)
    given = None if forces is None else np.full((len(atoms), 3), forces)
    return label(Frame(atoms, f"{name}:0", energy, given, None), 3.0)


def dataset(train: list[Labelled], valid: list[Labelled] = [], test: list[Labelled] = []) -> Dataset:  # noqa: B006 - never changed
    return Dataset.of("set", 0, {"train": Held(train), "valid": Held(valid), "test": Held(test)})


def fit(train: list[Labelled]) -> dict[str, float]:
    return fit_e0(summarise(Held(train)))


def settings(**values: Any) -> DatasetConfig:
    return DatasetConfig(name="set", train=("/a.xyz",), **values)


def test_additive_energies_give_back_the_elements() -> None:
    fitted = fit([one(name, additive(name)) for name in ("H2O", "CH4", "CO2", "C2H6", "H2")])
    assert fitted == pytest.approx(TRUE, abs=1e-8)


def test_one_composition_gives_every_element_the_mean_energy_per_atom() -> None:
    fitted = fit([one("CH4", -1083.4 + noise) for noise in (-0.1, 0.1)])
    assert fitted == pytest.approx({"H": -1083.4 / 5, "C": -1083.4 / 5})


def test_rank_deficient_compositions_still_sum_to_the_energies() -> None:
    # C and O occur as CO only: their sum is determined, and the least deviation from the mean shares it equally
    train = [one("CO", additive("CO")), one("H2", additive("H2"))]
    fitted = fit(train)
    assert fitted["H"] == pytest.approx(TRUE["H"])
    assert fitted["C"] == pytest.approx(fitted["O"])
    assert fitted["C"] + fitted["O"] == pytest.approx(additive("CO"))


def test_the_fit_is_the_normal_equations_solution() -> None:
    """An independent oracle: the residuals per atom are orthogonal to the composition."""
    rng = np.random.default_rng(0)
    names = ["H2O", "CH4", "CO2", "C2H6", "H2", "CH3OH", "CO"]
    train = [one(name, additive(name) + rng.normal()) for name in names]
    fitted = fit(train)
    shares, residuals = [], []
    for name, structure in zip(names, train, strict=True):
        symbols = molecule(name).get_chemical_symbols()
        shares.append([symbols.count(symbol) / len(symbols) for symbol in fitted])
        residual = structure.labels["energy"].item() - sum(fitted[symbol] for symbol in symbols)
        residuals.append(residual / len(symbols))
    assert np.abs(np.array(shares).T @ np.array(residuals)).max() < 1e-9 * abs(TRUE["O"])


def test_an_unknown_energy_is_not_taken_for_zero() -> None:
    train = [one(name, additive(name)) for name in ("H2O", "H2", "O2")]
    assert fit([*train, one("H2O", None)]) == pytest.approx(fit(train))
    # an element that only such a structure has is at the mean: nothing is known of its deviation
    assert fit([one("H2", -27.2), one("CH4", None)]) == pytest.approx({"H": -13.6, "C": -13.6})
    with pytest.raises(ValueError, match="E0 cannot be fitted, for no training structure has an energy"):
        fit([one("H2", None)])


def test_the_test_split_is_not_looked_at() -> None:
    train = [one(name, additive(name)) for name in ("H2O", "H2", "CO2")]
    without = references_for(dataset(train), settings())
    assert references_for(dataset(train, test=[one("H2O", 1e6)]), settings()) == without


@pytest.mark.parametrize("split", ["valid", "test"])
def test_an_element_that_is_never_trained_on_is_named(split: str) -> None:
    given = dataset([one("H2", additive("H2"))], **{split: [one("H2O", additive("H2O"))]})
    with pytest.raises(ValueError, match=f"element O appears in the {split} split but never in training"):
        references_for(given, settings())


@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_a_given_e0_must_cover_every_split(split: str) -> None:
    splits = {"train": [one("H2", additive("H2"))], split: [one("CH3OH", additive("CH3OH"))]}
    with pytest.raises(ValueError, match="'set': its e0 lacks C, O, which its structures contain"):
        references_for(dataset(**splits), settings(e0={"H": -13.6}))


def test_a_given_e0_is_in_the_unit_of_the_energies() -> None:
    e0, _, shift = references_for(dataset([one("H2", -27.0)]), settings(e0={"H": -0.5}, energy_unit="Hartree"))
    assert e0 == {"H": pytest.approx(-13.605693)}
    assert shift == 0.0


def test_the_scale_is_the_rms_of_the_known_force_components() -> None:
    train = [one("H2", -27.0, 3.0), one("H2", -27.0, 4.0), one("H2", -27.0)]
    assert references_for(dataset(train), settings()).scale == pytest.approx(np.sqrt(12.5))


def test_without_forces_the_scale_is_the_spread_of_the_energies_per_atom() -> None:
    train = [one("H2", -27.0), one("H2", -25.0), one("H2", None)]
    assert references_for(dataset(train), settings()).scale == pytest.approx(0.5)


@pytest.mark.parametrize(("forces", "bound"), [(0.0, 0), (1e4, 1)])
def test_the_scale_stays_in_a_range_that_a_network_can_learn_in(forces: float, bound: int) -> None:
    assert references_for(dataset([one("H2", -27.0, forces)]), settings()).scale == SCALE_RANGE[bound]


def test_single_atoms_fix_their_elements() -> None:
    train = [one("H", -13.6), one("O", -2041.5), one("H2O", additive("H2O"))]
    assert fit(train) == pytest.approx({"H": -13.6, "O": -2041.5})
