"""What commands that go over many structures, here or on workers, share: their bars, and which executor is meant."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any

from rich.console import Console

import md_workflows


def chosen_executor(
    executor: str | None, workers: int | None, table: Mapping[str, Any]
) -> tuple[str, dict[str, Any]] | None:
    """Name and settings of the executor of these options and of the table [executor]; none for this process.

    Raises:
        ValueError: settings of no executor.
    """
    values = dict(table)
    name = executor or values.pop("name", None) or ("process" if workers else None)
    values.pop("name", None)
    if name is None:
        if values:
            raise ValueError("[executor] needs a name: process, mpi, dask or parsl; or give --executor.")
        return None
    if workers is not None:
        values["workers"] = workers
    return name, values


class LateBar:
    """A bar that appears with the first structure."""

    def __init__(self, description: str, console: Console, stack: ExitStack) -> None:
        self._description = description
        self._console = console
        self._stack = stack
        self._bar: Any = None
        self.told = "no structure is done"

    def __call__(self, done: int, total: int | None) -> None:
        """Show how many are done."""
        if self._bar is None:
            bar = md_workflows.progress_bar(self._description, "structures", self._console)
            self._bar = self._stack.enter_context(bar)
        self._bar(done, total)
        self.told = f"{done} of {total} structures are done, and"


def counted(streamed: Iterable[Any], console: Console, stack: ExitStack) -> Iterator[Any]:
    """The structures as they are read, with a bar of their own until the last one."""
    with stack.enter_context(ExitStack()) as reading:
        bar = reading.enter_context(md_workflows.progress_bar("reading", "structures", console))
        for number, item in enumerate(streamed, start=1):
            bar(number, None)
            yield item
