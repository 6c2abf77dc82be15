"""The tables of a run file, except `[[dataset]]`: what each key means, what it may be, what it is by default."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from potentials.backbones import AnyBackboneConfig
from potentials.backbones.painn import PaiNNConfig
from potentials.output_config import OutputConfig, distinct

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
PositiveInt = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(ge=0, lt=1)]


def _none_by_name(value: Any) -> Any:
    """TOML has no null: the word "none" switches an optional bound off."""
    return None if value == "none" else value


OptionalPositive = Annotated[Positive | None, BeforeValidator(_none_by_name)]
OptionalPositiveInt = Annotated[PositiveInt | None, BeforeValidator(_none_by_name)]


class Table(BaseModel):
    """A table whose unknown keys are mistakes, and which does not change once it is read."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def _default_backbone(value: Any) -> Any:
    """A `[potential.backbone]` without a name sets keys of the default architecture."""
    if not isinstance(value, dict):
        return value
    # after this function strict means Python's types, where a list is no tuple
    given = {key: tuple(entry) if isinstance(entry, list) else entry for key, entry in value.items()}
    return {"name": PaiNNConfig().name, **given}


class PotentialTable(Table):
    """`[potential]`; the heads are the data sets.

    Attributes:
        backbone: architecture and its settings; `name` chooses, PaiNN where there is none.
        head_width: hidden features of each branch.
        charge_and_spin: let total charge and spin of the structure act on its atoms.
        repulsion: add the screened repulsion of nuclei to the energy.
        output: what the potential gives beyond energy, forces and stress, one table each.
    """

    backbone: Annotated[AnyBackboneConfig, BeforeValidator(_default_backbone)] = PaiNNConfig()
    head_width: PositiveInt = 64
    charge_and_spin: bool = False
    repulsion: bool = False
    output: tuple[OutputConfig, ...] = ()

    @field_validator("output")
    @classmethod
    def _distinct_outputs(cls, output: tuple[OutputConfig, ...]) -> tuple[OutputConfig, ...]:
        return distinct(output)


class TermConfig(Table):
    """One term of the loss.

    Attributes:
        kind: "l1" absolute, "l2" squared, or "huber" deviation: squared up to `delta`, linear beyond. Which one is
            better depends on the data: see docs/train.md.
        weight: factor of the term; 0 leaves it out.
        delta: where Huber turns linear, in the unit of the quantity.
    """

    kind: Literal["l1", "l2", "huber"] = "huber"
    weight: NotNegative = 1.0
    delta: Positive = 0.01


class EnergyTerm(TermConfig):
    """On energies per atom, eV: `delta` is 0.01 eV per atom."""


class ForcesTerm(TermConfig):
    """On force components, eV/Å."""

    delta: Positive = 0.05


class StressTerm(TermConfig):
    """On stress components, eV/Å³ (0.01 eV/Å³ is 1.6 GPa)."""

    weight: NotNegative = 0.1


class LossConfig(Table):
    """`[loss]`: a term for each quantity; only labels that are known count.

    Attributes:
        energy: of every potential, as forces and stress.
        outputs: terms of the outputs by name; one that is left out is a default `TermConfig`.
        weighting: "fixed", the weights as they are; "uncertainty" learns them (Kendall et al., CVPR 2018);
            "gradient_norm" gives all terms gradients of one size on the backbone, times their weights.
        balance_every: steps between measurements of the gradients, which "gradient_norm" needs.
    """

    energy: EnergyTerm = EnergyTerm()
    forces: ForcesTerm = ForcesTerm()
    stress: StressTerm = StressTerm()
    outputs: dict[str, TermConfig] = {}
    weighting: Literal["fixed", "uncertainty", "gradient_norm"] = "fixed"
    balance_every: PositiveInt = 20


