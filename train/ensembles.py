"""Ensembles from runs: seeds of one run file, trials of a search, or branches of one potential, in one checkpoint.

runs = seeds_of(load_config(Path("run.toml")), Path("ensemble"), 8)
members = train_members(runs)
joined = join(members, Path("ensemble/ensemble.safetensors"))
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console

from potentials.checkpoint import load_single, read_manifest, save_checkpoint
from potentials.ensemble import Ensemble
from potentials.manifest import GoldenStructure, HeadRecord, Manifest, describe, golden_structure
from potentials.potential import Potential
from train.config import RunConfig, dump_config, load_config
from train.data import Dataset
from train.evaluation import predict
from train.export import environment
from train.group import ALONE, Group
from train.loop import train, where_it_stands
from train.run import MODEL
from train.search.study import best_trials
from train.state import FREE_TO_CHANGE, first_difference

Errors = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Member:
    """A potential that is to be in an ensemble.

    Attributes:
        name: for people.
        potential: with its weights.
        manifest: of its checkpoint.
    """

    name: str
    potential: Potential
    manifest: Manifest


def seeds_of(config: RunConfig, folder: Path, count: int) -> list[RunConfig]:
    """The same run with as many seeds, the run file's the first; in folders below one.

    Weights and the order of batches differ; random validation splits are those of the run file's seed for all.

    Raises:
        ValueError: fewer than two.
    """
    if count < 2:
        raise ValueError(f"--seeds {count}: an ensemble has two members or more")
    seeds = range(config.seed, config.seed + count)
    # structures that no member has learnt are what an ensemble is calibrated on
    config = config.model_copy(update={"split_seed": config.seed if config.split_seed is None else config.split_seed})
    return [config.model_copy(update={"seed": seed, "output": folder / f"seed_{seed}"}) for seed in seeds]


def trials_of(study: Path, folder: Path, count: int, *, epochs: int | None = None) -> list[RunConfig]:
    """Runs that go on from where the best trials of a search have ended, each in a copy of its folder.

    Args:
        study: folder of the search.
        folder: for the copies; what is there already is left as it is.
        count: how many.
        epochs: to train to; none: those of the search, which finished trials have behind them, and which those that
            were paused or stopped early still go to.

    Raises:
        ValueError: no study, too few trials, or fewer epochs than those of the search.
    """
    runs = []
    for trial in best_trials(study, count, unfinished=True):
        copied = folder / f"trial_{trial.name}"
        had = load_config(trial / "config.json").stop.epochs
        if epochs is not None and epochs < had:  # before anything is copied
            raise ValueError(f"--epochs {epochs}: trial {trial.name} was trained for {had}; ask for more")
        if not copied.exists():
            beside = copied.with_name(f".{copied.name}.tmp")
            shutil.rmtree(beside, ignore_errors=True)
            shutil.copytree(trial, beside)
            beside.replace(copied)
        config = load_config(copied / "config.json").model_copy(update={"output": copied})
        if epochs is not None:
            config = config.model_copy(update={"stop": config.stop.model_copy(update={"epochs": epochs})})
        runs.append(config)
    return runs


def train_members(runs: Sequence[RunConfig], *, console: Console | None = None, group: Group = ALONE) -> list[Member]:
    """Train what has no checkpoint yet, one after the other, each with all processes; what was stopped goes on.

    Args:
        runs: each with a folder of its own.
        console: where to show progress.
        group: the processes that train together.

    Raises:
        StoppedError: a signal or the end of the job has stopped a run; the same call goes on.
        ValueError: as `train.loop.train`.
    """
    for number, config in enumerate(runs):
        there, _ = group.agree(float(_finished(config)), 0)
        if there:
            continue
        if console is not None and group.first:
            console.rule(f"{config.output.name}, {number + 1} of {len(runs)}")
        resume, overwrite = where_it_stands(config.output, group)
        result = train(config, resume=resume, overwrite=overwrite, console=console, group=group)
        if result.checkpoint is None:
            raise StoppedError(config.output.name, result.reason)
    group.wait()
    return [read_member(config.output / MODEL) for config in runs]


def _finished(config: RunConfig) -> bool:
    """Whether a run's checkpoint is there; one of fewer epochs goes on from its state.

    Raises:
        ValueError: the checkpoint there is of other settings, or of more epochs.
    """
    path = config.output / MODEL
    if not path.exists():
        return False
    before = read_manifest(path).training["config"]
    difference = first_difference(before, dump_config(config), FREE_TO_CHANGE)
    had, wanted = before["stop"]["epochs"], config.stop.epochs
    if difference is None and wanted < had:
        difference = ("stop.epochs", had, wanted)
    if difference is not None:
        key, was, now = difference
        raise ValueError(
            f"{config.output} was trained with {key} = {was!r} and is asked for with {now!r}; put it back, or name"
            " another folder by -o"
        )
    return bool(wanted == had)


class StoppedError(ValueError):
    """A member's run was stopped before its end; its state is saved."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name} was {reason}, its state saved; the same command goes on")
        self.exit_code = 130 if reason == "interrupted" else 75


