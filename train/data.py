"""The data sets of a run: read, checked, split, with graphs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from ase.data import chemical_symbols

from potentials.quantities import QUANTITIES, TRAINABLE, Quantity
from potentials.structures import graph_from_atoms
from train.config import RunConfig
from train.frame import Frame
from train.group import ALONE, Group
from train.labelled import Labelled
from train.reading import overlooked, read_frames
from train.reading_outputs import labelled
from train.sieve import Progress, Sieve
from train.splits import held_back, repeated
from train.store.verified import verify_stores
from train.streaming import streamed, streams
from train.structures import Held, Joined, Structures
from train.summary import Summary, summarise

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class Dataset:
    """One data set; every entry of a split is one structure with its edges.

    Attributes:
        name: that of its head.
        index: its row among the heads.
        train: what is learnt from.
        valid: what the best weights are chosen by.
        test: what is looked at once.
        summaries: of each split.
        fingerprint: SHA-256 of the content of each split, wherever its files lie.
        dropped: how many frames were left out, by reason.
        warnings: what a person should know about this data set, a sentence each.
    """

    name: str
    index: int
    train: Structures
    valid: Structures
    test: Structures
    summaries: Mapping[str, Summary]
    fingerprint: dict[str, str]
    dropped: dict[str, int] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    @staticmethod
    def of(
        name: str, index: int, splits: Mapping[str, Structures], outputs: Sequence[Quantity] = (), group: Group = ALONE
    ) -> Dataset:
        """A data set of given splits, the missing ones empty; nothing was dropped.

        Args:
            name, index, splits: as above.
            outputs: of the potential.
            group: processes that share the work of looking at the structures.
        """
        every = {split: splits.get(split, Held([])) for split in SPLITS}
        return Dataset(
            name=name,
            index=index,
            train=every["train"],
            valid=every["valid"],
            test=every["test"],
            summaries={split: summarise(structures, outputs, group) for split, structures in every.items()},
            fingerprint={split: structures.fingerprint() for split, structures in every.items()},
            warnings=repeated(every),
        )

    def close(self) -> None:
        """Give back what is held of stores; all processes together."""
        for split in SPLITS:
            self.split(split).close()

    def split(self, name: str) -> Structures:
        """The structures of "train", "valid" or "test"."""
        assert name in SPLITS, name
        structures: Structures = getattr(self, name)
        return structures

    @property
    def counts(self) -> dict[str, int]:
        """Structures in each split."""
        return {split: len(self.split(split)) for split in SPLITS}

    @property
    def summary(self) -> Summary:
        """Of the training split."""
        return self.summaries["train"]

    def elements(self, split: str) -> tuple[str, ...]:
        """Symbols of the elements in a split, by atomic number."""
        return tuple(chemical_symbols[number] for number in self.summaries[split].numbers)

    @property
    def quantities(self) -> tuple[str, ...]:
        """The labels that the training split knows."""
        known = self.summary.known
        return (*(name for name in TRAINABLE if name in known), *sorted(known.difference(TRAINABLE)))

    @property
    def of_energies(self) -> bool:
        """Whether the training split knows anything of an energy or its derivatives; without, it teaches outputs."""
        return not self.summary.known.isdisjoint(TRAINABLE)


def load_datasets(config: RunConfig, progress: Progress | None = None, group: Group = ALONE) -> list[Dataset]:
    """All data sets of a run, in the order of its heads.

    Args:
        config: of the run.
        progress: told what is done after every hundred structures.
        group: processes that share the work, where structures are streamed from stores.

    Raises:
        ValueError: as `read_frames`; a frame without a graph (unless `on_bad` is "drop"); a split whose files hold
            nothing that can be used, or too few structures for a validation split.
    """
    verify_stores(config.dataset, progress, group)
    return [_load(index, config, progress, group) for index in range(len(config.dataset))]


def union(datasets: Sequence[Dataset], split: str) -> Structures:
    """The structures of one split of all data sets, one after the other: what a `BatchPlan` counts."""
    return Joined([dataset.split(split) for dataset in datasets])


def _load(index: int, config: RunConfig, progress: Progress | None, group: Group) -> Dataset:
    settings = config.dataset[index]
    sieve = Sieve(settings.name, settings.on_bad)
    splits: dict[str, Structures] = {}
    notes: list[str] = []
    outputs = [output.quantity for output in config.potential.output]
    for split in SPLITS:
        if streams(settings, split):
            splits[split] = streamed(settings, split, config, sieve, (index, progress, group))
        else:
            frames = read_frames(settings, split, outputs=outputs, sieve=sieve, progress=progress)
            if split == "train":
                notes += overlooked(settings, frames)
            what = f"graphs of {settings.name} {split}"
            make = partial(label, cutoff=config.potential.backbone.cutoff, dataset=index, outputs=outputs)
            splits[split] = _with_graphs(frames, make, sieve, (what, progress))
        if getattr(settings, split) and not splits[split]:
            raise ValueError(f"data set {settings.name!r}: no frame of {split} is left; {' '.join(sieve.report())}")
    if settings.held_back:
        seed = config.seed if config.split_seed is None else config.split_seed
        chosen = held_back(splits["train"], settings, seed)
        others = np.setdiff1d(np.arange(len(splits["train"])), chosen, assume_unique=True)
        splits["valid"], splits["train"] = splits["train"].part(chosen), splits["train"].part(others)
    found = Dataset.of(settings.name, index, splits, outputs, group)
    found.dropped.update(sieve.counts)
    found.warnings[:0] = sieve.report() + notes
    return found


def _with_graphs(
    frames: Sequence[Frame], make: Callable[[Frame], Labelled], sieve: Sieve, told: tuple[str, Progress | None]
) -> Held:
    what, progress = told
    structures = []
    for done, frame in enumerate(frames, start=1):
        try:
            structures.append(make(frame))
        except ValueError as error:
            sieve.reject(frame.source, "bad structure", str(error))
        if progress and (done % 100 == 0 or done == len(frames)):
            progress(what, done, len(frames))
    return Held(structures)


def label(frame: Frame, cutoff: float, *, dataset: int = 0, outputs: Sequence[Quantity] = ()) -> Labelled:
    """A frame with its graph, as a batch of one; unknown labels of `outputs` are there, as unknown.

    Raises:
        ValueError: as `graph_from_atoms`: atoms in one place, a repeating direction without a lattice vector, ...
    """
    graph = graph_from_atoms(frame.atoms, cutoff, dataset=dataset)
    given = {"energy": frame.energy, "forces": frame.forces, "stress": frame.stress, **frame.outputs}
    labels, known = {}, {}
    for row in (*(QUANTITIES[name] for name in TRAINABLE), *labelled(outputs)):
        rows, value = graph.size(row.level), given.get(row.name)
        known[row.name] = torch.full((rows,), value is not None)
        numbers = np.zeros((rows, *row.shape)) if value is None else np.asarray(value, dtype=np.float64)
        labels[row.name] = torch.from_numpy(numbers.reshape(rows, *row.shape))
    return Labelled(graph, labels, known, (frame.source,))
