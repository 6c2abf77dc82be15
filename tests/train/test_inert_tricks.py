"""Pickles written by hand, operation by operation: what Python's machine would do, and ours refuses."""

import io
import os
import pickle
from typing import Any

import numpy as np
import pytest
import torch

from train.sources.inert_pickle import InertPickleError
from train.sources.inert_tensors import fields_of, read_pickle


def program(*instructions: bytes) -> bytes:
    return b"\x80\x04" + b"".join(instructions) + b"."


def text(word: str) -> bytes:
    return pickle.BINUNICODE + len(word).to_bytes(4, "little") + word.encode()


def named(module: str, name: str) -> bytes:
    return text(module) + text(name) + pickle.STACK_GLOBAL


DATA = named("torch_geometric.data.data", "Data") + pickle.EMPTY_TUPLE + pickle.NEWOBJ
TRICKS: dict[str, tuple[bytes, str]] = {
    "a state for a function": (named("torch._utils", "_rebuild_tensor_v2") + b"}b", "gives a state to a Name"),
    "a state for a dictionary": (b"}}b", "gives a state to a dict"),
    "a second state": (DATA + b"}b}b", "gives a state to a Record"),
    "attributes of slots": (DATA + b"N}" + text("run") + b"Ns\x86b", "a torch_geometric.data.data.Data without"),
    "a call of a class": (named("torch_geometric.data.data", "Data") + b")R", "calls torch_geometric.data.data.Data"),
    "a call of a record": (DATA + b")R", "calls a Record"),
    "a call of a string": (text("os.system") + b")R", "calls a str"),
    "a class with arguments": (named("torch_geometric.data.data", "Data") + b"K\x01\x85\x81", "makes an object of"),
    "an object of a function": (named("collections", "OrderedDict") + b")\x81", "makes an object of collections"),
    "a name with dots": (named("torch_geometric.data.data", "Data.__init__.__globals__"), "wants .*__globals__"),
    "a name that is no string": (b"K\x01K\x02\x93", "a name that is no string"),
    "the name of a parent": (
        named("collections", "OrderedDict.__class__"),
        r"wants collections\.OrderedDict\.__class__",
    ),
    "extension registry": (pickle.EXT1 + b"\x01", "the operation EXT1"),
    "persistent id": (text("x") + pickle.BINPERSID, "a persistent id"),
    "persistent id in text": (pickle.PERSID + b"x\n", "the operation PERSID"),
    "an old class": (b"(" + pickle.INST + b"os\nsystem\n", "the operation INST"),
    "an old class by OBJ": (b"(" + named("collections", "OrderedDict") + pickle.OBJ, "the operation OBJ"),
    "a class with keywords": (DATA[:-2] + b")}" + pickle.NEWOBJ_EX, "the operation NEWOBJ_EX"),
    "a buffer from outside": (pickle.NEXT_BUFFER, "the operation NEXT_BUFFER"),
    "items of a record": (DATA + text("a") + b"Ns", "sets items of a Record"),
    "appending to a record": (DATA + b"Na", "appends to a Record"),
    "a key that is a tuple": (b"})Ns", "a tuple as key"),
    "memory that was never put": (b"h\x07", "is broken"),
    "nothing on the stack": (b"R", "is broken"),
    "a tuple of nothing": (b"\x85", "is broken"),
    "a mark that is not there": (b"t", "is broken"),
    "two values": (b"NN", "is broken"),
    "another encoding": (named("_codecs", "encode") + text("x") + text("rot13") + b"\x86R", "encodes something other"),
    "a tensor of a string": (
        named("torch._utils", "_rebuild_tensor_v2") + b"(" + text("abc") + b"K\x00))tR",
        "a tensor without a storage",
    ),
    "a storage that is a string": (
        named("torch.storage", "_load_from_bytes") + text("abc") + b"\x85R",
        "a storage without bytes",
    ),
}


@pytest.mark.parametrize("case", TRICKS)
def test_tricks_are_refused(case: str) -> None:
    instructions, says = TRICKS[case]
    with pytest.raises(InertPickleError, match=says):
        fields_of(read_pickle(program(instructions)))


