"""The meter of a run: sources of all its processes, each thing counted once."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable

import torch
from rich.markup import escape

from train.config_energy import EnergyConfig
from train.energy.account import NOT_METERED, Account
from train.energy.place import Place, place_of
from train.energy.registry import Chosen, choose, estimates
from train.energy.source import Source
from train.group import Group
from train.progress import Reporter


class Meter:
    """Joules of a run since it was made.

    Where a source would miss something between two readings (power that is integrated, counters that wrap) a thread
    looks at it. A source that is lost is told once; what it has counted stays, and an estimate goes on from there.

    Args:
        config: powers for estimates.
        place: of this process.
        group: the processes of the run.
        chosen: sources of this process.
        say: told what went wrong.
    """

    def __init__(
        self, config: EnergyConfig, place: Place, group: Group, chosen: Chosen, say: Callable[[str], None]
    ) -> None:
        self._config, self._place, self._group, self._say = config, place, group, say
        self._sources: list[Source] = chosen.sources
        self._counted = {source.key: (source.words, 0.0) for source in self._sources}
        self._told: dict[str, float] = {}
        self._remarks: list[str] = []
        self._lock, self._over = threading.Lock(), threading.Event()
        interval = min((source.interval_s for source in self._sources), default=math.inf)
        if interval < math.inf:
            threading.Thread(target=self._watch, args=(interval,), name="energy", daemon=True).start()

    def read(self, account: Account) -> None:
        """Add what all processes have used since the last call to an account; all of them call this."""
        if self._config.source == "none":
            account.add({}, NOT_METERED)
            return
        with self._lock:
            self._update(self._sources)
            message = json.dumps({"counted": self._counted, "remarks": self._remarks}).encode()
            self._remarks = []
        counted: dict[str, tuple[str, float]] = {}
        remarks: dict[str, None] = {}
        for told in map(json.loads, self._group.share(message)):
            remarks |= dict.fromkeys(told["remarks"])
            for key, (words, joules) in told["counted"].items():
                # what several processes look at is counted once; one that looked later saw more
                counted[key] = (words, max(joules, counted.get(key, (words, 0.0))[1]))
        for remark in remarks:
            self._say(remark)
        totals: dict[str, float] = {}
        for words, joules in counted.values():
            totals[words] = totals.get(words, 0.0) + joules
        account.add(
            {words: joules - self._told.get(words, 0.0) for words, joules in totals.items()}, " + ".join(totals)
        )
        self._told = totals

    def close(self) -> None:
        """Let go of the sources; `read` is not called any more."""
        self._over.set()
        with self._lock:
            for source in self._sources:
                source.close()
            self._sources = []

    def _update(self, sources: list[Source]) -> None:
        for source in list(sources):
            try:
                self._counted[source.key] = (source.words, source.joules())
            except OSError as error:
                self._lose(source, error)

    def _lose(self, source: Source, error: OSError) -> None:
        reason = f"energy: {source.words} does not answer ({error.strerror or error})"
        if source.lasting:
            self._remarks.append(f"{reason}; what was counted last stands until it does")
            return
        self._remarks.append(f"{reason}; what was counted stays, and an estimate goes on from here")
        self._sources.remove(source)
        source.close()
        others = estimates(self._config, self._place, source.covers)
        self._counted |= {other.key: (other.words, 0.0) for other in others}
        self._sources += others

    def _watch(self, interval: float) -> None:
        while not self._over.wait(interval):
            with self._lock:
                self._update([source for source in self._sources if source.interval_s < math.inf])


def open_meter(config: EnergyConfig, device: torch.device, group: Group, reporter: Reporter) -> Meter:
    """The meter of a run; all its processes call this.

    Args:
        config: which sources, and powers for estimates.
        device: that this process computes on.
        group: the processes of the run.
        reporter: told what is metered, and what goes wrong.

    Raises:
        ValueError: the source that is asked for is not there.
    """
    place = place_of(device)
    chosen = choose(config, place, group)
    if config.source == "auto":
        reporter.say(f"energy: {escape(chosen.describe())}")
    return Meter(config, place, group, chosen, reporter.warn)
