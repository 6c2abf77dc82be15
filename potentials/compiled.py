"""Compiled functions of a potential, derivatives inside, sizes free.

`torch.compile` refuses a function that calls autograd inside. So the whole function, with its first and second
derivatives, is traced into one graph and compiled ahead of time (`potentials.programs`). Shapes of weights are fixed,
numbers of atoms, edges and structures are symbols: one compilation serves every batch, and the program is kept for the
next start (`potentials.program_cache`).
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn

from potentials.derivatives import TensorInputs, prepare
from potentials.ensemble import SEVERAL_CUTOFFS, AnyPotential, Ensemble
from potentials.graph import AtomicGraph
from potentials.program_cache import obtain_program
from potentials.programs import INDUCTOR, NotAheadError, NotCompiledError, Program, TensorFunction, trace

AGREEMENT = 1e-2
"""Part of the largest number by which compiled and plain results may differ; rounding in float32 is 1e-5."""


def check_compiler(device: torch.device) -> None:
    """Raise ValueError where compiled code could not be built."""
    if device.type == "cpu" and not any(shutil.which(name) for name in ("g++", "clang++", "c++")):
        raise ValueError(
            "compile=True needs a C++ compiler (g++ or clang++) on the PATH; install one, or compile=False"
        )


def compile_function(function: TensorFunction, state: Mapping[str, Tensor], example: Sequence[Tensor]) -> Any:
    """A compiled `function(state, inputs)`.

    Args:
        function: may call `torch.autograd.grad`; must not branch on values.
        state: weights and buffers; their shapes are fixed, their values are read at each call.
        example: inputs to trace with, see `potentials.programs.trace`.

    Returns:
        A callable of the same arguments. Gradients do not flow out of it.

    Raises:
        NotCompiledError: the compiler fails, makes a program for some sizes only, or one that gives other numbers for
            the example than the function itself.
        ValueError: others can write where compiled programs are kept.
    """
    with torch.no_grad():
        expected = function(state, example)
    compiled = None
    if all(value.device.type == "cpu" for value in example):
        with suppress(
            NotAheadError
        ):  # just in time, there are other ways, and it is compiled again where a size needs it
            compiled = _ahead_of_time(function, state, example, expected)
    if compiled is None:
        compiled = _just_in_time(function, state, example)
        _check_agreement(compiled(state, example), expected)
    kinds = [value.dtype for value in state.values()]

    def call(state: Mapping[str, Tensor], inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        assert [value.dtype for value in state.values()] == kinds, "weights of another dtype need a new compilation"
        results: tuple[Tensor, ...] = compiled(state, inputs)
        return results

    return call


def _ahead_of_time(
    function: TensorFunction, state: Mapping[str, Tensor], example: Sequence[Tensor], expected: Sequence[Tensor]
) -> Any:
    program, kept = obtain_program(function, state, example)
    if kept and not _agree(program([*state.values(), *example]), expected):
        program, kept = obtain_program(function, state, example, anew=True)  # damaged, or of another function after all
    if not kept and not _agree(program([*state.values(), *example]), expected):
        raise NotAheadError("the program made ahead of time gives other numbers than the function")
    return lambda state, inputs: program([*state.values(), *inputs])


def _just_in_time(function: TensorFunction, state: Mapping[str, Tensor], example: Sequence[Tensor]) -> Any:
    """By `torch.compile`, for devices on which programs have not been tried; compiles at its first call."""
    compiled = torch.compile(trace(function, state, example).graph, dynamic=True, options=INDUCTOR)

    def call(state: Mapping[str, Tensor], inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        with torch.no_grad():
            results: tuple[Tensor, ...] = compiled(*state.values(), *inputs)
        return results

    return call


def _agree(found: Sequence[Tensor], expected: Sequence[Tensor]) -> bool:
    for one, other in zip(found, expected, strict=True):
        finite = other[other.isfinite()]  # uncertainties of elements never seen are infinite
        scale = float(finite.abs().max()) if finite.numel() else 0.0
        if not torch.allclose(one, other, rtol=0.0, atol=AGREEMENT * scale + 1e-6, equal_nan=True):
            return False
    return True


def _check_agreement(found: Sequence[Tensor], expected: Sequence[Tensor]) -> None:
    if not _agree(found, expected):
        raise NotCompiledError(
            f"the compiler of torch {torch.__version__} makes another function of this potential than it is; use"
            " compile = false, and report this"
        )


def weights_and_buffers(module: nn.Module) -> dict[str, Tensor]:
    """Every tensor that a module computes with, by name."""
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def example_inputs(device: torch.device, dtype: torch.dtype) -> TensorInputs:
    """Inputs to trace and compile with: no two sizes are the same, and they are as large as those of batches.

    The compiler takes sizes as hints of how many threads are worth their while.
    """
    n_atoms, n_pairs, n_graphs = 401, 7001, 13
    generator = torch.Generator().manual_seed(0)
    pairs = torch.randint(0, n_atoms, (2, n_pairs), generator=generator)
    pairs[1] = (pairs[0] + 1 + pairs[1] % (n_atoms - 1)) % n_atoms
    both = torch.cat([pairs, pairs.flip(0)], dim=1)
    order = both[1].argsort(stable=True)
    partner = torch.cat([torch.arange(n_pairs, 2 * n_pairs), torch.arange(n_pairs)])
    graph = AtomicGraph(
        positions=torch.randn(n_atoms, 3, dtype=torch.float64, generator=generator),
        numbers=torch.ones(n_atoms, dtype=torch.int64),
        graph_index=torch.arange(n_atoms) * n_graphs // n_atoms,
        cell=torch.eye(3, dtype=torch.float64).expand(n_graphs, 3, 3).clone(),
        pbc=torch.zeros(n_graphs, 3, dtype=torch.bool),
        edge_index=both[:, order],
        edge_shift=torch.zeros(2 * n_pairs, 3, dtype=torch.float64),
        edge_reverse=order.argsort()[partner[order]],
        charge=torch.zeros(n_graphs, dtype=torch.float64),
        spin=torch.zeros(n_graphs, dtype=torch.float64),
        dataset=torch.zeros(n_graphs, dtype=torch.int64),
    )
    inputs = prepare(graph.to(device), dtype)
    # neither so near that a potential of many bodies overflows, nor so far that it is nothing
    distance_E = inputs.vectors.norm(dim=1, keepdim=True)
    vectors_E3 = inputs.vectors / distance_E * (2 + 2 * distance_E / (1 + distance_E))
    length_E = vectors_E3.norm(dim=1)
    direction_E3 = (vectors_E3 / length_E[:, None]).to(dtype)
    return inputs._replace(vectors=vectors_E3, distance=length_E.to(dtype), direction=direction_E3)


def pad_graphs(inputs: TensorInputs) -> TensorInputs:
    """The inputs with one graph without atoms more: a single graph would be another program to the compiler."""
    ghost = {name: torch.cat([value, value[:1]]) for name in PER_GRAPH for value in [getattr(inputs, name)]}
    return inputs._replace(**ghost, atom_starts=torch.cat([inputs.atom_starts, inputs.atom_starts[-1:]]))


PER_GRAPH = ("cell", "charge", "spin", "dataset")


class CompiledPotential:
    """A potential whose evaluation is compiled: the same results as ``potential(graph)`` without gradients.

    Compiles at the first call (tens of seconds, seconds once the machine has seen it). Graphs with fewer than two
    atoms or two pairs go to the potential itself.

    Args:
        potential: stays shared: new weights are seen at the next call; a new dtype or device needs a new object.
        program: of these very weights, which stand in it; by default one is compiled.

    Raises:
        ValueError: there is no C++ compiler, or members of an ensemble have different cutoffs.
    """

    def __init__(self, potential: AnyPotential, program: Program | None = None) -> None:
        if program is None:
            check_compiler(potential.device)
        if isinstance(potential, Ensemble) and not potential.one_cutoff:
            raise ValueError(SEVERAL_CUTOFFS)
        self.potential = potential
        self._state = weights_and_buffers(potential)
        self._compiled: Any = None if program is None else lambda _, inputs: program(inputs)
        self._names = potential.results
        per_graph = {name for name, row in potential.quantities.items() if row.level == "graph"}
        self._per_graph = (per_graph | {"virial"}) & set(self._names)

    def __call__(self, graph: AtomicGraph) -> dict[str, Tensor]:
        """Quantities of every graph, see `Potential`."""
        if graph.n_atoms < 2 or graph.n_edges < 4:
            with torch.no_grad():
                eager: dict[str, Tensor] = self.potential(graph)
            return eager
        if self._compiled is None:
            self._compiled = compile_function(
                self.plain, self._state, example_inputs(self.potential.device, self.potential.dtype)
            )
        values = self._compiled(self._state, pad_graphs(prepare(graph, self.potential.dtype)))
        results = dict(zip(self._names, values, strict=True))
        for name in self._per_graph:
            results[name] = results[name][: graph.n_graphs]
        return results

    def plain(self, state: Mapping[str, Tensor], inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The function that is compiled: weights and a graph's tensors to results, without gradients."""
        with torch.no_grad():
            results = torch.func.functional_call(self.potential, dict(state), (TensorInputs(*inputs),))
        return tuple(results[name] for name in self._names)
