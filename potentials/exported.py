"""One file that holds a checkpoint and its compiled program: starts at once, on the kind of machine it was made on.

It is a `.pt2` package of torch with the checkpoint and a record beside the program. A program is code: whoever loads
the file runs it. Checkpoints (`potentials.checkpoint`) never hold code.
"""

from __future__ import annotations

import platform
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from potentials.checkpoint import CheckpointError, load_single, save_checkpoint
from potentials.compiled import CompiledPotential, check_compiler, example_inputs, weights_and_buffers
from potentials.manifest import DTYPES, Manifest
from potentials.models.registry import find_checkpoint
from potentials.potential import Potential
from potentials.programs import Program, add_entry, build, read_entry, trace, with_constants
from potentials.structures import graph_from_atoms

RECORD, CHECKPOINT = "gfm_ase.json", "checkpoint.safetensors"

AGREEMENT = {torch.float32: 1e-4, torch.float64: 1e-9}
"""Part of the largest value (or of what one unit of the network is worth, if that is more) by which the program and
the potential may differ: rounding is a hundredth of it."""

OPTIONS = {"cpp.dynamic_threads": True}
"""As many threads as there are where it runs, and not as there were where it was made."""


class ExportError(ValueError):
    """A file that is no exported potential, or none for this machine; the message is one sentence."""


class Machine(BaseModel):
    """Where a program runs.

    Attributes:
        torch: version; programs call into it.
        system: such as "Linux x86_64".
        processor: instructions that the compiler used what it liked of.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    torch: str
    system: str
    processor: tuple[str, ...]


class Record(BaseModel):
    """What stands beside the program.

    Attributes:
        format_version: of this record.
        machine: that it was made on.
        dtype: of the program.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format_version: int = 1
    machine: Machine
    dtype: str


@dataclass(frozen=True)
class Exported:
    """A potential with its program.

    Attributes:
        potential: what the program was made of, in its dtype; for elements, references and as oracle.
        manifest: of the checkpoint.
        evaluate: graph to results, by the program.
    """

    potential: Potential
    manifest: Manifest
    evaluate: CompiledPotential


def export_potential(
    checkpoint: Path | str, path: Path | str, *, head: str | None = None, dtype: str | None = None
) -> None:
    """Compile a checkpoint into a file that holds both; it is complete under its name or not there.

    Args:
        checkpoint: file, or the name of a model that comes with the package.
        path: must end in .pt2.
        head: keep this branch alone; by default all.
        dtype: of the program, "float32" or "float64"; by default the checkpoint's.

    Raises:
        CheckpointError: as `load_single`.
        NotCompiledError: the potential cannot be compiled ahead of time, or not rightly.
        ValueError: unknown head or dtype, another suffix, no C++ compiler.
    """
    path = Path(path)
    if path.suffix != ".pt2":
        raise ValueError(f"an exported potential is called {path.name!r}; its name must end in .pt2")
    if dtype is not None and dtype not in DTYPES:
        raise ValueError(f"dtype {dtype!r} is not offered; use 'float32', 'float64', or leave it out")
    check_compiler(torch.device("cpu"))
    potential, manifest = load_single(checkpoint)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        beside, inner = Path(folder) / path.name, find_checkpoint(checkpoint)
        if head is not None:
            potential, manifest = _one_head(potential, manifest, head)
            inner = Path(folder) / CHECKPOINT
            save_checkpoint(inner, potential, manifest)
        record = Record(machine=this_machine(), dtype=dtype or manifest.dtype)
        _build(potential.to(DTYPES[record.dtype]), beside)
        add_entry(beside, RECORD, record.model_dump_json().encode())
        add_entry(beside, CHECKPOINT, inner.read_bytes())
        load_export(beside)
        beside.replace(path)


