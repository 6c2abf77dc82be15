"""Molecular dynamics on ASE's integrators, with restarts that continue exactly where a run stopped."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import numpy as np
from ase import Atoms
from pydantic import Field

from md_workflows.analysis.registry import Wish
from md_workflows.analysis.reporter import Reporter
from md_workflows.analysis.reporting import Reporting
from md_workflows.attached import forget, with_calculator
from md_workflows.candidates import CandidateFile, candidates_path
from md_workflows.frames import frame_of
from md_workflows.integrators import AnyEnsemble, Integrator, build_integrator
from md_workflows.md_checks import check_ensemble_of, check_same_calculator
from md_workflows.md_doubt import Doubt, Doubts, Keeper
from md_workflows.md_files import MDFiles, Recorder, marks, rewind
from md_workflows.md_guard import Guard
from md_workflows.md_state import MDState, check_same, fingerprint
from md_workflows.progress import ProgressCallback
from md_workflows.settings import Settings
from md_workflows.uncertainty import UncertaintyPolicy
from md_workflows.velocities import draw_velocities

OnExisting = Literal["error", "restart", "overwrite"]

Interval = Annotated[int, Field(ge=1)]


class MDSettings(Settings):
    """What is simulated; `steps` counts from the very beginning, also over restarts.

    ensemble: one of ENSEMBLES, as its settings object or as a dict with its "name".
    uncertainty: what happens when that of the structure is above a limit; None looks at nothing.
    initial_temperature_K: draw Maxwell–Boltzmann velocities at this temperature, whatever the atoms had. None
    keeps the velocities of the atoms; where they have none, a thermostat's temperature is taken, and NVE
    starts at rest. Intervals are in steps.
    """

    ensemble: AnyEnsemble
    steps: Annotated[int, Field(ge=0)]
    timestep_fs: Annotated[float, Field(gt=0)] = 1.0
    initial_temperature_K: Annotated[float, Field(ge=0)] | None = None
    velocity_seed: Annotated[int, Field(ge=0)] = 0
    trajectory_interval: Interval = 10
    log_interval: Interval = 10
    state_interval: Interval = 100
    uncertainty: UncertaintyPolicy | None = None


@dataclass(frozen=True)
class EnergySummary:
    """Energies at the end, in eV; `drift_per_atom` is the total energy's change since step 0, eV/atom."""

    potential: float
    kinetic: float
    total: float
    drift_per_atom: float


@dataclass(frozen=True)
class MDResult:
    """How a run ended.

    atoms: the final ones, with velocities and the last results · steps: since the very beginning ·
    steps_run: by this call · time_fs: since the very beginning · temperature_K: the last, as ASE counts it ·
    files: what was written · reports: by name, what reporters have found since the very beginning ·
    unwritten: those that have seen too little for a table, and why · doubts: what a policy on uncertainty has seen
    since the very beginning, None without one.
    """

    atoms: Atoms
    steps: int
    steps_run: int
    time_fs: float
    temperature_K: float
    energies: EnergySummary
    files: MDFiles
    reports: Mapping[str, Reporter] = field(default_factory=dict)
    unwritten: Mapping[str, str] = field(default_factory=dict)
    doubts: Doubts | None = None


