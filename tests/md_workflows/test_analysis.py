"""Structure, temperature and pressure against closed forms and ASE."""

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, fcc111
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from ase.geometry.rdf import get_rdf

from md_workflows.analysis.rdf import RDF, RDFSettings
from md_workflows.analysis.scalars import Energy, Pressure, Temperature
from md_workflows.analysis.shells import shell_area
from md_workflows.snapshot import Snapshot
from tests.md_workflows.seen_frames import seen


def gas(n_atoms: int, cell: object, pbc: object = True, seed: int = 0, symbols: str | None = None) -> Atoms:
    random = np.random.default_rng(seed)
    atoms = Atoms(symbols or f"Ar{n_atoms}", cell=cell, pbc=pbc)
    atoms.set_scaled_positions(random.random((n_atoms, 3)))
    return atoms


@pytest.mark.parametrize("pbc", [(1, 1, 1), (1, 1, 0), (1, 0, 0), (0, 0, 0), (0, 1, 0)])
def test_a_gas_has_no_structure(pbc: tuple[int, int, int]) -> None:
    """g = 1 - 1/N at all distances, whatever is open, up to noise and the box that N atoms show."""
    cell = (
        np.array([[14.0, 0, 0], [0, 15.0, 0], [0, 0, 13.0]]) if sum(pbc) < 2 else [[14.0, 0, 0], [3, 15, 0], [0, 0, 13]]
    )
    reporter = RDF(RDFSettings(cutoff=9.0, bins=6))
    for seed in range(6):
        reporter.observe(gas(400, cell, pbc, seed))
    g = np.asarray(reporter.tables()["rdf"]["g"])
    counts = reporter._counts.sum(axis=(0, 1)) / 2
    noise = 5 / np.sqrt(counts)  # pairs are Poisson; those of one atom are not independent beyond that
    assert (np.abs(g - (1 - 1 / 400)) < noise + 0.02).all()


def test_shells_by_monte_carlo() -> None:
    random = np.random.default_rng(0)
    for extents in ([3.0, 7.0, np.inf], [2.0, np.inf, np.inf], [3.0, 4.0, 5.0], [np.inf] * 3, [0.5, 0.6, 8.0]):
        for radius in (0.4, 2.5, 4.5):
            directions = random.standard_normal((400_000, 3))
            directions *= radius / np.linalg.norm(directions, axis=1)[:, None]
            inside = np.prod(np.maximum(1 - np.abs(directions) / np.array(extents), 0), axis=1)
            expected, spread = inside.mean(), inside.std() / np.sqrt(len(inside))
            (area,) = shell_area(np.array([radius]), np.array(extents))
            assert area / (4 * np.pi * radius**2) == pytest.approx(expected, abs=5 * spread + 2e-3 * expected), extents


def test_rdf_of_ase() -> None:
    """The same as ASE's histogram where that is right: below half of the cell."""
    atoms = bulk("Cu", cubic=True) * 4
    atoms.symbols[::3] = "Au"
    atoms.rattle(0.1, seed=1)
    bins, cutoff = 40, 6.0
    reporter = RDF(RDFSettings(cutoff=cutoff, bins=bins))
    reporter.observe(atoms)
    table = reporter.tables()["rdf"]
    theirs = get_rdf(atoms, cutoff, bins)[0]
    assert np.asarray(table["g"])[1:] == pytest.approx(theirs[1:], rel=1e-9)
    distances = atoms.get_all_distances(mic=True)
    gold, copper = atoms.numbers == 79, atoms.numbers == 29
    edges = np.linspace(0, cutoff, bins + 1)
    for name, one, other in (("Cu-Cu", copper, copper), ("Cu-Au", copper, gold), ("Au-Cu", gold, copper)):
        pairs = distances[np.ix_(one, other)]
        counts = np.histogram(pairs[pairs > 0], edges)[0]
        assert np.asarray(table[f"n_{name}"]) == pytest.approx(np.cumsum(counts) / one.sum())
        volumes = 4 / 3 * np.pi * np.diff(edges**3)
        if f"g_{name}" in table:
            expected = counts / (one.sum() * other.sum() / atoms.get_volume() * volumes)
            assert np.asarray(table[f"g_{name}"]) == pytest.approx(expected, rel=1e-9)


