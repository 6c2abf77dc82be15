"""Pickles of tensors, read without unpickling.

A pickle is a program for a stack machine, and Python's machine imports whatever the data name and calls it. The
machine here has no operation that imports, calls what the data name, or sets an attribute that they name: a name stays
a pair of strings, and is looked up in a table of functions of `inert_tensors`, which make NumPy arrays, dictionaries
and records of numbers, bytes and tuples, with bounds checked. What is not in the table, and every operation that is
not in `OPERATIONS` (extension registry, persistent ids, objects made with arguments), ends the reading with a sentence
that names it.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import IO, Any, TypeAlias


class InertPickleError(ValueError):
    """A pickle that is broken, or wants more than numbers and arrays."""


@dataclass(frozen=True)
class Name:
    """What a pickle calls `module name`: two strings, never the thing."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(eq=False)
class Record:
    """An object of a class of the data: which, and the state that it would have been given.

    Attributes:
        of: name of its class.
        state: what stands in the pickle.
    """

    of: Name
    state: Any = None


Maker: TypeAlias = Callable[..., Any]
"""A function of ours that takes what is on the stack, and makes an inert value of it."""

# Values of the data are never printed, hashed or compared as a whole: nested ones may take forever.
KEYS = (str, int, float, bytes, bool, type(None))


@dataclass
class Machine:
    """The stack machine.

    Attributes:
        file: where the program is read from; afterwards it stands behind it.
        makers: by the names that are known; None for a class that is only mentioned or recorded.
        persistent: what stands for a persistent id; without, such ids are refused.
    """

    file: IO[bytes]
    makers: Mapping[Name, Maker | None]
    persistent: Maker | None = None
    stack: list[Any] = field(default_factory=list)
    marks: list[list[Any]] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)

    def run(self) -> Any:
        """The value of the program.

        Raises:
            InertPickleError: it is broken, or wants what is not in the table.
        """
        try:
            for opcode, argument, _ in pickletools.genops(self.file):
                operation = OPERATIONS.get(opcode.name)
                if operation is None:
                    raise InertPickleError(f"the pickle has the operation {opcode.name}, which is not taken from data")
                operation(self, argument)
            (value,) = self.stack
        except InertPickleError:
            raise
        except (ArithmeticError, LookupError, MemoryError, TypeError, ValueError) as error:
            raise InertPickleError(f"the pickle is broken ({' '.join(str(error).split())[:200]})") from None
        return value

    def since_mark(self) -> list[Any]:
        """What was put on the stack since the last mark, which is taken away."""
        items, self.stack = self.stack, self.marks.pop()
        return items

    def known(self, module: Any, name: Any) -> Name:
        """A name, if it is in the table."""
        if type(module) is not str or type(name) is not str:
            raise InertPickleError("the pickle has a name that is no string")
        found = Name(module, name)
        if found not in self.makers:
            raise InertPickleError(f"the pickle wants {found}, which is not in the list of what is taken from data")
        return found


def _push(machine: Machine, value: Any) -> None:
    machine.stack.append(value)


def _push_none(machine: Machine, _: Any) -> None:
    machine.stack.append(None)


def _mark(machine: Machine, _: Any) -> None:
    machine.marks.append(machine.stack)
    machine.stack = []


def _nothing(machine: Machine, _: Any) -> None:
    """PROTO and FRAME say how the rest is laid out; STOP ends the loop by itself."""


def _tuple_of(count: int) -> Callable[[Machine, Any], None]:
    def operation(machine: Machine, _: Any) -> None:
        if len(machine.stack) < count:
            raise InertPickleError("the pickle is broken (a tuple of more than there is)")
        items = machine.stack[len(machine.stack) - count :]
        del machine.stack[len(machine.stack) - count :]
        machine.stack.append(tuple(items))

    return operation


def _tuple(machine: Machine, _: Any) -> None:
    items = machine.since_mark()
    machine.stack.append(tuple(items))


def _memoize(machine: Machine, _: Any) -> None:
    machine.memo[len(machine.memo)] = machine.stack[-1]


def _put(machine: Machine, index: Any) -> None:
    machine.memo[index] = machine.stack[-1]


def _get(machine: Machine, index: Any) -> None:
    machine.stack.append(machine.memo[index])


def _append(machine: Machine, _: Any) -> None:
    _extend(machine, [machine.stack.pop()])


