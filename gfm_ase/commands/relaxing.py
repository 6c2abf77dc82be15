"""The options of relaxation, which `relax` and `screen` share."""

from typing import Annotated, Any, TypeAlias

import typer

import md_workflows

OPTIMIZER: TypeAlias = Annotated[str, typer.Option("--optimizer", help="fire (robust), lbfgs or bfgs (fewer steps).")]
FMAX: TypeAlias = Annotated[
    float, typer.Option("--fmax", help="Converged when every force is below this, in eV/Å.", metavar="EV_PER_A")
]
MAX_STEPS: TypeAlias = Annotated[
    int, typer.Option("--max-steps", help="Give up after this many steps; 0 only evaluates.", metavar="NUMBER")
]
CELL: TypeAlias = Annotated[
    bool, typer.Option("--cell/--fixed-cell", help="Relax the cell too (the structure has to be periodic).")
]
MASK: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--mask",
        help="With --cell: the strains that are free, of xx,yy,zz,yz,xz,xy; all by default. "
        "For a slab open along z: xx,yy,xy.",
        metavar="LIST",
        show_default=False,
    ),
]
HYDROSTATIC: TypeAlias = Annotated[
    bool, typer.Option("--hydrostatic", help="With --cell: relax the volume only, keep the shape.")
]
CONSTANT_VOLUME: TypeAlias = Annotated[
    bool, typer.Option("--constant-volume", help="With --cell: relax the shape only, keep the volume.")
]
PRESSURE: TypeAlias = Annotated[
    float, typer.Option("--pressure-GPa", help="With --cell: outer pressure in GPa; positive compresses.")
]


def cell_values(mask: str | None, hydrostatic: bool, constant_volume: bool, pressure: float) -> dict[str, Any]:
    """What was asked of the cell, as values of CellSettings; what was left out is not in it."""
    values: dict[str, Any] = {}
    if mask is not None:
        values["mask"] = _mask(mask)
    if hydrostatic:
        values["hydrostatic"] = True
    if constant_volume:
        values["constant_volume"] = True
    if pressure != 0.0:
        values["pressure_GPa"] = pressure
    return values


def relax_settings(
    optimizer: str, fmax: float, max_steps: int, cell: bool, values: dict[str, Any], *, uncertainty: Any = None
) -> Any:
    """The RelaxSettings for these options; raises ValueError for a cell option without --cell."""
    if values and not cell:
        raise ValueError(
            "--mask, --hydrostatic, --constant-volume and --pressure-GPa are about the cell; add --cell to relax it."
        )
    given = {"optimizer": optimizer, "fmax": fmax, "max_steps": max_steps, "cell": values if cell else None}
    given["uncertainty"] = uncertainty
    return md_workflows.parse_settings(md_workflows.RelaxSettings, given)


def _mask(text: str) -> tuple[bool, ...]:
    strains = ("xx", "yy", "zz", "yz", "xz", "xy")
    asked = [part.strip() for part in text.split(",")]
    unknown = [part for part in asked if part not in strains]
    if unknown:
        raise ValueError(f"--mask {text}: '{unknown[0]}' is no strain; write a list of {','.join(strains)}.")
    return tuple(strain in asked for strain in strains)
