"""Optuna's part: the storage that workers share, and who proposes trials."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from train.search.config import SearchConfig
from train.search.lock import lock_of
from train.search.rows import TrialRow
from train.search.space import Space, Values, stored

JOURNAL, CLAIMS = "optuna.journal", "claims"
VIOLATION = "constraints:search"
"""Under which Optuna keeps whether a trial breaks a constraint."""


def optuna() -> Any:
    """The library.

    Raises:
        ValueError: it is not installed.
    """
    try:
        import optuna as library
    except ImportError:
        raise ValueError("a search needs the extra hpo: pip install 'gfm-ase[hpo]'") from None
    library.logging.set_verbosity(library.logging.ERROR)
    return library


class Proposals:
    """What Optuna knows of the study. Whoever calls has the lock of the study.

    Args:
        search: settings.
        folder: of the study.
        name: of the study in its storage.
    """

    def __init__(self, search: SearchConfig, folder: Path, name: str) -> None:
        self.search = search
        self._optuna = optuna()
        self._storage = self._open(folder)
        directions = ["minimize"] * len(search.objectives.minimise)
        self._study = self._optuna.create_study(
            storage=self._storage, study_name=name, directions=directions, load_if_exists=True
        )
        self._id = self._storage.get_study_id_from_name(name)

    def _open(self, folder: Path) -> Any:
        storages = self._optuna.storages
        if self.search.storage == "journal":
            path = folder / JOURNAL
            backend = storages.journal.JournalFileBackend(str(path), lock_obj=lock_of(path))
            return storages.JournalStorage(backend)
        # the driver of the extra, which is not the one that SQLAlchemy takes of itself
        url = self.search.storage.replace("postgresql://", "postgresql+psycopg2://", 1)
        try:
            return storages.RDBStorage(url)
        except ImportError:
            raise ValueError("storage in PostgreSQL needs its driver: pip install 'gfm-ase[hpo,postgres]'") from None
        except Exception as error:  # SQLAlchemy's, which is imported with it
            said = str(error).strip().splitlines()[0]
            raise ValueError(f"storage = {self.search.storage!r} cannot be opened: {said}") from error

    @property
    def running(self) -> list[int]:
        """Numbers of the trials that the sampler takes for running."""
        states = (self._optuna.trial.TrialState.RUNNING,)
        return [trial.number for trial in self._study.get_trials(deepcopy=False, states=states)]

    def ask(self, space: Space, before: Sequence[TrialRow]) -> tuple[int, Values] | None:
        """Number and values of a new trial; none where a grid has no more."""
        number = len(self._study.get_trials(deepcopy=False))
        if self.search.sampler.name == "grid":
            following = next_of_grid(space, self.search.sampler.seed, before)
            if following is None:
                return None
            by_name = {parameter.name: parameter for parameter in space.parameters}
            fixed = {name: stored(by_name[name], value) for name, value in following.items()}
            waiting = (self._optuna.trial.TrialState.WAITING,)
            if not self._study.get_trials(deepcopy=False, states=waiting):
                self._study.enqueue_trial(fixed)
        self._study.sampler = self._sampler(number)
        trial = self._study.ask()
        return trial.number, space.propose(trial)

    def tell(self, row: TrialRow, points: Sequence[tuple[int, float]]) -> None:
        """What has become of a trial that is over.

        Args:
            row: of it.
            points: epochs and errors, for a trial that was stopped.
        """
        state = self._optuna.trial.TrialState
        if row.state == "failed":
            self._study.tell(row.number, state=state.FAIL)
            return
        self._study.sampler = self._optuna.samplers.RandomSampler()  # taking the trial up again must draw nothing
        number = self._storage.get_trial_id_from_study_id_trial_number(self._id, row.number)
        trial = self._optuna.trial.Trial(self._study, number)
        # a worker may have died between this and what follows
        if VIOLATION not in self._storage.get_trial_system_attrs(number):
            trial.set_constraint("search", float(row.state == "violates"))
        minimise = self.search.objectives.minimise
        self._study.sampler = self._sampler(row.number)
        if row.state == "finished":
            self._study.tell(row.number, row.objectives(minimise))
            return
        if len(minimise) == 1:
            for epoch, error in points:
                trial.report(error, epoch)
        self._study.tell(row.number, state=state.PRUNED)

    def forget(self, number: int) -> None:
        """A trial whose worker died before there was a folder of it."""
        self._study.tell(number, state=self._optuna.trial.TrialState.FAIL)

    def importances(self) -> dict[str, float]:
        """How much of the differences of the errors each parameter explains; nothing while too little is known."""
        complete = (self._optuna.trial.TrialState.COMPLETE,)
        trials = self._study.get_trials(deepcopy=False, states=complete)
        common = set.intersection(*[set(trial.params) for trial in trials]) if trials else set()
        names = sorted(name for name in common if len({trial.params[name] for trial in trials}) > 1)
        if len(trials) < 4 or not names:
            return {}
        where = self.search.objectives.minimise.index("error")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that it is about low values, as it is to be
            found: dict[str, float] = self._optuna.importance.get_param_importances(
                self._study, params=names, target=lambda trial: trial.values[where]
            )
        return dict(found)

    def _sampler(self, number: int) -> Any:
        """Of one trial: what it draws depends on its number and on what is known, not on who asks."""
        settings, samplers = self.search.sampler, self._optuna.samplers
        seed = int(np.random.SeedSequence([settings.seed, number]).generate_state(1)[0])
        if settings.name == "tpe":
            with warnings.catch_warnings():
                # of `group`: parameters that only some trials have are learnt where they are
                warnings.simplefilter("ignore", self._optuna.exceptions.ExperimentalWarning)
                return samplers.TPESampler(
                    seed=seed, n_startup_trials=settings.startup, multivariate=True, group=True, constant_liar=True
                )
        if settings.name == "nsga2":
            return samplers.NSGAIISampler(seed=seed, population_size=settings.startup)
        return samplers.RandomSampler(seed=seed)


def next_of_grid(space: Space, seed: int, before: Sequence[TrialRow]) -> Values | None:
    """The first combination, in an order drawn at random, that no trial has; none where all are there."""
    grid = space.grid()
    taken = [row.values for row in before]
    order = np.random.default_rng(seed).permutation(len(grid))
    return next((grid[index] for index in order if grid[index] not in taken), None)
