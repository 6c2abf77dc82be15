"""MACE: messages of many bodies from products of sums over neighbours."""

from __future__ import annotations

from typing import Literal

from potentials.backbones.many_body import ManyBody, ManyBodyConfig, ManyBodyLayer
from potentials.slots import SlotMixture, edge_coupling, natural_kinds


class MACEConfig(ManyBodyConfig):
    """Settings of `MACE`."""

    name: Literal["mace"] = "mace"


class MACE(ManyBody):
    """MACE (Batatia, Kovács, Simm, Ortner, Csányi, NeurIPS 2022), with residual interactions in all layers.

    The function class is that of mace-torch at equal settings (its `RealAgnosticResidualInteractionBlock`, features of
    parity (-1)^l): a fixture of it is computed to rounding in the tests. What differs: the product basis has as many
    paths as are independent; weights carry their scale, where mace-torch multiplies at run time; instead of energies
    each layer adds features, the last of them through a SiLU, and a branch of the potential reads their sum.
    """

    def __init__(self, config: MACEConfig) -> None:
        super().__init__(config, _layer)


def _layer(config: MACEConfig, *, l_in: int, l_out: int) -> ManyBodyLayer:
    """Each path of features and harmonics has sums of its own, and a linear map mixes them (eq. 8 of the paper)."""
    l_sums = config.l_sums(l_out)
    coupling, slots = edge_coupling(natural_kinds(l_in), config.l_max, natural_kinds(l_sums))
    mix = SlotMixture(slots, config.width, gain=1 / config.neighbours)
    return ManyBodyLayer(config, (l_in, l_sums, l_out), coupling, mix)
