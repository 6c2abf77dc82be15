"""`gfm-ase neb`: the minimum energy path between two structures."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

import md_workflows
from gfm_ase.commands import calculator
from gfm_ase.commands.announce import announce
from gfm_ase.commands.options import CHECKPOINT, COMPILE, DEVICE, DTYPE, HEAD

INITIAL = Annotated[
    Path, typer.Argument(metavar="INITIAL", help="Where the path begins; the last frame counts.", show_default=False)
]
FINAL = Annotated[
    Path,
    typer.Argument(metavar="FINAL", help="Where it ends: the same atoms in the same order.", show_default=False),
]


def neb(  # noqa: PLR0913, PLR0917 - typer: every option is an argument
    checkpoint: CHECKPOINT,
    initial: INITIAL,
    final: FINAL,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="All images with energies and forces (.extxyz or .traj); is replaced."),
    ] = Path("neb.extxyz"),
    images: Annotated[int, typer.Option("--images", help="Images between the ends.", metavar="NUMBER")] = 5,
    interpolation: Annotated[str, typer.Option("--interpolation", help="The first path: idpp or linear.")] = "idpp",
    relax_ends: Annotated[bool, typer.Option("--relax-ends/--keep-ends", help="Relax both ends first.")] = True,
    climb: Annotated[
        bool, typer.Option("--climb/--no-climb", help="Let the highest image climb to the saddle.")
    ] = True,
    spring: Annotated[float, typer.Option("--spring", help="Between images, in eV/Å².", metavar="EV_PER_A2")] = 0.1,
    fmax: Annotated[
        float,
        typer.Option(
            "--fmax", help="Converged when every force of the band is below this, in eV/Å.", metavar="EV_PER_A"
        ),
    ] = 0.05,
    max_steps: Annotated[
        int, typer.Option("--max-steps", help="Give up after this many steps.", metavar="NUMBER")
    ] = 500,
    head: HEAD = None,
    device: DEVICE = "auto",
    dtype: DTYPE = None,
    compiled: COMPILE = False,
) -> None:
    """Find the path of least energy between two structures, and its barrier (nudged elastic band).

    FixAtoms constraints in the files are kept. The exit code is 0 when the band converged, 1 when it did not (the band
    reached is written all the same).

    Example: gfm-ase neb model.safetensors before.extxyz after.extxyz --images 7 -o hop.extxyz
    """
    values = {
        "images": images,
        "interpolation": interpolation,
        "relax_ends": relax_ends,
        "climb": climb,
        "spring": spring,
        "fmax": fmax,
        "max_steps": max_steps,
    }
    settings = md_workflows.parse_settings(md_workflows.NEBSettings, values)
    ends = md_workflows.read_structure(initial), md_workflows.read_structure(final)
    driver = calculator.build_calculator(checkpoint, head, device, dtype, compiled)
    console = Console()
    with md_workflows.progress_bar("elastic band", "steps", console) as bar:
        result = md_workflows.neb(*ends, settings, calculator=driver, trajectory=output, progress=bar)
    announce(console, *_report(result), f"Images: {output}")
    if not result.converged:
        raise typer.Exit(1)


def _report(result: Any) -> list[str]:
    verdict = "Converged" if result.converged else "NOT converged"
    return [
        f"{verdict} after {result.steps} steps, largest force of the band {result.fmax:.4g} eV/Å.",
        f"Barrier {result.barrier_eV:.4f} eV, back {result.reverse_barrier_eV:.4f} eV, "
        f"at image {result.saddle} of {len(result.images) - 1}.",
    ]
