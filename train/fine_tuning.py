"""Fine-tuning: what a potential takes from a checkpoint, and what of it is learnt further."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from ase.data import chemical_symbols
from rich.markup import escape
from torch import nn

from potentials.checkpoint import CheckpointError, load_single
from potentials.potential import Potential
from train.config import DatasetConfig, FineTuneConfig
from train.config_errors import near
from train.data import Dataset
from train.freezing import chosen, freeze
from train.group import Group
from train.inherited import check_alike
from train.learner import Learner
from train.lora import Factors, dense_weights
from train.moved_e0 import moved_e0
from train.sieve import Progress


class FineTuning:
    """A potential beside the checkpoint that it begins from.

    Args:
        config: `[fine_tune]`.
        potential: with random weights, which are overwritten.

    Attributes:
        origins: head of the checkpoint that a data set begins from, where it does.

    Raises:
        ValueError: no such checkpoint, or it is of another architecture; a head that it has not.
    """

    def __init__(self, config: FineTuneConfig, potential: Potential) -> None:
        self.config, self.potential = config, potential
        try:
            source, _ = load_single(config.start_from)
        except CheckpointError as error:
            raise ValueError(f"fine_tune.start_from: {error}") from None
        check_alike(source.config, potential.config, config.start_from)
        self.source = source.to(potential.device)
        self._given = dict(self.source.named_parameters())
        for name, head in config.heads.items():
            if head not in source.heads:
                raise ValueError(
                    f"fine_tune.heads begins {name!r} from {head!r}; {config.start_from} has the heads"
                    f" {', '.join(source.heads)}{near(head, source.heads)}"
                )
        same = {name: name for name in potential.heads if name in source.heads}
        self.origins = {name: head for name, head in (same | config.heads).items() if name in potential.heads}
        self.fitted: list[str] = []

    def copy_weights(self) -> None:
        """Copy every weight that the checkpoint has."""
        with torch.no_grad():
            for name, weight in self.potential.named_parameters():
                if origin := self._origin(name):
                    weight.copy_(self._given[origin])

    def copy_references(
        self, datasets: Sequence[Dataset], tables: Sequence[DatasetConfig], alike: tuple[Group, Progress]
    ) -> None:
        """Set E0, scale and shift of heads, and of outputs, to those of the checkpoint, weights being copied before.

        Args:
            datasets: those of the heads.
            tables: their settings.
            alike: the processes that begin alike, and who is told how many structures were looked at.

        Raises:
            ValueError: a head knows nothing of an element of its data set; E0 that contradict those of the checkpoint.
        """
        own, given = self.potential.references, self.source.references
        for dataset, table in zip(datasets, tables, strict=True):
            head = self.origins.get(dataset.name)
            if head is None:
                continue
            row = given.heads.index(head)
            scale, shift = float(given.scale_D[row]), float(given.shift_D[row])
            own.set_head(dataset.name, given.e0(head), scale=scale, shift=shift)
            fits = head != dataset.name and self.config.references == "fit"
            if table.e0 != "fit":
                e0 = _given_e0(table, head)
            elif fits and not dataset.of_energies:
                e0 = dict.fromkeys(dataset.elements("train"), 0.0) | given.e0(head)  # its head learns outputs alone
            elif fits:
                e0 = moved_e0(self.potential, dataset, *alike)
                self.fitted.append(dataset.name)
            else:
                e0 = given.e0(head)
            _check_elements(dataset, e0, head, self.config)
            own.set_head(dataset.name, e0, scale=scale, shift=shift)
        self._copy_output_scales()

    def learner(self, seed: int) -> Learner:
        """What is learnt: all that is not frozen, or new heads and factors of dense weights."""
        potential, lora = self.potential, self.config.lora
        freeze(potential, self.config.freeze)
        if lora is None:
            return Learner(potential)
        dense = dense_weights(potential)
        layers = chosen(potential, lora.layers, "fine_tune.lora.layers")
        adapted = [name for name in layers if name in dense and potential.get_parameter(name).requires_grad]
        adapted = [name for name in adapted if self._kept(name)]
        if not adapted:
            raise ValueError(f"fine_tune.lora.layers = {list(lora.layers)} has no dense weight that is not frozen")
        for name, weight in potential.named_parameters():
            weight.requires_grad_(weight.requires_grad and (name in adapted or not self._kept(name)))
        generator = torch.Generator().manual_seed(seed)
        factors = {
            name: Factors(potential.get_parameter(name), lora, generator, input_first=dense[name]) for name in adapted
        }
        return Learner(potential, factors)

    def report(self, datasets: Sequence[Dataset], learner: Learner) -> list[str]:
        """Sentences for a person: what each head begins from, what is left out, what is learnt."""
        lines = [f"[bold]begins from[/bold] {escape(str(self.config.start_from))}"]
        for name in self.potential.heads:
            head = self.origins.get(name)
            if head is None:
                what = "a new head with random weights"
            elif head == name:
                what = "goes on as it is"
            else:
                what = f"begins from {head}, its E0 {'fitted' if name in self.fitted else 'as given or kept'}"
            lines.append(f"  {name}: {what}")
        left = [head for head in self.source.heads if head not in self.origins.values()]
        outputs = {output.name for output in self.potential.config.outputs}
        left += [output.name for output in self.source.config.outputs if output.name not in outputs]
        if left:
            lines.append(f"  [yellow]left out, for nothing here learns it: {', '.join(left)}[/yellow]")
        there = {number for dataset in datasets for number in _numbers(dataset, "train")}
        seen = {int(z) for z in torch.nonzero(self.source.references.known_DZ.any(0))[:, 0]}
        if unseen := [chemical_symbols[z] for z in sorted(there - seen)]:
            lines.append(f"  [yellow]new to the checkpoint, begins at random: {' '.join(unseen)}[/yellow]")
        if self.source.dtype != self.potential.dtype:
            lines.append(
                f"  [yellow]its weights are rounded from {_word(self.source)} to {_word(self.potential)}[/yellow]"
            )
        random = [name for name, _ in self.potential.named_parameters() if self._origin(name) is None]
        total = sum(weight.numel() for weight in self.potential.parameters())
        learnt = sum(weight.numel() for weight in learner.parameters())
        of_these = f"; {len(random)} tensors begin at random" if random else ""
        changes = f", {len(learner.factors)} dense weights by low-rank changes" if learner.factors else ""
        return [*lines, f"  {learnt:,} numbers are learnt, beside {total:,} weights{changes}{of_these}"]

    def _origin(self, name: str) -> str | None:
        """The parameter of the checkpoint that one of the potential begins from."""
        parts = name.split(".")
        place = _place_of_head(parts)
        if place is not None and parts[place] in self.potential.heads:
            head = self.origins.get(parts[place])
            if head is None:
                return None
            parts[place] = head
        origin = ".".join(parts)
        return origin if origin in self._given else None

    def _kept(self, name: str) -> bool:
        """Whether a parameter is the checkpoint's own: not new, and no copy of a head for another data set."""
        return self._origin(name) == name

    def _copy_output_scales(self) -> None:
        for config in self.potential.config.outputs:
            if self.source.outputs is None or config.name not in self.source.outputs.of:
                continue
            assert self.potential.outputs is not None
            own, given = self.potential.outputs.output(config.name), self.source.outputs.output(config.name)
            for name in own.heads:
                head = self.origins.get(name)
                if head is None and config.shared and bool(given.trained_D.any()):
                    head = given.heads[int(given.trained_D.int().argmax())]  # one scale for all that share it
                if head is not None and bool(given.trained_D[row := given.heads.index(head)]):
                    own.set_scale(name, float(given.scale_D[row]), float(given.shift_D[row]))


