"""`GFMCalculator`: a checkpoint as an ASE calculator."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from ase import Atoms
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes, all_properties
from torch import Tensor

from gfm_ase.evaluating import of_export, results_of, tables_of, without_gradients
from gfm_ase.heads import Heads, Known
from gfm_ase.loading import Loaded, choose_dtype, load, load_export
from gfm_ase.uncertain import Evaluate, Uncertainties
from potentials.allocator import keep_freed_memory
from potentials.compiled import CompiledPotential
from potentials.devices import choose_device
from potentials.exported import Exported
from potentials.graph import AtomicGraph
from potentials.models.registry import DEFAULT
from potentials.structures import graph_from_atoms, structure_state
from potentials.verlet import VerletList

if TYPE_CHECKING:
    from md_workflows.batched.models import GraphModel

DIRECT = "the batched engine takes derivatives of the energy; it cannot drive direct forces"

IMPLEMENTED = ["energy", "free_energy", "energies", "forces", "stress"]
"""What every potential gives."""


class GFMCalculator(Calculator):  # type: ignore[misc]  # ASE has no types
    """Energy, free energy, forces, stress and energies per atom from a checkpoint.

    ``atoms.calc = GFMCalculator("model.safetensors")``, and without a file the model that comes with the package. Of
    several heads the first structure chooses, if one alone fits it; `choose_head` does so beforehand. Any periodicity;
    charge and spin from ``atoms.info``. Stress is there where some direction repeats and the cell has a volume. A head
    whose data had no energies gives what it has learnt, and neither energies nor forces. The potential has no
    electronic temperature: free energy and energy are one number.

    Charges (e), magnetic moments (μB) and the dipole (e·Å, about the mean position of the atoms, of structures that
    repeat nowhere) are there where the potential has learnt them on this head, and so are ASE's getters of them; other
    outputs stand in ``results`` under their names. Forces are derivatives of the energy, whatever outputs there are:
    `use_direct_forces` changes that.

    An ensemble, and a potential whose last layer was fitted, say how sure they are: ``results`` have energy_uncertainty
    (eV), forces_uncertainty ([N] eV/Å, of a component), uncertainty (the largest of these) and, from ensembles,
    stress_uncertainty (eV/Å³). They are half-widths of intervals that hold 90 % of errors (`use_coverage`) where the
    checkpoint was calibrated for this head (``calc.uncertainties.calibrated``), and standard deviations elsewhere. With
    direct forces that of the energy alone is told. Where the checkpoint knows what its training structures have,
    ``results["outside"]`` is how far a structure is outside of them: above 1, and an `OutsideDataWarning` says so.

    Args:
        checkpoint: a file that `gfm-ase train` wrote, the name of a model of the package, what `gfm_ase.load` returned.
        head: which branch (level of theory) answers; left out: the only one, or the only one that knows the elements of
            the first structure and was trained on structures that repeat, or do not, as it does; it stays.
        device: "auto" (a GPU where there is one; where it is already, if loaded), "cpu", "cuda", ...
        dtype: "float32", "float64" or None, the checkpoint's own. Energies are summed in float64 in any case.
        skin: Å; the neighbour list is built this much longer and reused while it holds. Results do not depend on it.
        compile: compile the potential at the first call (tens of seconds, for each member of an ensemble; seconds once
            the machine has seen it). Members must have one cutoff.
        tabulate: read learnt radial functions from tables that are made at the first call for the elements there are;
            several times faster, and the same to some 1e-7 of the largest value. None: where the potential can and
            the tables fit into memory; True: or raise; False: never.

    Attributes:
        head: that answers; none before it is chosen.
        warn: whether to warn of structures outside of the training structures.

    Raises:
        CheckpointError: the file is not a whole, unchanged checkpoint.
        ValueError: unknown head, device or dtype; and at the first calculation: several heads that fit, or none, an
            element, charge or spin that the potential does not know, coincident atoms, a repeating direction without a
            lattice vector, members of several cutoffs with `compile`.
    """

    implemented_properties: list[str] = IMPLEMENTED

    def __init__(
        self,
        checkpoint: str | Path | Loaded = DEFAULT,
        *,
        head: str | None = None,
        device: str | torch.device = "auto",
        dtype: str | torch.dtype | None = None,
        skin: float = 0.5,
        compile: bool = False,
        tabulate: bool | None = None,
    ) -> None:
        super().__init__()
        loaded = checkpoint if isinstance(checkpoint, Loaded) else load(checkpoint, device=device, dtype=dtype)
        self.heads, self.manifest = Heads.of(loaded), loaded.manifest
        named = self.heads.named(head)
        self.compile, self.tabulate, self.warn = compile, tabulate, True
        # what was loaded before may be asked for elsewhere, or in another dtype
        own = loaded.potential.part(loaded.potential.heads if named is None else (named,))
        where = own.device if str(device) == "auto" else choose_device(device)
        moved = own.to(where, choose_dtype(dtype, str(own.dtype).removeprefix("torch.")))
        self.potential = moved.eval().requires_grad_(requires_grad=False)
        self.direct = False
        self.pairs = VerletList(self.potential.cutoff, skin)  # another back end: `calc.pairs = VerletList(...)`
        self._evaluate: Evaluate | None = None
        self._export: Path | None = None
        self._known: Known | None = None
        self._answer_by(named)

    def _answer_by(self, head: str | None, *, by_structure: bool = False) -> None:
        """From now on answer by this head; none: what is told is what one of the heads gives."""
        self.head, heads = head, tuple(self.heads.records) if head is None else (head,)
        if head is not None:
            if self.potential.heads != heads:
                self.potential = self.potential.only(head)
            seen = self.potential.config.charge_and_spin
            self._known = Known(self.heads, head, charge_and_spin=seen, by_structure=by_structure)
        self.outputs = {name: row for one in heads for name, row in self.potential.trained_outputs(one).items()}
        self.of_energies = any(self.manifest.heads[one].of_energies for one in heads)
        given = IMPLEMENTED if self.of_energies else []
        self.implemented_properties = [*given, *(name for name in self.outputs if name in all_properties)]
        self.uncertainties = Uncertainties(self.potential, head, self.manifest)

    def choose_head(self, structures: Atoms | Sequence[Atoms]) -> str:
        """Choose among the heads by structures, if none is chosen yet; the only one that fits all of them.

        Raises:
            ValueError: several fit, or none does; the message says which, what they are good for, and why not.
        """
        if self.head is None:
            of = [structures] if isinstance(structures, Atoms) else list(structures)
            self._answer_by(self.heads.choose(of), by_structure=True)
        return self.chosen_head()

    def chosen_head(self) -> str:
        """The head that answers.

        Raises:
            ValueError: none is chosen yet.
        """
        if self.head is None:
            raise ValueError(self.heads.unchosen())
        return self.head

    @classmethod
    def from_export(cls, path: str | Path, *, head: str | None = None, skin: float = 0.5) -> GFMCalculator:
        """A calculator that runs the compiled program of a file that `gfm-ase export` made; on the CPU, in its dtype.

        A program is code: load only files that you made, or whose maker you trust.

        Args:
            path: the file.
            head: as for the class.
            skin: as for the class.

        Raises:
            ExportError: not such a file, one for another machine or version of torch, or its program does not agree
                with its weights.
            CheckpointError: its checkpoint is damaged.
            ValueError: unknown head.
        """
        exported = load_export(path)
        loaded = Loaded(exported.potential, exported.manifest)
        calculator = cls(loaded, head=head, device="cpu", skin=skin, compile=True, tabulate=False)
        calculator._export = Path(path).absolute()
        if calculator.head is not None:
            calculator._use(exported)
        return calculator

    def batch_model(self) -> GraphModel:
        """This potential for many structures in one call: what the batched engine of `md_workflows` drives.

        Raises:
            ValueError: this head has learnt no energies, direct forces are used, or no head is chosen yet.
        """
        head, known = self.chosen_head(), self._known
        assert known is not None
        if not self.of_energies or self.direct:
            raise ValueError(DIRECT if self.direct else self.without_energies())
        from md_workflows.batched.models import GraphModel

        identity = f"{self.manifest.identity} head={head} dtype={self.potential.dtype}"
        told, device = self.uncertainties.names, self.potential.device
        return GraphModel(
            self.evaluator(), self.potential.cutoff, device=device, identity=identity, check=known.check, outputs=told
        )

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """ASE's entry: compute everything at once."""
        super().calculate(atoms, properties, system_changes)
        self.choose_head(self.atoms)
        graph = self._graph(self.atoms)
        self.results = self._results(self.evaluator()(graph), self.atoms)
        if self.warn and self.uncertainties.limits is not None:
            self.uncertainties.limits.look(self.results, self.atoms)

    def use_direct_forces(self) -> None:
        """From now on give the output "direct_forces" as the forces; they are no derivatives of the energy.

        Without `compile` this spares the pass back. There is no stress then, and dynamics do not keep the energy.

        Raises:
            ValueError: the potential has not learnt direct forces on this head, or none is chosen yet.
        """
        self.chosen_head()
        if "direct_forces" not in self.outputs:
            raise ValueError(
                f"head {self.head!r} has no direct forces; train with a [[potential.output]] of the name direct_forces"
            )
        self.direct = True
        self._evaluate = None
        self.implemented_properties = [name for name in self.implemented_properties if name != "stress"]
        self.reset()

    def use_coverage(self, coverage: float) -> None:
        """From now on give half-widths of intervals that hold this share of errors.

        Raises:
            ValueError: the checkpoint was not calibrated for this head, or not for this coverage; or no head is chosen
                yet.
        """
        self.chosen_head()
        told = copy.copy(self.uncertainties)  # a copy of this calculator may have the old ones
        told.use_coverage(coverage)
        self.uncertainties, self._evaluate = told, None
        self.reset()

    def without_energies(self) -> str:
        """A sentence on a head that has learnt no energies."""
        there = ", ".join(self.outputs) or "nothing"
        return f"head {self.head!r} has learnt no energies and no forces, for its data had none; it gives {there}"

    def get_property(self, name: str, atoms: Atoms | None = None, allow_calculation: bool = True) -> Any:
        """ASE's entry of all getters.

        Raises:
            PropertyNotImplementedError: this head has not learnt it.
        """
        if self.head is None and atoms is not None:
            self.choose_head(atoms)
        if name in IMPLEMENTED and not self.of_energies:
            raise PropertyNotImplementedError(self.without_energies())
        return super().get_property(name, atoms, allow_calculation)

    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        """What has changed since the last calculation; also charge and spin in ``atoms.info``, which ASE leaves out."""
        changes: list[str] = super().check_state(atoms, tol)
        if self.atoms is not None and structure_state(atoms) != structure_state(self.atoms):
            changes.append("info")
        return changes

    def _graph(self, atoms: Atoms) -> AtomicGraph:
        assert self._known is not None
        self._known.check(atoms)
        pairs = self.pairs.update(atoms.positions, atoms.cell.array, atoms.pbc)
        graph = graph_from_atoms(atoms, self.potential.cutoff, pairs=pairs)
        return graph if self.potential.device.type == "cpu" else graph.to(self.potential.device)

    def evaluator(self) -> Evaluate:
        """What answers, a function of graphs: tables and compiled code are made at the first call.

        Raises:
            ValueError: no head is chosen yet.
        """
        self.chosen_head()
        if self._evaluate is None:
            keep_freed_memory()
            if self._export is not None:  # a copy, or in another process
                return self._use(load_export(self._export))
            tables = tables_of(self.potential, self.tabulate) or self.potential
            derivatives = self.of_energies and not self.direct
            answer = CompiledPotential(tables) if self.compile else without_gradients(tables, derivatives=derivatives)
            self._evaluate = self.uncertainties.of(answer)
        return self._evaluate

    def _use(self, exported: Exported) -> Evaluate:
        self._evaluate = self.uncertainties.of(of_export(exported, self.chosen_head()))
        return self._evaluate

    def _results(self, computed: dict[str, Tensor], atoms: Atoms) -> dict[str, Any]:
        results = results_of(computed, atoms, self.outputs, energies=self.of_energies, direct=self.direct)
        if not self.of_energies:
            return results
        there = {"forces": not self.direct, "stress": "stress" in results}
        return {**results, **self.uncertainties.results(computed, **there)}

    def __getstate__(self) -> dict[str, Any]:
        """For copies and other processes: everything but what each makes for itself, tables and compiled functions."""
        return {**self.__dict__, "_evaluate": None}