def _appends(machine: Machine, _: Any) -> None:
    _extend(machine, machine.since_mark())


def _extend(machine: Machine, items: list[Any]) -> None:
    target = machine.stack[-1]
    if type(target) is not list:
        raise InertPickleError(f"the pickle appends to a {type(target).__name__}, not to a list")
    target.extend(items)


def _set_item(machine: Machine, _: Any) -> None:
    value = machine.stack.pop()
    _update(machine, [machine.stack.pop(), value])


def _set_items(machine: Machine, _: Any) -> None:
    _update(machine, machine.since_mark())


def _update(machine: Machine, items: list[Any]) -> None:
    target = machine.stack[-1]
    if type(target) is not dict:
        raise InertPickleError(f"the pickle sets items of a {type(target).__name__}, not of a dictionary")
    for key, value in zip(items[::2], items[1::2], strict=True):
        if not isinstance(key, KEYS):
            raise InertPickleError(f"the pickle has a {type(key).__name__} as key of a dictionary")
        target[key] = value


def _global(machine: Machine, text: Any) -> None:
    machine.stack.append(machine.known(*text.split(" ", 1)))


def _stack_global(machine: Machine, _: Any) -> None:
    name, module = machine.stack.pop(), machine.stack.pop()
    machine.stack.append(machine.known(module, name))


def _reduce(machine: Machine, _: Any) -> None:
    """The call of what a name stands for: here of our own function for that name."""
    arguments, name = machine.stack.pop(), machine.stack.pop()
    maker = machine.makers[name] if isinstance(name, Name) else None
    if maker is None or type(arguments) is not tuple:
        what = str(name) if isinstance(name, Name) else f"a {type(name).__name__}"
        raise InertPickleError(f"the pickle calls {what}, which is not taken from data")
    machine.stack.append(maker(*arguments))


def _new_object(machine: Machine, _: Any) -> None:
    arguments, name = machine.stack.pop(), machine.stack.pop()
    if not isinstance(name, Name) or machine.makers[name] is not None or type(arguments) is not tuple or arguments:
        what = str(name) if isinstance(name, Name) else f"a {type(name).__name__}"
        raise InertPickleError(f"the pickle makes an object of {what} with arguments, or of what is no class")
    machine.stack.append(Record(name))


def _build(machine: Machine, _: Any) -> None:
    """The state of an object: here it is put beside the name of its class."""
    state, target = machine.stack.pop(), machine.stack[-1]
    if type(target) is not Record or target.state is not None:
        raise InertPickleError(f"the pickle gives a state to a {type(target).__name__}")
    target.state = state


def _persistent(machine: Machine, _: Any) -> None:
    if machine.persistent is None:
        raise InertPickleError("the pickle has a persistent id, which is not taken from data")
    machine.stack.append(machine.persistent(machine.stack.pop()))


OPERATIONS: dict[str, Callable[[Machine, Any], None]] = {
    **dict.fromkeys(("PROTO", "FRAME", "STOP"), _nothing),
    **dict.fromkeys(("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT"), _push),
    **dict.fromkeys(("SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"), _push),
    **dict.fromkeys(("SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8"), _push),
    "NONE": _push_none,
    "NEWTRUE": lambda machine, _: _push(machine, True),
    "NEWFALSE": lambda machine, _: _push(machine, False),
    "EMPTY_LIST": lambda machine, _: _push(machine, []),
    "EMPTY_DICT": lambda machine, _: _push(machine, {}),
    "EMPTY_TUPLE": lambda machine, _: _push(machine, ()),
    "MARK": _mark,
    "TUPLE": _tuple,
    "TUPLE1": _tuple_of(1),
    "TUPLE2": _tuple_of(2),
    "TUPLE3": _tuple_of(3),
    "MEMOIZE": _memoize,
    **dict.fromkeys(("BINPUT", "LONG_BINPUT"), _put),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), _get),
    "APPEND": _append,
    "APPENDS": _appends,
    "SETITEM": _set_item,
    "SETITEMS": _set_items,
    "GLOBAL": _global,
    "STACK_GLOBAL": _stack_global,
    "REDUCE": _reduce,
    "NEWOBJ": _new_object,
    "BUILD": _build,
    "BINPERSID": _persistent,
}
"""What the machine can do, by the names that `pickletools` gives the operations."""
