"""Does a choice by uncertainty and diversity need fewer labels than a random one?

    python -m benchmarks.active_learning --seeds 3 --picture active_learning.png --json active_learning.json

A pool of molecular dynamics by EMT whose kinds have shares from 60 % to 0.5 % (`benchmarks.alloy_pool`). Three small
PaiNN are trained on a few frames, 15 more are chosen in each round, and training goes on from the checkpoints
(`[fine_tune]`). Errors are those of force components by the first of the three, on independent trajectories: of all
kinds alike (what a potential for all of them needs), and in the shares of the pool. Where uncertainty is not asked for,
the other two are not trained.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import ase.io
import numpy as np
import torch
import typer
from ase import Atoms
from rich.console import Console
from rich.table import Table

from benchmarks.alloy_pool import KINDS, balanced, pool
from benchmarks.machine import describe
from gfm_ase.loading import load
from gfm_ase.plots import new_figure, save_figure
from md_workflows.selection import ModelDescriber, SelectionSettings, select
from md_workflows.selection.picking import NEED_UNCERTAINTY
from md_workflows.settings import parse_settings
from potentials.graph import batch
from potentials.structures import check_elements, graph_from_atoms
from train.config import load_config
from train.loop import train

METHODS = ("random", "diversity", "uncertainty", "both")
WORDS = {
    "random": "random",
    "diversity": "diversity alone",
    "uncertainty": "uncertainty alone",
    "both": "uncertainty × distance",
}
CUTOFF = 4.5
RUN = """
output = "{output}"
seed = {seed}
compile = false
stop.epochs = {epochs}
batch.max_atoms = 64
potential.backbone = {{ width = 32, depth = 2, cutoff = {cutoff} }}
potential.head_width = 32
optimizer.learning_rate = {rate}
[[dataset]]
name = "emt"
train = "train.extxyz"
valid_fraction = 0
"""
GO_ON = '[fine_tune]\nstart_from = "{checkpoint}"\n'


@dataclass(frozen=True)
class Plan:
    """Sizes of everything."""

    pool: int = 1000
    test_each: int = 12
    first: int = 20
    chosen: int = 15
    rounds: int = 4
    members: int = 3
    epochs: int = 100
    more_epochs: int = 20


@dataclass(frozen=True)
class Point:
    """Errors after so many labels. balanced, shares: MAE of force components, meV/Å · kinds: of those chosen."""

    method: str
    seed: int
    labels: int
    balanced: float
    shares: float
    kinds: dict[str, int]


class Data:
    """The pool and the test, shared by all repetitions."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.pool, self.test = plan, pool(plan.pool, seed=0), balanced(plan.test_each, seed=0)

    def begin(self, seed: int) -> list[Atoms]:
        """What is labelled at first: random frames of the pool, and one with each of the elements besides copper."""
        order = np.random.default_rng(seed).permutation(len(self.pool))
        frames = [self.pool[place] for place in order]
        need = [next(atoms for atoms in frames if symbol in atoms.get_chemical_symbols()) for symbol in ("Ni", "Au")]
        others = [atoms for atoms in frames if all(atoms is not one for one in need)]
        return need + others[: self.plan.first - len(need)]


