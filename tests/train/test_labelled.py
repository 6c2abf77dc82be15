"""Labelled structures: batching and what is known."""

import pytest
import torch
from ase.build import molecule

from train.data import label
from train.frame import Frame
from train.labelled import Labelled, batch_labelled


def labelled(name: str, energy: float | None) -> Labelled:
    atoms = molecule(name)
    forces = None if energy is None else atoms.positions * 0.5
    return label(Frame(atoms, f"{name}.xyz:0", energy, forces, None), 3.0)


def test_batching_keeps_labels_masks_and_sources_in_order() -> None:
    both = batch_labelled([labelled("H2O", -3.0), labelled("CH4", None)])
    assert both.source == ("H2O.xyz:0", "CH4.xyz:0")
    assert both.labels["energy"].tolist() == [-3.0, 0.0]
    assert both.known["energy"].tolist() == [True, False]
    assert both.known["forces"].tolist() == [True] * 3 + [False] * 5
    assert both.known["stress"].tolist() == [False, False]
    assert torch.equal(both.labels["forces"][:3], both.graph.positions[:3] * 0.5)
    assert not both.labels["forces"][3:].any()
    assert (both.labels["stress"].shape, both.graph.n_graphs) == ((2, 3, 3), 2)
    assert {tensor.dtype for tensor in both.labels.values()} == {torch.float64}


def test_moving_moves_every_tensor() -> None:
    moved = labelled("H2O", -3.0).to("meta")
    tensors = [*moved.labels.values(), *moved.known.values(), moved.graph.positions]
    assert {tensor.device.type for tensor in tensors} == {"meta"}
    assert moved.source == ("H2O.xyz:0",)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="page-locked memory needs a GPU")
def test_pinning_pins_every_tensor() -> None:
    pinned = labelled("H2O", -3.0).pin_memory()
    assert all(tensor.is_pinned() for tensor in [*pinned.labels.values(), *pinned.known.values()])
    assert pinned.graph.positions.is_pinned()


def test_nothing_makes_no_batch() -> None:
    with pytest.raises(ValueError, match="no structures"):
        batch_labelled([])
