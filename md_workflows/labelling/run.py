"""`label`: many structures to a file that training reads at once; what is done is in a durable table."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from typing import IO, Annotated

from ase import Atoms
from pydantic import Field

from md_workflows.durable import check_directory, write_beside
from md_workflows.frames import write_frames
from md_workflows.labelling.calculators import CalculatorSpec
from md_workflows.labelling.labels import LABEL, LabellerFactory
from md_workflows.progress import ProgressCallback
from md_workflows.screening.intake import Item
from md_workflows.screening.outputs import ScreenFiles
from md_workflows.screening.records import Record
from md_workflows.screening.rows import Status
from md_workflows.screening.run import ScreenSettings, screen
from md_workflows.screening.stages import Asked
from md_workflows.screening.table import Reader
from md_workflows.screening.workers import InProcess, Pool, Spread
from md_workflows.settings import Settings

SUFFIX = ".extxyz"


class LabellingSettings(Settings):
    """How structures are labelled.

    timeout_s: of one structure; the calculator is then in a process of its own, which is ended · chunk: structures that
    are worked on, here or by a worker, before the table knows of them · retry_failed: try those again that failed ·
    resume: False forgets what the table holds.
    """

    timeout_s: Annotated[float, Field(gt=0)] | None = None
    chunk: Annotated[int, Field(ge=1)] = 1
    retry_failed: bool = False
    resume: bool = True


@dataclass(frozen=True)
class LabelFiles:
    """Where labels are: the file for training, failures with their reasons, and the table both are written from."""

    labelled: Path
    failures: Path
    table: Path

    @classmethod
    def of(cls, output: str | Path) -> LabelFiles:
        """The names that follow from one: new.extxyz has new.failures.csv and new.db beside it.

        Raises:
            ValueError: another suffix, or a folder that is not there.
        """
        path = Path(output)
        if path.suffix != SUFFIX:
            raise ValueError(f"{path}: labels are written as {SUFFIX}, and not as '{path.suffix}'.")
        check_directory(path)
        return cls(path, path.with_suffix(".failures.csv"), path.with_suffix(".db"))


@dataclass(frozen=True)
class LabelResult:
    """How labelling ended. labelled, failed: structures · duplicates: equal to others, and left out · resumed: how many
    were known from the table."""

    labelled: int
    failed: int
    duplicates: int
    resumed: int
    files: LabelFiles


def label(
    structures: Iterable[Item],
    output: str | Path | LabelFiles,
    calculator: CalculatorSpec,
    settings: LabellingSettings | None = None,
    *,
    pool: Pool | None = None,
    progress: ProgressCallback | None = None,
) -> LabelResult:
    """Label every structure as it is; a failure is a row with its reason, never the end of the run.

    The file holds each structure once, in the order of the input, with what its info and arrays held, its labels as
    ASE keeps results, and `label_calculator` and `label_version` in info. Structures that are labelled are in the
    table; the same call goes on after any end.

    Args:
        structures: Atoms or (identifier, Atoms); a stream is read once.
        output: an .extxyz file, see `LabelFiles`.
        calculator: what labels.
        settings: see `LabellingSettings`.
        pool: workers (`open_pool`); without, this process labels.
        progress: called with the number done and the total.

    Raises:
        ValueError: no such calculator, a file that cannot be written, a table in use, an identifier twice.
        RuntimeError: workers that die whatever they are given.
    """
    files = output if isinstance(output, LabelFiles) else LabelFiles.of(output)
    chosen = settings or LabellingSettings()
    factory = LabellerFactory(calculator, chosen.timeout_s)
    with _computer(factory, pool, chosen.chunk) as engine:
        result = screen(
            structures,
            ScreenFiles(str(files.table), "", ()),
            ScreenSettings(None, (Asked.of("label", LABEL),), retry_failed=chosen.retry_failed),
            engine=engine,
            resume=chosen.resume,
            progress=progress,
        )
    found = (labelled_atoms(record, calculator) for record in _records(files, result.numbers))
    write_frames(files.labelled, (atoms for atoms in found if atoms is not None))
    failed = result.count(Status.FAILED)
    _write_failures(files.failures, _records(files, result.numbers) if failed else None)
    return LabelResult(result.count(Status.MEASURED), failed, result.count(Status.DUPLICATE), result.resumed, files)


@contextmanager
def _computer(factory: LabellerFactory, pool: Pool | None, chunk: int) -> Iterator[InProcess | Spread]:
    """What labels: here, or on the workers of the pool."""
    if pool is not None:
        yield Spread(factory, pool, chunk)
        return
    with closing(factory()) as labeller:
        yield InProcess(labeller, chunk)  # noted as each chunk is done: labels take longer than a table's transaction


def _records(files: LabelFiles, numbers: Sequence[int]) -> Iterator[Record]:
    return (record for _, record in Reader(str(files.table)).read(numbers))


def labelled_atoms(record: Record, calculator: CalculatorSpec) -> Atoms | None:
    """The labelled structure of a row, or none where there is none."""
    if record.row.status is not Status.MEASURED:
        return None
    atoms = record.structures["label"]["labelled"]
    atoms.info |= {"identifier": record.row.identifier, "label_calculator": calculator.words}
    atoms.info["label_version"] = calculator.version
    return atoms


def _write_failures(path: Path, records: Iterator[Record] | None) -> None:
    """A line for each failure; no file where there is none."""
    if records is None:
        with suppress(FileNotFoundError):
            path.unlink()
        return

    def fill(handle: IO[bytes]) -> None:
        text = TextIOWrapper(handle, encoding="utf-8", newline="", write_through=True)
        table = csv.writer(text)
        table.writerow(["identifier", "formula", "n_atoms", "error"])
        for row in (record.row for record in records):
            if row.status is Status.FAILED:
                table.writerow([row.identifier, row.formula, row.n_atoms, row.error.removeprefix("label: ")])
        text.detach()

    write_beside(path, fill)
