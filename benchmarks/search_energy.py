"""Energy that rules save which stop trials early, and what they cost in error: the same search under each.

    python -m benchmarks.search_energy                                # on the recorded trials of the tests
    python -m benchmarks.search_energy --trials runs/recorded/trials.json --picture docs/pictures/early_stopping.png
    GFM_ASE_DATA=... python -m benchmarks.search_energy --live runs/live   # two searches by `gfm-ase search`

Every trial was trained once to its end (`benchmarks.search_trials`); each rule is replayed on these curves as a worker
would have asked it, with what taking on a paused trial costs. As many random orders of the trials as are asked for say
how much of the result is luck. `--live` runs the search twice for real, without rules and with all of them combined.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.search_trials import CLI, EPOCHS, RUN_FILE
from train.search.curves import Curve
from train.search.extrapolation import ExtrapolationConfig, predict_final
from train.search.halving import HalvingConfig, error_by
from train.search.replay import Replayed, curve_of, replay
from train.search.stopping import StoppingConfig, rule_of

RECORDED = Path(__file__).parent.parent / "tests" / "train" / "recorded_trials.json"

RULES = {
    "none": StoppingConfig(),
    "ASHA": StoppingConfig(halving=HalvingConfig()),
    "Hyperband": StoppingConfig(halving=HalvingConfig(brackets="all")),
    "ASHA, 1 of 4 from epoch 2, published": StoppingConfig(
        halving=HalvingConfig(reduction=4, first_rung=2, at_least=0)
    ),
    "extrapolation, 95 %": StoppingConfig(extrapolation=ExtrapolationConfig()),
    "ASHA, 1 of 2, + extrapolation": StoppingConfig(
        halving=HalvingConfig(reduction=2), extrapolation=ExtrapolationConfig(least_finished=1)
    ),
}
COMBINED = "ASHA, 1 of 2, + extrapolation"
LIVE = "ASHA, 1 of 4 from epoch 2, published"

LIVE_PARAMETERS = """
[[parameter]]
key = "potential.backbone.width"
choices = [16, 32, 48, 64]
[[parameter]]
key = "potential.backbone.depth"
choices = [1, 2, 3]
[[parameter]]
key = "potential.backbone.cutoff"
choices = [3.0, 4.0, 5.0]
[[parameter]]
key = "optimizer.learning_rate"
low = 3e-4
high = 2e-2
log = true
[[parameter]]
key = "batch.max_atoms"
choices = [120, 240]
"""


def load(path: Path) -> list[Curve]:
    """Recorded trials, in the order in which they were drawn."""
    trials = json.loads(path.read_text(encoding="utf-8"))
    return [curve_of(number, trial["points"], EPOCHS, trial["cost"]) for number, trial in enumerate(trials)]


def restart_joules(curves: Sequence[Curve]) -> float:
    """What a start costs before its first step: the first epoch's joules without those of the second."""
    extra = [2 * curve.points[0].joules - curve.points[1].joules for curve in curves if len(curve.points) > 1]
    return max(0.0, statistics.median(extra))


def told(name: str, found: Replayed) -> list[str]:
    """A row of the table."""
    wrong = ", ".join(f"{one.curve.trial}" for one in found.wrong)
    return [
        name,
        f"{found.joules:,.0f}",
        f"{found.saved:.2f}",
        f"{found.best:.2f}",
        f"{found.excess:+.1%}",
        f"{len(found.ended)} of {len(found.curves)}",
        str(found.restarts),
        wrong or "none",
    ]


def in_orders(curves: Sequence[Curve], config: StoppingConfig, orders: int, restart: float) -> list[Replayed]:
    """The same trials in random orders."""
    random_ = random.Random(0)  # noqa: S311 - no secret
    found = []
    for _ in range(orders):
        order = random_.sample(list(curves), len(curves))
        # brackets are dealt by number: that of the order
        renamed = [curve_of(number, rows(curve), curve.epochs, curve.cost) for number, curve in enumerate(order)]
        found.append(replay(renamed, rule_of(config), restart_joules=restart))
    return found


