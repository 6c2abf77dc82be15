"""Where the demo's structures come from: molecules and fcc metals, rattled, strained and moved by short MD.

A `Walk` is one such origin. It has its own random numbers, starts from a parent structure, and gives a few
labelled frames: independent displacements of the parent (`rattle`), or snapshots of one trajectory (`md`).
Walks know nothing of one another, so they can be run in any order by any process, with the same result.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.calculator import CalculationFailed, Calculator
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.collections import g2
from ase.data import atomic_numbers, reference_states
from ase.md.verlet import VelocityVerlet

# Closed shells of H, C, N and O from ASE's G2 collection: chains, rings, multiple bonds, the usual groups.
# fmt: off
MOLECULES = (
    "H2O", "CO2", "HCN", "N2O", "C2H2", "H2CO", "H2O2", "NH3", "CH4", "H2CCO", "HCOOH", "C2H4", "CH3CN",
    "CH3OH", "N2H4", "OCHCHO", "CH2OCH2", "CH3CHO", "H3CNH2", "C2H6", "CH3COOH", "HCOOCH3", "C4H4O",
    "CH3CH2OH", "CH3CONH2", "CH3OCH3", "C4H4NH", "C3H8", "C5H5N", "C6H6",
)

# Every metal that ASE's EMT is parametrized for, alone and in company.
ALLOYS = (
    "Al", "Ni", "Cu", "Pd", "Ag", "Pt", "Au", "AlNi", "AlCu", "AlAg", "NiCu", "NiPd", "NiPt", "CuPd", "CuPt",
    "CuAu", "PdAg", "PdPt", "AgAu", "PtAu", "AlNiCu", "NiCuPt", "CuPdAg", "PdPtAu",
)
# fmt: on

CELLS = {  # atoms -> (repeats the cubic cell of 4 atoms, or else the primitive cell of 1, how often)
    4: (True, (1, 1, 1)),
    8: (False, (2, 2, 2)),
    16: (True, (2, 2, 1)),
}


@dataclass(frozen=True)
class Motion:
    """One way to leave the parent: displacements of width `rattle_A`, or MD at `temperature_K`."""

    name: str
    rattle_A: float = 0.0
    temperature_K: float = 0.0


@dataclass(frozen=True)
class Level:
    """A level of theory with the structures that are labelled by it."""

    name: str
    parents: tuple[str, ...]
    motions: tuple[Motion, ...]
    timestep_fs: float
    steps_between_frames: int
    max_volumetric_strain: float
    max_shear_strain: float


MOLECULES_GFN2 = Level(
    name="molecules_gfn2",
    parents=MOLECULES,
    motions=(
        Motion("rattle_0.02A", rattle_A=0.02),
        Motion("md_400K", temperature_K=400.0),
        Motion("rattle_0.05A", rattle_A=0.05),
        Motion("md_900K", temperature_K=900.0),
    ),
    timestep_fs=1.0,
    steps_between_frames=15,
    max_volumetric_strain=0.0,
    max_shear_strain=0.0,
)
METALS_EMT = Level(
    name="metals_emt",
    parents=ALLOYS,
    motions=(
        Motion("rattle_0.05A", rattle_A=0.05),
        Motion("md_300K", temperature_K=300.0),
        Motion("rattle_0.12A", rattle_A=0.12),
        Motion("md_1000K", temperature_K=1000.0),
    ),
    timestep_fs=5.0,
    steps_between_frames=10,
    max_volumetric_strain=0.12,
    max_shear_strain=0.02,
)
LEVELS = {level.name: level for level in (MOLECULES_GFN2, METALS_EMT)}


@dataclass(frozen=True)
class Walk:
    """One origin of frames: what is moved and how, how many frames it gives, and its random numbers' seed."""

    level: str
    split: str
    index: int
    parent: str
    motion: Motion
    frames: int
    seed: tuple[int, ...]

    @property
    def group(self) -> str:
        """Name that all frames of this walk carry, and no frame of another walk."""
        return f"{self.split}-{self.index:04d}"


def run_walk(walk: Walk) -> list[Atoms]:
    """Labelled frames of one walk, energies in eV, forces in eV/Å, stress (metals only) in eV/Å³.

    The walk ends at the first calculation that does not converge: it then gives fewer than `walk.frames`
    frames.
    """
    rng = np.random.default_rng(walk.seed)
    level = LEVELS[walk.level]
    atoms = molecule(walk.parent) if level is MOLECULES_GFN2 else strained(alloy(walk.parent, rng), level, rng)
    atoms.calc = calculator(walk.level)
    moved = displaced(atoms, walk, rng) if walk.motion.rattle_A else trajectory(atoms, walk, rng)
    frames: list[Atoms] = []
    with contextlib.suppress(CalculationFailed):  # the caller counts the frames that are missing
        frames.extend(labelled(atoms, walk) for atoms in moved)
    return frames


