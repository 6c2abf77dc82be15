"""What all reporters share: states to the bit, memory that does not grow, clear refusals."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms

from md_workflows.analysis.rdf import RDF, RDFSettings
from md_workflows.analysis.scalars import Energy, Pressure, Temperature
from md_workflows.analysis.transport import MSD, VACF, MSDSettings, VACFSettings
from md_workflows.snapshot import Snapshot, System
from tests.md_workflows.seen_frames import seen


def moving_frames(count: int) -> list[Snapshot]:
    atoms = bulk("Cu", cubic=True) * 2
    atoms.symbols[0] = "Au"
    random = np.random.default_rng(0)
    system, frames = System.of(atoms), []
    for step in range(count):
        atoms.positions += random.normal(0, 0.05, atoms.positions.shape)
        atoms.set_momenta(random.standard_normal((32, 3)))
        atoms.calc = SinglePointCalculator(atoms, energy=float(random.random()), stress=random.random(6))
        frames.append(Snapshot.of(atoms, step, 2.0 * step, system))
    return frames


ALL = {
    "temperature": Temperature,
    "energy": Energy,
    "pressure": Pressure,
    "rdf": lambda: RDF(RDFSettings(cutoff=5.0)),
    "msd": lambda: MSD(MSDSettings(window=4)),
    "vacf": lambda: VACF(VACFSettings(window=4)),
}


@pytest.mark.parametrize("cut", [0, 1, 3, 4, 8, 11])
@pytest.mark.parametrize("name", ALL)
def test_a_state_goes_on_to_the_bit(name: str, cut: int, tmp_path: Path) -> None:
    frames = moving_frames(19)
    whole = seen(ALL[name](), frames)
    first = seen(ALL[name](), frames[:cut])
    np.savez(tmp_path / "state.npz", allow_pickle=False, **first.state())
    with np.load(tmp_path / "state.npz", allow_pickle=False) as stored:
        second = ALL[name]()
        second.restore(dict(stored))
    seen(second, frames[cut:])
    for table, columns in whole.tables().items():
        for column, values in columns.items():
            assert list(second.tables()[table][column]) == list(values), (table, column)
    assert [repr(one) for one in second.findings()] == [repr(one) for one in whole.findings()]


@pytest.mark.parametrize("name", ALL)
def test_memory_does_not_grow_with_the_run(name: str) -> None:
    frames = moving_frames(64)
    sizes = [
        sum(value.nbytes for value in seen(ALL[name](), frames[:count]).state().values()) for count in (16, 32, 64)
    ]
    assert max(later - earlier for earlier, later in pairwise(sizes)) <= 4 * 8 * 30  # one level of block averages


def test_what_a_reporter_lacks() -> None:
    atoms = molecule("H2O")
    with pytest.raises(ValueError, match="temperature needs velocities; the frame of step 0 has none"):
        Temperature().observe(atoms)
    with pytest.raises(ValueError, match=r"pressure needs stresses, .* and velocities and a cell that repeats"):
        Pressure().observe(atoms)
    with pytest.raises(ValueError, match="the report rdf has seen no frame"):
        RDF().tables()
    reporter = RDF()
    reporter.observe(atoms)
    with pytest.raises(
        ValueError, match="the report rdf is about 3 atoms that keep their order; this frame has other numb"
    ):
        reporter.observe(molecule("CO2"))
    heavy = molecule("H2O")
    heavy.set_masses([16.0, 2.0, 2.0])
    with pytest.raises(ValueError, match=r"this frame has other masses \(3 atoms"):
        reporter.observe(heavy)
    heavy = molecule("H2O")
    heavy.set_constraint(FixAtoms([0]))
    with pytest.raises(ValueError, match=r"this frame has other degrees of freedom \(3 atoms"):
        reporter.observe(heavy)
