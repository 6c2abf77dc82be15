"""Pickles read without unpickling: numbers come out, and what would run anything is refused and runs nothing."""

import builtins
import copyreg
import io
import os
import pickle
import pickletools
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from train.sources.inert_pickle import OPERATIONS, InertPickleError
from train.sources.inert_tensors import MAKERS, fields_of, read_pickle

with warnings.catch_warnings():
    # PyG scripts some of its own classes as it is imported, which torch 2.13 deprecates
    warnings.simplefilter("ignore", DeprecationWarning)
    from torch_geometric.data import Data

PROTOCOLS = (2, 3, 4, 5)


class Evil:
    """Does `function(*arguments)` when it is unpickled."""

    def __init__(self, function: Callable[..., Any], *arguments: Any, state: Any = None) -> None:
        self.reduced = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self) -> Any:
        return self.reduced


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_data_with_every_kind_of_number(protocol: int) -> None:
    given = Data(
        pos=torch.randn(4, 3),
        part=torch.randn(6, 4).T[1:3, ::2],
        numbers=torch.tensor([1, 8, 8, 26], dtype=torch.uint8),
        edge_index=torch.tensor([[0, 1], [1, 0]]),
        double=torch.tensor([1.5], dtype=torch.float64),
        half=torch.tensor([0.5], dtype=torch.float16),
        small=torch.tensor([-3], dtype=torch.int8),
        mask=torch.tensor([True, False]),
        none=torch.zeros(0, 3),
        scalar=np.float64(-12.25),
        array=np.arange(6.0).reshape(2, 3),
        by_columns=np.asfortranarray(np.arange(6).reshape(2, 3)),
        word="Ångström",
        several=[1, (2.5, None), {"a": -(2**70)}, b"\x00\xff"],
    )
    found = fields_of(read_pickle(pickle.dumps(given, protocol=protocol)))
    assert found.keys() == set(given.keys())
    for name, value in found.items():
        expected = given[name].numpy() if isinstance(given[name], torch.Tensor) else given[name]
        if isinstance(expected, np.ndarray):
            assert value.dtype == expected.dtype, name
            np.testing.assert_array_equal(value, expected, err_msg=name)
        else:
            assert value == expected, name


def test_the_data_of_pyg_1() -> None:
    """Its object held its fields itself, those of a graph being None where they were not set."""
    state = {"x": None, "edge_index": None, "y": -2.5, "pos": torch.ones(2, 3), "sid": 7, "__num_nodes__": 2}
    buffer = io.BytesIO()
    pickler = pickle.Pickler(buffer, protocol=4)
    pickler.dispatch_table = {**copyreg.dispatch_table, Data: lambda data: (copyreg.__newobj__, (Data,), state)}
    pickler.dump(Data())
    found = fields_of(read_pickle(buffer.getvalue()))
    assert (found["y"], found["sid"]) == (-2.5, 7)
    assert found.keys() == {"y", "pos", "sid", "__num_nodes__"}
    np.testing.assert_array_equal(found["pos"], np.ones((2, 3)))


EVIL: dict[str, tuple[Any, str]] = {
    "os.system": (Evil(os.system, "touch ran"), r"wants (posix|nt)\.system, which is not in the list"),
    "eval": (Evil(builtins.eval, "open('ran', 'w')"), r"wants builtins\.eval"),
    "open": (Evil(open, "ran", "w"), r"wants (_?io)\.open"),
    "getattr": (Evil(getattr, "", "__class__"), r"wants builtins\.getattr"),
    "torch.load": (Evil(torch.load, "ran"), r"wants torch\.serialization\.load"),
    "a class of another module": (Path("ran"), r"wants pathlib\.PosixPath"),
    "in a field": (Data(pos=torch.ones(1, 3), y=Evil(os.system, "touch ran")), r"wants posix\.system"),
    "in a list in a field": (Data(y=[1, {"a": (Evil(os.system, "touch ran"),)}]), r"wants posix\.system"),
    "an array of objects": (np.array([Evil(os.system, "touch ran")], dtype=object), r"NumPy's type 'O8'"),
}


@pytest.mark.parametrize("protocol", [4, 5])
@pytest.mark.parametrize("case", EVIL)
def test_what_runs_code_is_refused_and_does_not_run(
    case: str, protocol: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, says = EVIL[case]
    monkeypatch.chdir(tmp_path)
    content = pickle.dumps(given, protocol=protocol)
    with pytest.raises(InertPickleError, match=says):
        read_pickle(content)
    assert not list(tmp_path.iterdir())


def test_what_is_refused_would_have_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The samples above are no blanks: Python's own machine does what they say."""
    monkeypatch.chdir(tmp_path)
    pickle.loads(pickle.dumps(EVIL["in a field"][0]))  # noqa: S301 - our own
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "content", [b"", b"\x80", b"nothing of the kind", b"\x80\x04}", b"\x80\x04X\xff\xff\xff\x7fab."]
)
def test_what_is_no_pickle(content: bytes) -> None:
    with pytest.raises(InertPickleError, match="the pickle"):
        read_pickle(content)


WATCHED = """
import pickle, sys
from pathlib import Path
from train.sources.inert_pickle import InertPickleError
from train.sources.inert_tensors import read_pickle

read = {"ours": read_pickle, "python": pickle.loads}[sys.argv[2]]
contents = [path.read_bytes() for path in sorted(Path(sys.argv[1]).iterdir())]
events, watching, values = [], True, 0
sys.addaudithook(lambda event, _: events.append(event) if watching else None)
for content in contents:
    try:
        read(content)
        values += 1
    except InertPickleError:
        pass
watching = False
print(values, *sorted(set(events)))
"""


def watched(folder: Path, reader: str) -> list[str]:
    command = [sys.executable, "-c", WATCHED, str(folder), reader]
    root = Path(__file__).parents[2]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=root).stdout.split()


def test_python_sees_nothing_imported_opened_or_run(tmp_path: Path) -> None:
    """Python tells its audit hooks of imports, files, code and processes; here there is none of them."""
    harmless = pickle.dumps(Data(pos=torch.ones(2, 3), y=np.float64(1.0), array=np.ones((2, 3))), protocol=4)
    contents = [harmless, *(pickle.dumps(given, protocol=4) for given, _ in EVIL.values())]
    (tmp_path / "all").mkdir()
    for number, content in enumerate(contents):
        (tmp_path / "all" / f"{number:02d}").write_bytes(content)
    assert watched(tmp_path / "all", "ours") == ["1"]
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "00").write_bytes(pickle.dumps(Evil(os.stat, "."), protocol=4))
    assert {"import", "pickle.find_class"} & set(watched(tmp_path / "one", "python"))


def test_what_is_no_data() -> None:
    for given, what in ((5, "a int"), ([1.0], "a list"), ({"pos": 1}, "a dict"), (np.ones(2), "a numpy.ndarray")):
        with pytest.raises(InertPickleError, match=f"the pickle holds {what}.*and no Data of PyTorch Geometric"):
            fields_of(read_pickle(pickle.dumps(given)))


def test_every_operation_is_one_of_pythons_and_no_name_is_of_a_function_that_calls() -> None:
    assert OPERATIONS.keys() <= {opcode.name for opcode in pickletools.opcodes}
    modules = {name.module.split(".")[0] for name in MAKERS}
    assert modules == {"torch", "torch_geometric", "numpy", "collections", "_codecs"}
