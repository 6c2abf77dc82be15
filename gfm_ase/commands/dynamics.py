"""The options of `gfm-ase md`, named as the settings they become."""

from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

ENSEMBLE: TypeAlias = Annotated[
    str,
    typer.Option(
        "--ensemble",
        help="One of nve, langevin, bussi, nose_hoover_chain, npt_isotropic, npt, npt_langevin_isotropic, "
        "npt_langevin.",
    ),
]
STEPS: TypeAlias = Annotated[int, typer.Option("--steps", help="Steps in all, also over restarts.")]
TIMESTEP: TypeAlias = Annotated[float, typer.Option("--timestep-fs", help="Time step in fs; 0.5 with hydrogen.")]
TEMPERATURE: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--temperature-K",
        help="Temperature in K; all but nve need it. 300..1000 goes from one to the other over all steps, "
        "300..1000/5000 over 5000 steps.",
        metavar="K",
        show_default=False,
    ),
]
PRESSURE: TypeAlias = Annotated[
    str | None,
    typer.Option("--pressure-GPa", help="Pressure in GPa, for npt... [0]; 0..5 as for temperatures.", metavar="GPA"),
]
FRICTION: TypeAlias = Annotated[
    float | None, typer.Option("--friction-per-fs", help="Friction in 1/fs, for langevin [0.01].")
]
TDAMP: TypeAlias = Annotated[
    float | None,
    typer.Option(
        "--tdamp-fs", help="Thermostat's time in fs, for bussi, nose_hoover_chain, npt and npt_isotropic [100]."
    ),
]
PDAMP: TypeAlias = Annotated[float | None, typer.Option("--pdamp-fs", help="Barostat's time in fs, for npt... [1000].")]
INITIAL_TEMPERATURE: TypeAlias = Annotated[
    float | None,
    typer.Option(
        "--initial-temperature-K",
        help="Draw new velocities at this temperature in K. By default those of the file are kept; where it has "
        "none they are drawn at --temperature-K (nve: at rest).",
    ),
]
SEED: TypeAlias = Annotated[
    int, typer.Option("--seed", help="Of the velocities and of the noise of langevin and bussi.")
]
OUTPUT: TypeAlias = Annotated[
    Path,
    typer.Option(
        "--output",
        "-o",
        help="Trajectory (.traj, .extxyz or .h5); log .csv and state .state.npz beside it. Of many runs: a directory "
        "of this name without suffix, in which each has a trajectory of this kind.",
    ),
]
FRAME_INTERVAL: TypeAlias = Annotated[int, typer.Option("--trajectory-interval", help="Steps from frame to frame.")]
LOG_INTERVAL: TypeAlias = Annotated[int, typer.Option("--log-interval", help="Steps from row to row of the log.")]
STATE_INTERVAL: TypeAlias = Annotated[
    int, typer.Option("--state-interval", help="Steps from state to state that a restart can begin at.")
]
REPORT: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--report",
        help="Observe the run, and write tables beside the trajectory (NAME.rdf.csv, ...): by commas, temperature, "
        "energy, pressure, rdf, msd, vacf, uncertainty.",
        show_default=False,
    ),
]
RESTART: TypeAlias = Annotated[
    bool, typer.Option("--restart", help="Continue exactly where the output stopped; begin if there is none.")
]
OVERWRITE: TypeAlias = Annotated[bool, typer.Option("--overwrite", help="Replace an existing output.")]
REPLICAS: TypeAlias = Annotated[
    int, typer.Option("--replicas", help="So many runs of each structure, with seeds that count up.", min=1)
]
MAX_DRIFT: TypeAlias = Annotated[
    float | None,
    typer.Option("--max-drift-eV-per-atom", help="Stop a run whose conserved energy has drifted by more."),
]
MIN_DISTANCE: TypeAlias = Annotated[
    float | None,
    typer.Option(
        "--min-distance-of-radii", help="Stop a run with atoms closer than this part of their covalent radii."
    ),
]
TOO_HOT: TypeAlias = Annotated[
    float | None, typer.Option("--max-temperature-K", help="Stop a run whose temperature is above this.")
]


def schedule(option: str, text: str | None, steps: int) -> Any:
    """The number or ramp that an option's text means; None for none.

    Raises:
        ValueError: it is neither a number nor two with dots between them.
    """
    if text is None:
        return None
    try:
        if ".." not in text:
            return float(text)
        ends, _, over = text.partition("/")
        start, end = (float(part) for part in ends.split(".."))
        return {"start": start, "end": end, "steps": int(over) if over else max(steps, 1)}
    except ValueError:
        raise ValueError(
            f"{option} {text}: write a number, or a ramp as 300..1000 or 300..1000/5000 (steps)."
        ) from None
