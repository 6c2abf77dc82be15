"""The boundary behind which many structures are relaxed: one after another here, all at once elsewhere."""

import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from ase import Atoms

from md_workflows.attached import forget
from md_workflows.candidates import CandidateFile
from md_workflows.relaxation import RelaxResult, RelaxSettings, keep_relaxed, new_candidates, relaxed
from md_workflows.structures import one_line
from md_workflows.uncertainty import NoUncertaintyError


@dataclass(frozen=True)
class Outcome:
    """What became of structure `index` (its place in the iterable): a result, or the error that came.

    seconds: wall time spent on it (its share, in an engine that works on many at once).
    """

    index: int
    result: RelaxResult | None
    error: str
    seconds: float


class Engine(Protocol):
    """Relaxes many structures.

    `relax_many` takes structures from the iterable as it has room for them, never all at once, and yields
    outcomes as they finish, in any order. A structure that fails is an outcome with an error; only an
    exception of the iterable itself may pass, and a NoUncertaintyError, which is about the calculator.
    """

    @property
    def identity(self) -> str:
        """Text that changes whenever the energies would: it decides whether earlier results still hold."""

    def relax_many(self, structures: Iterable[Atoms], settings: RelaxSettings) -> Iterator[Outcome]:
        """Relax each structure and yield its outcome, each exactly once."""


class ASEEngine:
    """One structure after another with an ASE calculator."""

    def __init__(self, calculator: Any, identity: str | None = None) -> None:
        self._calculator = calculator
        self._identity = calculator_identity(calculator) if identity is None else identity

    @property
    def identity(self) -> str:
        """The calculator's class and parameters, or what was given instead."""
        return self._identity

    def relax_many(self, structures: Iterable[Atoms], settings: RelaxSettings) -> Iterator[Outcome]:
        """Relax in the order given."""
        for index, atoms in enumerate(structures):
            start = time.perf_counter()
            result, error = None, ""
            forget(self._calculator)  # so that no result depends on which structures came before, or failed
            try:
                result = relaxed(atoms, settings, self._calculator)
            except NoUncertaintyError:  # a matter of all structures
                raise
            except Exception as failure:
                error = one_line(failure)
            yield Outcome(index, result, error, time.perf_counter() - start)


def engine_for(calculator: Any, identity: str | None = None) -> Engine:
    """The engine that makes the most of a calculator: many structures in one call where it offers a `batch_model`."""
    if not hasattr(calculator, "batch_model"):
        return ASEEngine(calculator, identity)
    from md_workflows.batched.engine import BatchedEngine

    return BatchedEngine(calculator.batch_model(), type(calculator).__name__, identity)


def relax_many(
    structures: Iterable[Atoms], settings: RelaxSettings | None = None, *, calculator: Any
) -> Iterator[Outcome]:
    """Relax many structures, at once where the calculator can: outcomes as they come, `index` tells of which.

    A stream is read as there is room. A structure that fails is an outcome with an error.

    Raises:
        ValueError: many at once, and an optimizer that is neither fire nor lbfgs; candidates that exist or have no
            file; a limit on an uncertainty that the calculator does not give, at the first structure.
    """
    chosen = settings or RelaxSettings()
    candidates = new_candidates(chosen.uncertainty, None)
    return _kept(engine_for(calculator).relax_many(structures, chosen), candidates)


def _kept(outcomes: Iterable[Outcome], candidates: CandidateFile | None) -> Iterator[Outcome]:
    for outcome in outcomes:
        if outcome.result is not None:
            keep_relaxed(outcome.result, candidates, f"structure_{outcome.index}")
        yield outcome


def evaluate_many(engine: Engine, structures: Iterable[Atoms]) -> Iterator[Outcome]:
    """Energy, forces and stress of each structure as it is; the result's atoms hold them."""
    return engine.relax_many(structures, RelaxSettings(max_steps=0))


def calculator_identity(calculator: Any) -> str:
    """Class and parameters of an ASE calculator, in words."""
    kind = type(calculator)
    parameters = dict(getattr(calculator, "parameters", None) or {})
    return f"{kind.__module__}.{kind.__qualname__} {json.dumps(parameters, sort_keys=True, default=repr)}"
