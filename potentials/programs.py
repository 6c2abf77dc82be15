"""Compiled programs: a function of tensors, its derivatives inside, as machine code in one file.

A function that calls autograd is traced into one graph of tensor operations in which the derivatives are ordinary
operations (`make_fx`), with symbols for numbers of atoms, edges and structures. AOTInductor turns the graph into a
library. Loading one takes neither tracing nor torch's compiler: a few hundredths of a second.
"""

from __future__ import annotations

import itertools
import re
import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from torch.fx import GraphModule
    from torch.fx.experimental.symbolic_shapes import ShapeEnv

INDUCTOR: dict[str, Any] = {
    # the matcher turns a product plus something into addmm, which copies the something before it multiplies
    "pattern_matcher": False,
    # keep what several kernels use, such as the envelope: by default up to 30 operations are done again per feature.
    # With this, torch 2.13 takes two `zeros(n).index_add` of one shape for one: there must be none (`potentials.edges`)
    "realize_opcount_threshold": 8,
}

SIZES = (2, 3, 4, 5, 8, 9, 16, 17, 32, 33, 64, 100, 1000, 10_000, 1_000_000)
"""For which the conditions that a compiler relies on are tried."""

CHOICES = re.compile(r"in need_use_acc_helper\)|_inductor/decomposition\.py:\d+ in mm\)")
"""Where torch chooses, by the sizes of the example, between two ways that are right for any: sums in one chain or in
several, and a product with one column as a matrix product or number by number."""

TensorFunction = Callable[[Mapping[str, Tensor], Sequence[Tensor]], tuple[Tensor, ...]]
"""Of weights by name and of inputs whose first dimension varies, to results."""


class NotCompiledError(ValueError):
    """A function that cannot be compiled here; the message says why, and the plain one remains."""


class NotAheadError(NotCompiledError):
    """A graph that is right for all sizes, and whose program would not be, or cannot be built."""


@dataclass(frozen=True)
class Traced:
    """A function as a graph.

    Attributes:
        graph: of tensor operations; its arguments are weights, then inputs.
        arguments: stand-ins without numbers.
        shapes: what is known of their sizes.
        n_weights: how many arguments are weights.
        rows: of each input in the example; 0 where it is one number.
    """

    graph: GraphModule
    arguments: list[Tensor]
    shapes: ShapeEnv
    n_weights: int
    rows: list[int]


