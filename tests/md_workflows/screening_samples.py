"""What workers of the tests import: engines that count, hang or kill, and a property of our own."""

import os
import signal
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.calculators.emt import EMT

from md_workflows import ASEEngine, Asked, Outcome, RelaxSettings
from md_workflows.engine import Engine, evaluate_many
from md_workflows.properties.base import Column, Measured, Property
from md_workflows.settings import Settings


@dataclass(frozen=True)
class CountingFactory:
    """EMT whose every relaxation is a line of `log`; structures with a charge of 13 kill the process, if so asked."""

    log: Path
    kills: bool = False
    identity: str = "EMT"

    def __call__(self) -> Engine:
        return _Counting(self)


@dataclass(frozen=True)
class Telling:
    """An engine that cannot be built, for it says what it would be built with."""

    identity: str = "telling"

    def __call__(self) -> Engine:
        raise ValueError(f"GPU {os.environ['CUDA_VISIBLE_DEVICES']}, threads {os.environ['OMP_NUM_THREADS']}")


@dataclass(frozen=True)
class Broken:
    """An engine that cannot be built."""

    identity: str = "broken"

    def __call__(self) -> Engine:
        raise ValueError("model.safetensors: there is no such file")


@dataclass(frozen=True)
class Deadly:
    """An engine that ends the process with whatever it is given."""

    identity: str = "deadly"

    def __call__(self) -> Engine:
        return _Deadly()


class _Deadly:
    identity = "deadly"

    def relax_many(self, structures: Iterable[Atoms], settings: RelaxSettings) -> Iterator[Outcome]:
        os._exit(9)


class _Counting:
    def __init__(self, factory: CountingFactory) -> None:
        self._factory = factory
        self._engine = ASEEngine(EMT())

    @property
    def identity(self) -> str:
        return self._factory.identity

    def relax_many(self, structures: Iterable[Atoms], settings: RelaxSettings) -> Iterator[Outcome]:
        return self._engine.relax_many(self._noted(structures), settings)

    def _noted(self, structures: Iterable[Atoms]) -> Iterator[Atoms]:
        for atoms in structures:
            if self._factory.kills and atoms.info.get("charge") == 13:
                os.kill(os.getpid(), signal.SIGKILL)
            with self._factory.log.open("a") as log:
                log.write(f"{os.getpid()} {atoms.get_chemical_formula()} {atoms.info.get('name', '')}\n")
            yield atoms


class DensitySettings(Settings):
    """scale: of the values."""

    scale: float = 1.0


def density(structures: Sequence[Atoms], engine: Engine, settings: DensitySettings) -> list[Measured]:
    """Atoms per Å³, by one evaluation of each; raises for all when silver is among them."""
    outcomes = {outcome.index: outcome for outcome in evaluate_many(engine, structures)}
    assert len(outcomes) == len(structures)
    if any(47 in atoms.numbers for atoms in structures):
        raise ValueError("no density of silver")
    return [
        Measured(
            {"density_per_A3": settings.scale * len(atoms) / atoms.get_volume(), "dense": True, "kind": "1e5"},
            curves={"line": ([0.0, 1.0], [1.0, 2.0])},
            structures={"half": atoms[:1]},
        )
        for atoms in structures
    ]


def most_dense(rows: Sequence[Any], settings: DensitySettings) -> list[Measured]:
    """How much less dense than the densest of the table."""
    most = max((row["density_per_A3"] for row in rows if "density_per_A3" in row), default=0.0)
    return [
        Measured({"below_densest_per_A3": most - row["density_per_A3"]}) if "density_per_A3" in row else Measured()
        for row in rows
    ]


COLUMNS = (
    Column("density_per_A3", "atoms in a volume"),
    Column("dense", "always"),
    Column("kind", "a text that looks like a number"),
)
DENSITY = Property("atoms in a volume", COLUMNS, DensitySettings, density)
DENSEST = Property(
    "atoms in a volume, and how far from the most",
    (*COLUMNS, Column("below_densest_per_A3", "distance from the densest")),
    DensitySettings,
    density,
    finish=most_dense,
)


def asked(scale: float = 1.0, sample: Property = DENSITY) -> Asked:
    return Asked.of("density", sample, DensitySettings(scale=scale))
