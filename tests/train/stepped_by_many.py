"""What `test_shards.py` starts: parameters that have processes of their own, and one process that leaves."""

import os
import sys

import torch
from torch import nn

from train.config import OptimizerConfig
from train.group import Group, joined
from train.optimizer import Optimizer

COUNT = 4
SETTINGS = OptimizerConfig(clip_norm=None)


def module() -> nn.Sequential:
    """Three maps whose sizes are multiples of nothing."""
    torch.manual_seed(7)
    return nn.Sequential(nn.Linear(11, 23), nn.Linear(23, 17), nn.Linear(17, 29))


def parts_of_their_own(group: Group) -> None:
    """The first map is everybody's, the second that of the first two, the third that of the last: as heads may be."""
    pair, last = group.part([0, 1]), group.part([2])
    own, of_own, places = (2, last, [0, 1, 4, 5]) if group.rank == 2 else (1, pair, [0, 1, 2, 3])
    whole, maps = module(), module()
    alone = Optimizer(whole, SETTINGS)
    shared = Optimizer(nn.ModuleList([maps[0], maps[own]]), SETTINGS, groups=[group, group, of_own, of_own])
    for step in range(COUNT):
        gradients = [torch.randn(parameter.shape) for parameter in alone.whole]
        alone.step(gradients, step / COUNT)
        shared.step([gradients[place] for place in places], step / COUNT)
    averages, shared_averages = list(alone.averaged().values()), list(shared.averaged().values())
    for number, place in enumerate(places):
        assert torch.equal(shared.whole[number], alone.whole[place]), place
        assert torch.equal(shared_averages[number], averages[place]), place
    state = shared.state()
    firsts = {0: {"0.weight", "0.bias", "1.weight", "1.bias"}, 1: set(), 2: {"1.weight", "1.bias"}}
    assert {name.partition(".")[2] for name in state} == firsts[group.rank], list(state)


def one_leaves(group: Group) -> None:
    """The others are told."""
    optimizer = Optimizer(module(), SETTINGS, groups=[group] * 6)
    if group.rank == 1:
        os._exit(3)
    optimizer.step([torch.ones_like(parameter) for parameter in optimizer.whole], 0.0)


if __name__ == "__main__":
    with joined("cpu") as everybody:
        {"parts": parts_of_their_own, "leaves": one_leaves}[sys.argv[1]](everybody)