def run_md(
    atoms: Atoms,
    settings: MDSettings,
    *,
    calculator: Any = None,
    files: MDFiles | str | Path | None = None,
    on_existing: OnExisting = "error",
    progress: ProgressCallback | None = None,
    reporters: Sequence[Wish] = (),
) -> MDResult:
    """Run molecular dynamics; the given atoms stay untouched.

    files: the trajectory's name, from which those of log and state follow (`MDFiles.beside`), or each by
    itself. on_existing: what to do when one of them exists: refuse, continue from the state, or start again.
    "restart" without any file starts from the beginning: one command can be submitted again and again.
    reporters: names of `md_workflows.analysis`, or mappings of "name" and settings; they observe the run, and their
    tables are written beside the trajectory whenever the state is.

    A run that was killed and restarted gives the same bits as one that was not, if the calculator does: it is
    reset whenever a state is written, so its `reset()` has to forget all it keeps from earlier steps
    (neighbour lists).

    Raises:
        ValueError: no calculator, unusable atoms, files that exist, a state of another run or calculator, a limit on
            an uncertainty that the calculator does not give.
        MDStoppedError: energy, forces or positions stopped being finite, the calculator raised, or the uncertainty
            is above a limit that stops.
    """
    files = _files(files, settings.uncertainty)
    reporting = Reporting(reporters, files.trajectory)
    files = replace(files, reports=reporting.paths)
    run = _Run.prepare(with_calculator(atoms, calculator), settings, files, reporting, on_existing)
    dynamics = run.integrator.dynamics
    guard = Guard(run.atoms, run.files.last_good, run.doubt.judge)
    with closing(Recorder(run.files, settings.trajectory_interval, settings.log_interval)) as recorder:
        for step in guard.advance(dynamics, settings.steps - run.first):
            if step > run.first or not run.recorded:
                run.doubt.take(step)
                recorder.record(run.atoms, step, step * settings.timestep_fs)
                reporting.observe(run.atoms, step, step * settings.timestep_fs)
                if step % settings.state_interval == 0 or step == settings.steps:
                    run.save(recorder, step)
            if progress is not None:
                progress(step, settings.steps)
    return run.result()


@dataclass(frozen=True)
class _Run:
    """Atoms and integrator, ready for the first step of this call."""

    atoms: Atoms
    settings: MDSettings
    files: MDFiles
    reporting: Reporting
    integrator: Integrator
    first: int
    recorded: bool
    start_energy: float
    doubt: Doubt

    @classmethod
    def prepare(
        cls, atoms: Atoms, settings: MDSettings, files: MDFiles, reporting: Reporting, on_existing: OnExisting
    ) -> "_Run":
        _check(atoms, settings, files, on_existing)
        reporting.check(atoms)
        state = _state_to_continue(files, on_existing)
        if state is None:
            return cls._begin(atoms, settings, files, reporting)
        return cls._continue(atoms, settings, files, reporting, state)

    @classmethod
    def _begin(cls, atoms: Atoms, settings: MDSettings, files: MDFiles, reporting: Reporting) -> "_Run":
        draw_velocities(atoms, settings)
        integrator = build_integrator(atoms, settings.timestep_fs, settings.ensemble)
        start_energy = _refresh(atoms) + float(atoms.get_kinetic_energy())
        doubt = _doubt(atoms, settings, files, reporting, {})
        run = cls(atoms, settings, files, reporting, integrator, 0, False, start_energy, doubt)
        for path in files.present:
            path.unlink()
        if files.state is not None:  # from here on a restart is possible
            run._state(0, False, marks(files)).save(files.state)
        return run

    @classmethod
    def _continue(
        cls, atoms: Atoms, settings: MDSettings, files: MDFiles, reporting: Reporting, state: MDState
    ) -> "_Run":
        check_same(state.fingerprint, _fingerprint(atoms, settings, reporting), Path(str(files.state)))
        if state.step > settings.steps:
            raise ValueError(
                f"{files.state} is at step {state.step} already, but only {settings.steps} steps are asked "
                "for; steps counts from the very beginning."
            )
        atoms.set_cell(state.cell, scale_atoms=False, apply_constraint=False)
        atoms.set_positions(state.positions, apply_constraint=False)
        atoms.set_momenta(state.momenta, apply_constraint=False)
        integrator = build_integrator(atoms, settings.timestep_fs, settings.ensemble)
        integrator.restore(state.variables)
        if integrator.random is not None and state.random is not None:
            integrator.random.bit_generator.state = state.random
        integrator.dynamics.nsteps = state.step
        check_same_calculator(_refresh(atoms), state, len(atoms))
        doubt = _doubt(atoms, settings, files, reporting, state.doubts)
        rewind(files, state.marks)
        reporting.restore(state.reports)
        first = (state.step, state.recorded, state.start_energy)
        return cls(atoms, settings, files, reporting, integrator, *first, doubt)

    def save(self, recorder: Recorder, step: int) -> None:
        """Write the state once what it marks is on the disk, then let the calculator forget its past."""
        self.reporting.write()
        if self.files.state is not None:
            self._state(step, True, recorder.marks()).save(self.files.state)
        if step < self.settings.steps:
            _refresh(self.atoms)

    def _state(self, step: int, recorded: bool, lengths: Any) -> MDState:
        random = self.integrator.random
        return MDState(
            step=step,
            recorded=recorded,
            positions=self.atoms.get_positions(),
            momenta=self.atoms.get_momenta(),
            cell=np.array(self.atoms.cell),
            variables=self.integrator.state(),
            random=None if random is None else dict(random.bit_generator.state),
            potential_energy=float(self.atoms.get_potential_energy()),
            start_energy=self.start_energy,
            marks=lengths,
            fingerprint=_fingerprint(self.atoms, self.settings, self.reporting),
            reports=self.reporting.state(),
            doubts=self.doubt.state(),
        )

    def result(self) -> MDResult:
        potential = float(self.atoms.get_potential_energy())
        kinetic = float(self.atoms.get_kinetic_energy())
        total = potential + kinetic
        drift = (total - self.start_energy) / len(self.atoms)
        steps = self.integrator.dynamics.nsteps
        return MDResult(
            atoms=frame_of(self.atoms),
            steps=steps,
            steps_run=steps - self.first,
            time_fs=steps * self.settings.timestep_fs,
            temperature_K=float(self.atoms.get_temperature()),
            energies=EnergySummary(potential, kinetic, total, drift),
            files=self.files,
            reports=self.reporting.reporters,
            unwritten=self.reporting.unwritten,
            doubts=self.doubt.found(),
        )


