"""`BatchedEngine`: many structures through one model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ase import Atoms

from md_workflows.batched.advance import Advance, Departure
from md_workflows.batched.models import Model
from md_workflows.batched.relaxing import Relaxation
from md_workflows.engine import Outcome
from md_workflows.relaxation import RelaxSettings


class BatchedEngine:
    """An `Engine` that relaxes as many structures at a time as the model has room for.

    Args:
        model: a potential (`GraphModel`), or any ASE calculator (`ASEModel`, one structure after another).
        name: what the model is called in messages.
        identity: text that changes whenever the energies would; by default the model's own.
    """

    def __init__(self, model: Model, name: str, identity: str | None = None) -> None:
        self.model, self._name, self._identity = model, name, identity

    @property
    def identity(self) -> str:
        """That of the model, or what was given instead."""
        return self.model.identity if self._identity is None else self._identity

    def relax_many(self, structures: Iterable[Atoms], settings: RelaxSettings) -> Iterator[Outcome]:
        """Relax each structure and yield its outcome when it is done, each exactly once.

        Raises:
            ValueError: the optimizer is neither fire nor lbfgs.
        """
        relaxation = Relaxation(self.model, settings, self._name)
        given: dict[int, Atoms] = {}
        for departure in Advance(self.model, relaxation).run(_noted(structures, given)):
            yield _outcome(departure, given.pop(departure.key), relaxation)


def _noted(structures: Iterable[Atoms], given: dict[int, Atoms]) -> Iterator[Atoms]:
    for key, atoms in enumerate(structures):
        given[key] = atoms
        yield atoms


def _outcome(departure: Departure, given: Atoms, relaxation: Relaxation) -> Outcome:
    seconds = 0.0 if departure.fleet is None else float(departure.fleet.graph["seconds"][0])
    raised = departure.error or relaxation.take_reason(departure.key)
    if raised or departure.fleet is None:
        error = raised or "energy or forces are not finite at step 0"
        return Outcome(departure.key, None, error, seconds)
    return Outcome(departure.key, relaxation.result(given, departure.fleet, departure.finite), "", seconds)