def rows(curve: Curve) -> list[tuple[float, float, float, float]]:
    """As they are recorded."""
    return [(point.epoch, point.seconds, point.joules, point.error) for point in curve.points]


def calibration(curves: Sequence[Curve], finished: int, orders: int) -> tuple[int, float, float]:
    """Forecasts by so many finished trials for the others, at every validation from the third on, in random orders.

    Returns:
        how many; shares of them whose final error was below what 95 % are above, and above what 95 % are below.
    """
    random_ = random.Random(1)  # noqa: S311 - no secret
    low, high = [], []
    for _ in range(orders):
        order = random_.sample([curve for curve in curves if curve.state == "finished"], len(curves))
        for curve in order[finished:]:
            for seen in range(3, len(curve.points)):
                so_far = Curve(curve.trial, curve.points[:seen], curve.epochs, cost=curve.cost)
                forecast = predict_final(so_far, order[:finished])
                if forecast is not None:
                    low.append(error_by(curve, curve.epochs) < forecast.quantile(0.05))
                    high.append(error_by(curve, curve.epochs) > forecast.quantile(0.95))
    return len(low), statistics.mean(low), statistics.mean(high)


def draw(path: Path, curves: Sequence[Curve], found: Mapping[str, Replayed]) -> None:
    """Curves with the epochs at which the combined rules ended them; energy against best error."""
    from gfm_ase.plots import new_figure

    figure, (left, right) = new_figure(11.0, 4.4, 2)
    for whole, kept in zip(curves, found[COMBINED].curves, strict=True):
        left.plot(*zip(*((p.epoch, p.error) for p in whole.points), strict=True), color="0.85", linewidth=1, zorder=1)
        finished = kept.state == "finished"
        colour = "#c8553d" if finished else "#1f5fa8"
        left.plot(*zip(*((p.epoch, p.error) for p in kept.points), strict=True), color=colour, linewidth=1.4, zorder=2)
        if not finished:
            marker = "s" if kept.state == "paused" else "x"
            left.plot(kept.points[-1].epoch, kept.points[-1].error, marker, color=colour, markersize=5, zorder=3)
    for marker, colour, label in (
        ("-", "#c8553d", "finished"),
        ("s", "#1f5fa8", "left paused"),
        ("x", "#1f5fa8", "stopped"),
        ("-", "0.85", "not trained"),
    ):
        left.plot([], [], marker, color=colour, label=label)
    left.set(yscale="log", xlabel="epoch", ylabel="validation error, forces RMSE, meV/Å", title=COMBINED)
    left.legend(fontsize=8)
    for number, (name, one) in enumerate(found.items()):
        right.plot(one.joules / 1e3, one.best, "o", color=f"C{number}", label=f"{name}: {one.saved:.1f} ×")
    best = found["none"].best
    right.axhspan(best, 1.02 * best, color="0.9", zorder=0, label="best error, and 2 % more")
    right.set(xlabel="energy, kJ (estimate)", ylabel="best validation error, meV/Å", xlim=(0, None))
    right.set(ylim=(0.98 * best, max(1.06 * best, 1.02 * max(one.best for one in found.values()))))
    right.legend(fontsize=8)
    figure.savefig(path, dpi=110)


def live(folder: Path, trials: int) -> Iterator[tuple[str, Any]]:
    """Both searches for real, by `gfm-ase search`, which goes on with one that was interrupted; their curves."""
    from train.search.config import load_search
    from train.search.study import Study

    folder.mkdir(parents=True, exist_ok=True)
    other = RUN_FILE.replace("acac/train_300K", "ethanol_ccsdt/train").replace(
        "acac", "ethanol"
    )  # not what rules were chosen on
    run = f'output = "run"\n{other}\n[potential.backbone]\nname = "painn"\n[stop]\nepochs = {EPOCHS}\n'
    (folder / "run.toml").write_text(run, encoding="utf-8")
    for name, stopping in (
        ("none", ""),
        ("halving", "[stopping.halving]\nreduction = 4\nfirst_rung = 2\nat_least = 0\n"),
    ):
        search = folder / f"{name}.toml"
        error = '[objectives]\nerror = "valid/ethanol/forces_rmse_eV_per_A"\n'
        settings = f'run = "run.toml"\noutput = "{name}"\n[sampler]\nname = "random"\n[budget]\ntrials = {trials}\n'
        search.write_text(f"{settings}{error}{stopping}{LIVE_PARAMETERS}", encoding="utf-8")
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        subprocess.run([*CLI, "search", str(search), "--no-picture"], check=True, env=environment)  # noqa: S603 - ours
        study = Study(load_search(search))
        yield name, study.curves(study.rows())


