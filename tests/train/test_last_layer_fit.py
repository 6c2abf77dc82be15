"""The fit of last-layer uncertainties, against Bayesian linear regression written out, and what it says of gaps."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from scipy.stats import norm
from torch import Tensor

from potentials.backbones.painn import PaiNNConfig
from potentials.checkpoint import load_checkpoint
from potentials.last_layer import GIVEN
from potentials.potential import Potential, PotentialConfig
from tests.train.conftest import alloys
from train.config import RunConfig
from train.data import Dataset, label
from train.frame import Frame
from train.last_layer_fit import fit_last_layer
from train.likelihood import RIDGES, Likely, Spectrum
from train.loop import train
from train.structures import Held

MakeConfig = Callable[..., RunConfig]

CUTOFF, HIDDEN, RIDGE = 4.0, 16, 1e-3


def potential() -> Potential:
    backbone = PaiNNConfig(cutoff=CUTOFF, width=8, depth=2, radial_size=6)
    made = Potential(PotentialConfig(backbone=backbone, heads=("emt",), head_width=HIDDEN), seed=4).double()
    made.references.set_head("emt", {"Al": 1.0, "Cu": 1.5, "Ag": 0.3}, scale=0.7)
    return made


def held(frames: list[Atoms], *, forces: bool = True, energy: bool = True) -> Held:
    structures = []
    for number, atoms in enumerate(frames):
        given = atoms.get_potential_energy() if energy else None
        frame = Frame(atoms, f"frame:{number}", given, atoms.get_forces() if forces else None, None)
        structures.append(label(frame, CUTOFF))
    return Held(structures)


def dataset(valid: list[Atoms], **known: bool) -> Dataset:
    return Dataset.of("emt", 0, {"train": held(alloys(20)), "valid": held(valid, **known)})


def features(model: Potential, structures: Held) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """Of each structure what goes into the last linear layer [N, H], caught on its way, and what comes out."""
    caught: list[Tensor] = []
    branch = model.branches.branches["emt"]
    assert isinstance(branch, torch.nn.Sequential)
    hook = branch[2].register_forward_pre_hook(lambda _, given: caught.append(given[0].detach()))
    with torch.no_grad():
        results = [model(one.graph) for one in structures]
    hook.remove()
    return caught, results


def posterior_variance(x: Tensor, rows_SH: Tensor, prior: float, noise: float) -> float:
    """Of wᵀx for w ~ N(0, prior) and S observations rows w + N(0, noise): the regression by its kernel, S × S."""
    kernel_SS = prior * rows_SH @ rows_SH.T + noise * torch.eye(len(rows_SH), dtype=torch.float64)
    between_S = prior * rows_SH @ x
    return float(prior * x @ x - between_S @ torch.linalg.solve(kernel_SS, between_S))


def test_energies_are_as_uncertain_as_bayesian_linear_regression_says(monkeypatch: pytest.MonkeyPatch) -> None:
    for room in ("train.likelihood", "train.last_layer_fit"):
        monkeypatch.setattr(f"{room}.RIDGES", np.array([RIDGE]))
    model, data = potential(), dataset(alloys(6, seed=1))
    hidden, _ = features(model, data.train)
    rows_SH = torch.stack([one.mean(0) for one in hidden])
    ridge = RIDGE * float((rows_SH * rows_SH).sum()) / HIDDEN
    held_back, results = features(model, data.valid)
    errors = [float(r["energy"] - one.labels["energy"]) for r, one in zip(results, data.valid, strict=True)]
    unit = [posterior_variance(one.sum(0), rows_SH, 1 / ridge, 1.0) for one in held_back]
    noise = float(np.mean(np.square(errors) / unit))

    fitted = fit_last_layer(model, [data])
    fresh = held(alloys(5, seed=7))
    sums = [one.sum(0) for one in features(model, fresh)[0]]
    for one, x in zip(fresh, sums, strict=True):
        with torch.no_grad():
            found = float(fitted(one.graph)["energy_uncertainty"])
        assert found**2 == pytest.approx(posterior_variance(x, rows_SH, noise / ridge, noise), rel=1e-8)


def test_forces_are_as_uncertain_as_their_atoms_are_new(monkeypatch: pytest.MonkeyPatch) -> None:
    for room in ("train.likelihood", "train.last_layer_fit"):
        monkeypatch.setattr(f"{room}.RIDGES", np.array([RIDGE]))
        monkeypatch.setattr(f"{room}.FLOORS", np.array([0.2]))
    model, data = potential(), dataset(alloys(6, seed=1))
    rows_NH = torch.cat(features(model, data.train)[0])
    ridge = RIDGE * float((rows_NH * rows_NH).sum()) / HIDDEN
    held_back, results = features(model, data.valid)
    ratios: dict[int, list[float]] = {}
    for hidden, result, one in zip(held_back, results, data.valid, strict=True):
        squares = (result["forces"] - one.labels["forces"]).square().mean(1)
        for x, square, force, number in zip(hidden, squares, result["forces"], one.graph.numbers, strict=True):
            variance = posterior_variance(x, rows_NH, 1 / ridge, 1.0) * math.sqrt(1 + float(force @ force) / 3 / 0.2**2)
            ratios.setdefault(int(number), []).append(float(square) / variance)
    common = np.mean(np.concatenate(list(ratios.values())))
    square = {z: (np.sum(own) + 3 * common) / (len(own) + 3) for z, own in ratios.items()}

    fitted = fit_last_layer(model, [data])
    fresh = held(alloys(3, seed=7))
    for one, hidden in zip(fresh, features(model, fresh)[0], strict=True):
        with torch.no_grad():
            found = fitted(one.graph)
        sizes, forces = found["forces_uncertainty"], found["forces"]
        for size, x, force, number in zip(sizes, hidden, forces, one.graph.numbers, strict=True):
            wanted = square[int(number)] * posterior_variance(x, rows_NH, 1 / ridge, 1.0)
            wanted *= math.sqrt(1 + float(force @ force) / 3 / 0.2**2)
            assert float(size) ** 2 == pytest.approx(wanted, rel=1e-8)


def test_the_likeliest_ridge_is_that_of_the_normal_distribution() -> None:
    random = np.random.default_rng(3)
    basis = torch.from_numpy(random.normal(size=(6, 6)) * np.logspace(0, -3, 6))
    spectrum = Spectrum.of(basis.T @ basis)
    rows = torch.from_numpy(random.normal(size=(400, 6))) @ basis
    elements = torch.from_numpy(random.choice([13, 29], size=400))
    true = spectrum.variances(rows)[:, 9] * torch.where(elements == 13, 4.0, 0.25)
    errors = torch.from_numpy(random.normal(size=400)) * true.sqrt()
    likely = Likely.nothing(len(RIDGES))
    likely.add(errors.square(), spectrum.variances(rows), elements)
    which, squares = likely.best()

    def negative_log_likelihood(number: int) -> float:
        variance = spectrum.variances(rows)[:, number]
        common = likely.ratios[number].sum() / likely.counts.sum()
        drawn = (likely.ratios[number] + 3 * common) / (likely.counts + 3)
        return -float(norm.logpdf(errors, scale=(drawn[elements] * variance).sqrt()).sum())

    assert which == int(np.argmin([negative_log_likelihood(number) for number in range(len(RIDGES))]))
    assert abs(which - 9) <= 1
    # 200 squares scatter by a tenth; the draw towards all adds 3 (2.1 - 0.25) / 203 to the smaller
    assert float(squares[13]) == pytest.approx(4.0, rel=0.35)
    assert float(squares[29]) == pytest.approx(0.28, rel=0.35)
    assert float(squares[1]) == pytest.approx(float(likely.ratios[which].sum() / 400), rel=1e-12)  # none seen


def test_the_fit_does_not_depend_on_batches_and_leaves_the_potential_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    model, data = potential(), dataset(alloys(6, seed=1))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    one = fit_last_layer(model, [data])
    monkeypatch.setattr("train.last_layer_fit.MAX_ATOMS", 8)
    other = fit_last_layer(model, [data])
    assert not model.config.last_layer
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(torch.equal(one.state_dict()[name], value) for name, value in before.items())
    graph = data.valid[0].graph
    with torch.no_grad():
        for name in GIVEN:
            torch.testing.assert_close(one(graph)[name], other(graph)[name], rtol=1e-6, atol=0.0)


def test_what_cannot_be_fitted_is_said_and_is_nan() -> None:
    heard: list[str] = []
    model = potential()
    graph = held(alloys(1))[0].graph
    for known, name, what in (
        ({"forces": False}, "forces_uncertainty", "no uncertainty of forces, for no structure held back has forces"),
        (
            {"energy": False},
            "energy_uncertainty",
            "no uncertainty of energies, for no structure held back has an energy",
        ),
    ):
        fitted = fit_last_layer(model, [dataset(alloys(4, seed=1), **known)], tell=heard.append)
        assert heard.pop() == f"emt: {what}"
        assert not heard
        with torch.no_grad():
            results = fitted(graph)
        for other in ("energy_uncertainty", "forces_uncertainty"):
            assert bool(torch.isnan(results[other]).all()) == (other == name)


def test_without_structures_held_back_those_of_the_training_judge_and_it_is_said() -> None:
    heard: list[str] = []
    fitted = fit_last_layer(potential(), [dataset([])], tell=heard.append)
    assert heard == ["emt: uncertainties are by errors on the training structures, for none were held back"]
    with torch.no_grad():
        assert torch.isfinite(fitted(held(alloys(1))[0].graph)["uncertainty"]).all()


def test_what_is_unlike_the_training_is_less_certain() -> None:
    model = potential()
    fitted = fit_last_layer(model, [dataset(alloys(6, seed=1))])
    usual = alloys(1, seed=5)[0]
    torn = usual.copy()
    torn.positions[0] += [0.9, 0.4, -0.3]
    torn.calc = SinglePointCalculator(torn, energy=0.0, forces=np.zeros((4, 3)))
    with torch.no_grad():
        one, other = (fitted(held([atoms])[0].graph) for atoms in (usual, torn))
    assert float(other["uncertainty"]) > 3 * float(one["uncertainty"])
    assert float(other["energy_uncertainty"]) > 3 * float(one["energy_uncertainty"])


def test_a_run_ends_with_it_unless_told_otherwise(make_config: MakeConfig) -> None:
    models: dict[bool, tuple[Potential, Any]] = {}
    for wanted in (True, False):
        config = make_config(f"run{wanted}", uncertainty={"last_layer": wanted}, stop={"epochs": 2})
        path = train(config).checkpoint
        assert isinstance(path, Path)
        models[wanted] = load_checkpoint(path)
    (sure, manifest), (plain, _) = models[True], models[False]
    assert (sure.config.last_layer, plain.config.last_layer) == (True, False)
    assert manifest.quantities["forces_uncertainty"].unit == "eV/Å"
    assert all(torch.equal(value, sure.state_dict()[name]) for name, value in plain.state_dict().items())
    atoms = alloys(1)[0]
    frame = Frame(atoms, "", None, None, None)
    with torch.no_grad():
        assert torch.isfinite(sure(label(frame, sure.cutoff).graph)["uncertainty"]).all()
