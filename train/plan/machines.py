"""Machines that training can be planned on: nodes, links, power, and where each figure is from."""

from __future__ import annotations

import math
import tomllib
from dataclasses import MISSING, dataclass, fields
from pathlib import Path

GB = 1e9
MOST_RANKS = 1 << 20


@dataclass(frozen=True)
class Machine:
    """Nodes of several devices, one process on each; links in both directions at once.

    Attributes:
        name: for people.
        nodes: how many there are.
        ranks_per_node: devices of a node that a process is started for.
        inside: bytes/s from one device to the next of the node.
        between: bytes/s out of a node, all its network cards together.
        latency_inside: s for a message to the next device of the node, software included.
        latency_between: s for a message to another node, software included.
        attained: share of these bandwidths that collectives reach.
        node_watts: power of a node with its part of the network; 0 where nothing is known.
        storage: bytes/s that a process writes a checkpoint with.
        crowding: how many times slower a device computes when all of its node do.
        spare_cores: whether batches are assembled by cores that do not compute, whatever the number of processes.
        sources: where the figures are from, and which are assumed.
    """

    name: str
    nodes: int
    ranks_per_node: int
    inside: float
    between: float
    latency_inside: float
    latency_between: float
    attained: float
    node_watts: float
    storage: float
    crowding: float = 1.0
    spare_cores: bool = True
    sources: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in {"name", "sources", "spare_cores"}:
                continue
            wanted = int if field.name in {"nodes", "ranks_per_node"} else (int, float)
            least = 0 if field.name in {"latency_inside", "latency_between", "node_watts"} else math.ulp(0.0)
            if not isinstance(value, wanted) or isinstance(value, bool) or not least <= value < math.inf:
                whole = "whole number" if wanted is int else "number"
                above = "0 or more" if least == 0 else "above 0"
                raise ValueError(f"machine {self.name!r}: {field.name} is {value!r}; it must be a {whole}, {above}")
        if self.attained > 1:
            raise ValueError(f"machine {self.name!r}: attained is {self.attained:g}; it is a share, 1 at most")

    @property
    def ranks(self) -> int:
        """Of the whole machine."""
        return self.nodes * self.ranks_per_node

    def nodes_of(self, ranks: int) -> int:
        """Nodes that so many ranks take."""
        return -(-ranks // self.ranks_per_node)


ASSUMED = (
    "assumed: collectives attain 0.7 of the bandwidths; 5 µs and 10 µs a message inside and between nodes, software"
    " included; a process writes a checkpoint with 1 GB/s"
)

MACHINES = {
    "frontier": Machine(
        name="frontier",
        nodes=9408,
        ranks_per_node=8,
        inside=50 * GB,
        between=100 * GB,
        latency_inside=5e-6,
        latency_between=10e-6,
        attained=0.7,
        node_watts=22_703e3 / 9216,
        storage=1 * GB,
        sources=(
            "4 MI250X of 2 GCDs a node, 4 network cards of 25 GB/s, 50 to 200 GB/s between GCDs, of which the least:"
            " OLCF, Frontier User Guide",
            "9,408 nodes: OLCF's system as of 2022; the guide lists more by now",
            "power: 22,703 kW (TOP500, June 2023, Linpack) over the 9,216 nodes that its 8,699,904 cores are",
            ASSUMED,
        ),
    ),
    "perlmutter": Machine(
        name="perlmutter",
        nodes=1792,
        ranks_per_node=4,
        inside=100 * GB,
        between=100 * GB,
        latency_inside=5e-6,
        latency_between=10e-6,
        attained=0.7,
        node_watts=2_945e3 / 1792,
        storage=1 * GB,
        sources=(
            "1,792 nodes of 4 A100, 4 Slingshot-11 network cards of 25 GB/s, third-generation NVLink of 100 GB/s"
            " between each two: NERSC, Perlmutter Architecture",
            "power: 2,945 kW (TOP500, June 2023, Linpack) over the 1,792 nodes that its 888,832 cores are",
            ASSUMED,
        ),
    ),
}

HERE = "here"
"""This machine: its links are measured, see `train.plan.here`."""


def find_machine(text: str) -> Machine:
    """A machine by name, or from a TOML file that sets the attributes of `Machine`.

    Raises:
        ValueError: neither of both, or a file that lacks an attribute, has another or a wrong value.
    """
    if text in MACHINES:
        return MACHINES[text]
    path = Path(text)
    if path.suffix != ".toml" or not path.is_file():
        raise ValueError(
            f"--machine {text}: known are {', '.join(MACHINES)} and {HERE}; or name a TOML file with"
            f" {', '.join(field.name for field in fields(Machine))}"
        )
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is no TOML: {error}") from None
    names = [field.name for field in fields(Machine)]
    for name in given:
        if name not in names:
            raise ValueError(f"{path}: {name} is no attribute of a machine; there are {', '.join(names)}")
    needed = [field.name for field in fields(Machine) if field.default is MISSING]
    missing = [name for name in needed if name not in given]
    if missing:
        raise ValueError(f"{path}: {', '.join(missing)} is missing; a machine has {', '.join(needed)}")
    return Machine(**{**given, "sources": tuple(given.get("sources", ()))})


def parse_ranks(text: str, machine: Machine) -> tuple[int, ...]:
    """Numbers of processes: `16..16384` doubles from the first to the last, `1,2,4` are those given.

    Raises:
        ValueError: something else, a number below 1, or more processes than the machine has devices.
    """
    shape = "write FIRST..LAST, which doubles from the first on, such as 16..16384, or numbers with commas between"
    first, dots, last = text.partition("..")
    try:
        numbers = [int(part) for part in ((first, last) if dots else text.split(","))]
    except ValueError:
        raise ValueError(f"--ranks {text}: {shape}") from None
    if min(numbers) < 1 or (dots and numbers[0] > numbers[1]):
        raise ValueError(f"--ranks {text}: numbers of processes are 1 or more, and the first is the least; {shape}")
    most = MOST_RANKS if machine.name == HERE else machine.ranks
    if max(numbers) > most:
        raise ValueError(
            f"--ranks {text}: {machine.name} has {machine.nodes:,} nodes of {machine.ranks_per_node} devices, which is"
            f" {most:,} processes at most"
        )
    if not dots:
        return tuple(sorted(set(numbers)))
    doubled = [numbers[0]]
    while doubled[-1] * 2 < numbers[1]:
        doubled.append(doubled[-1] * 2)
    return tuple(sorted({*doubled, numbers[1]}))
