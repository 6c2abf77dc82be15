"""Relaxation of one structure with ASE's optimizers, and an honest `converged`."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from ase import Atoms
from ase.optimize import BFGS, FIRE, LBFGS
from numpy.typing import NDArray
from pydantic import Field, field_validator

from md_workflows.attached import with_calculator
from md_workflows.candidates import CandidateFile, candidate, candidates_path
from md_workflows.cell import CellSettings, cell_filter
from md_workflows.durable import check_directory, temporary_beside
from md_workflows.frames import FrameWriter, check_suffix, frame_of, frame_writer
from md_workflows.progress import ProgressCallback
from md_workflows.settings import Settings
from md_workflows.uncertainty import MARK, UncertaintyPolicy

OPTIMIZERS: dict[str, Any] = {"fire": FIRE, "lbfgs": LBFGS, "bfgs": BFGS}


class StopReason(StrEnum):
    """Why a relaxation ended."""

    CONVERGED = "converged"
    MAX_STEPS = "max_steps"
    NON_FINITE = "non_finite"
    UNCERTAIN = "uncertain"


class RelaxSettings(Settings):
    """How to relax.

    optimizer: one of OPTIMIZERS · fmax: eV/Å, the force (on atoms and on the cell's strain) below which it is
    converged · max_steps: 0 only evaluates · cell: what of the cell is free, None keeps it fixed · uncertainty: what
    happens above a limit: "stop" looks at every step, "mark" and "keep" at the structure that comes out.
    """

    optimizer: str = "fire"
    fmax: Annotated[float, Field(gt=0)] = 0.05
    max_steps: Annotated[int, Field(ge=0)] = 500
    cell: CellSettings | None = None
    uncertainty: UncertaintyPolicy | None = None

    @field_validator("optimizer")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in OPTIMIZERS:
            raise ValueError(f"optimizer '{name}' is not known; allowed are {', '.join(OPTIMIZERS)}")
        return name


@dataclass(frozen=True)
class RelaxResult:
    """How a relaxation ended.

    atoms: the last finite geometry with its results · converged: true only when `fmax`, computed again
    after the last step, is below the asked one · steps: taken · fmax: eV/Å, largest force on an atom
    with constraints applied and, for a free cell, on the strain as FrechetCellFilter scales it ·
    energy: eV · stress: [6] eV/Å³ in Voigt order, None where there is none · reason: why it ended; where for its
    uncertainty, `atoms` are at the geometry that is above the limit, with its uncertainties.
    """

    atoms: Atoms
    converged: bool
    steps: int
    fmax: float
    energy: float
    stress: NDArray[np.float64] | None
    reason: StopReason


@dataclass(frozen=True)
class _Point:
    """A geometry on the way: what was computed there."""

    atoms: Atoms
    step: int
    fmax: float
    energy: float


def relax(
    atoms: Atoms,
    settings: RelaxSettings | None = None,
    *,
    calculator: Any = None,
    trajectory: str | Path | None = None,
    progress: ProgressCallback | None = None,
) -> RelaxResult:
    """Relax a structure; the given atoms stay untouched, their constraints are kept.

    trajectory: frames of every step (.traj or .extxyz), written beside and renamed at the end.

    Raises:
        ValueError: no calculator, unusable atoms, a cell that cannot be relaxed, a trajectory's suffix, candidates that
            exist or have no file, a limit on an uncertainty that the calculator does not give.
    """
    chosen = settings or RelaxSettings()
    usual = None if trajectory is None else Path(trajectory).with_suffix(".candidates.extxyz")
    candidates = new_candidates(chosen.uncertainty, usual)
    result = relaxed(atoms, chosen, calculator, trajectory, progress)
    keep_relaxed(result, candidates, str(trajectory or f"relaxation_of_{atoms.symbols}"))
    return result


def relaxed(
    atoms: Atoms,
    chosen: RelaxSettings,
    calculator: Any = None,
    trajectory: str | Path | None = None,
    progress: ProgressCallback | None = None,
) -> RelaxResult:
    """As `relax`, but for candidates, which are left to the caller."""
    work = with_calculator(atoms, calculator)
    target = work if chosen.cell is None else cell_filter(work, chosen.cell)
    path = None if trajectory is None else Path(trajectory)
    if path is None:
        return _descend(work, target, chosen, _observer(None, chosen, progress))
    check_suffix(path)
    check_directory(path)
    temporary = temporary_beside(path)
    temporary.unlink(missing_ok=True)
    try:
        writer = frame_writer(temporary)
        try:
            result = _descend(work, target, chosen, _observer(writer, chosen, progress))
        finally:
            writer.close()
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return result


def new_candidates(policy: UncertaintyPolicy | None, usual: Path | None) -> CandidateFile | None:
    """The file for candidates of relaxations, None where none are kept; raises ValueError where it exists already."""
    path = candidates_path(policy, usual)
    if path is None:
        return None
    check_directory(path)
    if path.exists():
        raise ValueError(f"{path} exists already; name another file for the candidates, or remove it.")
    return CandidateFile(path)


def keep_relaxed(result: RelaxResult, candidates: CandidateFile | None, source: str) -> None:
    """Append what came out of a relaxation and is above the limit."""
    if candidates is not None and result.atoms.info.get(MARK):
        candidates.append(candidate(result.atoms, source=source, step=result.steps))


def _observer(
    writer: FrameWriter | None, settings: RelaxSettings, progress: ProgressCallback | None
) -> Callable[[_Point], None]:
    def observe(point: _Point) -> None:
        if writer is not None:
            writer.write(point.atoms)
        if progress is not None:
            progress(point.step, settings.max_steps)

    return observe


def _descend(work: Atoms, target: Any, settings: RelaxSettings, observe: Callable[[_Point], None]) -> RelaxResult:
    """Let ASE's optimizer move `target` (the atoms, or the cell filter around them) until it may stop."""
    optimizer = OPTIMIZERS[settings.optimizer](target, logfile=None)
    _check_uncertainty(work, settings)
    last: _Point | None = None
    try:
        # fmax=0: ASE never stops by itself, the criterion is the one below, of atoms and strain alike
        for _ in optimizer.irun(fmax=0.0, steps=settings.max_steps):
            point = _measure(work, target, optimizer.nsteps)
            if point is None:
                return _result(work, last, StopReason.NON_FINITE, optimizer.nsteps)
            last = point
            stopped = too_uncertain(point.atoms, settings)
            observe(point)
            if stopped:
                return _result(work, last, StopReason.UNCERTAIN, optimizer.nsteps)
            if point.fmax < settings.fmax:
                return _result(work, last, StopReason.CONVERGED, optimizer.nsteps)
    except (ValueError, ArithmeticError, np.linalg.LinAlgError):
        if _finite(work):
            raise
        return _result(work, last, StopReason.NON_FINITE, optimizer.nsteps)  # met in the filter's matrix functions
    return _result(work, last, StopReason.MAX_STEPS, optimizer.nsteps)


def _check_uncertainty(work: Atoms, settings: RelaxSettings) -> None:
    """Raise NoUncertaintyError where a limit is set on what the calculator does not give."""
    if settings.uncertainty is not None:
        work.get_potential_energy()
        work.get_forces()
        settings.uncertainty.check_known(getattr(work.calc, "results", {}), type(work.calc).__name__)


def _measure(work: Atoms, target: Any, step: int) -> _Point | None:
    """What is true at the present geometry, or None when something is not finite."""
    if not _finite(work):
        return None
    forces = [work.get_forces()] if target is work else [work.get_forces(), target.get_forces()]
    fmax = float(np.linalg.norm(np.concatenate(forces), axis=1).max())
    if not np.isfinite(fmax):  # the stress, which the filter turns into forces
        return None
    energy = float(work.get_potential_energy())
    return _Point(frame_of(work, step=step), step, fmax, energy)


def too_uncertain(frame: Atoms, settings: RelaxSettings) -> bool:
    """Mark a frame as the policy says; whether the relaxation has to stop for it."""
    policy = settings.uncertainty
    return policy is not None and bool(policy.judge(frame)) and policy.action == "stop"


def _finite(work: Atoms) -> bool:
    values = (
        work.positions,
        work.cell.array,
        work.get_forces(apply_constraint=False),
        work.get_potential_energy(),
    )
    return all(bool(np.isfinite(value).all()) for value in values)


def _result(work: Atoms, last: _Point | None, reason: StopReason, steps: int) -> RelaxResult:
    if last is None:  # the very first geometry was bad
        return RelaxResult(frame_of(work), False, steps, float("nan"), float("nan"), None, reason)
    return RelaxResult(
        atoms=last.atoms,
        converged=reason is StopReason.CONVERGED,
        steps=steps,
        fmax=last.fmax,
        energy=last.energy,
        stress=_stress(work, last.atoms),
        reason=reason,
    )


def _stress(work: Atoms, final: Atoms) -> NDArray[np.float64] | None:
    """The stress at the final geometry, computed if need be, where atoms and calculator have one."""
    if "stress" in final.calc.results:
        return np.array(final.calc.results["stress"], dtype=float)
    available = "stress" in getattr(work.calc, "implemented_properties", ())
    if not (available and work.pbc.any() and work.cell.rank == 3):
        return None
    asked = final.copy()
    asked.calc = work.calc
    stress = np.array(asked.get_stress(apply_constraint=False), dtype=float)
    final.calc.results["stress"] = stress
    return stress
