"""Data sets in memory: read, checked, split, with graphs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from ase.data import chemical_symbols

from potentials.quantities import QUANTITIES, TRAINABLE, Quantity
from potentials.structures import graph_from_atoms
from train.config import DatasetConfig, RunConfig
from train.frame import Frame
from train.geometry import geometry_digest
from train.labelled import Labelled
from train.reading import overlooked, read_frames
from train.reading_outputs import labelled
from train.sieve import Progress, Sieve

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
        fingerprint: SHA-256 of the content of each split, wherever its files lie.
        dropped: how many frames were left out, by reason.
        warnings: what a person should know about this data set, a sentence each.
    """

    name: str
    index: int
    train: list[Labelled]
    valid: list[Labelled]
    test: list[Labelled]
    fingerprint: dict[str, str]
    dropped: dict[str, int] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def split(self, name: str) -> list[Labelled]:
        """The structures of "train", "valid" or "test"."""
        assert name in SPLITS, name
        structures: list[Labelled] = getattr(self, name)
        return structures

    @property
    def counts(self) -> dict[str, int]:
        """Structures in each split."""
        return {split: len(self.split(split)) for split in SPLITS}

    def elements(self, split: str) -> tuple[str, ...]:
        """Symbols of the elements in a split, by atomic number."""
        numbers = {number for one in self.split(split) for number in one.graph.numbers.tolist()}
        return tuple(chemical_symbols[number] for number in sorted(numbers))

    @property
    def quantities(self) -> tuple[str, ...]:
        """The labels that the training split knows."""
        names = self.train[0].known if self.train else TRAINABLE
        return tuple(name for name in names if any(bool(one.known[name].any()) for one in self.train))

    @property
    def of_energies(self) -> bool:
        """Whether the training split knows anything of an energy or its derivatives; without, it teaches outputs."""
        return not set(TRAINABLE).isdisjoint(self.quantities)


def load_datasets(config: RunConfig, progress: Progress | None = None) -> list[Dataset]:
    """All data sets of a run, in the order of its heads.

    Args:
        config: of the run.
        progress: told what is done after every hundred structures.

    Raises:
        ValueError: as `read_frames`; a frame without a graph (unless `on_bad` is "drop"); a split whose files hold
            nothing that can be used, or too few structures for a validation split.
    """
    return [_load(index, config, progress) for index in range(len(config.dataset))]


def union(datasets: Sequence[Dataset], split: str) -> list[Labelled]:
    """The structures of one split of all data sets, one after the other: what a `BatchPlan` counts."""
    return [one for dataset in datasets for one in dataset.split(split)]


def geometry_hash(structure: Labelled) -> bytes:
    """`geometry_digest` of a structure."""
    graph = structure.graph
    state = float(graph.charge[0]), float(graph.spin[0])
    return geometry_digest(graph.numbers.numpy(), graph.positions.numpy(), graph.cell.numpy(), graph.pbc.numpy(), state)


def _load(index: int, config: RunConfig, progress: Progress | None) -> Dataset:
    settings = config.dataset[index]
    sieve = Sieve(settings.name, settings.on_bad)
    splits: dict[str, list[Labelled]] = {}
    notes: list[str] = []
    outputs = [output.quantity for output in config.potential.output]
    for split in SPLITS:
        frames = read_frames(settings, split, outputs=outputs, sieve=sieve, progress=progress)
        if split == "train":
            notes += overlooked(settings, frames)
        what = f"graphs of {settings.name} {split}"
        make = partial(label, cutoff=config.potential.backbone.cutoff, dataset=index, outputs=outputs)
        splits[split] = _with_graphs(frames, make, sieve, (what, progress))
        if getattr(settings, split) and not splits[split]:
            raise ValueError(f"data set {settings.name!r}: no frame of {split} is left; {' '.join(sieve.report())}")
    if settings.held_back:
        chosen = held_back(splits["train"], settings, config.seed)
        splits["valid"] = [splits["train"][number] for number in chosen]
        splits["train"] = [one for number, one in enumerate(splits["train"]) if number not in set(chosen)]
    return Dataset(
        name=settings.name,
        index=index,
        **splits,
        fingerprint={split: _fingerprint(structures) for split, structures in splits.items()},
        dropped=dict(sieve.counts),
        warnings=sieve.report() + notes + _repeated(splits),
    )


def _with_graphs(
    frames: Sequence[Frame], make: Callable[[Frame], Labelled], sieve: Sieve, told: tuple[str, Progress | None]
) -> list[Labelled]:
    what, progress = told
    structures = []
    for done, frame in enumerate(frames, start=1):
        try:
            structures.append(make(frame))
        except ValueError as error:
            sieve.reject(frame.source, "bad structure", str(error))
        if progress and (done % 100 == 0 or done == len(frames)):
            progress(what, done, len(frames))
    return structures


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


def held_back(structures: Sequence[Labelled], config: DatasetConfig, seed: int) -> list[int]:
    """Which structures of the training files become the validation split, ascending.

    Random by seed and name of the data set, so that another data set in the run file changes nothing here. The last
    training structure of an element stays: nothing could be said about the element without it.

    Raises:
        ValueError: none can be held back.
    """
    wanted = max(1, round(config.held_back * len(structures)))
    name = int.from_bytes(hashlib.sha256(config.name.encode()).digest()[:8], "big")
    elements = [set(one.graph.numbers.tolist()) for one in structures]
    left = {number: sum(number in those for those in elements) for number in set().union(*elements)}
    chosen: list[int] = []
    for index in np.random.default_rng([seed, name]).permutation(len(structures)).tolist():
        if len(chosen) == wanted:
            break
        if all(left[number] > 1 for number in elements[index]):
            chosen.append(index)
            for number in elements[index]:
                left[number] -= 1
    if not chosen:
        raise ValueError(
            f"data set {config.name!r}: none of its {len(structures)} training structures can be held back for "
            "validation without taking the last one of an element; name valid files, or set valid_fraction = 0"
        )
    return sorted(chosen)


def _fingerprint(structures: Sequence[Labelled]) -> str:
    digest = hashlib.sha256()
    for one in structures:
        graph = one.graph
        values = [graph.numbers, graph.positions, graph.cell, graph.pbc, graph.charge, graph.spin]
        values += [values_of[name] for name in one.known for values_of in (one.known, one.labels)]
        for value in values:
            digest.update(value.numpy().tobytes())
    return digest.hexdigest()


def _repeated(splits: dict[str, list[Labelled]]) -> list[str]:
    """A line for each pair of splits that share geometries: errors on the second then promise too much."""
    hashes = {split: [geometry_hash(one) for one in structures] for split, structures in splits.items()}
    lines = []
    for first, second in (("train", "valid"), ("train", "test"), ("valid", "test")):
        known = dict(zip(reversed(hashes[first]), reversed(splits[first]), strict=True))
        twins = [(one, known[key]) for key, one in zip(hashes[second], splits[second], strict=True) if key in known]
        if twins:
            lines.append(
                f"{len(twins)} of {len(splits[second])} {second} structures are also in {first}; the first is "
                f"{twins[0][0].source[0]}, the same as {twins[0][1].source[0]}"
            )
    return lines
