"""What `screen` does with its options."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

import md_workflows
from gfm_ase.commands import calculator
from gfm_ase.commands.announce import announce
from gfm_ase.commands.spreading import LateBar, chosen_executor, counted

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""


@dataclass(frozen=True)
class CheckpointEngine:
    """Builds the engine of a checkpoint, here or in a worker."""

    checkpoint: Path
    head: str | None
    device: str
    dtype: str | None
    compiled: bool
    identity: str

    @classmethod
    def of(cls, checkpoint: Path, head: str | None, device: str, dtype: str | None, compiled: bool) -> CheckpointEngine:
        """The engine of these options; what the file holds, and not its name, tells it from others."""
        from potentials.models.registry import find_checkpoint

        checkpoint = find_checkpoint(checkpoint)
        if not checkpoint.is_file():
            raise ValueError(f"{checkpoint}: there is no such file")
        with checkpoint.open("rb") as handle:
            digest = hashlib.file_digest(handle, "sha256").hexdigest()
        identity = f"{digest} head={head} dtype={dtype}"
        return cls(checkpoint, head, device, dtype, compiled, identity)

    def __call__(self) -> Any:
        """The engine; raises ValueError for what cannot be loaded."""
        driver = calculator.build_calculator(self.checkpoint, self.head, self.device, self.dtype, self.compiled)
        return md_workflows.engine_for(driver, self.identity)


@dataclass(frozen=True)
class What:
    """Structures, where results go (also: suffixes beside the usual), and which properties, with their settings."""

    structures: list[Path]
    index: str
    output: Path
    table: str | None
    also: tuple[str, ...]
    fresh: bool
    properties: str
    settings: Path | None


@dataclass(frozen=True)
class How:
    """Relaxation, what counts as done, and where it is computed."""

    relax: Any
    duplicates: float | None
    retry_failed: bool
    export_only: bool
    workers: int | None
    executor: str | None
    chunk: int


@dataclass(frozen=True)
class Screening:
    """One call of the command."""

    what: What
    how: How
    factory: CheckpointEngine

    def run(self) -> None:
        """Check everything, open the workers, screen, and say what came out."""
        tables = read_tables(self.what.settings)
        settings = self._settings(tables)
        files = md_workflows.ScreenFiles.beside(self.what.output, table=self.what.table, also=self.what.also)
        streamed = md_workflows.read_structures(self.what.structures, self.what.index)
        console = Console()
        with self._engine(tables.get("executor", {})) as engine, ExitStack() as stack:
            if engine is None:  # a process of MPI that has done its work for another
                return
            progress = LateBar("screening", console, stack)
            items = counted(streamed, console, stack)
            try:
                result = md_workflows.screen(
                    items, files, settings, engine=engine, resume=not self.what.fresh, progress=progress
                )
            except KeyboardInterrupt:
                stack.close()
                announce(
                    console, f"Interrupted; {progress.told} in {files.place}. The same command goes on from there."
                )
                raise typer.Exit(INTERRUPTED) from None
        counts = ", ".join(f"{number} {status}" for status, number in sorted(result.counts.items()))
        announce(
            console,
            f"{len(result.numbers)} structures: {counts} ({result.resumed} known from the table).",
            f"Table: {files.place}",
            *_of_candidates(result),
            *(f"{path.suffix[1:]}: {path}" for path in files.outputs),
        )

    def _settings(self, tables: Mapping[str, Mapping[str, Any]]) -> md_workflows.ScreenSettings:
        names = [name.strip() for name in self.what.properties.split(",")]
        chosen = [name for name in names if name != "relax"]
        if "relax" not in names and self.how.relax.uncertainty is not None:
            raise ValueError(
                "--max-uncertainty looks at structures that come out of a relaxation; add relax to --property "
                "(--max-steps 0 only evaluates)."
            )
        asked = asked_properties(chosen, {name: table for name, table in tables.items() if name != "executor"})
        return md_workflows.ScreenSettings(
            relax=self.how.relax if "relax" in names else None,
            asked=asked,
            duplicates=self.how.duplicates,
            retry_failed=self.how.retry_failed,
            export_only=self.how.export_only,
        )

    def _engine(self, table: Mapping[str, Any]) -> AbstractContextManager[Any]:
        """The engine, or its like on the workers of an executor."""
        if self.how.export_only:
            return nullcontext(_Absent(self.factory.identity))
        chosen = chosen_executor(self.how.executor, self.how.workers, table)
        if chosen is None:
            return nullcontext(self.factory())
        return _spread(*chosen, self.factory, self.how.chunk)


def _of_candidates(result: md_workflows.ScreenResult) -> list[str]:
    if result.candidates is None:
        return []
    return [f"Candidates for labelling: {result.n_candidates} in {result.candidates}"]


@contextmanager
def _spread(name: str, values: Mapping[str, Any], factory: CheckpointEngine, chunk: int) -> Iterator[Any]:
    with md_workflows.open_pool(name, values) as pool:
        yield None if pool is None else md_workflows.Spread(factory, pool, chunk)


@dataclass(frozen=True)
class _Absent:
    """Stands for the engine where nothing is computed."""

    identity: str

    def relax_many(self, structures: Iterable[Any], settings: Any) -> Iterator[Any]:
        """Never called."""
        raise AssertionError(f"--export-only computes {structures} with {settings}")


def read_tables(path: Path | None) -> dict[str, dict[str, Any]]:
    """The tables of a settings file; raises ValueError for a file that is none."""
    if path is None:
        return {}
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"{path} cannot be read as TOML ({error}).") from None
    stray = [name for name, table in tables.items() if not isinstance(table, dict)]
    if stray:
        raise ValueError(f"{path}: '{stray[0]}' stands in no table; begin one, as in [eos], above it.")
    return tables


def asked_properties(names: list[str], tables: Mapping[str, Mapping[str, Any]]) -> tuple[md_workflows.Asked, ...]:
    """The properties of these names with the settings of `tables`; raises ValueError for what there is not."""
    from md_workflows.properties import PROPERTIES

    for name in names:
        if name not in PROPERTIES:
            near = get_close_matches(name, ["relax", *PROPERTIES], n=1)
            hint = f"did you mean '{near[0]}'? " if near else ""
            raise ValueError(f"--property: '{name}' is not known; {hint}there are {', '.join(['relax', *PROPERTIES])}.")
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ValueError(f"--property names {', '.join(sorted(twice))} twice; once is enough.")
    idle = sorted(set(tables) - set(names))
    if idle:
        raise ValueError(f"the settings of [{idle[0]}] are of no use: --property does not ask for it.")
    return tuple(
        md_workflows.Asked.of(
            name, PROPERTIES[name], md_workflows.parse_settings(PROPERTIES[name].settings, tables.get(name, {}))
        )
        for name in names
    )
