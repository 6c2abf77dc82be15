"""EMBER: many-body expansion on atoms, light edges whose radial functions can be tabulated."""

from __future__ import annotations

from typing import Literal

from potentials.backbones.many_body import ManyBody, ManyBodyConfig, ManyBodyLayer
from potentials.equivariant import DegreeLinear, natural_coupling


class EmberConfig(ManyBodyConfig):
    """Settings of `Ember`."""

    name: Literal["ember"] = "ember"


class Ember(ManyBody):
    """Equivariant Many-Body Expansion with tabulated Radials: our own selection of what is proven.

    Each layer expands the surroundings of an atom in harmonics and learnt radial functions (ACE: Drautz, Phys. Rev. B
    99, 014104, 2019), sums before it multiplies, so that all products are taken on atoms and not on edges, and takes
    them up to the third order with weights by element, on as many paths as are independent (MACE: Batatia et al.,
    NeurIPS 2022). Messages after the first layer are equivariant up to `l_hidden`. What differs from MACE: the paths
    of features and harmonics that end in one degree add up while they are made, weighed by radial functions of their
    own, and no linear map mixes them: sums have a fraction of the numbers, and potentials learnt from few data were
    better for it. Radial functions depend on the distance alone: at inference splines stand for them (symmetrix, Kovács
    et al.). Neighbours' elements come in with the features that they send.
    """

    def __init__(self, config: EmberConfig) -> None:
        super().__init__(config, _layer)


def _layer(config: EmberConfig, *, l_in: int, l_out: int) -> ManyBodyLayer:
    l_sums = config.l_sums(l_out)
    # the number of neighbours goes into the weights: small, they learn fast, which finds better potentials
    mix = DegreeLinear(l_sums, config.width, config.width, gain=1 / config.neighbours)
    return ManyBodyLayer(config, (l_in, l_sums, l_out), natural_coupling(l_in, config.l_max, l_sums), mix)
