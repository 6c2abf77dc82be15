"""What uncertainties are worth: coverage of calibrated intervals and rank correlation with true errors, set by set.

    python -m benchmarks.uncertainty split --data DATA --runs RUNS       # files held back, and run files
    for s in 0 1 2 3 4 5 6 7; do gfm-ase train RUNS/acac.toml --set seed=$s --set output=RUNS/acac_$s; done
    for s in 0 1 2 3; do gfm-ase train RUNS/mp.toml --set seed=$s --set output=RUNS/mp_$s; done
    python -m benchmarks.uncertainty measure --data DATA --runs RUNS --pictures RUNS --json RUNS/uncertainty.json
    python -m benchmarks.uncertainty halves --demo FOLDER                # one half by the other, 50 times

DATA has the folders acac, mptrj_1k, mpf_tp and random_tp with their published splits; nothing is learnt from, chosen by
or calibrated on a test split. With `--demo FOLDER` (of `make demo`; more seeds of its run file in FOLDER/run_1, ...)
the demo's data sets stand in the table too. An ensemble is all checkpoints of a kind, a last layer that of the first.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.machine import describe
from benchmarks.uncertainty_cases import Case, acac, demo, mptrj, split_acac, split_mptrj
from benchmarks.uncertainty_ways import WAYS, Judged, coverage_in_halves, judge
from gfm_ase.calibration_picture import calibration_figure
from gfm_ase.commands.uncertainty_table import UNITS, coverage_cell
from gfm_ase.plots import save_figure
from train.calibration.measures import ALL

app = typer.Typer(add_completion=False)

DATA = Annotated[Path, typer.Option(help="Folder of the data sets.")]
RUNS = Annotated[Path, typer.Option(help="Folder of what was split off and trained.")]


@app.command()
def split(data: DATA, runs: RUNS) -> None:
    """Hold back every sixth frame of acac at 300 K, and every sixth composition of mptrj_1k; write run files."""
    runs.mkdir(parents=True, exist_ok=True)
    for line in (split_acac(data, runs), split_mptrj(data, runs)):
        print(line)


@app.command()
def measure(
    data: DATA,
    runs: RUNS,
    demo_folder: Annotated[Path | None, typer.Option("--demo", help="Folder of `make demo`.")] = None,
    pictures: Annotated[Path | None, typer.Option(help="Folder to draw into.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="File for the numbers.")] = None,
) -> None:
    """Calibrate on what was held back, and measure on every set."""
    console = Console(width=150)
    console.print(describe())
    cases = [*acac(data, runs), *mptrj(data, runs), *(demo(demo_folder) if demo_folder else [])]
    table = Table("set", "way", "quantity", "structures", "90 % hold", "Spearman", "of values", "RMSE", "half-width")
    numbers = []
    for case in cases:
        for way in WAYS:
            found = judge(case, way, console)
            for row, record in _rows(case, found):
                table.add_row(*row)
                numbers.append({"case": case.name, "way": way, **record})
            if found and pictures is not None:
                sets = {one.label: (one.samples, one.calibration) for one in found}
                name = f"uncertainty_{case.name}_{way.replace(' ', '_')}.png"
                save_figure(calibration_figure(sets, f"{case.name}, {way}"), pictures / name)
        table.add_section()
    console.print(table)
    if json_file is not None:
        json_file.write_text(json.dumps(numbers, indent=1))


@app.command()
def halves(
    demo_folder: Annotated[Path, typer.Option("--demo", help="Folder of `make demo`.")],
    draws: Annotated[int, typer.Option(help="How often the walks are parted in two.")] = 50,
) -> None:
    """The demo's validation and test walks, one half calibrated by the other, again and again."""
    console = Console(width=150)
    table = Table("set", "way", "quantity", "90 % hold: mean", "standard deviation", "lowest", "highest")
    for case in demo(demo_folder):
        for way in WAYS:
            for one in judge(case, way, console):
                for quantity, sample in one.samples.items():
                    shares = [100 * share for share in coverage_in_halves(sample, draws)]
                    numbers = (statistics.mean(shares), statistics.pstdev(shares), min(shares), max(shares))
                    table.add_row(case.name, way, quantity, *(f"{number:.1f}" for number in numbers))
    console.print(table)


def _rows(case: Case, found: list[Judged]) -> Iterator[tuple[list[str], dict[str, object]]]:
    for one in found:
        for quantity, groups in one.measures.items():
            whole = groups[ALL]
            at = whole.at(0.9)
            _, unit, factor = UNITS[quantity]
            width = "" if at is None else f"{factor * at.half_width:.3g}"
            ranks = (f"{whole.spearman:.2f}", f"{whole.spearman_of_values:.2f}")
            cells = [coverage_cell(whole), *ranks, f"{factor * whole.rmse:.3g}", width]
            record: dict[str, object] = {
                "set": one.label,
                "quantity": quantity,
                "structures": whole.structures,
                "coverage_90": None if at is None else at.found,
                "spearman": whole.spearman,
                "spearman_of_values": whole.spearman_of_values,
                "rmse": whole.rmse,
                "half_width_90": None if at is None else at.half_width,
                "miscalibration": whole.miscalibration,
            }
            yield [f"{case.name}: {one.label}", one.way, f"{quantity}, {unit}", f"{whole.structures}", *cells], record


if __name__ == "__main__":
    app()
