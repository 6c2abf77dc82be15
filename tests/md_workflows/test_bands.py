"""Elastic bands against ASE's own, several in one stream."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import add_adsorbate, bulk, fcc100
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms, FixedLine
from ase.io import read
from ase.mep import NEB
from ase.optimize import BFGS, FIRE

from md_workflows import ASEEngine, BatchedEngine, NEBSettings, Outcome, RelaxSettings, neb, neb_many, parse_settings
from md_workflows.bands.band import band_forces
from md_workflows.batched.ase_model import ASEModel


def hop_on_aluminium() -> tuple[Atoms, Atoms]:
    """A gold atom on Al(100) from one hollow to the next: the hop of ASE's tutorial."""
    slab = fcc100("Al", (2, 2, 3))
    add_adsorbate(slab, "Au", 1.7, "hollow")
    slab.center(axis=2, vacuum=4.0)
    slab.set_constraint(FixAtoms(mask=slab.get_tags() > 1))
    final = slab.copy()
    final.positions[-1, 0] += slab.cell[0, 0] / 2
    return slab, final


def hop_of_a_vacancy() -> tuple[Atoms, Atoms]:
    """A copper atom into the empty place beside it, through the boundary of the cell."""
    perfect = bulk("Cu", cubic=True) * (2, 2, 2)
    place, hole = perfect.positions[0].copy(), perfect.positions[1].copy()
    initial = perfect.copy()
    del initial[1]
    final = initial.copy()
    final.positions[0] = hole
    assert np.linalg.norm(place - hole) < 2.6
    for atoms in (initial, final):
        atoms.wrap()
    final.positions[0] += final.cell[0]  # another image of the same place
    return initial, final


def ase_barrier(ends: tuple[Atoms, Atoms], images: int, fmax: float) -> float:
    relaxed = []
    for end in ends:
        atoms = end.copy()
        atoms.calc = EMT()
        BFGS(atoms, logfile=None).run(fmax=fmax)
        relaxed.append(atoms)
    band = [relaxed[0], *(relaxed[0].copy() for _ in range(images)), relaxed[1]]
    for image in band[1:-1]:
        image.calc = EMT()
    path = NEB(band, climb=True, method="improvedtangent")
    path.interpolate("idpp", mic=True)
    assert FIRE(path, logfile=None).run(fmax=fmax, steps=500)
    return float(max(image.get_potential_energy() for image in band) - band[0].get_potential_energy())


class Together(ASEModel):
    """EMT's structures in one fleet."""

    room = 1e9


class Recording(ASEEngine):
    """Remembers how many structures each stream had, and gives them back last first."""

    def __init__(self, calculator: Any) -> None:
        super().__init__(calculator)
        self.streams: list[int] = []

    def relax_many(self, structures: Iterable[Atoms], settings: RelaxSettings) -> Iterator[Outcome]:
        outcomes = list(super().relax_many(structures, settings))
        self.streams.append(len(outcomes))
        return reversed(outcomes)


@pytest.mark.parametrize("ends", [hop_on_aluminium(), hop_of_a_vacancy()], ids=["Au on Al(100)", "vacancy in Cu"])
def test_the_barrier_is_ase_s(ends: tuple[Atoms, Atoms]) -> None:
    before = [atoms.positions.copy() for atoms in ends]
    found = neb(*ends, NEBSettings(images=3, fmax=0.02), calculator=EMT())
    assert found.converged
    assert found.fmax < 0.02
    assert found.barrier_eV == pytest.approx(ase_barrier(ends, 3, 0.02), abs=1e-3)
    assert found.reverse_barrier_eV == pytest.approx(found.barrier_eV, abs=1e-3)  # both hops are symmetric
    assert (len(found.images), found.saddle) == (5, 2)
    lengths = np.diff(found.path_A)
    assert lengths == pytest.approx([lengths.mean()] * 4, rel=0.1)  # springs keep images apart
    energies = [image.get_potential_energy() for image in found.images]
    assert max(energies) - energies[0] == pytest.approx(found.barrier_eV)
    saddle = found.images[found.saddle].get_forces()
    assert np.linalg.norm(saddle, axis=1).max() < 0.02  # a stationary point of the energy
    assert all((atoms.positions == positions).all() for atoms, positions in zip(ends, before, strict=True))
    fixed = [constraint.index for constraint in ends[0].constraints]
    for image in found.images:
        for indices in fixed:
            assert (image.positions[indices] == ends[0].positions[indices]).all()


@pytest.mark.parametrize("climb", [False, True])
def test_forces_of_a_band_are_ase_s(climb: bool) -> None:
    random = np.random.default_rng(0)
    # uphill, maximum, downhill, a minimum with either neighbour the higher one, and up again
    energies = np.array([0.0, 0.3, 0.7, 0.4, 0.1, 0.35, 0.9, 0.2, 0.25])
    band = []
    for energy in energies:
        image = Atoms("Cu3", random.normal(size=(3, 3)))
        image.calc = SinglePointCalculator(image, energy=energy, forces=random.normal(size=(3, 3)))
        band.append(image)
    positions = np.array([image.positions for image in band])
    true = np.array([image.get_forces() for image in band[1:-1]])
    theirs = NEB(band, k=0.3, climb=climb, method="improvedtangent").get_forces().reshape(true.shape)
    assert band_forces(positions, energies, true, 0.3, climb) == pytest.approx(theirs, abs=1e-12)


