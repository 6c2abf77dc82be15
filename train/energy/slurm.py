"""Slurm's accounting: what the nodes of the job step have used, as its energy plugin measures it."""

from __future__ import annotations

import shutil
import subprocess

from train.energy.place import Place
from train.energy.source import NEVER, NotHereError

ASKED_AT_MOST_EVERY_S = 30.0
"""Each call starts a program that asks the daemons of all nodes; they measure as seldom (JobAcctGatherFrequency)."""

PATIENCE_S = 20.0
PLUGIN = "AcctGatherEnergyType"
NO_PLUGIN = ("", "(null)", "none")


class Slurm:
    """Joules of all nodes of the job step that this process is in: of whole nodes, whoever else is on them.

    Args:
        place: of the process.

    Raises:
        NotHereError: no step of a job, no program of Slurm's, or no plugin that measures energy.
    """

    words = "slurm"
    covers = frozenset({"cpu", "gpu"})
    interval_s = NEVER
    lasting = True

    def __init__(self, place: Place) -> None:
        job = place.environment.get("SLURM_JOB_ID")
        if not job:
            raise NotHereError("this process is in no job of Slurm")
        step = f"{job}.{place.environment.get('SLURM_STEP_ID', 'batch')}"  # scripts of jobs are a step without number
        self.key, self._clock, self._path = f"slurm/{step}", place.clock, place.environment.get("PATH", "")
        try:
            plugin = _plugin(_output("scontrol", ["show", "config"], self._path))
            if plugin in NO_PLUGIN:
                raise NotHereError(f"this Slurm measures no energy: {PLUGIN} is {plugin or 'not set'}")
            self._question = ["--noheader", "--parsable2", f"--jobs={step}", "--format=ConsumedEnergyRaw"]
            self._asked, self._began = self._clock(), self._ask()
        except OSError as error:
            raise NotHereError(f"{error.strerror or error}") from None
        self._last = self._began

    def joules(self) -> float:
        """See `Source`."""
        if self._clock() - self._asked >= ASKED_AT_MOST_EVERY_S:
            self._asked = self._clock()
            self._last = max(self._last, self._ask())
        return self._last - self._began

    def close(self) -> None:
        """Nothing is held."""

    def _ask(self) -> float:
        told = _output("sstat", self._question, self._path).strip()
        if not told.isdecimal() or int(told) >= 2**32 - 2:  # Slurm's "no value", in 32 and in 64 bits
            raise OSError(0, f"sstat tells {told[:40]!r} for the energy of {self.key}, no joules")
        return float(told)


def _plugin(config: str) -> str:
    lines = [line.partition("=") for line in config.splitlines()]
    told = next((value.strip() for name, _, value in lines if name.strip() == PLUGIN), "")
    return told.removeprefix("acct_gather_energy/")


def _output(program: str, options: list[str], path: str) -> str:
    """What one of Slurm's programs says.

    Raises:
        OSError: it is not there, fails, or takes too long.
    """
    found = shutil.which(program, path=path)
    if found is None:
        raise OSError(0, f"there is no program {program} on the PATH")
    try:
        done = subprocess.run(  # noqa: S603 - Slurm's own, of the user's PATH
            [found, *options], capture_output=True, text=True, check=False, timeout=PATIENCE_S
        )
    except subprocess.TimeoutExpired:
        raise OSError(0, f"{program} does not answer within {PATIENCE_S:g} s") from None
    if done.returncode:
        raise OSError(0, f"{program} fails: {done.stderr.strip()[:200] or done.returncode}")
    return done.stdout
