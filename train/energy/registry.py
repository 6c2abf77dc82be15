"""The sources of joules, in the order in which they are preferred, and which of them are taken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from train.config_energy import EnergyConfig
from train.energy.account import ESTIMATE
from train.energy.estimate import EstimatedCores, EstimatedGpu
from train.energy.nvml import Nvml
from train.energy.place import Place
from train.energy.rapl import Rapl
from train.energy.rocm import Rocm
from train.energy.slurm import Slurm
from train.energy.source import NotHereError, Source
from train.group import Group


@dataclass(frozen=True)
class Kind:
    """A source.

    Attributes:
        open: raises NotHereError where it cannot be used.
        covers: "cpu", "gpu".
        gpus: kind of the GPUs that it covers, if one only.
    """

    open: Callable[[Place], Source]
    covers: frozenset[str]
    gpus: str | None = None

    def fits(self, place: Place, covered: frozenset[str]) -> bool:
        """Whether it covers a part that is there and not covered."""
        return self.covers <= place.parts - covered and (not self.gpus or place.gpu_kind == self.gpus)


COUNTERS = {
    "nvml": Kind(Nvml, Nvml.covers, "cuda"),
    "rocm": Kind(Rocm, Rocm.covers, "rocm"),
    "rapl": Kind(Rapl, Rapl.covers),
}
"""Of this process, its GPU, its host; each covers a part."""

WHOLE = {"slurm": Kind(Slurm, Slurm.covers)}
"""Of all hosts of the run at once: the first process asks for all."""

ESTIMATES: dict[str, Callable[[EnergyConfig, Place], Source]] = {"cpu": EstimatedCores, "gpu": EstimatedGpu}


@dataclass
class Chosen:
    """Sources that are open in this process, and why others are not."""

    sources: list[Source] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def covered(self) -> frozenset[str]:
        """What they cover."""
        return frozenset().union(*(source.covers for source in self.sources))

    def try_open(self, name: str, kind: Kind, place: Place) -> None:
        """Open one, or note why not."""
        try:
            self.sources.append(kind.open(place))
        except NotHereError as error:
            self.refused.append(f"{name}: {error}")

    def describe(self) -> str:
        """What is metered and, where a part is estimated, why no counter is taken."""
        words = " + ".join(source.words for source in self.sources)
        return "; ".join([words, *self.refused] if ESTIMATE in words else [words])

    def close(self) -> None:
        """Let go of all."""
        for source in self.sources:
            source.close()


def choose(config: EnergyConfig, place: Place, group: Group) -> Chosen:
    """Open the sources of a run; all its processes call this.

    Raises:
        ValueError: the one that is asked for is not there, in some process.
    """
    if config.source == "none":
        return Chosen()
    if config.source == "estimate":
        return Chosen(estimates(config, place, place.parts))
    if config.source != "auto":
        return _forced(config.source, place, group)
    chosen = Chosen()
    for name, kind in COUNTERS.items():
        if kind.fits(place, chosen.covered()):
            chosen.try_open(name, kind, place)
    if any(group.share(b"some" if chosen.sources else b"")):
        chosen.sources += estimates(config, place, place.parts - chosen.covered())
        return chosen
    for name, kind in WHOLE.items():
        if group.first:
            chosen.try_open(name, kind, place)
    if not any(group.share(b"some" if chosen.sources else b"")):
        chosen.sources += estimates(config, place, place.parts)
    return chosen


def estimates(config: EnergyConfig, place: Place, parts: frozenset[str]) -> list[Source]:
    """For parts that have no counter."""
    return [ESTIMATES[part](config, place) for part in sorted(parts)]


def _forced(name: str, place: Place, group: Group) -> Chosen:
    chosen = Chosen()
    if name in COUNTERS:
        chosen.try_open(name, COUNTERS[name], place)
    elif group.first:
        chosen.try_open(name, WHOLE[name], place)
    refused = [reason for reason in group.share("".join(chosen.refused).encode()) if reason]
    if refused:
        chosen.close()
        raise ValueError(f'energy.source = "{name}" cannot be had: {refused[0].decode()}; "auto" takes what there is')
    return chosen
