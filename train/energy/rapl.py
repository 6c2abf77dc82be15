"""RAPL: what the processor packages of a host have used, of which a process takes its share."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from train.energy.cpu_time import busy_seconds
from train.energy.place import Place
from train.energy.source import NotHereError, Rising, read_number, read_text

POWERCAP = "sys/class/powercap"
LEAST_S = 0.1
"""Of processor time in an interval, for /proc/stat counts in hundredths of a second."""


class Rapl:
    """Joules of all packages of the host, by the share of its busy processor time that is this process's.

    Several runs on a host, and several processes of one, so add up to what the packages used, and none counts what
    others did. What idle cores use is shared out in the same way: a run that is alone on a host has all of it.

    Args:
        place: of the process.

    Raises:
        NotHereError: there are no packages with a counter, or it may not be read.
    """

    words = "rapl"
    covers = frozenset({"cpu"})
    interval_s = 60.0  # counters of 65 kJ are through in some 4 minutes at 270 W
    lasting = False

    def __init__(self, place: Place) -> None:
        self.key = f"rapl/{place.host}/{place.process}"
        domains = _packages(place.root / POWERCAP)
        try:
            self._counters = [
                Rising(partial(read_number, path / "energy_uj"), read_number(path / "max_energy_range_uj"))
                for path in domains
            ]
            self._busy = Rising(lambda: busy_seconds(place.root))
        except PermissionError as error:
            raise NotHereError(
                f"{error.filename} may not be read by this user, for since 2020 kernels let root alone;"
                " an administrator can give it to a group by a udev rule"
            ) from None
        except OSError as error:
            raise NotHereError(f"{error.filename} does not answer ({error.strerror})") from None
        self._own = Rising(place.cpu_seconds)
        self._energy, self._busy_s, self._own_s, self._total_J = 0.0, 0.0, 0.0, 0.0

    def joules(self) -> float:
        """See `Source`."""
        self._energy += sum(counter.update() for counter in self._counters) / 1e6
        self._busy_s += self._busy.update()
        self._own_s += max(0.0, self._own.update())
        if self._busy_s >= LEAST_S:
            self._total_J += self._energy * min(1.0, self._own_s / self._busy_s)
            self._energy = self._busy_s = self._own_s = 0.0
        return self._total_J

    def close(self) -> None:
        """Nothing is held."""


def _packages(folder: Path) -> list[Path]:
    """Folders of the packages: not of their cores and memory, which are inside, nor of the whole machine (psys)."""
    found = []
    for path in sorted(folder.glob("intel-rapl:*")):
        try:
            name = read_text(path / "name").strip()
        except OSError:
            continue
        if path.name.count(":") == 1 and name.startswith("package"):
            found.append(path)
    if not found:
        raise NotHereError(f"there is no processor package in /{POWERCAP}")
    return found
