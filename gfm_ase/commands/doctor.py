"""`gfm-ase doctor`: a verdict on a checkpoint, or on any ASE calculator."""

from pathlib import Path
from typing import IO, Annotated, Any

import typer
from rich.console import Console

from gfm_ase.commands.announce import announce
from gfm_ase.commands.options import COMPILE, DEVICE, DTYPE, HEAD

FILES = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="[CHECKPOINT] [STRUCTURE]...",
        help="The checkpoint or the name of a model of the package (left out with --calculator), then structure files"
        " in any format that ASE reads; without structures fitting ones are made.",
        show_default=False,
    ),
]

CALCULATOR = Annotated[
    str | None,
    typer.Option(
        metavar="MODULE:CALLABLE",
        help="Examine another ASE calculator, made by calling this: ase.calculators.emt:EMT. Its code is run.",
    ),
]
SETTINGS = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="A setting of --calculator, such as device=cpu; many times."),
]

TRAINING = Annotated[
    list[Path] | None,
    typer.Option(help="Files of structures it was trained on, to tell what lies outside of them; many times."),
]
ELEMENTS = Annotated[
    str | None,
    typer.Option(help="Symbols that it knows, such as Cu,Al, where it does not tell itself.", show_default=False),
]

NAMES = (
    "determinism, state, batch, noise, translation, rotation, reflection, permutation, lattice_move, supercell,"
    " isolated_atoms, separated, forces, stress, net_force, nve, dimer_scan, path_scan, dimers, contract, elements,"
    " environments, speed"
)
"""Of the checks; written out, so that `--help` need not import them."""


def doctor(  # noqa: PLR0913, PLR0917 - typer: every option is an argument
    files: FILES = None,
    calculator: CALCULATOR = None,
    settings: SETTINGS = None,
    elements: ELEMENTS = None,
    training: TRAINING = None,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="CHECK", help=f"Make this check alone, many times: {NAMES}."),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer structures, directions and steps.")] = False,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write a page for people (.html).")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all numbers to this JSON file.")] = None,
    head: HEAD = None,
    device: DEVICE = "auto",
    dtype: DTYPE = None,
    compiled: COMPILE = False,
) -> None:
    """Examine a checkpoint or any ASE calculator: invariances, derivatives, smoothness, dynamics, coverage, speed.

    Each check is a row: pass, warn, fail, or skipped with the reason. The exit code is 1 where a check failed.

    Example: gfm-ase doctor model.safetensors structures.extxyz --training train.extxyz -o doctor.html
    """
    import md_workflows
    from gfm_ase.doctor import Verdict, examine
    from gfm_ase.doctor.page import check_page
    from gfm_ase.doctor.table import table_of

    _check_outputs(output, json_file, check_page)
    checkpoint, paths = _split(files or [], calculator, settings)
    structures = _read(paths) if paths else None
    known = _read_training(training or [])
    driver = _driver(checkpoint, calculator, settings or [], (head, device, dtype, compiled))
    console = Console()
    with md_workflows.progress_bar("examination", "checks", console) as bar:
        symbols = _symbols(elements)
        report = examine(
            driver, structures, training=known, elements=symbols, only=only or (), quick=quick, progress=bar
        )
    console.print(table_of(report))
    announce(console, report.sentence())
    _write(report, output, json_file, console)
    if report.verdict == Verdict.FAIL:
        raise typer.Exit(1)


def _split(files: list[Path], calculator: str | None, settings: list[str] | None) -> tuple[Path | None, list[Path]]:
    """The checkpoint, and the structure files."""
    if calculator is not None:
        if files and files[0].suffix == ".safetensors":
            raise ValueError(f"--calculator and the checkpoint {files[0]} are both given; leave one out")
        return None, files
    if settings:
        raise ValueError("--set is for --calculator; a checkpoint has --head, --device and --dtype")
    if not files:
        raise ValueError("nothing to examine: give a checkpoint, or --calculator module:callable")
    return files[0], files[1:]


def _driver(checkpoint: Path | None, name: str | None, settings: list[str], how: tuple[Any, ...]) -> Any:
    if checkpoint is None:
        from md_workflows.labelling.named import named_calculator

        head, device, dtype, compiled = how
        if head is not None or device != "auto" or dtype is not None or compiled:
            raise ValueError("--head, --device, --dtype and --compile are for checkpoints; use --set KEY=VALUE")
        assert name is not None
        return named_calculator(name, settings)
    from gfm_ase.commands.calculator import build_calculator

    calculator = build_calculator(checkpoint, *how)
    calculator.warn = False  # strange structures are what a doctor asks for
    return calculator


def _read(paths: list[Path]) -> dict[str, Any]:
    """All structures by file and frame; the first frames are those that are used.

    Raises:
        ValueError: one cannot be read.
    """
    import md_workflows

    found = {}
    for name, structure in md_workflows.read_structures(paths):
        if hasattr(structure, "error"):
            raise ValueError(f"{name}: {structure.error}")
        path, _, frame = name.rpartition(":")
        found[f"{Path(path).name}:{frame}" if len(paths) == 1 else name] = structure
    return found


def _read_training(paths: list[Path]) -> list[Any]:
    return list(_read(paths).values()) if paths else []


def _symbols(text: str | None) -> list[str] | None:
    """Symbols of a list.

    Raises:
        ValueError: one is no element.
    """
    from ase.data import atomic_numbers

    symbols = None if text is None else text.replace(",", " ").split()
    strange = [symbol for symbol in symbols or () if atomic_numbers.get(symbol, 0) == 0]
    if strange or symbols == []:
        raise ValueError(f"--elements {text}: {', '.join(strange) or 'nothing'} is no element; write Cu,Al, say")
    return symbols


def _check_outputs(output: Path | None, json_file: Path | None, check_page: Any) -> None:
    """Before the minutes that the examination may take."""
    from md_workflows.durable import check_directory

    for path in (output, json_file):
        if path is not None:
            check_directory(path)
    if output is not None:
        check_page(output)


def _write(report: Any, output: Path | None, json_file: Path | None, console: Console) -> None:
    from gfm_ase.doctor.page import page_of

    if json_file is not None:
        import json

        _save(json_file, json.dumps(report.as_json(), indent=1, allow_nan=False))
        announce(console, f"JSON: {json_file}")
    if output is not None:
        _save(output, page_of(report))
        announce(console, f"Page: {output}")


def _save(path: Path, text: str) -> None:
    from md_workflows.durable import write_beside

    def write(handle: IO[bytes]) -> None:
        handle.write(text.encode())

    write_beside(path, write)
