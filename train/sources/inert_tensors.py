"""What pickles of PyTorch, PyTorch Geometric and NumPy name, made of bytes and numbers alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from train.sources.inert_pickle import InertPickleError, Machine, Maker, Name, Record

Array = NDArray[Any]

MAGIC = 0x1950A86A20F9469CFC6C
"""Begins what `torch.save` wrote before there were zip files, as a tensor within a pickle is still written."""
LAYOUT = 1001

STORAGES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "<i1",
    "ByteStorage": "<u1",
    "BoolStorage": "|b1",
}
"""NumPy's type of an element, by the name of PyTorch's storage."""

ELEMENTS = {np.dtype(code).str[1:]: np.dtype(code) for code in (*STORAGES.values(), "<u2", "<u4", "<u8")}

DATA = Name("torch_geometric.data.data", "Data")
STORE = Name("torch_geometric.data.storage", "GlobalStorage")
DTYPE = Name("numpy", "dtype")
NDARRAY = Name("numpy", "ndarray")


def read_pickle(content: bytes) -> Any:
    """The value of a pickle: numbers, strings, tuples, lists, dictionaries, arrays, and records of PyG's `Data`.

    Raises:
        InertPickleError: it is broken, or wants what is not in `MAKERS`.
    """
    return Machine(BytesIO(content), MAKERS).run()


def fields_of(value: Any) -> dict[str, Any]:
    """What a `Data` of PyTorch Geometric holds, by name; what is None is left out, as fairchem does.

    Version 2 keeps it in a storage of its own, version 1 in the dictionary of the object.

    Raises:
        InertPickleError: it is no such object.
    """
    state = value.state if isinstance(value, Record) and value.of == DATA else None
    if isinstance(state, dict) and "_store" in state:
        store = state["_store"]
        state = store.state.get("_mapping") if isinstance(store, Record) and isinstance(store.state, dict) else None
    if not isinstance(state, dict):
        what = f"a {value.of} without a dictionary" if isinstance(value, Record) else f"a {type(value).__name__}"
        raise InertPickleError(f"the pickle holds {what}, and no Data of PyTorch Geometric")
    return {str(name): _plain(one) for name, one in state.items() if one is not None}


def _plain(value: Any) -> Any:
    return _array_of_state(value) if isinstance(value, Record) and value.of == NDARRAY else value


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Array:
    """`torch._utils._rebuild_tensor_v2`: a view of a storage. What follows (gradient, hooks) is of no account.

    Raises:
        InertPickleError: it reaches beyond its storage, or has more elements than it.
    """
    if not isinstance(storage, np.ndarray) or storage.ndim != 1:
        raise InertPickleError("the pickle has a tensor without a storage")
    if not (_are_counts(size) and _are_counts(stride) and _are_counts((offset,)) and len(size) == len(stride)):
        raise InertPickleError("the pickle has a tensor whose shape, strides and offset are not counts")
    count = math.prod(size)
    last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    if count and (last >= storage.size or count > storage.size):
        raise InertPickleError(f"the pickle has a tensor of shape {size} beyond its {storage.size} elements")
    if not count:
        return np.zeros(size, dtype=storage.dtype)
    steps = [step * storage.itemsize for step in stride]
    return np.lib.stride_tricks.as_strided(storage[offset:], shape=size, strides=steps, writeable=False)


def _are_counts(given: Any) -> bool:
    return type(given) is tuple and all(type(number) is int and number >= 0 for number in given)


def _storage(content: Any) -> Array:
    """`torch.storage._load_from_bytes`: one storage as `torch.save` writes it, which is five pickles and the bytes.

    In order: a magic number, the version of the layout, the machine, the storage by a persistent id, the keys of
    storages; then for each key the number of elements and the elements.
    """
    if type(content) is not bytes:
        raise InertPickleError("the pickle has a storage without bytes")
    file = BytesIO(content)
    magic, layout, machine = (Machine(file, {}).run() for _ in range(3))
    if magic != MAGIC or layout != LAYOUT or not (isinstance(machine, dict) and machine.get("little_endian") is True):
        raise InertPickleError("the pickle has a storage that is not of PyTorch's layout 1001, little-endian")
    key, kind = Machine(file, STORAGE_NAMES, _persistent_storage).run()
    keys = Machine(file, {}).run()
    if keys != [key]:
        raise InertPickleError("the pickle has a storage of another number of parts than one")
    element = np.dtype(STORAGES[kind])
    count = int(np.frombuffer(file.read(8), dtype="<i8")[0])
    rest = file.read()
    if count < 0 or len(rest) != count * element.itemsize:
        raise InertPickleError(f"the pickle has a storage of {count} elements in {len(rest)} bytes")
    return np.frombuffer(rest, dtype=element)


def _persistent_storage(given: Any) -> tuple[str, str]:
    """Key and kind of a storage, of ("storage", kind, key, device, elements, view)."""
    whole = (
        type(given) is tuple
        and len(given) in {5, 6}
        and given[0] == "storage"
        and (len(given) == 5 or given[5] is None)
    )
    if not whole or not isinstance(given[1], Name) or type(given[2]) is not str:
        raise InertPickleError("the pickle has a persistent id that is not of a whole storage")
    return given[2], given[1].name


def _dtype(code: Any, *_: Any) -> Record:
    if type(code) is not str or code not in ELEMENTS:
        what = repr(code[:20]) if type(code) is str else f"a {type(code).__name__}"
        raise InertPickleError(f"the pickle has NumPy's type {what}; numbers alone are taken")
    return Record(Name("numpy.dtype", code))


def _element(of: Any) -> np.dtype[Any]:
    """NumPy's type of a record that `_dtype` made; its state says how bytes are ordered."""
    if not isinstance(of, Record) or of.of.module != "numpy.dtype":
        raise InertPickleError("the pickle has an array without a type")
    if not (type(of.state) is tuple and len(of.state) > 1 and (of.state[1] == "<" or of.state[1] == "|")):
        raise InertPickleError("the pickle has numbers that are not little-endian")
    return ELEMENTS[of.of.name]


