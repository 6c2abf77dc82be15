"""Where there is no counter: processor time, or time on a GPU, by a power. An estimate, and called so everywhere."""

from __future__ import annotations

from train.config_energy import EnergyConfig
from train.energy.account import ESTIMATE
from train.energy.place import Place
from train.energy.source import NEVER
from train.energy.watts import core_watts, gpu_watts


class EstimatedCores:
    """A core needs its power while this process keeps it busy, and nothing else needs any.

    Memory, fans, losses of power supplies and what idle cores take are left out.

    Args:
        config: may give the power.
        place: of the process.
    """

    covers = frozenset({"cpu"})
    interval_s = NEVER
    lasting = True

    def __init__(self, config: EnergyConfig, place: Place) -> None:
        self._watts = config.watts_per_core or core_watts(place.root)
        self.words = f"{ESTIMATE}: busy cores x {self._watts:.3g} W"
        self.key = f"{self.words}/{place.host}/{place.process}"
        self._seconds, self._began = place.cpu_seconds, place.cpu_seconds()
        self._most = 0.0

    def joules(self) -> float:
        """See `Source`."""
        # a child that nobody waited for takes its time with it
        self._most = max(self._most, self._watts * (self._seconds() - self._began))
        return self._most

    def close(self) -> None:
        """Nothing is held."""


class EstimatedGpu:
    """A GPU needs its full power all the time, which is too much where it waits.

    Args:
        config: may give the power.
        place: of the process.
    """

    covers = frozenset({"gpu"})
    interval_s = NEVER
    lasting = True

    def __init__(self, config: EnergyConfig, place: Place) -> None:
        assert place.gpu is not None, "no GPU to estimate"
        self._watts = config.gpu_watts or gpu_watts(place.gpu.name)
        self.words = f"{ESTIMATE}: GPUs x {self._watts:.3g} W"
        self.key = f"{self.words}/{place.gpu_key}"
        self._clock, self._began = place.clock, place.clock()

    def joules(self) -> float:
        """See `Source`."""
        return self._watts * (self._clock() - self._began)

    def close(self) -> None:
        """Nothing is held."""