def test_coordination_and_small_cells_and_layers() -> None:
    primitive = RDF(RDFSettings(cutoff=3.0, bins=30))
    primitive.observe(bulk("Cu"))
    assert np.asarray(primitive.tables()["rdf"]["n_Cu-Cu"])[-1] == 12  # all of them images of the one atom
    large = RDF(RDFSettings(cutoff=3.0, bins=30))
    large.observe(bulk("Cu") * 3)
    assert np.asarray(large.tables()["rdf"]["g"]) == pytest.approx(np.asarray(primitive.tables()["rdf"]["g"]))
    assert primitive.findings()[0].value == pytest.approx(2.55, abs=0.05)
    pair = RDF(RDFSettings(cutoff=8.0, bins=80))  # g is unknown beyond what the atoms fill, and that is no peak
    pair.observe(Atoms("Ar2", positions=[[0, 0, 0], [1.23, 0, 0]]))
    assert np.isnan(np.asarray(pair.tables()["rdf"]["g"])).any()
    assert [found.value for found in pair.findings()] == pytest.approx([1.25])
    alone = RDF()
    alone.observe(Atoms("Ar"))
    assert alone.findings() == []
    layer = RDF(RDFSettings(cutoff=12.0, bins=6))  # one flat layer: normalised as in two dimensions
    layer.observe(fcc111("Cu", (1, 1, 1), vacuum=5.0))
    assert np.asarray(layer.tables()["rdf"]["g"])[-2:] == pytest.approx(1.0, abs=0.35)


def test_temperature_counts_what_can_move() -> None:
    random = np.random.default_rng(0)
    free, fixed, held = [], [], []
    for _ in range(4000):
        atoms = Atoms("Ar2H", positions=np.eye(3) * 4)
        atoms.set_momenta(random.standard_normal((3, 3)) * np.sqrt(atoms.get_masses()[:, None] * units.kB * 300))
        free.append(Snapshot.of(atoms))
        still = atoms.copy()
        still.set_momenta(
            atoms.get_momenta() - atoms.get_masses()[:, None] * atoms.get_momenta().sum(0) / atoms.get_masses().sum()
        )
        fixed.append(Snapshot.of(still))
        atoms.set_constraint(FixAtoms([0]))
        atoms.set_momenta(atoms.get_momenta())
        held.append(Snapshot.of(atoms))
    for frames, freedom in ((free, 6), (fixed, 6), (held, 6)):
        (found,) = seen(Temperature(), frames).findings()
        assert found.error == pytest.approx(300 * np.sqrt(2 / freedom / 4000), rel=0.2)
        assert found.value == pytest.approx(300, abs=4 * found.error)
    single = Atoms("Ar")
    single.set_momenta([[0.0, 0.0, np.sqrt(single.get_masses()[0] * units.kB * 300 * 3)]])
    assert seen(Temperature(), [Snapshot.of(single)]).findings()[0].value == pytest.approx(300)
    single.set_constraint(FixAtoms([0]))
    with pytest.raises(ValueError, match="nothing is free to move in this system"):
        Temperature().observe(single)


def test_pressure_is_that_of_ase() -> None:
    atoms = bulk("Cu", cubic=True) * 2
    atoms.rattle(0.1, seed=2)
    atoms.set_momenta(np.random.default_rng(0).standard_normal((32, 3)) * 10)
    atoms.calc = EMT()
    stress = atoms.get_stress(include_ideal_gas=True)
    table = seen(Pressure(), [Snapshot.of(atoms)]).tables()["pressure"]
    told = dict(zip(table["quantity"], table["mean"], strict=True))
    assert told["pressure_GPa"] == pytest.approx(-stress[:3].mean() / units.GPa, rel=1e-12)
    assert told["virial_pressure_GPa"] == pytest.approx(-atoms.get_stress()[:3].mean() / units.GPa, rel=1e-12)
    for part, value in zip(("xx", "yy", "zz", "yz", "xz", "xy"), -stress / units.GPa, strict=True):
        assert told[f"pressure_{part}_GPa"] == pytest.approx(value, rel=1e-10)
    assert told["volume_A3"] == pytest.approx(atoms.get_volume())
    kinetic = 2 * atoms.get_kinetic_energy() / (3 * atoms.get_volume()) / units.GPa
    assert told["kinetic_pressure_GPa"] == pytest.approx(kinetic, rel=1e-12)
    energies = dict(
        zip(
            *(list(column) for column in list(seen(Energy(), [Snapshot.of(atoms)]).tables()["energy"].values())[:2]),
            strict=True,
        )
    )
    assert energies["total_energy_eV"] == pytest.approx(atoms.get_total_energy())


def test_virial_is_the_change_of_energy_with_the_volume() -> None:
    """dE/dV by finite strain: independent of the stress that the calculator gives."""
    atoms = bulk("Cu", cubic=True, a=3.5)
    energies = []
    for strain in (-1e-4, 1e-4):
        strained = atoms.copy()
        strained.set_cell(atoms.cell * (1 + strain), scale_atoms=True)
        strained.calc = EMT()
        energies.append((strained.get_volume(), strained.get_potential_energy()))
    ((low, first), (high, second)) = energies
    atoms.calc = EMT()
    atoms.set_momenta(np.zeros((4, 3)))
    atoms.get_stress()
    told = seen(Pressure(), [Snapshot.of(atoms)]).tables()["pressure"]["mean"]
    assert told[2] == pytest.approx(-(second - first) / (high - low) / units.GPa, rel=1e-5)