def _scalar(element: Any, content: Any) -> Any:
    """`numpy.core.multiarray.scalar`: one number, as Python's."""
    return _from_bytes(content, element, ()).item()


def _new_array(kind: Any, *_: Any) -> Record:
    """`numpy.core.multiarray._reconstruct`: an empty array, of which the state tells all."""
    if not isinstance(kind, Name) or kind != NDARRAY:
        raise InertPickleError("the pickle has an array of another class than NumPy's")
    return Record(NDARRAY)


def _array_of_state(record: Record) -> Array:
    if type(record.state) is not tuple or len(record.state) != 5:
        raise InertPickleError("the pickle has an array without a state")
    _, shape, element, by_columns, content = record.state
    return _from_bytes(content, element, shape, "F" if by_columns else "C")


def _from_bytes(content: Any, element: Any, shape: Any, order: Any = "C") -> Array:
    """`numpy.core.numeric._frombuffer`, and what the others come to."""
    kind = _element(element)
    if type(content) not in {bytes, bytearray} or not _are_counts(shape) or type(order) is not str:
        raise InertPickleError("the pickle has an array without bytes or shape")
    if math.prod(shape) * kind.itemsize != len(content):
        raise InertPickleError(f"the pickle has an array of shape {shape} in {len(content)} bytes")
    return np.frombuffer(bytes(content), dtype=kind).reshape(shape, order="F" if order == "F" else "C")


def _ordered(*items: Any) -> dict[Any, Any]:
    if items:
        raise InertPickleError("the pickle has an OrderedDict of something; only an empty one is taken")
    return {}


def _encoded(text: Any, encoding: Any) -> bytes:
    """`_codecs.encode`: how bytes are written in the protocols before the third."""
    if type(text) is not str or encoding != "latin1":
        raise InertPickleError("the pickle encodes something other than bytes")
    return text.encode("latin-1")


STORAGE_NAMES: Mapping[Name, Maker | None] = {Name("torch", name): None for name in STORAGES}
"""The only names that the pickle of a storage may hold."""

MAKERS: Mapping[Name, Maker | None] = {
    DATA: None,
    STORE: None,
    NDARRAY: None,
    DTYPE: _dtype,
    Name("torch_geometric.data.data", "DataEdgeAttr"): None,
    Name("torch_geometric.data.data", "DataTensorAttr"): None,
    Name("torch._utils", "_rebuild_tensor_v2"): _tensor,
    Name("torch.storage", "_load_from_bytes"): _storage,
    Name("collections", "OrderedDict"): _ordered,
    Name("_codecs", "encode"): _encoded,
    **{Name(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
    **{Name(f"numpy.{core}.multiarray", "_reconstruct"): _new_array for core in ("core", "_core")},
    **{Name(f"numpy.{core}.numeric", "_frombuffer"): _from_bytes for core in ("core", "_core")},
}
"""All that a pickle may name; None for classes whose objects are records."""
