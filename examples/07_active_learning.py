"""Active learning: dynamics with a potential, frames worth a label, labels by EMT, training goes on; and at random."""

from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk

from gfm_ase import GFMCalculator
from md_workflows import Langevin, MDSettings, read_structures, run_md_many
from md_workflows.labelling.calculators import CalculatorSpec
from md_workflows.labelling.run import LabellingSettings, label
from md_workflows.selection import ModelDescriber, SelectionSettings, select
from train.config import load_config
from train.loop import train

HERE, CHOSEN, ANEW = Path("example_07"), 10, LabellingSettings(resume=False)
SHARES = {"crystal": 16, "slab": 1, "vacancy": 1, "alloy": 1, "stretched": 1}
RUN = """output = "{name}"
compile = false
batch.max_atoms = 48
potential.backbone = {{ width = 32, depth = 2, cutoff = 4.5 }}
dataset = [{{ name = "emt", train = {files}, test = "test.extxyz", valid_fraction = 0 }}]"""
MORE = 'stop.epochs = 30\nfine_tune.start_from = "{checkpoint}"'


def structure(kind: str, rng: np.random.Generator) -> Atoms:
    """Seven or eight atoms, not yet at rest."""
    a = 3.85 if kind in {"alloy", "stretched"} else 3.61
    atoms = (bulk("Cu", a=a, cubic=True) * (2, 1, 1))[int(kind == "vacancy") :]
    atoms.cell[0] *= 2 if kind == "slab" else 1
    atoms.symbols[rng.permutation(8)[:4] if kind == "alloy" else []] = "Au"
    atoms.positions += rng.normal(0, rng.choice([0.05, 0.15]), atoms.positions.shape)
    return atoms


def labelled(name: str, atoms: list[Atoms]) -> str:
    """A file of these structures with energies, forces and stresses by EMT."""
    return label(atoms, HERE / f"{name}.extxyz", CalculatorSpec("emt"), ANEW).files.labelled.name


def trained(name: str, files: list[str], more: str) -> tuple[Path, int]:
    """A checkpoint that has learnt the files, and its error, meV/Å; `more` of the run file."""
    (HERE / f"{name}.toml").write_text(f"{more}\n{RUN.format(name=name, files=files)}")
    result = train(load_config(HERE / f"{name}.toml"), overwrite=True)
    return HERE / name / "model.safetensors", round(1e3 * result.errors["emt"]["forces_mae_eV_per_A"])


def chosen(name: str, by: str, checkpoint: Path, files: list[str]) -> list[Atoms]:
    """Some of the frames of dynamics with the checkpoint."""
    calculator, rng = GFMCalculator(checkpoint), np.random.default_rng(len(files))
    starts = [structure(kind, rng) for kind, share in SHARES.items() for _ in range(share)]
    hot = (Langevin(temperature_K=600, seed=seed) for seed in range(len(starts)))
    settings = [MDSettings(ensemble=one, velocity_seed=one.seed, steps=100, timestep_fs=4) for one in hot]
    list(run_md_many(starts, settings, calculator=calculator, files=HERE / name, on_existing="overwrite"))
    frames = list(read_structures(sorted((HERE / name).glob("[0-9]?????.extxyz"))))
    describer = ModelDescriber(calculator.potential, calculator.evaluator(), calculator.batch_model().check)
    known = read_structures([HERE / file for file in files])
    return select(frames, CHOSEN, SelectionSettings(by=by), describer=describer, known=known).chosen_of(frames)


def main() -> None:
    """A few labels, then rounds of more, chosen in two ways: most dynamics are of the crystal, all kinds are tested."""
    HERE.mkdir(exist_ok=True)
    rng, last = np.random.default_rng(0), {}
    begin = labelled("start", [structure(kind, rng) for kind in ["crystal"] * 18 + ["alloy"] * 2])
    labelled("test", [structure(kind, rng) for kind in SHARES for _ in range(12)])
    first = trained("first", [begin], "stop.epochs = 80")
    for by in ("random", "both"):
        (checkpoint, last[by]), files = first, [begin]
        for turn in range(3):
            files.append(labelled(f"{by}{turn}", chosen(f"{by}{turn}_md", by, checkpoint, files)))
            checkpoint, last[by] = trained(f"{by}{turn}_run", files, MORE.format(checkpoint=checkpoint.resolve()))
            print(f"{by}: {last[by]} meV/Å after {CHOSEN * (turn + 1)} more")
    assert last["both"] < last["random"]


if __name__ == "__main__":
    main()
