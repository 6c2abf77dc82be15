"""The house's order: who may import whom, what nobody may call, how long things are, what they are called."""

import ast
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("potentials", "train", "md_workflows", "gfm_ase")
MAY_IMPORT = {
    "potentials": set[str](),
    "train": {"potentials"},
    "md_workflows": {"potentials"},
    "gfm_ase": {"potentials", "train", "md_workflows"},
}
OUTSIDE = ("tests", "examples", "benchmarks", "docs")
MAX_FILE_LINES = 300
MAX_FUNCTION_LINES = 50
NO_ROOM_NAMES = {"utils", "util", "tools", "common", "helpers", "helper"}
# Loading any of these can run code that is in the data.
UNSAFE_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
UNSAFE_CALLS = {"eval", "exec", "compile", "__import__", "torch.load", "torch.save"}


def files(*folders: str) -> list[Path]:
    found = [file for folder in folders for file in sorted((ROOT / folder).rglob("*.py"))]
    assert found, f"no Python file in {folders}"
    return found


def tree_of(file: Path) -> ast.Module:
    with tokenize.open(file) as source:
        return ast.parse(source.read(), filename=str(file))


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and full name of everything imported: at the top, in functions, and by `import_module`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and dotted(node.func).endswith("import_module") and node.args:
            first = node.args[0]
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield node.lineno, first.value


def dotted(node: ast.AST) -> str:
    """`torch.load` of the expression that says so, and "" of one that is no chain of names."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        base = dotted(node.value)
        return f"{base}.{node.attr}" if base else ""
    return ""


def forbidden_imports(room: str, tree: ast.AST) -> list[tuple[int, str]]:
    allowed = MAY_IMPORT[room] | {room}
    closed = (set(ROOMS) - allowed) | set(OUTSIDE)
    return [(line, name) for line, name in imports(tree) if name.startswith(".") or name.split(".")[0] in closed]


def unsafe_uses(tree: ast.AST) -> list[tuple[int, str]]:
    found = [(line, name) for line, name in imports(tree) if name.split(".")[0] in UNSAFE_MODULES]
    found += [(line, name) for line, name in imports(tree) if name in UNSAFE_CALLS]
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        if dotted(node.func) in UNSAFE_CALLS:
            found.append((node.lineno, dotted(node.func)))
        for keyword in node.keywords:
            says_true = isinstance(keyword.value, ast.Constant) and keyword.value.value is True
            if keyword.arg == "allow_pickle" and says_true:
                found.append((node.lineno, "allow_pickle=True"))
    return found


def long_functions(tree: ast.AST) -> list[tuple[int, str, int]]:
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    lengths = [(n.lineno, n.name, (n.end_lineno or n.lineno) - n.lineno + 1) for n in functions]
    return [found for found in lengths if found[2] > MAX_FUNCTION_LINES]


def shapeless(path: Path) -> bool:
    """Whether a file or a folder is called after no content: `utils.py`, `io_helpers.py`, `common/`."""
    return any(word in NO_ROOM_NAMES for part in path.with_suffix("").parts for word in part.lower().split("_"))


def here(file: Path, line: int) -> str:
    return f"{file.relative_to(ROOT)}:{line}"


@pytest.mark.parametrize("room", ROOMS)
def test_imports_go_one_way_and_are_absolute(room: str) -> None:
    found = [
        f"{here(f, line)} imports {name}" for f in files(room) for line, name in forbidden_imports(room, tree_of(f))
    ]
    assert not found


@pytest.mark.parametrize(
    ("room", "code"),
    [
        ("potentials", "import train"),
        ("potentials", "def f():\n    from gfm_ase.loading import load"),
        ("train", "import md_workflows.md as md"),
        ("train", "from importlib import import_module\nimport_module('gfm_ase.calculator')"),
        ("md_workflows", "if TYPE_CHECKING:\n    from train import run"),
        ("gfm_ase", "from . import cli"),
        ("gfm_ase", "from tests.architecture import test_rooms"),
    ],
)
def test_a_wrong_import_is_seen_wherever_it_hides(room: str, code: str) -> None:
    assert len(forbidden_imports(room, ast.parse(code))) == 1


def test_a_right_import_is_not_taken_for_a_wrong_one() -> None:
    code = "import torch, potentials.graph\nfrom train.data import read\nimport training"
    assert forbidden_imports("train", ast.parse(code)) == []


def test_no_package_loads_what_can_run_code() -> None:
    found = [f"{here(f, line)} uses {name}" for f in files(*ROOMS) for line, name in unsafe_uses(tree_of(f))]
    assert not found


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "def f():\n    from marshal import loads",
        "torch.load(path, weights_only=True)",
        "from torch import load",
        "eval('1')",
        "np.load(path, allow_pickle=True)",
    ],
)
def test_an_unsafe_use_is_seen(code: str) -> None:
    assert len(unsafe_uses(ast.parse(code))) == 1


def test_what_only_sounds_unsafe_is_allowed() -> None:
    assert (
        unsafe_uses(ast.parse("model.eval()\ntorch.compile(f)\nre.compile('a')\nnp.load(p, allow_pickle=False)")) == []
    )


def test_no_file_is_longer_than_it_can_be_read_at_once() -> None:
    lengths = {file: len(file.read_text(encoding="utf-8").splitlines()) for file in files(*ROOMS, *OUTSIDE[:3])}
    assert not {here(file, n): n for file, n in lengths.items() if n > MAX_FILE_LINES}


def test_no_function_is_longer_than_a_screen() -> None:
    found = {
        here(file, line): f"{name}: {length} lines"
        for file in files(*ROOMS, *OUTSIDE[:3])
        for line, name, length in long_functions(tree_of(file))
    }
    assert not found


def test_a_long_function_is_seen_in_a_class_too() -> None:
    body = "        pass\n" * MAX_FUNCTION_LINES
    assert long_functions(ast.parse(f"class A:\n    def f(self):\n{body}")) == [(2, "f", MAX_FUNCTION_LINES + 1)]


def test_nothing_is_called_after_no_content() -> None:
    everything = [file.relative_to(ROOT) for file in files(*ROOMS, *OUTSIDE[:3])]
    assert not [str(path) for path in everything if shapeless(path)]


@pytest.mark.parametrize("path", ["train/utils.py", "potentials/common/a.py", "train/data_helpers.py"])
def test_a_shapeless_name_is_seen(path: str) -> None:
    assert shapeless(Path(path))


def test_no_script_is_called_like_a_room() -> None:
    """Python looks beside a script first: where `train.py` lies, `import train` means that script."""
    scripts = [*ROOT.glob("*.py"), *files("examples", "benchmarks", "tests")]
    numbered = [file for file in scripts if re.sub(r"^\d+_", "", file.stem) in ROOMS]
    assert not [str(file.relative_to(ROOT)) for file in numbered]
