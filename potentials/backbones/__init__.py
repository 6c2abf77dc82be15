"""Message-passing architectures behind one interface. A new one is one file and one line in `BACKBONES`."""

from typing import Annotated

from pydantic import Field

from potentials.backbones.base import Backbone, BackboneConfig
from potentials.backbones.dimenet import DimeNet, DimeNetConfig
from potentials.backbones.egnn import EGNN, EGNNConfig
from potentials.backbones.ember import Ember, EmberConfig
from potentials.backbones.mace import MACE, MACEConfig
from potentials.backbones.nequip import NequIP, NequIPConfig
from potentials.backbones.painn import PaiNN, PaiNNConfig
from potentials.backbones.schnet import SchNet, SchNetConfig
from potentials.backbones.tensornet import TensorNet, TensorNetConfig

AnyBackboneConfig = Annotated[
    SchNetConfig | EGNNConfig | PaiNNConfig | TensorNetConfig | DimeNetConfig | MACEConfig | NequIPConfig | EmberConfig,
    Field(discriminator="name"),
]
"""Whatever a `[backbone]` table of a run may hold; `name` chooses."""

BACKBONES: dict[str, tuple[type[BackboneConfig], type[Backbone]]] = {
    "schnet": (SchNetConfig, SchNet),
    "egnn": (EGNNConfig, EGNN),
    "painn": (PaiNNConfig, PaiNN),
    "tensornet": (TensorNetConfig, TensorNet),
    "dimenet": (DimeNetConfig, DimeNet),
    "mace": (MACEConfig, MACE),
    "nequip": (NequIPConfig, NequIP),
    "ember": (EmberConfig, Ember),
}

__all__ = ["BACKBONES", "AnyBackboneConfig", "Backbone", "BackboneConfig"]