def test_several_bands_are_one_stream_and_a_failure_is_its_own() -> None:
    slab, final = hop_on_aluminium()
    unknown = slab.copy()
    unknown.symbols[-1] = "Fe"
    engine = Recording(EMT())
    settings = NEBSettings(images=3, fmax=0.05)
    calls: list[int] = []
    bands = [(slab, final), (unknown, unknown), (slab, bulk("Cu")), hop_of_a_vacancy(), (slab, slab)]
    found = neb_many(bands, engine, settings, progress=lambda step, _: calls.append(step))
    assert [band.converged for band in found] == [True, False, False, True, False]
    assert found[1].error.startswith("the initial structure: NotImplementedError")
    assert "differ in their elements" in found[2].error
    assert "there is no way between them" in found[4].error
    # the ends of four bands; all images of two bands once; then what is between the ends while a band moves
    assert engine.streams[:3] == [8, 10, 6]
    assert engine.streams[-1] == 3
    assert len(engine.streams) == 2 + max(band.steps for band in found)
    assert calls == list(range(len(engine.streams) - 1))
    alone = neb(slab, final, settings, calculator=EMT())
    (together,) = neb_many([(slab, final)], BatchedEngine(Together(EMT(), "emt"), "EMT"), settings)
    assert (together.converged, together.steps) == (True, alone.steps)
    assert together.barrier_eV == pytest.approx(alone.barrier_eV, abs=1e-6)
    assert found[0].barrier_eV == pytest.approx(alone.barrier_eV, abs=1e-12)
    assert found[0].steps == alone.steps


def test_without_climbing_the_saddle_may_be_missed() -> None:
    ends = hop_on_aluminium()
    climbing = neb(*ends, NEBSettings(images=2, fmax=0.02), calculator=EMT())
    lying = neb(*ends, NEBSettings(images=2, fmax=0.02, climb=False, interpolation="linear"), calculator=EMT())
    assert lying.converged
    assert climbing.barrier_eV == pytest.approx(0.374, abs=2e-3)  # ASE's tutorial: 0.374 eV
    assert lying.barrier_eV < climbing.barrier_eV - 0.02


def test_a_band_that_is_not_there_yet_says_so(tmp_path: Path) -> None:
    path = tmp_path / "band.traj"
    found = neb(
        *hop_on_aluminium(), NEBSettings(images=1, max_steps=1, relax_ends=False), calculator=EMT(), trajectory=path
    )
    assert (found.converged, found.steps) == (False, 1)
    assert found.fmax > 0.05
    frames = read(path, index=":")
    assert [frame.get_potential_energy() for frame in frames] == [
        image.get_potential_energy() for image in found.images
    ]
    assert [child.name for child in tmp_path.iterdir()] == ["band.traj"]


def test_what_is_refused(tmp_path: Path) -> None:
    slab, final = hop_on_aluminium()
    as_it_is = NEBSettings(relax_ends=False)

    def refused(initial: Atoms, other: Atoms, says: str) -> None:
        with pytest.raises(ValueError, match=says):
            neb(initial, other, as_it_is, calculator=EMT())

    swapped = final[[*range(1, len(final)), 0]]
    refused(slab, swapped, "the order of their atoms")
    larger = final.copy()
    larger.cell[0, 0] += 0.1
    refused(slab, larger, "differ in cell or pbc")
    free = final.copy()
    free.set_constraint()
    refused(slab, free, "fix different atoms")
    shifted = final.copy()
    shifted.set_constraint()
    shifted.positions[0, 2] += 0.1
    shifted.set_constraint(final.constraints)
    refused(slab, shifted, "an atom that is fixed is not at the same place")
    on_a_line = slab.copy()
    on_a_line.set_constraint(FixedLine(0, [1, 0, 0]))
    refused(on_a_line, final, "bands keep FixAtoms alone; take FixedLine off")
    refused(slab, slab, "there is no way between them")
    with pytest.raises(ValueError, match="one of them"):
        neb(slab, final)
    with pytest.raises(ValueError, match="has to end in one of"):
        neb(slab, final, calculator=EMT(), trajectory=tmp_path / "band.cif")
    with pytest.raises(ValueError, match="does not take 'image'; did you mean 'images'"):
        parse_settings(NEBSettings, {"image": 3})
    with pytest.raises(ValueError, match="interpolation = 'quadratic' is refused"):
        parse_settings(NEBSettings, {"interpolation": "quadratic"})


def test_ends_that_do_not_relax_and_images_that_fail() -> None:
    slab, final = hop_on_aluminium()
    with pytest.raises(ValueError, match="structure: not relaxed after 1 steps"):
        neb(slab, final, NEBSettings(max_steps=1, fmax=1e-4), calculator=EMT())

    class Bursting(LennardJones):
        """Gives no number where the atoms meet."""

        def calculate(self, atoms: Any = None, *given: Any) -> None:
            super().calculate(atoms, *given)
            if atoms.get_distance(0, 1) < 0.5:
                self.results["energy"] = np.nan

    pair = [Atoms("Ar3", [[0, 0, 0], [x, 0.3, 0], [9, 9, 9]]) for x in (1.5, -1.5)]
    with pytest.raises(ValueError, match="image 2: energy or forces are not finite numbers"):
        neb(*pair, NEBSettings(images=3, relax_ends=False, interpolation="linear"), calculator=Bursting())