def tensor_of(storage: bytes, *, size: Any, stride: Any, offset: Any = 0) -> bytes:
    """A program that makes a tensor of a storage in `torch.save`'s layout."""
    content = pickle.BINBYTES + len(storage).to_bytes(4, "little") + storage
    loaded = named("torch.storage", "_load_from_bytes") + content + b"\x85R"
    arguments = b"".join(_pushed(value) for value in (offset, size, stride))
    return program(named("torch._utils", "_rebuild_tensor_v2") + b"(" + loaded + arguments + b"tR")


def _pushed(value: Any) -> bytes:
    if isinstance(value, tuple):
        return b"(" + b"".join(map(_pushed, value)) + b"t"
    return pickle.dumps(value, protocol=2)[2:-1]


def storage_of(tensor: torch.Tensor) -> bytes:
    buffer = io.BytesIO()
    torch.save(tensor.storage(), buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


FOUR = torch.arange(4.0)


@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated")
@pytest.mark.parametrize(
    ("size", "stride", "offset"),
    [
        ((5,), (1,), 0),
        ((4,), (1,), 1),
        ((2, 2), (4, 1), 0),
        ((1000,), (0,), 0),
        ((2,), (-1,), 3),
        ((2,), (1,), -1),
        ((2,), (1, 1), 0),
        ((True,), (1,), 0),
        ((2.0,), (1,), 0),
        ((2**62, 2**62), (0, 0), 0),
    ],
)
def test_a_tensor_beyond_its_storage_is_refused(size: Any, stride: Any, offset: Any) -> None:
    content = storage_of(FOUR)
    whole = read_pickle(tensor_of(content, size=(2, 2), stride=(1, 2)))
    np.testing.assert_array_equal(whole, FOUR.reshape(2, 2).T)
    with pytest.raises(InertPickleError, match=r"the pickle has a tensor (of shape .* beyond|whose shape)"):
        read_pickle(tensor_of(content, size=size, stride=stride, offset=offset))


@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated")
def test_a_storage_that_is_not_whole_or_hides_something() -> None:
    content = storage_of(FOUR)

    def refused(changed: bytes, says: str) -> None:
        with pytest.raises(InertPickleError, match=says):
            read_pickle(tensor_of(changed, size=(4,), stride=(1,)))

    refused(content[:-1], "a storage of 4 elements in 15 bytes")
    refused(content + b"\0", "a storage of 4 elements in 17 bytes")
    refused(content[:40], "is broken")
    refused(content.replace(b"FloatStorage", b"FloatStorag_"), r"wants torch\.FloatStorag_")
    refused(content.replace(b"ctorch\nFloatStorage", b"cposix\nsystem"), r"wants posix\.system")
    refused(content.replace(b"X\x07\x00\x00\x00storage", b"X\x07\x00\x00\x00modules"), "not of a whole storage")
    refused(pickle.dumps(os.system, protocol=2), r"wants posix\.system")
    refused(program(b"N") * 5, "not of PyTorch's layout")


NESTED = b")\x94" + b"".join(b"h%c\x86\x94" % number for number in range(60))
"""A tuple of the same tuple twice, sixty times over: 2**60 of them, if anything walked through them."""


def test_a_pickle_that_grows_without_end_is_only_references() -> None:
    """No value of the data is printed, hashed or compared as a whole."""
    assert len(read_pickle(program(NESTED))) == 2
    for wrapped, says in (
        (NESTED + pickle.BINPERSID, "a persistent id"),
        (named("numpy", "dtype") + NESTED + b"\x85R", "NumPy's type a tuple"),
        (b"}" + NESTED + b"Ns", "a tuple as key"),
        (NESTED + text("x") + b"\x93", "a name that is no string"),
        (named("torch_geometric.data.data", "Data") + NESTED + b"\x81", "an object of .* with arguments"),
        (NESTED + b")R", "calls a tuple"),
        (named("_codecs", "encode") + text("x") + NESTED + b"\x86R", "encodes something other"),
    ):
        with pytest.raises(InertPickleError, match=says):
            read_pickle(program(wrapped))