class BatchConfig(Table):
    """`[batch]`: a batch holds as many structures as fit within all bounds that are set.

    Attributes:
        max_atoms: atoms in a batch.
        max_edges: directed edges in a batch; memory follows them.
        max_structures: structures in a batch.
        per_step: batches of one step of the optimizer, all processes together; each computes its part of them one
            after the other. Without, one for each process. The result does not depend on how many processes there are.
        edge_cost: what a directed edge costs, an atom being 1: batches are packed so that their costs are alike.
        mixed: whether structures of several data sets may share a batch; without, they do unless `parallel.tasks`.
        temperature: shares of the data sets in an epoch are as their numbers of structures to the power of
            1 / temperature; 1 leaves them as they are, large temperatures make them equal. `dataset.repeat` multiplies.
    """

    max_atoms: OptionalPositiveInt = 512
    max_edges: OptionalPositiveInt = None
    max_structures: OptionalPositiveInt = None
    per_step: OptionalPositiveInt = None
    edge_cost: NotNegative = 0.3
    mixed: bool | None = None
    temperature: Positive = 1.0

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.max_atoms is None and self.max_edges is None and self.max_structures is None:
            raise ValueError("no bound is set; give max_atoms, max_edges or max_structures")
        return self


class ParallelConfig(Table):
    """`[parallel]`: how several processes share the work beyond the batches.

    Attributes:
        tasks: each process computes the heads of those data sets alone that it has batches of, and nobody else has
            their gradients; message passing is everybody's.
    """

    tasks: bool = False


class OptimizerConfig(Table):
    """`[optimizer]`: AdamW, a linear warm-up and a cosine, clipping, an exponential moving average of the weights.

    Attributes:
        learning_rate: at the end of the warm-up.
        weight_decay: decoupled.
        betas: decay of the first and the second moment.
        warmup_fraction: share of all steps in which the rate rises from 0.
        final_fraction: part of `learning_rate` that the cosine ends at.
        clip_norm: largest norm of the gradient; "none" for no bound.
        ema_decay: of the averaged weights, which are those evaluated and exported; "none" for no average.
        backbone_rate: times the learning rate, for the weights of the backbone: below 1 they stay nearer to where they
            began than those of the heads.
        shard: give each process its part of moments and averages instead of all of them. Not by default: it costs a
            gathering of the weights a step, and is worth it only where they are many.
    """

    learning_rate: Positive = 2e-3
    weight_decay: NotNegative = 1e-3
    betas: tuple[Share, Share] = (0.9, 0.999)
    warmup_fraction: Share = 0.02
    final_fraction: Annotated[float, Field(ge=0, le=1)] = 0.01
    clip_norm: OptionalPositive = 10.0
    ema_decay: Annotated[Annotated[float, Field(gt=0, lt=1)] | None, BeforeValidator(_none_by_name)] = 0.99
    backbone_rate: Positive = 1.0
    shard: bool = False


class StopConfig(Table):
    """`[stop]`: whichever comes first.

    Attributes:
        epochs: passes over all training structures.
        patience: validations without a better one before the run ends; "none" to go on.
        max_minutes: wall time of the run; "none" for no bound.
        job_end_minutes: before the end of the Slurm job, where it is known, that the state is saved and the run ends;
            "none" not to look.
        unanswered_minutes: how long a process waits for another one that does not answer before the run ends.
    """

    epochs: PositiveInt = 100
    patience: OptionalPositiveInt = None
    max_minutes: OptionalPositive = None
    job_end_minutes: OptionalPositive = 2.0
    unanswered_minutes: Positive = 30.0


class LogConfig(Table):
    """`[log]`.

    Attributes:
        validate_every: epochs between validations.
        checkpoint_minutes: time between the states that a run can be resumed from.
        tensorboard: write events for TensorBoard beside the journal (extra `track`).
    """

    validate_every: PositiveInt = 1
    checkpoint_minutes: Positive = 5.0
    tensorboard: bool = False


class UncertaintyConfig(Table):
    """`[uncertainty]`.

    Attributes:
        last_layer: fit uncertainties by the last layer once the training is over; see `train.last_layer_fit`.
    """

    last_layer: bool = True