class Committee:
    """Several potentials of one head: how far the members are apart, and the errors of the first."""

    def __init__(self, checkpoints: Sequence[Path]) -> None:
        self.checkpoints = checkpoints
        self.members = [load(path, device="cpu").potential for path in checkpoints]

    def evaluate(self, graph: Any) -> dict[str, torch.Tensor]:
        """The largest standard deviation of a force component among each structure's atoms, for `ModelDescriber`."""
        with torch.no_grad():
            each_MN3 = torch.stack([member(graph)["forces"] for member in self.members])
        spread_N = each_MN3.var(0, correction=1).mean(-1).sqrt()
        largest_G = torch.zeros(graph.n_graphs, dtype=spread_N.dtype)
        return {"uncertainty": largest_G.scatter_reduce(0, graph.graph_index, spread_N, "amax")}

    def errors(self, frames: Sequence[Atoms]) -> dict[str, float]:
        """MAE of force components by the first member, in meV/Å, by kind of frame."""
        found: dict[str, list[float]] = {}
        for first in range(0, len(frames), 100):
            group = frames[first : first + 100]
            with torch.no_grad():
                forces = self.members[0](batch([graph_from_atoms(atoms, CUTOFF) for atoms in group]))["forces"]
            parts = np.split(forces.numpy(), np.cumsum([len(atoms) for atoms in group])[:-1])
            for atoms, part in zip(group, parts, strict=True):
                found.setdefault(atoms.info["kind"], []).append(1e3 * float(np.abs(part - atoms.get_forces()).mean()))
        return {kind: float(np.mean(values)) for kind, values in found.items()}


def trained(
    frames: list[Atoms], folder: Path, plan: Plan, seed: int, *, before: Committee | None = None, members: int
) -> Committee:
    """The members, trained on the frames: from random weights, or on from where they are."""
    folder.mkdir(parents=True)
    ase.io.write(folder / "train.extxyz", frames)
    checkpoints = []
    for member in range(members):
        text = RUN.format(
            output=f"member{member}",
            seed=100 * seed + member,
            epochs=plan.more_epochs if before else plan.epochs,
            rate=2e-3 if before else 5e-3,
            cutoff=CUTOFF,
        )
        if before:
            text += GO_ON.format(checkpoint=before.checkpoints[member])
        (folder / "run.toml").write_text(text)
        result = train(load_config(folder / "run.toml"))
        assert result.checkpoint is not None
        checkpoints.append(result.checkpoint)
    return Committee(checkpoints)


def curve(method: str, seed: int, data: Data, first: Committee, folder: Path) -> list[Point]:
    """Errors along the rounds of one method, from a committee that all methods share."""
    plan, there, committee, points = data.plan, data.begin(seed), first, []
    for turn in range(plan.rounds + 1):
        if turn:
            there += chosen(method, data, there, committee, seed=100 * seed + turn)
            members = plan.members if method in NEED_UNCERTAINTY else 1
            committee = trained(there, folder / f"{method}{turn}", plan, seed, before=committee, members=members)
        errors = committee.errors(data.test)
        balanced_error = float(np.mean(list(errors.values())))
        in_shares = sum(kind.share / 100 * errors[name] for name, kind in KINDS.items())
        kinds = {kind: sum(atoms.info["kind"] == kind for atoms in there) for kind in KINDS}
        points.append(Point(method, seed, len(there), balanced_error, in_shares, kinds))
    return points


def chosen(method: str, data: Data, there: Sequence[Atoms], committee: Committee, seed: int) -> list[Atoms]:
    """What one method takes from the pool."""
    evaluate = committee.evaluate if method in NEED_UNCERTAINTY else None
    describer = ModelDescriber(committee.members[0], evaluate, check_elements)
    settings = parse_settings(SelectionSettings, {"by": method, "seed": seed})
    stream = [(str(place), atoms) for place, atoms in enumerate(data.pool)]
    known = [(f"known {place}", atoms) for place, atoms in enumerate(there)]
    picked = select(stream, data.plan.chosen, settings, describer=describer, known=known).chosen
    return [data.pool[int(choice.identifier)] for choice in picked]


def labels_needed(points: Sequence[Point], target: float, name: str) -> float:
    """Labels at which a curve of mean errors reaches a target, between its points; infinite where it does not."""
    counts = sorted({point.labels for point in points})
    errors = [float(np.mean([getattr(p, name) for p in points if p.labels == count])) for count in counts]
    for (before, high), (after, low) in zip(
        zip(counts, errors, strict=True), zip(counts[1:], errors[1:], strict=True), strict=False
    ):
        if low <= target:
            return before + (after - before) * min(1.0, max(0.0, (high - target) / (high - low)))
    return float("inf")