def molecule(name: str) -> Atoms:
    """Molecule `name` of ASE's G2 collection, without cell, in its published geometry."""
    parent = g2[name]
    return Atoms(parent.numbers, parent.positions)


def alloy(symbols: str, rng: np.random.Generator) -> Atoms:
    """Periodic fcc cell of 4 to 16 atoms whose sites are given to the elements of `symbols` at random.

    Each element has at least one site; the lattice constant follows Vegard's law.
    """
    elements = Atoms(symbols).get_chemical_symbols()
    cubic, repeats = CELLS[int(rng.choice(list(CELLS)))]
    lattice = bulk("Cu", "fcc", a=1.0, cubic=cubic).repeat(repeats)
    sites = np.concatenate([elements, rng.choice(elements, size=len(lattice) - len(elements))])
    rng.shuffle(sites)
    lattice.set_chemical_symbols(sites.tolist())
    lattice_constant_A = np.mean([reference_states[atomic_numbers[site]]["a"] for site in sites])
    lattice.set_cell(lattice.cell * lattice_constant_A, scale_atoms=True)
    return lattice


def strained(atoms: Atoms, level: Level, rng: np.random.Generator) -> Atoms:
    """The cell under a random symmetric strain, volume and shape drawn evenly within the level's bounds."""
    shape = rng.uniform(-level.max_shear_strain, level.max_shear_strain, size=(3, 3))
    volume = rng.uniform(-level.max_volumetric_strain, level.max_volumetric_strain)
    deformation = np.eye(3) * (1.0 + volume) ** (1.0 / 3.0) + (shape + shape.T) / 2.0
    atoms.set_cell(atoms.cell @ deformation, scale_atoms=True)
    return atoms


def calculator(level: str) -> Calculator:
    """A new ASE calculator of the level of theory; ValueError where tblite is needed and missing."""
    if level == METALS_EMT.name:
        return EMT()
    try:
        from tblite.ase import TBLite  # the metals must be there for those who have no tblite
    except ImportError as error:
        raise ValueError(
            f"The data set {level!r} is labelled by GFN2-xTB, but tblite is missing: `pip install tblite`."
        ) from error
    # Without the cache each calculation starts from the same guess: a label depends on its structure alone.
    return TBLite(method="GFN2-xTB", verbosity=0, cache_api=False)


def displaced(atoms: Atoms, walk: Walk, rng: np.random.Generator) -> Iterator[Atoms]:
    """Independent Gaussian displacements of the same parent."""
    parent = atoms.get_positions()
    for _ in range(walk.frames):
        atoms.set_positions(parent + rng.normal(scale=walk.motion.rattle_A, size=parent.shape))
        yield atoms


def trajectory(atoms: Atoms, walk: Walk, rng: np.random.Generator) -> Iterator[Atoms]:
    """Snapshots of one NVE trajectory from the parent.

    The parent is close to its minimum, where half of the kinetic energy goes into the bonds: velocities are
    drawn at twice the temperature that the trajectory is to have.
    """
    level = LEVELS[walk.level]
    widths = np.sqrt(atoms.get_masses() * units.kB * 2.0 * walk.motion.temperature_K)
    momenta = rng.normal(size=(len(atoms), 3)) * widths[:, None]
    atoms.set_momenta(momenta - momenta.mean(axis=0))
    with VelocityVerlet(atoms, timestep=level.timestep_fs * units.fs) as dynamics:
        for _ in range(walk.frames):
            dynamics.run(level.steps_between_frames)
            yield atoms


def labelled(atoms: Atoms, walk: Walk) -> Atoms:
    """Frame with its labels in a `SinglePointCalculator`; `info` names its walk, parent and motion."""
    frame = Atoms(atoms.numbers, atoms.get_positions(), cell=atoms.cell, pbc=atoms.pbc)
    frame.info = {"group": walk.group, "parent": walk.parent, "motion": walk.motion.name}
    labels = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces()}
    if atoms.pbc.all():
        labels["stress"] = atoms.get_stress()
    frame.calc = SinglePointCalculator(frame, **labels)
    return frame
