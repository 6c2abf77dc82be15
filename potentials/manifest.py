"""The manifest of a checkpoint: what the weights mean, in JSON."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
import torch
from ase import Atoms
from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

from potentials.calibration import HeadCalibration
from potentials.ensemble import AnyPotential, Ensemble
from potentials.potential import PotentialConfig
from potentials.quantities import TRAINABLE
from potentials.structures import graph_from_atoms

FORMAT_VERSION = 3
"""What `Manifest.format_version` must be once a file is upgraded."""

DTYPES: dict[str, torch.dtype] = {"float32": torch.float32, "float64": torch.float64}


Numbers = float | list[float] | list[list[float]]
"""Values of one output: of a structure or of its atoms, scalars or vectors."""


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class GoldenStructure(_Record):
    """A structure and what the potential said of it, in float64, when it was saved.

    Attributes:
        head: the branch that was asked.
        numbers, positions, cell, pbc, charge, spin: the structure; Å.
        energy: eV.
        forces: [N, 3] eV/Å.
        stress: [3, 3] eV/Å³, or none where the cell has no volume.
        outputs: what else comes out, by name.
    """

    head: str
    numbers: list[int]
    positions: list[tuple[float, float, float]]
    cell: list[tuple[float, float, float]]
    pbc: tuple[bool, bool, bool]
    charge: float = 0.0
    spin: float = 0.0
    energy: float
    forces: list[tuple[float, float, float]]
    stress: list[tuple[float, float, float]] | None
    outputs: dict[str, Numbers] = {}

    def atoms(self) -> Atoms:
        """The structure, as ASE has it."""
        info = {"charge": self.charge, "spin": self.spin}
        return Atoms(numbers=self.numbers, positions=self.positions, cell=self.cell, pbc=self.pbc, info=info)


class HeadRecord(_Record):
    """What is known of one branch.

    Attributes:
        elements: symbols seen in its training split.
        e0: eV per element.
        scale: eV.
        shift: eV per atom.
        labels: quantities it was trained on.
        fingerprints: SHA-256 of each split's content.
        structures: number of structures of each split.
        test_errors: errors on the test split (valid split where there is none): name to number, units in the name.
        repeating: number of training structures by how many of their directions repeat, 0 (molecules) to 3 (crystals);
            empty where nobody knows, as in files from before this was written down.
        outside: eV/Å by element: an atom whose forces_uncertainty, not calibrated, is above it is outside of what the
            training structures have (`train.outside`); empty where nobody knows.
    """

    elements: tuple[str, ...]
    e0: dict[str, float]
    scale: float
    shift: float
    labels: tuple[str, ...] = ()
    fingerprints: dict[str, str] = {}
    structures: dict[str, int] = {}
    test_errors: dict[str, float] = {}
    repeating: dict[int, int] = {}
    outside: dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]] = {}

    @model_serializer(mode="wrap")
    def _without_unknown(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Records of before have the bytes, and checkpoints the identity, that they had."""
        found: dict[str, Any] = dump(self)
        return {name: value for name, value in found.items() if value or name not in {"repeating", "outside"}}

    @property
    def of_energies(self) -> bool:
        """Whether it has learnt energies or their derivatives; files that do not say what was learnt are of them."""
        return not self.labels or not set(TRAINABLE).isdisjoint(self.labels)


class MemberRecord(_Record):
    """One of the potentials of an ensemble.

    Attributes:
        name: for people, such as the folder it was trained in.
        potential: configuration of its backbone, heads and outputs.
        training: how it was trained, as that of a `Manifest`.
    """

    name: str
    potential: PotentialConfig
    training: dict[str, Any] = {}


class QuantityRecord(_Record):
    """Unit, shape and level of one quantity."""

    unit: str
    shape: tuple[int, ...]
    level: str


class Manifest(_Record):
    """Everything about a checkpoint but its tensors.

    Attributes:
        format_version: of this page; older files are upgraded when they are read.
        made_with: versions of gfm-ase and torch.
        potential: configuration of backbone, heads and outputs; of an ensemble, that of its first member.
        dtype: of the network's weights.
        cutoff: Å.
        quantities: what comes out, and in which units.
        heads: by name, in the order of their indices.
        golden: structures that are computed again at load and must agree.
        training: how it was trained, for people to read.
        members: of an ensemble, in the order of their tensors; none of a single potential.
        calibration: of heads whose uncertainties were calibrated, by name.
    """

    format_version: Literal[3] = 3
    made_with: dict[str, str]
    potential: PotentialConfig
    dtype: Literal["float32", "float64"]
    cutoff: float
    quantities: dict[str, QuantityRecord]
    heads: dict[str, HeadRecord]
    golden: list[GoldenStructure]
    training: dict[str, Any] = {}
    members: tuple[MemberRecord, ...] = ()
    calibration: dict[str, HeadCalibration] = {}

    @property
    def identity(self) -> str:
        """SHA-256 of this page; the golden structures' energies in it follow the weights."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


def describe(
    potential: AnyPotential,
    golden: list[GoldenStructure],
    *,
    made_with: dict[str, str],
    heads: dict[str, HeadRecord] | None = None,
    training: dict[str, Any] | None = None,
    trainings: Sequence[dict[str, Any]] = (),
) -> Manifest:
    """The manifest of a potential; `heads` adds what training knows of each branch, `trainings` of each member."""
    members: list[MemberRecord] = []
    if isinstance(potential, Ensemble):
        known_of = [*trainings, *({} for _ in range(potential.size - len(trainings)))]
        rows_of = zip(potential.names, potential.configs, known_of, strict=True)
        members = [MemberRecord(name=name, potential=own, training=training) for name, own, training in rows_of]
    rows = {}
    for row, head in enumerate(potential.heads):
        known = (heads or {}).get(head)
        references = potential.references
        state = {
            "elements": references.elements(head),
            "e0": references.e0(head),
            "scale": float(references.scale_D[row]),
            "shift": float(references.shift_D[row]),
        }
        rows[head] = HeadRecord(**{**(known.model_dump() if known else {}), **state})
    names = {dtype: name for name, dtype in DTYPES.items()}
    return Manifest(
        made_with=made_with,
        potential=potential.config,
        dtype=names[potential.dtype],
        cutoff=potential.cutoff,
        quantities={
            name: QuantityRecord(unit=row.unit, shape=row.shape, level=row.level)
            for name, row in potential.quantities.items()
        },
        heads=rows,
        golden=golden,
        training=training or {},
        members=tuple(members),
    )


def golden_structure(potential: AnyPotential, atoms: Atoms, head: str) -> GoldenStructure:
    """What a float64 copy of the potential says of a structure."""
    graph = graph_from_atoms(atoms, potential.cutoff, dataset=potential.head_index(head))
    with torch.no_grad():
        results = potential.in_float64()(graph)
    stress = results["stress"][0].tolist()
    return GoldenStructure(
        head=head,
        numbers=atoms.numbers.tolist(),
        positions=atoms.positions.tolist(),
        cell=atoms.cell.array.tolist(),
        pbc=tuple(bool(periodic) for periodic in atoms.pbc),
        charge=float(graph.charge[0]),
        spin=float(graph.spin[0]),
        energy=float(results["energy"][0]),
        forces=results["forces"].tolist(),
        stress=stress if np.isfinite(stress).all() else None,
        outputs={
            output.name: (results[output.name][0] if output.level == "graph" else results[output.name]).tolist()
            for output in potential.config.outputs
        },
    )
