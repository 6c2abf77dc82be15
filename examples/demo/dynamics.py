"""The demo's molecular dynamics: with the trained potential, and the reference's energies on frames of it."""

from dataclasses import dataclass
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.build import bulk
from numpy.typing import NDArray
from rich.console import Console

from examples.demo.settings import DemoSettings
from examples.demo.structures import METALS_EMT, MOLECULES_GFN2, calculator, molecule
from gfm_ase import GFMCalculator
from gfm_ase.curves import EnergiesAlong, read_md_log
from md_workflows import NVE, Langevin, MDSettings, progress_bar, run_md

Floats = NDArray[np.float64]

MOLECULE, MOLECULE_KELVIN = "CH3CH2OH", 300.0
METAL_KELVIN = 600.0


@dataclass(frozen=True)
class Simulation:
    """One MD and what the reference says of it.

    Attributes:
        title: of the simulation, for people.
        head: that gave the forces.
        settings: of the MD.
        n_atoms: atoms.
        log: columns by name, see `md_workflows.md_files.LOG_COLUMNS`.
        reference: energies of the level of theory that the head was trained on.
        errors_eV_per_atom: [F] potential energy minus reference on the frames.
        target_K: of the thermostat, if there is one.
    """

    title: str
    head: str
    settings: MDSettings
    n_atoms: int
    log: dict[str, Floats]
    reference: EnergiesAlong
    errors_eV_per_atom: Floats
    target_K: float | None

    @property
    def largest_deviation(self) -> float:
        """Of the total energy from the first, eV/atom, the drift included."""
        total = self.log["total_energy_eV_per_atom"]
        return float(np.abs(total - total[0]).max())

    @property
    def drift(self) -> float:
        """Slope of a straight line through the total energies, eV/atom per ps."""
        time_ps = self.log["time_fs"] / 1000
        return float(np.polyfit(time_ps, self.log["total_energy_eV_per_atom"], 1)[0])


def simulate(checkpoint: Path, folder: Path, settings: DemoSettings, console: Console) -> list[Simulation]:
    """NVE of a molecule with the one head, Langevin dynamics of an alloy with the other."""
    folder.mkdir()
    shared = {"steps": settings.md_steps, "trajectory_interval": 10, "log_interval": 1, "state_interval": 1000}
    # from its minimum a molecule gives half of its kinetic energy to the bonds: twice the temperature to start with
    nve = MDSettings(ensemble=NVE(), timestep_fs=0.5, initial_temperature_K=2 * MOLECULE_KELVIN, **shared)
    langevin = MDSettings(
        ensemble=Langevin(temperature_K=METAL_KELVIN, friction_per_fs=0.01), timestep_fs=4.0, **shared
    )
    ethanol = ("NVE of ethanol", molecule(MOLECULE), MOLECULES_GFN2.name, nve, "GFN2-xTB")
    copper_gold = ("Langevin dynamics of Cu₃Au", alloy_cell(), METALS_EMT.name, langevin, "EMT")
    return [_run(checkpoint, folder, case, console) for case in (ethanol, copper_gold)]


def alloy_cell() -> Atoms:
    """Cu3Au, L1_2, 32 atoms: larger than any cell of the training set."""
    cell = bulk("Cu", "fcc", a=3.75, cubic=True)
    cell.symbols[0] = "Au"
    return cell.repeat(2)


def _run(checkpoint: Path, folder: Path, case: tuple[str, Atoms, str, MDSettings, str], console: Console) -> Simulation:
    title, atoms, head, settings, method = case
    potential = GFMCalculator(checkpoint, head=head)
    with progress_bar(title, "steps", console) as bar:
        result = run_md(atoms, settings, calculator=potential, files=folder / f"{head}.traj", progress=bar)
    assert result.files.trajectory is not None, "a trajectory was asked for"
    assert result.files.log is not None, "a log was asked for"
    frames = ase.io.read(result.files.trajectory, index=":")
    reference = calculator(head)
    energies = []
    with progress_bar(f"{method} on its frames", "frames", console) as bar:
        for done, frame in enumerate(frames, start=1):
            energies.append((frame.get_potential_energy(), _energy(frame, reference)))
            bar(done, len(frames))
    predicted_F, reference_F = np.array(energies).T / len(atoms)
    time_fs_F = np.array([frame.info["time_fs"] for frame in frames])
    return Simulation(
        title=title,
        head=head,
        settings=settings,
        n_atoms=len(atoms),
        log=read_md_log(result.files.log),
        reference=EnergiesAlong(method, time_fs_F, reference_F),
        errors_eV_per_atom=predicted_F - reference_F,
        target_K=settings.ensemble.thermostat_temperature,
    )


def _energy(frame: Atoms, reference: object) -> float:
    asked = Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=frame.pbc, calculator=reference)
    return float(asked.get_potential_energy())
