"""The demo's training: a run file as a user writes it, the training itself, and the checkpoint on held-back frames."""

from dataclasses import dataclass
from pathlib import Path
from string import Template

from rich.console import Console

from examples.demo.datasets import DataSet
from examples.demo.settings import DemoSettings
from gfm_ase.loading import load
from train.config import DatasetConfig, load_config
from train.data import label
from train.evaluation import Predictions, predict
from train.loop import train
from train.progress import Reporter
from train.reading import read_frames
from train.result import TrainingResult

RUN_FILE = Template("""\
# What the demo trains; the same by hand: gfm-ase train run.toml --overwrite
output = "run"
seed = $seed
compile = false                # compiling takes a minute or two: it pays in trainings of more than five

[potential.backbone]
name = "painn"
cutoff = 4.5                   # Å
width = 64
depth = 2

[[dataset]]                    # one head for each level of theory, named like its data set
name = "molecules_gfn2"
train = "data/molecules_gfn2_train.extxyz"
valid = "data/molecules_gfn2_valid.extxyz"
test = "data/molecules_gfn2_test.extxyz"

[[dataset]]
name = "metals_emt"
train = "data/metals_emt_train.extxyz"
valid = "data/metals_emt_valid.extxyz"
test = "data/metals_emt_test.extxyz"

[batch]
max_atoms = 128

[optimizer]
learning_rate = 4e-3

[stop]
epochs = $epochs
max_minutes = $max_minutes     # so that a slow machine ends too

[log]
validate_every = $validate_every
""")


@dataclass(frozen=True)
class Trained:
    """What training left.

    Attributes:
        result: of the training loop.
        checkpoint: the potential's file.
        run_file: what it was trained by.
        predictions: of the loaded checkpoint on the test splits, by data set.
        parameters: how many weights the potential has.
    """

    result: TrainingResult
    checkpoint: Path
    run_file: Path
    predictions: dict[str, Predictions]
    parameters: int


def train_both(folder: Path, settings: DemoSettings, console: Console, *, seed: int) -> TrainingResult:
    """Write `run.toml` into the folder, and train by it."""
    values = {"seed": seed, "epochs": settings.epochs, "max_minutes": settings.max_minutes}
    text = RUN_FILE.substitute(values, validate_every=settings.validate_every)
    run_file = folder / "run.toml"
    run_file.write_text(text, encoding="utf-8")
    return train(load_config(run_file), overwrite=True, console=console)


def look_at(folder: Path, result: TrainingResult, data: dict[str, DataSet], console: Console) -> Trained:
    """The checkpoint, loaded again as any user would, on the frames held back from training.

    Raises:
        ValueError: training was interrupted and left no checkpoint.
    """
    if result.checkpoint is None:
        raise ValueError("the training was interrupted, so there is no potential to go on with; run the demo again")
    potential = load(result.checkpoint, device="cpu").potential
    predictions = {}
    with Reporter(console).reading() as progress:
        for name, files in data.items():
            single = potential.only(name)
            frames = read_frames(
                DatasetConfig(name=name, train=(str(files.test.absolute()),)), "train", progress=progress
            )
            labelled = [label(frame, single.cutoff) for frame in frames]
            predictions[name] = predict(single, single.references, labelled, progress=progress)
    parameters = sum(parameter.numel() for parameter in potential.parameters())
    return Trained(result, result.checkpoint, folder / "run.toml", predictions, parameters)
