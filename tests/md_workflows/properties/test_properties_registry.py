"""The registry and the stream: every property on many structures, one failure is one row."""

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones

from md_workflows import PROPERTIES, ASEEngine, Outcome, parse_settings
from md_workflows.properties import Measured, base, stream

FAST: dict[str, dict[str, Any]] = {
    "formation_energy": {"reference_energies": {"Cu": 0.0, "Au": 0.0}},
    "energy_above_hull": {},
    "elastic": {"strains": (0.01,)},
    "eos": {"points": 5, "volume_range": 0.06},
    "phonon": {"min_length_A": 5.0, "mesh_length_A": 10.0},
    "vacancy": {"min_length_A": 5.0, "reference_energies": {"Cu": 0.0, "Au": 0.0}},
    "surface": {"slab_A": 5.0},
    "adsorption": {
        "miller": (1, 1, 1),
        "slab_A": 4.0,
        "lateral_A": 2.0,
        "adsorbate": "O",
        "reference": "O2",
        "reference_energy_eV": 1.0,
        "fmax": 0.3,
    },
}


@pytest.mark.parametrize("name", PROPERTIES)
def test_all_structures_of_a_property_are_one_stream(name: str, engine: Any, copper: Atoms, cu3au: Atoms) -> None:
    one = PROPERTIES[name]
    settings = one.settings(**FAST[name])
    iron = bulk("Fe")  # EMT does not know it
    together = one.measure([copper, iron, cu3au], engine, settings)
    assert len(engine.streams) == 1
    assert [measured.error == "" for measured in together] == [True, False, True]
    assert "Fe" in together[1].error
    assert not together[1].values
    alone = one.measure([cu3au], ASEEngine(EMT()), settings)[0]
    assert together[2].values == pytest.approx(alone.values, abs=1e-6)
    names = {column.name for column in one.columns}
    later = {"energy_above_hull_eV_per_atom", "hull_decomposition"} if name == "energy_above_hull" else set()
    assert names == set(together[2].values) | later
    assert all(type(value) in {float, int, str, bool} for value in together[2].values.values())
    for xs, ys in together[2].curves.values():
        assert len(xs) == len(ys) > 1
    assert one.measure([], engine, settings) == []


@pytest.mark.parametrize("name", PROPERTIES)
def test_many_at_once_give_the_same(name: str, batched: Any, copper: Atoms, cu3au: Atoms) -> None:
    one = PROPERTIES[name]
    settings = one.settings(**FAST[name])
    structures = [copper, bulk("Fe"), cu3au]
    alone = one.measure(structures, ASEEngine(EMT()), settings)
    together = one.measure(structures, batched, settings)
    assert [measured.error == "" for measured in together] == [True, False, True]
    for this, that in zip(together, alone, strict=True):
        assert set(this.values) == set(that.values)
        for column, value in that.values.items():
            assert isinstance(value, str) or this.values[column] == pytest.approx(value, rel=1e-4, abs=1e-4), column


def test_columns_and_settings_do_not_clash() -> None:
    names = [column.name for one in PROPERTIES.values() for column in one.columns]
    assert len(names) == len(set(names))
    for one in PROPERTIES.values():
        one.check()
        assert one.description
        assert one.settings()  # each has defaults for all
        with pytest.raises(ValueError, match="does not take 'spam'"):
            parse_settings(one.settings, {"spam": 1})


def test_importing_properties_is_cheap() -> None:
    code = "import md_workflows, sys; md_workflows.PROPERTIES, md_workflows.neb; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {"torch", "pymatgen", "phonopy", "spglib", "pandas", "matplotlib"}.isdisjoint(loaded)


def test_a_library_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, engine: Any) -> None:
    monkeypatch.setattr(base, "find_spec", lambda _: None)
    with pytest.raises(ValueError, match=r"needs phonopy, spglib: pip install 'gfm-ase\[materials\]'"):
        PROPERTIES["phonon"].measure([bulk("Cu")], engine, PROPERTIES["phonon"].settings())
    for name in ("vacancy", "surface", "adsorption"):
        with pytest.raises(ValueError, match="spglib: pip install"):
            PROPERTIES[name].measure([bulk("Cu")], engine, PROPERTIES[name].settings())


@pytest.mark.parametrize("name", ["elastic", "eos", "phonon", "vacancy", "surface"])
def test_molecules_are_no_crystals(name: str, engine: Any) -> None:
    one = PROPERTIES[name]
    (measured,) = one.measure([Atoms("CO", [[0, 0, 0], [0, 0, 1.1]])], engine, one.settings())
    assert measured.error.startswith("this property is of crystals, periodic in three directions; pbc is [False")


@pytest.mark.parametrize("name", ["phonon", "vacancy", "surface", "adsorption"])
def test_charges_are_not_repeated(name: str, engine: Any, copper: Atoms) -> None:
    """Of adsorption a slab as it is given."""
    charged = copper.copy() if name != "adsorption" else fcc111("Cu", (1, 1, 2), vacuum=8.0, periodic=True)
    charged.info["charge"] = 1
    one = PROPERTIES[name]
    (measured,) = one.measure([charged], engine, one.settings())
    assert measured.error.startswith("the structure has charge 1, and supercells of it would not know theirs")


def test_relaxations_that_do_not_end_are_errors(engine: Any) -> None:
    one = PROPERTIES["eos"]
    rattled = bulk("Cu", cubic=True)
    rattled.rattle(0.1, seed=1)
    (measured,) = one.measure([rattled], engine, one.settings(max_steps=1, points=5))
    assert measured.error.startswith("5 of 5 calculations failed, the first: not relaxed after 1 steps, largest force")


def test_numbers_that_are_not_finite_are_errors(copper: Atoms) -> None:
    class Broken(LennardJones):
        def calculate(self, *given: Any, **named: Any) -> None:
            super().calculate(*given, **named)
            self.results["energy"] = np.nan

    (measured,) = PROPERTIES["eos"].measure([copper], ASEEngine(Broken()), PROPERTIES["eos"].settings(relax_ions=False))
    assert measured.error == "11 of 11 calculations failed, the first: energy or forces are not finite numbers"


def test_an_engine_that_forgets_is_an_error(copper: Atoms) -> None:
    class Forgetful(ASEEngine):
        def relax_many(self, *given: Any) -> Iterator[Outcome]:
            yield from list(super().relax_many(*given))[1:]

    measured = stream.measure_each(
        [copper],
        Forgetful(EMT()),
        lambda atoms: stream.Derived([atoms]),
        lambda computed: Measured(error=computed.failures()),
    )
    assert measured[0].error == "1 of 1 calculations failed, the first: no outcome came back"
