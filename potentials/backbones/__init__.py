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
<<<<<<< HEAD
    SchNetConfig | EGNNConfig | PaiNNConfig | EmberConfig | TensorNetConfig | MACEConfig | NequIPConfig,
=======
    SchNetConfig | EGNNConfig | PaiNNConfig | EmberConfig | TensorNetConfig | MACEConfig | DimeNetConfig,
>>>>>>> c26b254 (DimeNet++ without triplets: one sum around each atom by the addition theorem)
    Field(discriminator="name"),
]
"""Whatever a `[backbone]` table of a run may hold; `name` chooses."""

BACKBONES: dict[str, tuple[type[BackboneConfig], type[Backbone]]] = {
    "schnet": (SchNetConfig, SchNet),
    "egnn": (EGNNConfig, EGNN),
    "painn": (PaiNNConfig, PaiNN),
    "ember": (EmberConfig, Ember),
    "tensornet": (TensorNetConfig, TensorNet),
    "mace": (MACEConfig, MACE),
<<<<<<< HEAD
    "nequip": (NequIPConfig, NequIP),
=======
    "dimenet": (DimeNetConfig, DimeNet),
>>>>>>> c26b254 (DimeNet++ without triplets: one sum around each atom by the addition theorem)
}

__all__ = ["BACKBONES", "AnyBackboneConfig", "Backbone", "BackboneConfig"]