def read_member(path: Path) -> Member:
    """A member from its checkpoint; errors as `load_single`."""
    potential, manifest = load_single(path)
    return Member(path.parent.name if path.name == MODEL else path.stem, potential, manifest)


def branches_of(path: Path, branches: Sequence[str], head: str) -> list[Member]:
    """Branches of one potential as members that all answer as `head`; what they share is computed once.

    Raises:
        ValueError: an unknown branch, one given twice, or fewer than two.
        CheckpointError: as `load_single`.
    """
    if len(set(branches)) < max(2, len(branches)):
        raise ValueError(f"--branches {','.join(branches)}: name two branches or more, each once")
    potential, manifest = load_single(path)
    members = []
    for branch in branches:
        own = potential.only(branch).renamed((head,))
        golden = [one.model_copy(update={"head": head}) for one in manifest.golden if one.head == branch]
        update = {"heads": {head: manifest.heads[branch]}, "golden": golden, "calibration": {}}
        members.append(Member(branch, own, manifest.model_copy(update=update)))
    return members


def make_ensemble(members: Sequence[Member]) -> Ensemble:
    """The potentials of members as one; errors as `Ensemble`, which name what does not agree."""
    return Ensemble([member.potential for member in members], [member.name for member in members])


def join(members: Sequence[Member], path: Path, errors: Errors | None = None) -> Manifest:
    """Write the checkpoint of an ensemble.

    Args:
        members: two or more of the same heads and outputs.
        path: of the file; complete or not there.
        errors: of the ensemble on structures held back from all members, by head.

    Raises:
        ValueError: members that do not go together.
    """
    ensemble = make_ensemble(members)
    for head in ensemble.heads:
        if not ensemble.references.elements(head):
            theirs = "; ".join(f"{one.name}: {' '.join(one.potential.references.elements(head))}" for one in members)
            raise ValueError(f"no element is known to all members ({theirs}); they do not answer as one")
    golden: list[GoldenStructure] = []
    with torch.no_grad():
        for one in members[0].manifest.golden:
            golden.append(golden_structure(ensemble, one.atoms(), one.head))
    heads = {head: _record(head, members, (errors or {}).get(head, {})) for head in ensemble.heads}
    trainings = [member.manifest.training for member in members]
    manifest = describe(ensemble, golden, made_with=environment(), heads=heads, trainings=trainings)
    save_checkpoint(path, ensemble, manifest)
    return manifest


def _record(head: str, members: Sequence[Member], errors: Mapping[str, float]) -> HeadRecord:
    records = [member.manifest.heads[head] for member in members]
    first = records[0]
    labels = tuple(name for name in first.labels if all(name in record.labels for record in records))
    # what differs between members is not of the ensemble: their own records tell
    prints = {k: v for k, v in first.fingerprints.items() if all(one.fingerprints.get(k) == v for one in records)}
    counts = {k: v for k, v in first.structures.items() if all(one.structures.get(k) == v for one in records)}
    alike = all(one.repeating == first.repeating for one in records)
    # limits are of the last layer of one potential, and not of a spread
    known = {"repeating": first.repeating if alike else {}, "outside": {}}
    update = {"labels": labels, "fingerprints": prints, "structures": counts, "test_errors": dict(errors), **known}
    return first.model_copy(update=update)


def errors_of(ensemble: Ensemble, datasets: Sequence[Dataset]) -> dict[str, dict[str, float]]:
    """Errors on the test splits (valid where there is none, which all members must have held back), by head."""
    outputs = [output.quantity for output in ensemble.config.outputs]
    return {
        dataset.name: predict(ensemble, ensemble.references, dataset.test or dataset.valid, outputs=outputs).errors()
        for dataset in datasets
        if len(dataset.test) or len(dataset.valid)
    }