def _files(files: MDFiles | str | Path | None, policy: UncertaintyPolicy | None) -> MDFiles:
    if not isinstance(files, MDFiles):
        files = MDFiles() if files is None else MDFiles.beside(files)
    return replace(files, candidates=candidates_path(policy, files.usual_candidates))


def _doubt(atoms: Atoms, settings: MDSettings, files: MDFiles, reporting: Reporting, known: dict[str, Any]) -> Doubt:
    """What looks at the uncertainty, once the results of the first step are there."""
    given, name = getattr(atoms.calc, "results", {}), type(atoms.calc).__name__
    if settings.uncertainty is not None:
        settings.uncertainty.check_known(given, name)
    reporting.check_uncertainty(given, name)
    source = f"run_of_{atoms.symbols}" if files.trajectory is None else files.trajectory.name
    keep = CandidateFile(files.candidates).append
    return Doubt(atoms, settings.uncertainty, settings.timestep_fs, Keeper(keep, source), known)


def _check(atoms: Atoms, settings: MDSettings, files: MDFiles, on_existing: str) -> None:
    if on_existing not in get_args(OnExisting):
        raise ValueError(f"on_existing='{on_existing}' is not known; allowed are {', '.join(get_args(OnExisting))}.")
    check_ensemble_of(atoms, settings.ensemble)
    files.check()


def _state_to_continue(files: MDFiles, on_existing: OnExisting) -> MDState | None:
    present = files.present
    if not present or on_existing == "overwrite":
        return None
    names = ", ".join(str(path) for path in present)
    if on_existing == "error":
        raise ValueError(
            f"{names} exist already; pass on_existing='restart' to continue or 'overwrite' to start again."
        )
    if files.state is None or not files.state.exists():
        raise ValueError(f"{names} exist, but no state to continue them from; remove them or use 'overwrite'.")
    return MDState.load(files.state)


def _fingerprint(atoms: Atoms, settings: MDSettings, reporting: Reporting) -> dict[str, Any]:
    told = settings.model_dump(mode="json", exclude={"steps"})
    return fingerprint(atoms, told | ({"reporters": reporting.settings} if reporting.settings else {}))


def _refresh(atoms: Atoms) -> float:
    """Compute forces and energy without any memory of earlier steps; returns the energy in eV."""
    forget(atoms.calc)
    atoms.get_forces()
    return float(atoms.get_potential_energy())
