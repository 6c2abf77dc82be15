"""`Run`: a training run and everything in it that has a state."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from potentials.compiled import CompiledPotential
from potentials.devices import choose_device
from potentials.potential import Potential
from potentials.quantities import TRAINABLE
from train.balance import Balance
from train.config import RunConfig, dump_config
from train.data import Dataset
from train.energy.meter import open_meter
from train.evaluation import Evaluate, Judge, Validation, gathered, predict, validate
from train.export import export
from train.freezing import trainable
from train.group import ALONE, Group
from train.guard import TrainingError
from train.journal import Journal, Row, write_json
from train.labelled import Labelled
from train.last_layer_fit import with_uncertainty
from train.layout import Layout
from train.learner import AdaptedStep, Learner
from train.optimizer import Optimizer, learning_rate
from train.outside import limits_of
from train.progress import Reporter
from train.result import TrainingResult
from train.sampling import Loader
from train.saving import Saver, writing
from train.shared_step import Shared, shared_step
from train.start import begin, with_neighbours
from train.state import Position, RunState, check_same_run, load_state, restore
from train.tasks import with_labels

STATE, MODEL = "state.safetensors", "model.safetensors"


class Run:
    """One training run: everything that has a state.

    Args:
        config: resolved settings.
        datasets: with their graphs.
        reporter: shows progress.
        group: the processes that train together.
    """

    def __init__(
        self, config: RunConfig, datasets: Sequence[Dataset], reporter: Reporter, group: Group = ALONE
    ) -> None:
        self.config, self.datasets, self.reporter, self.group = config, datasets, reporter, group
        self.device = group.place(choose_device(config.device))
        made_of = with_neighbours(config.potential_config(), datasets)
        self.potential = Potential(made_of, seed=config.seed).to(self.device)
        known = {quantity for dataset in datasets for quantity in dataset.quantities}
        self.tasks = with_labels(config.tasks(), known)
        self.learner = begin(self.potential, config, datasets, self.tasks, (reporter, group))
        self.averaged = Potential(made_of).to(self.device).requires_grad_(requires_grad=False)
        restore(self.averaged, self.potential.state_dict())
        self.best = {name: value.clone() for name, value in self.potential.state_dict().items()}
        self.weights = [table.weight for table in config.dataset]
        self.compiled = config.compile
        self.evaluate: Evaluate = CompiledPotential(self.averaged) if config.compile else self.averaged
        self.lay_out(Layout(config, datasets, self.potential, group))
        self.position = Position(streams=self.layout.streams)
        self.journal = Journal(config.output, tensorboard=config.log.tensorboard) if group.first else None
        self.saver = Saver(config.output / STATE, reporter.warn)
        self.meter = open_meter(config.energy, self.device, group, reporter)

    def lay_out(self, layout: Layout) -> None:
        """Everything that depends on how the work is laid out in steps and processes; nothing is learnt yet."""
        self.layout, self.structures, self.plan, self.division = layout, layout.structures, layout.plan, layout.division
        self.learner = Learner(self.division.potential, self.learner.factors)
        self.step = self.make_step()
        self.balance = Balance(self.config.loss, self.tasks, self.learner)
        elements = torch.nonzero(self.potential.references.known_DZ.any(0))[:, 0]
        learnt, settings = self.learner, self.config.optimizer
        groups = self.division.groups(len(trainable(learnt))) if settings.shard else None
        self.optimizer = Optimizer(learnt, settings, self.balance.parameters, elements, groups)

    def make_step(self) -> AdaptedStep:
        """Loss and gradients of the heads of this process."""
        weights = [self.weights[which] for which in self.division.own]
        return self.learner.step(self.tasks, weights, compiled=self.compiled, **self.config.step_options())

    def go_without_compiling(self) -> None:
        """The same run, computed eagerly; its settings stay those asked for."""
        self.compiled = False
        self.step = self.make_step()
        self.evaluate = self.averaged

    def done(self, epochs: float) -> float:
        """How much of the run is over, 0 to 1: of its epochs, or of its time if that is more.

        Args:
            epochs: that are over.
        """
        stop, position = self.config.stop, self.position
        by_epochs = epochs / stop.epochs
        if stop.max_minutes is None:
            return by_epochs
        there_is = max(60 * stop.max_minutes - position.compiling, 1e-9)
        return min(1.0, max(by_epochs, (position.seconds - position.compiling) / there_is))

    def epochs(self) -> float:
        """How many are over, with the part of the running one."""
        return self.position.epoch + self.position.tally.structures / max(1, self.plan.length(self.position.epoch))

    def train_epoch(self, pause: Callable[[], str | None]) -> str | None:
        """The rest of the running epoch; where `pause` asks to stop before its end, why."""
        position = self.position
        steps = self.layout.steps(position.epoch, position.batches)
        with contextlib.closing(Loader(self.structures, steps).__iter__()) as loader:
            while position.tally.structures < self.plan.length(position.epoch):
                self.learn([self.division.local(batch.to(self.device)) for batch in next(loader)])
                if reason := pause():
                    return reason
        return None

    def learn(self, own: Sequence[Labelled]) -> None:
        """One step.

        Args:
            own: batches of this process.
        """
        position = self.position
        self.balance.measure(lambda factors: self.shared_step(own, factors).result, position.steps)
        factors = self.balance.factors()
        shared = self.shared_step(own, factors)
        result = shared.result
        given = result.gradients, self.done(self.epochs()), self.balance.gradients(result)
        norm = self.optimizer.step(*given, self.division.norm(result.gradients))
        self.learner.merge()
        position.batches = self.layout.after_step(position.batches)
        position.steps += 1
        tally = position.tally
        # by the weights of the run file, whatever training makes of them: epochs can be compared
        loss = result.loss if factors is None else (result.terms / factors).sum()
        tally.loss += float(loss) * shared.structures
        tally.structures += shared.structures
        tally.atoms += shared.atoms
        tally.largest_gradient = max(tally.largest_gradient, norm)
        epochs = self.epochs()
        self.reporter.stepped(shared.atoms, epochs, self.done(epochs))

    def shared_step(self, own: Sequence[Labelled], factors: Tensor | None) -> Shared:
        """Loss and gradients of the batches of all processes."""
        return shared_step(self.step, own, self.division, factors, self.optimizer.rows)

    def validate(self) -> Validation:
        """Loss and errors of the averaged weights on the validation splits."""
        restore(self.averaged, self.averaged_state())
        structures = {dataset.name: dataset.valid for dataset in self.datasets}
        judge = Judge(self.tasks, self.weights, self.group, self.division.share)
        return validate(self.evaluate, self.averaged.references, structures, judge)

    def averaged_state(self) -> dict[str, Tensor]:
        """All tensors of the potential with the averaged weights."""
        return {**self.potential.state_dict(), **self.learner.merged(self.optimizer.averaged())}

    def record(self, validation: Validation, atoms_per_s: float) -> None:
        """Journal, best weights and patience after a validation; without validation data the training loss judges.

        Before the first step it is of epoch 0: what a run begins with.
        """
        position, tally = self.position, self.position.tally
        epoch = position.epoch + 1 if position.steps else 0
        if not math.isfinite(validation.loss):
            raise TrainingError(
                f"the validation loss of epoch {epoch} is {validation.loss}; begin anew with a lower"
                " optimizer.learning_rate"
            )
        train_loss = tally.loss / max(1, tally.structures) if epoch else None
        valid_loss = validation.loss if any(dataset.valid for dataset in self.datasets) else None
        judged = train_loss if valid_loss is None else valid_loss
        if judged is not None and judged < position.best_loss:
            position.best_loss, position.best_epoch, position.worse = judged, epoch, 0
            self.best = {name: value.clone() for name, value in self.averaged.state_dict().items()}
        elif epoch:
            position.worse += 1
        self.meter.read(position.energy)
        row: Row = {
            "step": position.steps,
            "epoch": epoch,
            "seconds": round(position.seconds, 3),
            "learning_rate": learning_rate(self.done(epoch), self.config.optimizer),
            "train_loss": train_loss,
            "valid_loss": valid_loss,
            "best_epoch": position.best_epoch,
            "largest_gradient": tally.largest_gradient,
            "atoms_per_second": atoms_per_s,
            **position.energy.row(),
            "valid": validation.errors,
        }
        factors = self.balance.factors()
        if factors is not None:
            weights = (factors * self.balance.weight_T).tolist()
            row["weights"] = dict(zip((task.name for task in self.tasks), weights, strict=True))
        if self.journal:
            self.journal.write(row, self.reporter.warn)
        self.reporter.validated(row)

    def save(self, *, meanwhile: bool = False) -> None:
        """Write the state that the run can be resumed from; the first process does, and all have to ask for it.

        Args:
            meanwhile: copy it and go on, while it is being written; else `saver.check` tells whether it could be.
        """
        tensors = {f"weights.{name}": value for name, value in self.potential.state_dict().items()}
        tensors |= {f"best.{name}": value for name, value in self.best.items()}
        tensors |= {f"optimizer.{name}": value for name, value in self.optimizer.state().items()}
        tensors = self.division.complete(tensors)
        self.meter.read(self.position.energy)
        if not self.group.first:
            return
        tensors |= {f"balance.{name}": value for name, value in self.balance.state().items()}
        tensors |= {f"learner.{name}": value for name, value in self.learner.state().items()}
        config = dump_config(self.config)
        config["batch"]["per_step"] = self.layout.per_step
        state = RunState(self.position, config, self.fingerprints(), tensors)
        (self.saver.begin if meanwhile else self.saver.write)(state)

    def resume(self) -> None:
        """Go on from the saved state.

        Raises:
            ValueError: there is none, or it belongs to other settings or data.
        """
        state = load_state(self.config.output / STATE)
        check_same_run(state, dump_config(self.config), self.fingerprints())
        before = state.config["batch"]["per_step"], state.position.streams
        self.lay_out(Layout(self.config, self.datasets, self.potential, self.group, before))
        restore(self.potential, state.part("weights."))
        self.best = {name: value.to(self.device) for name, value in state.part("best.").items()}
        self.optimizer.load_state(state.part("optimizer."), state.position.steps)
        self.balance.load_state(state.part("balance."))
        self.learner.load_state(state.part("learner."))
        self.position = state.position
        self.saver.holds(state.position.steps)
        if self.journal:
            # a run that stopped before its first step looks again at what it begins with
            self.journal.rewind(self.position.epoch if self.position.steps else -1)

    def fingerprints(self) -> dict[str, dict[str, str]]:
        """Content hashes of all splits."""
        return {dataset.name: dict(dataset.fingerprint) for dataset in self.datasets}

    def finish(self, reason: str) -> TrainingResult:
        """Errors of the best weights on the test splits, and the checkpoint."""
        self.best = self.division.complete(self.best)
        restore(self.averaged, self.best)
        errors = {}
        outputs = [task.quantity for task in self.tasks[len(TRAINABLE) :]]
        for dataset in self.datasets:
            judged = (dataset.test or dataset.valid)[self.group.rank :: self.group.size]
            predictions = predict(self.evaluate, self.averaged.references, judged, outputs=outputs)
            errors[dataset.name] = gathered(predictions, self.group).errors()
        self.meter.read(self.position.energy)
        training = {
            "config": dump_config(self.config),
            "epochs": self.position.epoch,
            "steps": self.position.steps,
            "best_epoch": self.position.best_epoch,
            "best_valid_loss": self.position.best_loss,
            "seconds": self.position.seconds,
            "energy": self.position.energy.record(),
            "reason": reason,
        }
        exported = with_uncertainty(
            self.averaged, self.config, self.datasets, self.evaluate, (self.reporter, self.group)
        )
        with self.reporter.reading() as progress:
            limits = limits_of(exported, self.datasets, self.evaluate, self.group, progress)
        path = self.config.output / MODEL
        if self.group.first:
            needed = sum(value.nbytes for value in exported.state_dict().values())
            with writing("the checkpoint", path, needed, "make room, and --resume goes on from the last state"):
                export(path, exported, self.datasets, errors, training, limits=limits)
                write_json(self.config.output / "errors.json", errors)
        return TrainingResult(path, errors, self.position, reason)
