"""`gfm-ase neb`: the minimum energy path between two structures."""

from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer
from rich.console import Console

import md_workflows
from gfm_ase.commands import calculator
from gfm_ase.commands.announce import announce
from gfm_ase.commands.options import CHECKPOINT, COMPILE, DEVICE, DTYPE, HEAD
from gfm_ase.commands.relaxing import FMAX, MAX_STEPS

INITIAL: TypeAlias = Annotated[
    Path, typer.Argument(metavar="INITIAL", help="Where the path begins; the last frame counts.", show_default=False)
]
FINAL: TypeAlias = Annotated[
    Path, typer.Argument(metavar="FINAL", help="Where it ends: the same atoms in the same order.", show_default=False)
]
OUTPUT: TypeAlias = Annotated[
    Path, typer.Option("--output", "-o", help="All images with energies and forces (.extxyz or .traj); is replaced.")
]
IMAGES: TypeAlias = Annotated[int, typer.Option("--images", help="Images between the ends.", metavar="NUMBER")]
INTERPOLATION: TypeAlias = Annotated[str, typer.Option("--interpolation", help="The first path: idpp or linear.")]
RELAX_ENDS: TypeAlias = Annotated[bool, typer.Option("--relax-ends/--keep-ends", help="Relax both ends first.")]
CLIMB: TypeAlias = Annotated[
    bool, typer.Option("--climb/--no-climb", help="Let the highest image climb onto the saddle.")
]
SPRING: TypeAlias = Annotated[
    float, typer.Option("--spring", help="Springs between images, in eV/Å².", metavar="EV_PER_A2")
]


def neb(  # noqa: PLR0913, PLR0917 - typer: every option is an argument
    checkpoint: CHECKPOINT,
    initial: INITIAL,
    final: FINAL,
    output: OUTPUT = Path("neb.extxyz"),
    images: IMAGES = 5,
    interpolation: INTERPOLATION = "idpp",
    relax_ends: RELAX_ENDS = True,
    climb: CLIMB = True,
    spring: SPRING = 0.1,
    fmax: FMAX = 0.05,
    max_steps: MAX_STEPS = 500,
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
    given = locals()
    values = {name: given[name] for name in md_workflows.NEBSettings.model_fields if name in given}
    settings = md_workflows.parse_settings(md_workflows.NEBSettings, values)
    ends = md_workflows.read_structure(initial), md_workflows.read_structure(final)
    driver = calculator.build_calculator(checkpoint, head, device, dtype, compiled, ends)
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