def compare_live(folder: Path, trials: int, console: Console) -> None:
    """What the combined rules have saved, and what a replay says that they would."""
    curves = dict(live(folder, trials))
    joules = {name: sum(curve.points[-1].joules for curve in ran if curve.points) for name, ran in curves.items()}
    best = {
        name: min(error_by(curve, curve.epochs) for curve in ran if curve.state == "finished")
        for name, ran in curves.items()
    }
    states = [curve.state for curve in curves["halving"]]
    console.print(
        f"run: {joules['none']:,.0f} J without rules, {joules['halving']:,.0f} J with ASHA, 1 of 4 from epoch 2,"
        f" {joules['none'] / joules['halving']:.2f} times less; best error {best['none']:.5g} and"
        f" {best['halving']:.5g}, {best['halving'] / best['none'] - 1:+.1%}; "
        + ", ".join(f"{states.count(state)} {state}" for state in sorted(set(states)))
    )
    replayed = replay(curves["none"], rule_of(RULES[LIVE]))
    console.print(f"replayed on the first: {replayed.saved:.2f} times less, best error {replayed.excess:+.1%}")


def main(
    trials: Annotated[Path, typer.Option(help="Recorded by benchmarks.search_trials.")] = RECORDED,
    orders: Annotated[int, typer.Option(help="Random orders of the trials.")] = 20,
    picture: Annotated[Path | None, typer.Option(help="PNG to draw.")] = None,
    live_folder: Annotated[Path | None, typer.Option("--live", help="Run two searches in this folder.")] = None,
    live_trials: Annotated[int, typer.Option(help="Trials of each of them.")] = 16,
) -> None:
    """Replay every rule, in the order recorded and in random ones."""
    console = Console(width=150)
    if live_folder is not None:
        compare_live(live_folder, live_trials, console)
        return
    curves = load(trials)
    restart = restart_joules(curves)
    console.print(f"{len(curves)} trials of {EPOCHS} epochs; a start costs {restart:.0f} J")
    table = Table("", "J", "saved ×", "best, meV/Å", "difference", "ended early", "restarts", "better ones ended")
    spread = Table("", "saved ×: median (least to most)", "difference: median, worst", "within 2 %", title="all orders")
    found = {}
    for name, config in track(RULES.items(), description="replaying", console=console, transient=True):
        found[name] = replay(curves, rule_of(config), restart_joules=restart)
        table.add_row(*told(name, found[name]))
        many = in_orders(curves, config, orders, restart)
        saved, excess = sorted(one.saved for one in many), sorted(one.excess for one in many)
        span = f"{statistics.median(saved):.2f} ({saved[0]:.2f} to {saved[-1]:.2f})"
        within = sum(one <= 0.02 for one in excess)
        spread.add_row(name, span, f"{statistics.median(excess):+.1%}, {excess[-1]:+.1%}", f"{within} of {orders}")
    console.print(table, spread)
    for finished in (2, 4, 8):
        count, low, high = calibration(curves, finished, max(1, orders // 5))
        console.print(
            f"{finished} finished trials: of {count} forecasts {low:.1%} had a final error below their 5 % point,"
            f" {high:.1%} above their 95 % point"
        )
    if picture is not None:
        draw(picture, curves, found)


if __name__ == "__main__":
    typer.run(main)
