"""Train every setting of a small search to its end and record how it went, for rules to be replayed on.

    GFM_ASE_DATA=... python -m benchmarks.search_trials --output runs/recorded

Settings are drawn at random by a seed: backbone, width, depth, cutoff, learning rate, batch. A fifth of the training
part of `acac` at 300 K judges; no test split is read. Trials that are recorded already are kept, so that an
interrupted recording goes on. One process, one thread, one trial after the other. Joules are those of the journal.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from ase.io import read
from rich.console import Console

from benchmarks.machine import measure
from potentials.checkpoint import load_checkpoint
from potentials.graph import batch
from potentials.structures import graph_from_atoms
from train.journal import read_journal, write_json

EPOCHS = 27

JUDGED_FRAMES = 16
RUN_FILE = """
compile = false
device = "cpu"

[[dataset]]
name = "acac"
train = "${GFM_ASE_DATA}/acac/train_300K.extxyz.gz"
valid_fraction = 0.2

[loss]
energy = { kind = "l2" }
forces = { kind = "l2" }
"""
CLI = [sys.executable, "-c", "from gfm_ase.cli import main; main()"]


def draw(random_: random.Random) -> dict[str, Any]:
    """Settings of one trial, key of a run file to value."""
    backbone = random_.choice(["painn", "ember"])
    settings = {
        "potential.backbone.name": backbone,
        "potential.backbone.width": random_.choice([16, 32, 48, 64] if backbone == "painn" else [8, 16, 24]),
        "potential.backbone.depth": random_.choice([1, 2, 3] if backbone == "painn" else [1, 2]),
        "potential.backbone.cutoff": random_.choice([3.0, 4.0, 5.0]),
        "optimizer.learning_rate": round(10 ** random_.uniform(-3.5, -1.7), 6),
        "batch.max_atoms": random_.choice([120, 240]),
    }
    return settings | ({"potential.backbone.l_max": 2} if backbone == "ember" else {})


def trained(folder: Path, settings: dict[str, Any]) -> list[dict[str, Any]]:
    """Train in a process of its own; rows of its journal."""
    folder.mkdir(parents=True, exist_ok=True)
    run_file, journal = folder / "run.toml", folder / "journal.jsonl"
    journal.unlink(missing_ok=True)
    run_file.write_text(f'output = "."\n{RUN_FILE}', encoding="utf-8")
    sets = [f"--set={key}={value}" for key, value in {**settings, "stop.epochs": EPOCHS}.items()]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with (folder / "log.txt").open("w", encoding="utf-8") as log:
        command = [*CLI, "train", str(run_file), "--overwrite", *sets]
        subprocess.run(command, env=environment, stdout=log, stderr=subprocess.STDOUT, check=False)  # noqa: S603 - ours
    return read_journal(journal) if journal.exists() else []


def inference_cost(folder: Path) -> float | None:
    """Seconds per atom of energies and forces, in one batch on one thread, eager; none where training failed."""
    checkpoint = folder / "model.safetensors"
    if not checkpoint.exists():
        return None
    potential, _ = load_checkpoint(checkpoint)
    frames = read(Path(os.environ["GFM_ASE_DATA"]) / "acac" / "train_300K.extxyz.gz", f":{JUDGED_FRAMES}")
    graph = batch([graph_from_atoms(atoms, potential.cutoff) for atoms in frames])
    return measure(lambda: potential(graph), repeats=10).fastest / graph.n_atoms


def recorded(folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """One trial as it is kept: [epoch, seconds, joules, error in meV/Å] of each validation."""
    points = [
        [
            row["epoch"],
            row["seconds"],
            round(row["energy_J"], 1),
            round(1000 * row["valid"]["acac"]["forces_rmse_eV_per_A"], 2),
        ]
        for row in trained(folder, settings)
    ]
    cost = inference_cost(folder)
    return {"settings": settings, "cost": None if cost is None else float(f"{cost:.3g}"), "points": points}


def main(
    output: Annotated[Path, typer.Option(help="Folder of the trials, and of trials.json.")],
    trials: Annotated[int, typer.Option(help="How many.")] = 24,
    seed: Annotated[int, typer.Option(help="Of the settings.")] = 0,
) -> None:
    """Record trials one after the other."""
    torch.set_num_threads(1)
    path = output / "trials.json"
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    random_ = random.Random(seed)  # noqa: S311 - no secret
    for number, settings in enumerate([draw(random_) for _ in range(trials)]):
        if number < len(found):
            continue
        found.append(recorded(output / f"{number:02d}", settings))
        write_json(path, found)
        last = found[-1]["points"][-1] if found[-1]["points"] else "failed"
        Console().print(f"trial {number}: {last} {settings}")


if __name__ == "__main__":
    typer.run(main)
