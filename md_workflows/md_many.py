"""Molecular dynamics of many structures, or of many replicas of one, each with settings of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from ase import Atoms

from md_workflows.analysis.registry import Wish
from md_workflows.analysis.reporter import Reporter
from md_workflows.batch_files import BatchFiles
from md_workflows.md import EnergySummary, MDSettings, OnExisting
from md_workflows.md_doubt import Doubts
from md_workflows.md_guards import MDGuards
from md_workflows.progress import ProgressCallback
from md_workflows.uncertainty import without_uncertainties

if TYPE_CHECKING:
    from md_workflows.batched.models import Model

CHAINS = ("tchain", "tloop", "pchain", "ploop")
"""Lengths and substeps of chains, which have a column for each link."""


@dataclass(frozen=True)
class MDOutcome:
    """How the run of structure `index` (its place among those given) ended.

    atoms: the last good ones, with velocities and results; None where there never was a good geometry · steps: taken
    until there · time_fs · temperature_K: the last · energies: at the end · stopped: why it did not come to its end,
    empty where it did · seconds: its share of the wall time · reports: by name, what its reporters have found ·
    unwritten: those that have seen too little for a table, and why · doubts: what a policy on uncertainty has seen,
    None without one.
    """

    index: int
    atoms: Atoms | None
    steps: int
    time_fs: float
    temperature_K: float
    energies: EnergySummary | None
    stopped: str
    seconds: float
    reports: Mapping[str, Reporter] = field(default_factory=dict)
    unwritten: Mapping[str, str] = field(default_factory=dict)
    doubts: Doubts | None = None


def replicated(
    structures: Atoms | Sequence[Atoms], settings: MDSettings | Sequence[MDSettings], replicas: int
) -> tuple[list[Atoms], list[MDSettings]]:
    """Each structure `replicas` times, one after another, with seeds of velocities and noise that count up.

    Raises:
        ValueError: fewer than one replica, or settings that are not as many as the structures.
    """
    if replicas < 1:
        raise ValueError(f"replicas is {replicas}; give 1 or more.")
    given = _listed(structures)
    chosen = _each(settings, len(given), "settings")
    runs = [(atoms, one, place) for atoms, one in zip(given, chosen, strict=True) for place in range(replicas)]
    return [atoms for atoms, _, _ in runs], [_with_seeds(one, place) for _, one, place in runs]


def _with_seeds(settings: MDSettings, place: int) -> MDSettings:
    seeds: dict[str, Any] = {"velocity_seed": settings.velocity_seed + place}
    if hasattr(settings.ensemble, "seed"):
        seeds["ensemble"] = settings.ensemble.model_copy(update={"seed": settings.ensemble.seed + place})
    return settings.model_copy(update=seeds)


def run_md_many(  # noqa: PLR0913 - those of run_md, and guards
    structures: Atoms | Sequence[Atoms],
    settings: MDSettings | Sequence[MDSettings],
    *,
    calculator: Any = None,
    files: BatchFiles | str | Path | None = None,
    on_existing: OnExisting = "error",
    guards: MDGuards | Sequence[MDGuards] | None = None,
    progress: ProgressCallback | None = None,
    reporters: Sequence[Wish] = (),
) -> Iterator[MDOutcome]:
    """Run molecular dynamics of many structures; yield how each ended, when it has, each once.

    A `GFMCalculator` advances as many as its measured room has in one model call; any other ASE calculator advances
    them one after another with the same integrators. What happens to one does not touch the others.

    Args:
        structures: they stay untouched.
        settings: of all, or of each; all with one kind of ensemble and one `state_interval`, which counts steps of the
            batch.
        calculator: of all; by default that of the first structure. Or a `Model` of `md_workflows.batched`.
        files: a directory, or `BatchFiles`.
        on_existing: what to do when files exist: refuse, continue from the state, or start again. A run that was killed
            and continued gives the same bits as one that was not; those that had ended are yielded again.
        guards: of all, or of each.
        progress: called with the number of steps taken by all, and how many there are.
        reporters: as for `run_md`; each run has its own, and tables beside its frames. A run that one of them cannot
            look at is an outcome.

    Raises:
        ValueError: before the runs begin: no calculator, settings that do not go together, reporters that there
            are not or that the calculator does not serve, a limit on an uncertainty that it does not give, files that
            exist, a state of other runs or of another model.
            What is wrong with one structure is its outcome.
    """
    if on_existing not in get_args(OnExisting):
        raise ValueError(f"on_existing='{on_existing}' is not known; allowed are {', '.join(get_args(OnExisting))}.")
    given = [without_uncertainties(atoms) for atoms in _listed(structures)]
    chosen, limits = _each(settings, len(given), "settings"), _each(guards or MDGuards(), len(given), "guards")
    _check_together(chosen)
    model, name = _model(given, calculator)
    from md_workflows.batched.dynamics.session import Asked, begin

    target = BatchFiles(Path(files)) if isinstance(files, str | Path) else files
    return begin(Asked(given, chosen, limits, model, name, target, reporters), on_existing).run(progress)


def _listed(structures: Atoms | Sequence[Atoms]) -> list[Atoms]:
    given = [structures] if isinstance(structures, Atoms) else list(structures)
    if not given:
        raise ValueError("no structures are given; give at least one.")
    return given


def _each(values: Any, count: int, what: str) -> list[Any]:
    """One value for each structure, from one for all or a sequence of them."""
    if not isinstance(values, Sequence):
        return [values] * count
    if len(values) != count:
        raise ValueError(f"{len(values)} {what} are given for {count} structures; give one for all, or one for each.")
    return list(values)


def _check_together(settings: Sequence[MDSettings]) -> None:
    names = sorted({str(getattr(one.ensemble, "name", type(one.ensemble).__name__)) for one in settings})
    if len(names) > 1:
        raise ValueError(f"the structures of one call have one kind of ensemble, these have {', '.join(names)}.")
    intervals = sorted({one.state_interval for one in settings})
    if len(intervals) > 1:
        raise ValueError(f"the structures of one call have one state_interval, these have {intervals}.")
    for name in CHAINS:
        found = sorted({getattr(one.ensemble, name) for one in settings if hasattr(one.ensemble, name)})
        if len(found) > 1:
            raise ValueError(f"the structures of one call have one {name}, these have {found}; give all the same.")


def _model(structures: Sequence[Atoms], calculator: Any) -> tuple[Model, str]:
    driver = structures[0].calc if calculator is None else calculator
    if driver is None:
        raise ValueError("the atoms have no calculator; set atoms.calc or pass calculator=.")
    name = type(driver).__name__
    if hasattr(driver, "compute") and hasattr(driver, "room"):
        return driver, name
    if hasattr(driver, "batch_model"):
        return driver.batch_model(), name
    from md_workflows.batched.ase_model import ASEModel, given_uncertainties
    from md_workflows.engine import calculator_identity

    outputs = given_uncertainties(driver, structures)
    return ASEModel(driver, calculator_identity(driver), outputs=outputs, structures=structures), name
