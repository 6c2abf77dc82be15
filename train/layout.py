"""Which structures go into which batch of which step, and which process computes what of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from potentials.potential import Potential
from train.config import RunConfig
from train.data import Dataset, union
from train.division import Divided, Division
from train.group import Group
from train.sampling import ALIKE, Batch, BatchPlan
from train.separate import SeparatePlan
from train.shuffle import Order, tempered


class Layout:
    """The work of a run, laid out in steps, batches and processes.

    Attributes:
        structures: of all training splits.
        per_step: batches of a step, all processes together.
        streams: see `BatchPlan`.
        plan: of the batches.
        division: of the heads.

    Args:
        config: of the run.
        datasets: of the run.
        potential: whose heads are divided.
        group: the processes.
        before: batches of a step and streams of a run that is resumed.

    Raises:
        ValueError: as `BatchPlan` and `SeparatePlan`; settings that contradict each other.
    """

    def __init__(
        self,
        config: RunConfig,
        datasets: Sequence[Dataset],
        potential: Potential,
        group: Group,
        before: tuple[int, int] | None = None,
    ) -> None:
        self.group = group
        separate = config.parallel.tasks if config.batch.mixed is None else not config.batch.mixed
        per_step, streams = before or (None, None)
        own = config.batch.per_step or per_step or max(group.size, len(datasets) if separate else 1)
        self.per_step, self.streams = own, streams or max(1, own // ALIKE)
        self.structures = union(datasets, "train")
        counts = [len(dataset.train) for dataset in datasets]
        often = tempered(counts, config.batch.temperature)
        repeats = [table.repeat * times for table, times in zip(config.dataset, often, strict=True)]
        self.plan: BatchPlan | SeparatePlan
        if separate:
            self.plan = SeparatePlan(datasets, repeats, config, self.per_step)
        else:
            order = Order(counts, config.seed, repeats)
            self.plan = BatchPlan(self.structures, order, config.batch, per_step=self.per_step, streams=self.streams)
        self.division = self._division(potential, tasks=config.parallel.tasks)

    def _division(self, potential: Potential, *, tasks: bool) -> Division:
        if not tasks or self.group.size == 1:
            return Division(potential, self.group)
        if not isinstance(self.plan, SeparatePlan):
            raise ValueError(
                "parallel.tasks gives processes the heads of their data sets alone, and with batch.mixed = true a batch"
                " holds structures of all of them; leave batch.mixed out"
            )
        return Divided(potential, self.group, self.plan.owners(self.group.size))

    def check_share(self) -> None:
        """Raise ValueError where there are more processes than batches in a step."""
        if self.group.size > self.per_step:
            raise ValueError(
                f"{self.group.size} processes share batch.per_step = {self.per_step} batches, and some would have"
                f" nothing to do; set batch.per_step to {self.group.size} or more, or start fewer"
            )

    def idle(self) -> float:
        """Share of the batches of an epoch that are empty because data sets are through at different times."""
        return self.plan.idle() if isinstance(self.plan, SeparatePlan) else 0.0

    def steps(self, epoch: int, over: Sequence[int]) -> Iterator[list[Batch]]:
        """The batches of this process in each step of an epoch, of which so many are over."""
        start = over or [0] * len(self.plan.counts())
        return self.plan.steps(epoch, start, (self.group.rank, self.group.size))

    def after_step(self, over: Sequence[int]) -> list[int]:
        """Batches of the epoch that are over after another step."""
        counts = self.plan.counts()
        return [before + count for before, count in zip(over or [0] * len(counts), counts, strict=True)]
