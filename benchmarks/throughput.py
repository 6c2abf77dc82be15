"""Training and energy + forces throughput, eager and compiled, beside HydraGNN's on the same work.

    python -m benchmarks.throughput --data emt_fcc32.extxyz.gz --threads 2

The work: periodic 32-atom cells of fcc metals and alloys labelled by EMT, 5 Å cutoff, 39 edges an atom, 8 cells a
batch, float32; 64 features and 3 layers unless a name says otherwise. A training step is loss of energies and forces,
gradient of the loss (second derivatives), clipping, AdamW and the averaged weights, graph preparation included;
neighbour lists are made beforehand, as they were for HydraGNN. HydraGNN's figures (version d251f816, 2 threads of
an AMD EPYC, same cells) are quoted, not run here. Without --data similar cells are built.
"""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.machine import describe, measure
from potentials.backbones import BACKBONES
from potentials.compiled import CompiledPotential
from potentials.potential import Potential, PotentialConfig
from train.config import DatasetConfig, LossConfig, OptimizerConfig
from train.data import label
from train.frame import Frame
from train.labelled import Labelled, batch_labelled
from train.optimizer import Optimizer
from train.reading import read_frames
from train.step import LossAndGradients
from train.tasks import tasks_of

HYDRAGNN = {
    "egnn": (2704, 8319),
    "painn": (928, 1932),
    "pna_eq": (606, 1722),
    "mace": (201, 482),
    "mace_32x2": (582, 1796),
    "dimenet_64x2": (70, 216),
}
"""Atoms per second of HydraGNN: training, energy + forces (64 features, 3 layers, 2 threads)."""

SETTINGS: dict[str, dict[str, int]] = {"mace": {"l_max": 2}}
"""Beside cutoff, width and depth, where HydraGNN's differ from our defaults."""

CELLS, CUTOFF = 8, 5.0


def read_cells(path: Path) -> list[Labelled]:
    """The first cells of a file with REF_energy and REF_forces."""
    keys = {"energy_key": "REF_energy", "forces_key": "REF_forces", "stress_key": "REF_stress"}
    frames = read_frames(DatasetConfig(name="emt", train=(str(path),), **keys), "train")
    return [label(frame, CUTOFF) for frame in frames[:CELLS]]


def build_cells() -> list[Labelled]:
    """Cells of the same kind: random fcc alloys, rattled and strained, labelled by EMT."""
    rng = np.random.default_rng(0)
    cells = []
    for number in range(CELLS):
        atoms: Atoms = bulk("Cu", a=float(rng.uniform(3.6, 4.1)), cubic=True) * (2, 2, 2)
        atoms.symbols = rng.choice(["Al", "Ni", "Cu", "Pd", "Ag", "Pt", "Au"], len(atoms))
        atoms.set_cell(atoms.cell @ (np.eye(3) + rng.normal(0, 0.01, (3, 3))), scale_atoms=True)
        atoms.rattle(0.1, seed=number)
        atoms.calc = EMT()
        energy, forces = atoms.get_potential_energy(), atoms.get_forces()
        atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
        cells.append(label(Frame(atoms, f"cell {number}", energy, forces, None), CUTOFF))
    return cells


def throughput(name: str, batch: Labelled, compiled: bool, repeats: int) -> dict[str, float]:
    """Atoms per second of one backbone, `NAME` or `NAME_WIDTHxDEPTH`, and the seconds of its first calls."""
    match = re.fullmatch(r"(.+?)(?:_(\d+)x(\d+))?", name)
    assert match is not None
    backbone, size = match[1], {"width": int(match[2] or 64), "depth": int(match[3] or 3)}
    config = BACKBONES[backbone][0](cutoff=CUTOFF, **size, **SETTINGS.get(backbone, {}))
    potential = Potential(PotentialConfig(backbone=config, heads=("emt",)))
    step = LossAndGradients(potential, tasks_of(LossConfig(), ()), [1.0], compiled=compiled)
    optimizer = Optimizer(potential, OptimizerConfig(), elements=batch.graph.numbers.unique())
    evaluate = CompiledPotential(potential) if compiled else potential

    def train() -> None:
        optimizer.step(step(batch).gradients, 0.5)

    def energy_and_forces() -> None:
        with torch.no_grad():
            evaluate(batch.graph)

    began = time.perf_counter()
    train()
    energy_and_forces()
    first = time.perf_counter() - began
    training, inference = measure(train, repeats), measure(energy_and_forces, repeats)
    atoms = batch.graph.n_atoms
    return {
        "parameters": sum(parameter.numel() for parameter in potential.parameters()),
        "first": first,
        "train": atoms / training.median,
        "train_best": atoms / training.fastest,
        "infer": atoms / inference.median,
        "infer_best": atoms / inference.fastest,
    }


def main(
    data: Annotated[Path | None, typer.Option(help="extxyz file with REF_energy and REF_forces.")] = None,
    threads: Annotated[int, typer.Option(help="Threads of torch.")] = 2,
    repeats: Annotated[int, typer.Option(help="Timed calls; the median counts.")] = 30,
    backbones: Annotated[str, typer.Option(help="NAME or NAME_WIDTHxDEPTH, with commas between.")] = ",".join(HYDRAGNN),
) -> None:
    """Print atoms per second of each backbone, eager and compiled, beside HydraGNN's."""
    torch.set_num_threads(threads)
    batch = batch_labelled(read_cells(data) if data else build_cells())
    console = Console(width=150)
    table = Table(
        title=f"{batch.graph.n_atoms} atoms, {batch.graph.n_edges / batch.graph.n_atoms:.1f} edges each, fp32",
        caption=f"{describe()}\natoms/s: median (fastest) of {repeats}; ratio of the median to HydraGNN's figure",
    )
    for column in (
        "backbone",
        "parameters",
        "mode",
        "training atoms/s",
        "ratio",
        "energy + forces atoms/s",
        "ratio",
        "first calls, s",
    ):
        table.add_column(column, justify="left" if column in {"backbone", "mode"} else "right")
    work = [(name, compiled) for name in backbones.split(",") for compiled in (False, True)]
    for name, compiled in track(work, "measuring", console=console, transient=True):
        found = throughput(name, batch, compiled, repeats)
        peer = HYDRAGNN.get(name)
        ratios = (
            [f"{found[key] / figure:.2f} ×" for key, figure in zip(("train", "infer"), peer, strict=True)]
            if peer
            else ["", ""]
        )
        table.add_row(
            name,
            f"{found['parameters']:,.0f}",
            "compiled" if compiled else "eager",
            f"{found['train']:,.0f} ({found['train_best']:,.0f})",
            ratios[0],
            f"{found['infer']:,.0f} ({found['infer_best']:,.0f})",
            ratios[1],
            f"{found['first']:.1f}",
        )
    console.print(table)


if __name__ == "__main__":
    typer.run(main)