def _place_of_head(parts: Sequence[str]) -> int | None:
    """Where the head stands in the name of a parameter: behind the `branches` of energies or of an output."""
    first = {"branches": 1, "outputs": 3}.get(parts[0])
    if first is None or "branches" not in parts[first:]:
        return None
    return parts.index("branches", first) + 1


def _numbers(dataset: Dataset, split: str) -> list[int]:
    return [chemical_symbols.index(symbol) for symbol in dataset.elements(split)]


def _given_e0(table: DatasetConfig, head: str) -> dict[str, float]:
    assert table.e0 != "fit"
    if table.name == head:
        raise ValueError(
            f"data set {table.name!r} goes on with a head of the checkpoint, whose E0 it keeps; leave e0 out, or"
            f' give it another name and fine_tune.heads = {{ NAME = "{head}" }}'
        )
    return {symbol: energy * table.energy_factor for symbol, energy in table.e0.items()}


def _check_elements(dataset: Dataset, e0: dict[str, float], head: str, config: FineTuneConfig) -> None:
    present = [symbol for split in ("train", "valid", "test") for symbol in dataset.elements(split)]
    if missing := [symbol for symbol in dict.fromkeys(present) if symbol not in e0]:
        how = (
            f'give the data set another name, and fine_tune.heads = {{ NAME = "{head}" }}, which fits E0'
            if dataset.name == head
            else 'fine_tune.references = "fit" fits those in its training split, dataset.e0 gives them'
        )
        raise ValueError(
            f"data set {dataset.name!r}: there is no E0 of {', '.join(missing)}, for the head {head!r} of"
            f" {config.start_from} does not know of it; {how}"
        )


def _word(module: nn.Module) -> str:
    return str(next(module.parameters()).dtype).removeprefix("torch.")
