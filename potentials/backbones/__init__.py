"""Message-passing architectures behind one interface. A new one is one file and one line in `BACKBONES`."""

from typing import Annotated

from pydantic import Field

from potentials.backbones.base import Backbone, BackboneConfig
from potentials.backbones.cgcnn import CGCNN, CGCNNConfig
from potentials.backbones.dimenet import DimeNet, DimeNetConfig
from potentials.backbones.egnn import EGNN, EGNNConfig
from potentials.backbones.ember import Ember, EmberConfig
from potentials.backbones.gat import GAT, GATConfig
from potentials.backbones.gin import GIN, GINConfig
from potentials.backbones.gps import GPS, GPSConfig
from potentials.backbones.mace import MACE, MACEConfig
from potentials.backbones.mfc import MFC, MFCConfig
from potentials.backbones.nequip import NequIP, NequIPConfig
from potentials.backbones.painn import PaiNN, PaiNNConfig
from potentials.backbones.pna import PNA, PNAConfig
from potentials.backbones.pna_eq import PNAEq, PNAEqConfig
from potentials.backbones.pna_plus import PNAPlus, PNAPlusConfig
from potentials.backbones.sage import SAGE, SAGEConfig
from potentials.backbones.schnet import SchNet, SchNetConfig
from potentials.backbones.tensornet import TensorNet, TensorNetConfig

AnyBackboneConfig = Annotated[
    SchNetConfig
    | EGNNConfig
    | PaiNNConfig
    | TensorNetConfig
    | DimeNetConfig
    | MACEConfig
    | NequIPConfig
    | GINConfig
    | SAGEConfig
    | GATConfig
    | PNAConfig
    | PNAPlusConfig
    | PNAEqConfig
    | MFCConfig
    | CGCNNConfig
    | GPSConfig
    | EmberConfig,
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
    "gin": (GINConfig, GIN),
    "sage": (SAGEConfig, SAGE),
    "gat": (GATConfig, GAT),
    "pna": (PNAConfig, PNA),
    "pna_plus": (PNAPlusConfig, PNAPlus),
    "pna_eq": (PNAEqConfig, PNAEq),
    "mfc": (MFCConfig, MFC),
    "cgcnn": (CGCNNConfig, CGCNN),
    "gps": (GPSConfig, GPS),
    "ember": (EmberConfig, Ember),
}

__all__ = ["BACKBONES", "AnyBackboneConfig", "Backbone", "BackboneConfig"]