def load_export(path: Path | str) -> Exported:
    """The potential of an exported file, after its program has agreed with its weights.

    Loading runs the program in the file: load only files that you made, or whose maker you trust.

    Raises:
        ExportError: no such file, not an exported one, one for another machine or version of torch, or a program that
            is not that of the weights beside it.
        CheckpointError: its checkpoint is damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise ExportError(f"{path}: there is no such file")
    try:
        record = Record.model_validate_json(read_entry(path, RECORD))
        content = read_entry(path, CHECKPOINT)
    except (RuntimeError, ValidationError):
        raise ExportError(f"{path}: not an exported potential, or damaged; `gfm-ase export` makes such files") from None
    check_machine(path, record.machine)
    with tempfile.TemporaryDirectory() as folder:
        inner = Path(folder) / CHECKPOINT
        inner.write_bytes(content)
        try:
            potential, manifest = load_single(inner)
        except CheckpointError as error:
            raise CheckpointError(str(error).replace(str(inner), f"{path} ({CHECKPOINT} in it)")) from None
    potential = potential.to(DTYPES[record.dtype])
    try:
        program = Program(path)
    except RuntimeError as error:
        first = " ".join(str(error).split())[:200]
        raise ExportError(f"{path}: torch cannot load its program ({first}); export it again here") from None
    evaluate = CompiledPotential(potential, program)
    check_program(path, evaluate, program, manifest)
    return Exported(potential, manifest, evaluate)


def this_machine() -> Machine:
    """What a program that is made here needs."""
    flags: set[str] = set()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
        for line in lines:
            name, _, words = line.partition(":")
            if name.strip() in {"flags", "Features"}:
                flags = set(words.split())
                break
    return Machine(
        torch=torch.__version__,
        system=f"{platform.system()} {platform.machine()}",
        processor=tuple(sorted(flags)) or (platform.processor(),),
    )


def check_machine(path: Path, made_on: Machine) -> None:
    """Raise ExportError where a program made there cannot run here."""
    here = this_machine()
    if made_on.torch != here.torch:
        raise ExportError(
            f"{path}: made with torch {made_on.torch}, and this is {here.torch}; export the checkpoint again here"
        )
    if made_on.system != here.system:
        raise ExportError(f"{path}: made for {made_on.system}, and this is {here.system}; export it again here")
    lacking = sorted(word for word in set(made_on.processor) - set(here.processor) if word.startswith(INSTRUCTIONS))
    if lacking:
        raise ExportError(
            f"{path}: made for a processor that has {', '.join(lacking[:8])}, unlike this one; export it again here"
        )


INSTRUCTIONS = ("sse", "ssse", "avx", "fma", "f16c", "bmi", "amx", "vaes", "vpclmul", "gfni", "asimd", "sve", "bf16")
"""Beginnings of the names of instructions for numbers; the rest of a processor's flags do not matter."""


def check_program(path: Path, evaluate: CompiledPotential, program: Program, manifest: Manifest) -> None:
    """Raise ExportError where a program is not that of its weights: on the golden structures and on random edges."""
    potential = evaluate.potential
    scale = float(potential.references.scale_D.max())
    example = example_inputs(potential.device, potential.dtype)
    expected = evaluate.plain(weights_and_buffers(potential), example)
    pairs = [(found, wanted, 0.0) for found, wanted in zip(program(example), expected, strict=True)]
    for golden in manifest.golden:
        graph = graph_from_atoms(golden.atoms(), potential.cutoff, dataset=potential.head_index(golden.head))
        with torch.no_grad():
            plain, compiled = potential(graph), evaluate(graph)
        e0_N = potential.references.e0_DZ[graph.dataset[graph.graph_index], graph.numbers]
        pairs.append((compiled["energies"] - e0_N, plain["energies"] - e0_N, scale))
        rest = plain.keys() - {"energy", "energies", "stress"}  # E0 on top; a volume below
        pairs += [(compiled[name], plain[name], scale) for name in sorted(rest)]
    for found, wanted, least in pairs:
        if not agree(found, wanted, AGREEMENT[potential.dtype], least):
            raise ExportError(f"{path}: its program gives other results than its weights; it is damaged or forged")


def agree(found: Tensor, expected: Tensor, part: float, least: float) -> bool:
    """Whether numbers differ by no more than a part of the largest, or of `least`."""
    finite = expected[expected.isfinite()]  # uncertainties of elements never seen are infinite
    scale = max(least, float(finite.abs().max()) if finite.numel() else 0.0)
    return torch.allclose(found, expected, rtol=0.0, atol=part * scale + 1e-300, equal_nan=True)


def _build(potential: Potential, target: Path) -> None:
    """The program of a potential, its weights inside."""
    state = weights_and_buffers(potential)
    traced = trace(CompiledPotential(potential).plain, state, example_inputs(potential.device, potential.dtype))
    build(with_constants(traced, state), target, options=OPTIONS)


def _one_head(potential: Potential, manifest: Manifest, head: str) -> tuple[Potential, Manifest]:
    single = potential.only(head)
    update = {
        "potential": single.config,
        "heads": {head: manifest.heads[head]},
        "golden": [golden for golden in manifest.golden if golden.head == head],
        "calibration": {name: record for name, record in manifest.calibration.items() if name == head},
    }
    return single, manifest.model_copy(update=update)