class Program:
    """A loaded program.

    Args:
        path: of its file; it runs on the CPU.

    Raises:
        RuntimeError: the file is no program, or not one of this version of torch.
    """

    def __init__(self, path: Path) -> None:
        self._loader = torch._C._aoti.AOTIModelPackageLoader(str(path), "model", False, 1, -1)

    def __call__(self, arguments: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Results for weights, if it takes any, and inputs; gradients do not flow out."""
        with torch.no_grad():
            return tuple(self._loader.boxed_run([value.contiguous() for value in arguments]))


def trace(function: TensorFunction, state: Mapping[str, Tensor], example: Sequence[Tensor]) -> Traced:
    """The graph of `function(state, inputs)`.

    Args:
        function: may call `torch.autograd.grad`; must not branch on values.
        state: weights and buffers; their shapes are fixed.
        example: inputs: their first dimension is free, and two first dimensions are one and the same symbol if, and
            only if, they are equal in the example. None is 1.

    Raises:
        NotCompiledError: the function does something else where there are more or fewer rows.
    """
    # imported where it is needed: a second start does without
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.fx.experimental.proxy_tensor import make_fx
    from torch.fx.experimental.symbolic_shapes import ShapeEnv

    names = list(state)
    # what the function makes of numbers of its own is a constant of the graph
    mode = FakeTensorMode(shape_env=ShapeEnv(), allow_non_fake_inputs=True)
    # laid out as `Program` hands them over: a program reads by the strides it was traced with
    weights = [mode.from_tensor(value.detach().contiguous(), static_shapes=True) for value in state.values()]
    inputs = [_with_free_rows(mode, value.contiguous()) for value in example]

    def flat(*tensors: Tensor) -> tuple[Tensor, ...]:
        return function(dict(zip(names, tensors[: len(names)], strict=True)), tensors[len(names) :])

    rows = [int(value.shape[0]) if value.dim() else 0 for value in example]
    assert 1 not in rows, "a first dimension of 1 in the example would be fixed"
    with mode:
        graph = make_fx(flat, decomposition_table={torch.ops.aten.addmm.default: _product_then_sum})(*weights, *inputs)
    assert mode.shape_env is not None
    traced = Traced(graph, [*weights, *inputs], mode.shape_env, len(names), rows)
    check_all_sizes(traced, NotCompiledError)
    return traced


def build(traced: Traced, target: Path, *, options: Mapping[str, Any] | None = None) -> None:
    """Compile a graph into a file.

    Args:
        traced: may be changed.
        target: must end in .pt2; it is complete under its name or not there.
        options: of Inductor, beside `INDUCTOR`.

    Raises:
        NotAheadError: the compiler fails, or makes a program for some sizes only.
    """
    from torch._inductor import aot_compile
    from torch._inductor.package.package import package_aoti

    settings = {**INDUCTOR, "aot_inductor.package": True, **(options or {})}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's compiler warns of its own code
            files: Any = aot_compile(traced.graph, tuple(traced.arguments), options=settings)
    except Exception as error:  # whatever a compiler of thousands of lines raises
        why = " ".join(str(error).split())[:300]
        raise NotAheadError(
            f"torch {torch.__version__} cannot compile this potential ({why}); use compile = false, and report this"
        ) from error
    check_all_sizes(traced, NotAheadError)
    beside = target.with_name(f".{target.name}.tmp.pt2")
    try:
        package_aoti(str(beside), files)
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)


def add_entry(path: Path, name: str, content: bytes) -> None:
    """Put a file of our own beside the program."""
    with zipfile.ZipFile(path, "a") as archive:
        folder = archive.namelist()[0].split("/")[0]
        archive.writestr(f"{folder}/extra/{name}", content)


def read_entry(path: Path, name: str) -> bytes:
    """A file of our own.

    Raises:
        RuntimeError: it is not there.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            (found,) = (one for one in archive.namelist() if one.endswith(f"/extra/{name}"))
            return archive.read(found)
    except (zipfile.BadZipFile, OSError, ValueError):
        raise RuntimeError(f"{path} is no program with {name}") from None


def with_constants(traced: Traced, state: Mapping[str, Tensor]) -> Traced:
    """The graph with the numbers of its weights inside: a function of the inputs alone."""
    graph = traced.graph
    places = [node for node in graph.graph.nodes if node.op == "placeholder"][: traced.n_weights]
    for number, (place, value) in enumerate(zip(places, state.values(), strict=True)):
        name = f"weight_{number}"
        graph.register_buffer(name, value.detach().clone())
        with graph.graph.inserting_before(place):
            constant = graph.graph.get_attr(name)
        constant.meta.update(place.meta)
        place.replace_all_uses_with(constant)
        graph.graph.erase_node(place)
    graph.recompile()
    return Traced(graph, traced.arguments[traced.n_weights :], traced.shapes, 0, traced.rows)


def check_all_sizes(traced: Traced, refuse: type[NotCompiledError]) -> None:
    """Raise where a compiled graph took something for granted that is not so for other sizes than the example's.

    Sizes that differ by one in the example (atoms, and starts of their edges) always do; every size is 2 at least.

    Raises:
        NotCompiledError: or `refuse`, a kind of it, if the program would be wrong for some sizes.
    """
    shapes: Any = traced.shapes
    known = shapes.backed_var_to_val if hasattr(shapes, "backed_var_to_val") else shapes.var_to_val  # torch < 2.10
    hints = set(traced.rows) - {0}
    base = {value: value - (value - 1 in hints) for value in hints}
    for guard in shapes.guards:
        if CHOICES.search(str(guard.sloc)):
            continue
        used = {symbol: int(known[symbol]) for symbol in guard.expr.free_symbols}
        start = {symbol: base.get(hint, hint) for symbol, hint in used.items()}
        free = sorted(set(start.values()))
        for sizes in itertools.product(SIZES, repeat=len(free)):
            chosen = dict(zip(free, sizes, strict=True))
            values = {symbol: chosen[start[symbol]] + hint - start[symbol] for symbol, hint in used.items()}
            if not bool(guard.expr.subs(values)):
                raise refuse(
                    f"torch {torch.__version__} compiles this potential for some sizes only ({guard.expr},"
                    f" {guard.sloc}); use compile = false, and report this"
                )


def _product_then_sum(added: Tensor, left: Tensor, right: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """`addmm` in two parts: the sum then joins the activation that follows it in one loop over memory."""
    assert beta == 1, "linear layers only"
    assert alpha == 1, "linear layers only"
    return left @ right + added


def _with_free_rows(mode: Any, value: Tensor) -> Tensor:
    from torch.fx.experimental.symbolic_shapes import DimDynamic, StatelessSymbolicContext

    sizes = [DimDynamic.STATIC] * value.dim()
    sizes[:1] = [DimDynamic.DUCK][: value.dim()]
    context: Any = StatelessSymbolicContext(dynamic_sizes=sizes)
    faked: Tensor = mode.from_tensor(value, symbolic_context=context)
    return faked
