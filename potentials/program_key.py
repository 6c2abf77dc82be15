"""The name under which a compiled function is kept: equal names mean equal functions.

Everything that can become a constant of the compiled code goes into a digest: the code itself, every attribute of the
objects that the function belongs to, shapes and dtypes of what it is given, torch, compiler, processor and threads.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import hashlib
import os
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel
from torch import Tensor, nn

from potentials.native.build import compiler, compiler_version, processor

PLAIN = (type(None), bool, int, float, complex, str, bytes, enum.Enum, torch.dtype, torch.device, Path)
FROM_OUTSIDE = frozenset(sys.stdlib_module_names) | {"torch", "numpy", "pydantic", "ase", "typing_extensions"}
"""Top-level modules whose version stands for their code, or that do not compute here."""
HOOKS = ("hook", "_non_persistent_buffers_set", "_is_full_backward_hook")
SETTINGS = ("TORCHINDUCTOR_", "ATEN_CPU_CAPABILITY", "CXX")
"""Beginnings of names in the environment that change what a compiler makes."""


class UnnameableError(Exception):
    """Something in a function cannot be told in words, so it gets no name."""


def program_key(
    function: Callable[..., Any], state: Mapping[str, Tensor], example: Sequence[Tensor], options: Mapping[str, Any]
) -> str | None:
    """A digest of all that determines the compiled code; none where that cannot be told.

    Args:
        function: what is compiled, mostly a method.
        state: tensors given to it by name: they count by shape and dtype, all other tensors by their numbers.
        example: more tensors given to it.
        options: of the compiler.
    """
    description = Description([*state.values(), *example])
    try:
        description.add(function)
        description.add([*((name, _kind(value)) for name, value in state.items()), *map(_kind, example), dict(options)])
        sources = [_digest_of_source(name) for name in sorted(description.modules)]
    except UnnameableError:
        return None
    settings = sorted(f"{name}={value}" for name, value in os.environ.items() if name.startswith(SETTINGS))
    program = compiler()
    around = [
        torch.__version__,
        str(torch.version.git_version),
        torch.backends.cpu.get_cpu_capability(),
        str(torch.get_num_threads()),
        processor(),
        compiler_version(program) if program else "",
        sys.version,
    ]
    words = [*description.words, *sources, *settings, *around]
    return hashlib.sha256("\0".join(words).encode()).hexdigest()[:32]


class Description:
    """Words for values of any kind, in an order that depends on the values alone.

    Args:
        given: tensors that are arguments; their numbers do not matter.
    """

    def __init__(self, given: Sequence[Tensor]) -> None:
        self.words: list[str] = []
        self.modules: set[str] = set()
        self._given = {id(value) for value in given}
        self._seen: dict[int, tuple[int, Any]] = {}  # the values too: an id is free again when its value is gone

    def add(self, value: Any) -> None:
        """Append the words for a value.

        Raises:
            UnnameableError: an object of a kind that is not known here.
        """
        if isinstance(value, PLAIN):
            self.words.append(f"{type(value).__name__} {value!r}")
        elif id(value) in self._seen:
            self.words.append(f"again {self._seen[id(value)][0]}")
        else:
            self._seen[id(value)] = len(self._seen), value
            self._add_new(value)

    def _add_new(self, value: Any) -> None:  # noqa: C901 - one branch for each kind of value
        if isinstance(value, Tensor | np.ndarray):
            self.words.append(self._of_numbers(value))
        elif isinstance(value, types.MethodType):
            self.add(value.__func__)
            self.add(value.__self__)
        elif isinstance(value, types.BuiltinFunctionType):
            self.words.append(f"function {value.__module__}.{value.__qualname__}")
        elif isinstance(value, types.FunctionType):
            self._add_function(value)
        elif isinstance(value, type):
            self._from(value.__module__)
            self.words.append(f"class {value.__module__}.{value.__qualname__}")
        elif isinstance(value, functools.partial):
            self._add_all([value.func, value.args, value.keywords])
        elif isinstance(value, Mapping):
            self._add_all([type(value).__name__, *(one for pair in value.items() for one in pair)])
        elif isinstance(value, list | tuple):
            self._add_all([type(value).__name__, len(value), *value])
        elif isinstance(value, set | frozenset) and all(isinstance(one, PLAIN) for one in value):
            self._add_all([type(value).__name__, *sorted(map(repr, value))])
        elif isinstance(value, BaseModel):
            self._add_all([type(value), value.model_dump_json()])
        elif isinstance(value, nn.Module) or type(value).__module__.split(".")[0] not in FROM_OUTSIDE:
            self._add_object(value)
        else:
            raise UnnameableError(type(value))

    def _add_all(self, values: Sequence[Any]) -> None:
        for value in values:
            self.add(value)

    def _add_function(self, function: types.FunctionType) -> None:
        self._from(function.__module__)
        self.words.append(f"function {function.__module__}.{function.__qualname__}")
        cells = [cell.cell_contents for cell in function.__closure__ or ()]
        self._add_all([*cells, *(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()])

    def _add_object(self, value: Any) -> None:
        names = [field.name for field in dataclasses.fields(value)] if dataclasses.is_dataclass(value) else []
        attributes = vars(value) if hasattr(value, "__dict__") else {name: getattr(value, name) for name in names}
        if not attributes and not dataclasses.is_dataclass(value):
            raise UnnameableError(type(value))
        self.add(type(value))
        for name, one in attributes.items():
            empty_hook = isinstance(value, nn.Module) and any(word in name for word in HOOKS) and not one
            if not empty_hook:
                self.add(name)
                self.add(one)

    def _of_numbers(self, value: Tensor | np.ndarray[Any, Any]) -> str:
        if isinstance(value, nn.Parameter) or id(value) in self._given:
            assert isinstance(value, Tensor)
            return f"given {_kind(value)}"
        if isinstance(value, Tensor) and value.is_meta:  # of a template whose numbers come with each call
            return f"{value.dtype} {tuple(value.shape)} without numbers"
        array = value if isinstance(value, np.ndarray) else value.detach().cpu().numpy()
        digest = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
        return f"numbers {array.dtype} {array.shape} {digest}"

    def _from(self, module: str) -> None:
        top = module.split(".", maxsplit=1)[0]
        if top not in FROM_OUTSIDE:
            self.modules.add(top if getattr(sys.modules.get(top), "__file__", None) else module)


def _kind(value: Tensor) -> str:
    return f"{value.dtype} {tuple(value.shape)} {value.device.type}"


@functools.cache
def _digest_of_source(module: str) -> str:
    """Of all source files of a package, or of the one file of a module."""
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None:
        raise UnnameableError(module)
    path = Path(file)
    files = [path] if path.name != "__init__.py" else sorted(path.parent.rglob("*.py"))
    digest = hashlib.sha256()
    for one in files:
        digest.update(one.name.encode())
        digest.update(one.read_bytes())
    return f"{module} {digest.hexdigest()}"