def table_of(points: Sequence[Point], name: str, title: str) -> Table:
    """Errors by labels and method, and what random choice needs for the same error."""
    of = {method: [point for point in points if point.method == method] for method in METHODS}
    counts = sorted({point.labels for point in points})
    table = Table(title=title, title_justify="left")
    for column in ("choice", *map(str, counts), "labels for random's best error", "random / this"):
        table.add_column(column, justify="left" if column == "choice" else "right")
    best = min(float(np.mean([getattr(p, name) for p in of["random"] if p.labels == count])) for count in counts)
    at_random = labels_needed(of["random"], best, name)
    for method, own in of.items():
        cells = []
        for count in counts:
            values = [getattr(p, name) for p in own if p.labels == count]
            cells.append(
                f"{np.mean(values):.0f} ± {np.std(values, ddof=1) / len(values) ** 0.5:.0f}"
                if len(values) > 1
                else f"{values[0]:.0f}"
            )
        needed = labels_needed(own, best, name)
        table.add_row(WORDS[method], *cells, f"{needed:.0f}", f"{at_random / needed:.2f}")
    return table


def figure_of(points: Sequence[Point]) -> Any:
    """Mean errors with bands of one standard error, on both tests."""
    from gfm_ase.curves import COLOURS, GREY

    figure, axes = new_figure(10.0, 4.2, 2)
    titles = {"balanced": "test: as many of each kind", "shares": "test: kinds in the shares of the pool"}
    for axis, (name, title) in zip(axes, titles.items(), strict=True):
        for method, colour in zip(METHODS, (GREY, COLOURS[2], COLOURS[4], COLOURS[0]), strict=True):
            own = [point for point in points if point.method == method]
            counts = sorted({point.labels for point in own})
            values = [[getattr(p, name) for p in own if p.labels == count] for count in counts]
            mean = np.array([np.mean(each) for each in values])
            error = np.array([np.std(each, ddof=1) / len(each) ** 0.5 if len(each) > 1 else 0.0 for each in values])
            axis.plot(counts, mean, ".-", color=colour, label=WORDS[method])
            axis.fill_between(counts, mean - error, mean + error, color=colour, alpha=0.2, linewidth=0)
        axis.set_yscale("log")
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("labelled structures", fontsize=9)
        axis.tick_params(labelsize=8, which="both")
        axis.grid(color="0.92", which="both")
        axis.set_axisbelow(True)
    axes[0].set_ylabel("MAE of force components, meV/Å", fontsize=9)
    axes[0].legend(fontsize=8)
    return figure


def main(
    seeds: Annotated[int, typer.Option(help="Repetitions, each with its first frames and weights.")] = 3,
    rounds: Annotated[int, typer.Option(help="Of 15 labels each.")] = Plan.rounds,
    picture: Annotated[Path | None, typer.Option(help="Draw the learning curves.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all points.")] = None,
) -> None:
    """Print both tables."""
    console, plan, points = Console(width=160), Plan(rounds=rounds), list[Point]()
    console.print(describe())
    data = Data(plan)
    began = time.perf_counter()
    for seed in range(seeds):
        with tempfile.TemporaryDirectory() as scratch:
            first = trained(data.begin(seed), Path(scratch) / "first", plan, seed, members=plan.members)
            for method in METHODS:
                points += curve(method, seed, data, first, Path(scratch))
                told = ", ".join(f"{p.labels}: {p.balanced:.0f} ({p.shares:.0f})" for p in points[-plan.rounds - 1 :])
                spent = time.perf_counter() - began
                console.print(f"seed {seed}, {WORDS[method]}: {told}; {spent:.0f} s")
        if json_file is not None:
            json_file.write_text(json.dumps([asdict(point) for point in points]))
    console.print(table_of(points, "balanced", "MAE of force components, meV/Å, as many of each kind"))
    console.print(table_of(points, "shares", "MAE of force components, meV/Å, in the shares of the pool"))
    if picture is not None:
        save_figure(figure_of(points), picture)


if __name__ == "__main__":
    typer.run(main)
