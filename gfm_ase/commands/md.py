"""`gfm-ase md`: molecular dynamics of one structure, or of many at once."""

from pathlib import Path
from typing import Any

from rich.console import Console

import md_workflows
from gfm_ase.commands import calculator, doubting, dynamics
from gfm_ase.commands.announce import announce
from gfm_ase.commands.md_batch import Batch, run_batch
from gfm_ase.commands.options import CHECKPOINT, COMPILE, DEVICE, DTYPE, FRAME, HEAD, STRUCTURES

STOCHASTIC = {"langevin", "bussi", "npt_langevin_isotropic", "npt_langevin"}


def md(  # noqa: PLR0913, PLR0917 - typer: every option is an argument
    checkpoint: CHECKPOINT,
    structures: STRUCTURES,
    ensemble: dynamics.ENSEMBLE = "langevin",
    steps: dynamics.STEPS = 1000,
    timestep_fs: dynamics.TIMESTEP = 1.0,
    temperature: dynamics.TEMPERATURE = None,
    pressure: dynamics.PRESSURE = None,
    friction_per_fs: dynamics.FRICTION = None,
    tdamp_fs: dynamics.TDAMP = None,
    pdamp_fs: dynamics.PDAMP = None,
    initial_temperature: dynamics.INITIAL_TEMPERATURE = None,
    seed: dynamics.SEED = 0,
    output: dynamics.OUTPUT = Path("md.traj"),
    trajectory_interval: dynamics.FRAME_INTERVAL = 10,
    log_interval: dynamics.LOG_INTERVAL = 10,
    state_interval: dynamics.STATE_INTERVAL = 100,
    report: dynamics.REPORT = None,
    replicas: dynamics.REPLICAS = 1,
    max_drift: dynamics.MAX_DRIFT = None,
    min_distance: dynamics.MIN_DISTANCE = None,
    too_hot: dynamics.TOO_HOT = None,
    max_uncertainty: doubting.MAX_UNCERTAINTY = None,
    uncertain: doubting.UNCERTAIN = None,
    candidates: doubting.CANDIDATES = None,
    candidate_interval: doubting.CANDIDATE_INTERVAL = None,
    most_candidates: doubting.MOST_CANDIDATES = None,
    restart: dynamics.RESTART = False,
    overwrite: dynamics.OVERWRITE = False,
    index: FRAME = -1,
    head: HEAD = None,
    device: DEVICE = "auto",
    dtype: DTYPE = None,
    compiled: COMPILE = False,
) -> None:
    """Run molecular dynamics of one structure, or of many in one model call.

    Writes a trajectory, a log (CSV: energies in eV, temperature in K, pressure in GPa, volume in Å³) and a state.
    A run that was killed continues with the same command and --restart, bit for bit as if it had not been.
    Several structures, --replicas, a guard, a ramp or npt_langevin... make a batch, which has a directory.

    Example: gfm-ase md model.safetensors silicon.cif --temperature-K 300 --steps 5000 --timestep-fs 2 -o si.traj
    """
    given = locals()
    settings = md_workflows.parse_settings(md_workflows.MDSettings, _values(given))
    atoms = [md_workflows.read_structure(path, index) for path in structures]
    driver = calculator.build_calculator(checkpoint, head, device, dtype, compiled, atoms)
    batch = Batch(atoms, settings, replicas, _guards(given), output, _on_existing(restart, overwrite), report)
    announce(Console(), *(run_batch(batch, driver) if batch.needed else _run_one(batch, driver)))


def _run_one(batch: Batch, driver: Any) -> list[str]:
    """One plain run; returns what is to be said of it."""
    with md_workflows.progress_bar("molecular dynamics", "steps") as bar:
        result = md_workflows.run_md(
            batch.structures[0],
            batch.settings,
            calculator=driver,
            files=batch.output,
            on_existing=batch.on_existing,
            progress=bar,
            reporters=batch.reporters,
        )
    return _report(result)


def _guards(given: dict[str, Any]) -> Any:
    """The guards asked for; None where there are none."""
    limits = {
        "max_drift_eV_per_atom": given["max_drift"],
        "min_distance_of_radii": given["min_distance"],
        "max_temperature_K": given["too_hot"],
    }
    asked = {name: value for name, value in limits.items() if value is not None}
    return md_workflows.parse_settings(md_workflows.MDGuards, asked) if asked else None


def _on_existing(restart: bool, overwrite: bool) -> Any:
    if restart and overwrite:
        raise ValueError("--restart continues the output and --overwrite removes it; give one of them.")
    return "restart" if restart else "overwrite" if overwrite else "error"


def _values(given: dict[str, Any]) -> dict[str, Any]:
    """The options as values of MDSettings; what was not given for the ensemble is left to its defaults."""
    bath = {
        "temperature_K": dynamics.schedule("--temperature-K", given["temperature"], given["steps"]),
        "pressure_GPa": dynamics.schedule("--pressure-GPa", given["pressure"], given["steps"]),
        "friction_per_fs": given["friction_per_fs"],
        "tdamp_fs": given["tdamp_fs"],
        "pdamp_fs": given["pdamp_fs"],
        "seed": given["seed"] if given["ensemble"] in STOCHASTIC else None,
    }
    same = ("steps", "timestep_fs", "trajectory_interval", "log_interval", "state_interval")
    return {
        "ensemble": {
            "name": given["ensemble"],
            **{key: value for key, value in bath.items() if value is not None},
        },
        "initial_temperature_K": given["initial_temperature"],
        "velocity_seed": given["seed"],
        "uncertainty": doubting.policy_values(
            given["max_uncertainty"],
            given["uncertain"],
            given["candidates"],
            interval=given["candidate_interval"],
            most=given["most_candidates"],
        ),
        **{name: given[name] for name in same},
    }


def _of_doubts(result: Any) -> list[str]:
    """What a limit on the uncertainty has met with."""
    if result.doubts is None:
        return []
    above, largest = result.doubts.steps_above, result.doubts.largest
    told = f"Uncertain in {above} of {result.steps + 1} steps, at most {largest:.4g} eV/Å."
    kept = f"Candidates for labelling: {result.doubts.kept} in {result.files.candidates}"
    return [told, *([kept] if result.doubts.kept else [])]


def _report(result: Any) -> list[str]:
    drift = 1000 * result.energies.drift_per_atom
    return [
        f"{result.steps} steps, {result.time_fs:g} fs ({result.steps_run} steps now).",
        f"At the end: {result.temperature_K:.1f} K, total energy {result.energies.total:.6f} eV, "
        f"changed by {drift:+.3f} meV/atom since the start.",
        f"Trajectory: {result.files.trajectory}",
        f"Log: {result.files.log}",
        f"State: {result.files.state}",
        *_of_doubts(result),
        *(f"Report: {path}" for path in result.files.reports if path.exists()),
        *(f"Left out: {reason}" for reason in result.unwritten.values()),
    ]
