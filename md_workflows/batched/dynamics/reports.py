"""The reporters of many runs: each run has its own, all of one kind."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError

from md_workflows.analysis.blocks import State
from md_workflows.analysis.registry import Wish
from md_workflows.analysis.reporter import join, split
from md_workflows.analysis.reporting import Reporting
from md_workflows.batch_files import SYNCS, BatchFiles
from md_workflows.batched.models import Model
from md_workflows.structures import one_line


class Reports:
    """What is asked of every run, and what was gathered of each.

    Args:
        wishes: as for `Reporting`.
        files: tables are written there whenever the state is; None writes nothing.
        state: what a restart goes on from, empty at the beginning.

    Raises:
        ValueError: an unknown or repeated reporter, or settings that are refused.
    """

    def __init__(self, wishes: Sequence[Wish], files: BatchFiles | None, state: State) -> None:
        self._wishes, self._files = wishes, files
        self._blank = Reporting(wishes)
        self._runs: dict[int, Reporting] = {}
        for key, own in split(state).items():
            self._run(int(key)).restore(own)
        self._unwritten = set(self._runs)  # what a kill has left of their tables may be newer than the state

    @property
    def intervals(self) -> list[int]:
        """Steps from look to look, of all reporters."""
        return sorted({reporter.interval for reporter in self._blank.reporters.values()})

    def check_model(self, model: Model, name: str) -> None:
        """Raise ValueError where the model cannot give what a reporter needs."""
        self._blank.check_stress(model.has_stress, name)
        self._blank.check_uncertainty(model.outputs, name)

    def check(self, atoms: Atoms) -> None:
        """Raise ValueError where a structure cannot give what a reporter needs."""
        self._blank.check_volume(atoms)

    def look(self, key: int, frame: Atoms) -> str:
        """Show a frame, with its step and time, to the reporters of a run that are due; tells why one refuses it."""
        self._unwritten.add(key)
        try:
            self._run(key).observe(frame, frame.info["step"], frame.info["time_fs"])
        except (ValueError, PropertyNotImplementedError) as error:
            return one_line(error)
        return ""

    def of(self, key: int) -> Reporting:
        """The reporters of a run that has ended, their tables written; kept on only where a state can hold them."""
        run = self._run(key)
        run.write()
        self._unwritten.discard(key)
        if self._files is None:
            del self._runs[key]
        return run

    def write(self) -> None:
        """Write the tables of all runs whose reporters have seen something since."""
        if self._files is not None and self._unwritten:
            with ThreadPoolExecutor(SYNCS) as pool:
                list(pool.map(lambda key: self._runs[key].write(), sorted(self._unwritten)))
            self._unwritten = set()

    def state(self) -> State:
        """Everything a restart needs, by run."""
        return join({str(key): run.state() for key, run in sorted(self._runs.items())})

    def _run(self, key: int) -> Reporting:
        if key not in self._runs:
            beside = None if self._files is None else self._files.beside(key)
            self._runs[key] = Reporting(self._wishes, beside)
        return self._runs[key]
