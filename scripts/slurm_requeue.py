"""A training that the time limit of a Slurm job stops, and that ends as if it had not: run by `scripts/slurm_here`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from safetensors.numpy import load_file

ROOT = Path(__file__).parents[1]
BATCH = ROOT / "examples" / "slurm" / "train.sbatch"
SECONDS, PILOT = 120, 20
"""How long the training takes, of which the job gets less; epochs that are timed to know how many that is."""

LIMIT = ("--time=2", "--signal=USR1@30")
"""Two minutes, and a signal half a minute before; Slurm may send it up to one minute too early."""

PATIENCE_SECONDS = 900
RUN = """
output = "{name}"
device = "cpu"
compile = false
[potential.backbone]
width = 16
depth = 2
[[dataset]]
name = "emt"
train = "train.extxyz"
[batch]
max_atoms = 16
[stop]
epochs = {epochs}
job_end_minutes = "none" # the signal alone is to end it
[log]
validate_every = {epochs}
"""


def structures(path: Path) -> None:
    """Rattled copper, labelled by EMT."""
    frames = []
    for number in range(24):
        atoms = bulk("Cu", a=3.6 + 0.01 * number, cubic=True)
        atoms.rattle(0.08, seed=number)
        emt = EMT()
        results = {name: emt.get_property(name, atoms) for name in ("energy", "forces")}
        atoms.calc = SinglePointCalculator(atoms, **results)
        frames.append(atoms)
    write(path, frames)


def said(*command: str) -> str:
    """What a command prints; it has to succeed."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - ours
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout.strip()


def trained(name: str, epochs: int) -> float:
    """Train by two tasks on two nodes that nothing stops; seconds an epoch."""
    Path(f"{name}.toml").write_text(RUN.format(name=name, epochs=epochs), encoding="utf-8")
    said("srun", "--nodes=2", "--ntasks=2", "gfm-ase", "train", f"{name}.toml")
    last = json.loads(Path(name, "journal.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    return float(last["seconds"]) / epochs


def watched(job: str) -> list[str]:
    """The states that a job goes through until it is over."""
    states: list[str] = []
    began = time.monotonic()
    while time.monotonic() < began + PATIENCE_SECONDS:
        found = dict(part.split("=", 1) for part in said("scontrol", "show", "job", "-o", job).split() if "=" in part)
        now = f"{found['JobState']}, restarts {found['Restarts']}"
        if not states or states[-1] != now:
            states.append(now)
            print(f"  {time.monotonic() - began:4.0f} s  {now}", flush=True)
        if found["JobState"] == "PENDING" and found["Restarts"] != "0":
            said("scontrol", "update", f"JobId={job}", "StartTime=now")  # else it waits for two minutes
        if found["JobState"] in {"COMPLETED", "FAILED", "TIMEOUT", "CANCELLED", "NODE_FAIL"}:
            return states
        time.sleep(1)
    sys.exit(f"job {job} is not over after {PATIENCE_SECONDS} s")


def main() -> None:
    """Train undisturbed, train under a time limit, compare."""
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        structures(Path("train.extxyz"))
        epochs = max(PILOT, round(SECONDS / trained("pilot", PILOT)))
        print(f"undisturbed: {epochs} epochs by two tasks, {epochs * trained('whole', epochs):.0f} s", flush=True)
        Path("stopped.toml").write_text(RUN.format(name="stopped", epochs=epochs), encoding="utf-8")
        options = ("--nodes=2", *LIMIT, "--output=job.log")
        job = said("sbatch", "--parsable", *options, str(BATCH), "stopped.toml")
        print(f"job {job}: the same with sbatch {' '.join(options[:-1])} {BATCH.relative_to(ROOT)}", flush=True)
        states = watched(job)
        log = Path("job.log").read_text(encoding="utf-8")
        for line in log.splitlines():
            if line.lower().startswith(("stopped", "ended", "srun: error")):
                print(f"    {line}")
        if not states[-1].startswith("COMPLETED") or states[-1].endswith(" 0"):
            sys.exit(f"the job was to be requeued and completed, and is {states[-1]}")
        one, other = (load_file(f"{name}/model.safetensors") for name in ("whole", "stopped"))
        if one.keys() != other.keys() or any((one[name] != other[name]).any() for name in one):
            sys.exit("the requeued training gave other weights than the undisturbed one")
        print(f"the same weights to the bit: {len(one)} tensors")


if __name__ == "__main__":
    main()
