"""Errors on every test file, by what `gfm-ase evaluate` computes, beside published ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from benchmarks.card.sets import GROUPS, Group, SetFile
from benchmarks.card.subject import Record, Subject, number, table
from potentials.models.registry import MODELS
from train.config import DatasetConfig
from train.data import label
from train.evaluation import Pairs, predict
from train.frame import Frame
from train.reading import read_frames


def measure(subject: Subject) -> Record:
    """Errors of all files, by group; a file whose head is not there is left out."""
    found: Record = {name: [] for name in GROUPS}
    files = [(name, test) for name, group in GROUPS.items() for test in group.files if subject.knows(test.head)]
    for place, (name, test) in enumerate(files):
        subject.progress(f"errors: {test.file}", place, len(files))
        found[name].append(errors_of(subject, test))
    return found


def errors_of(subject: Subject, test: SetFile) -> Record:
    """Errors of one file, and the command that gives the same.

    Frames of elements that the head has never seen are left out and counted; `gfm-ase evaluate` refuses such files.
    """
    frames, strange = known_frames(subject, test)
    potential = subject.loaded.potential.only(test.head)
    rows = [*potential.trained_outputs(test.head).values()]
    labelled = [label(frame, potential.cutoff, outputs=rows) for frame in frames]
    predictions = predict(potential, potential.references, labelled, outputs=rows)
    pairs = predictions.pairs()
    errors = predictions.errors() | norms(pairs)
    called = subject.path.stem if subject.path.stem in MODELS else subject.path.name
    command = f"gfm-ase evaluate {called} $GFM_ASE_DATA/{test.file} --head {test.head}"
    return {
        "file": test.file,
        "head": test.head,
        "frames": len(frames),
        "left_out": strange,
        "command": command,
        "errors": errors,
        "published": dict(test.published),
    }


def known_frames(subject: Subject, test: SetFile) -> tuple[Sequence[Frame], int]:
    """Frames of known elements, as `gfm-ase evaluate` reads them, and how many others there are."""
    path = subject.data / test.file
    config = DatasetConfig.model_validate({"name": test.head, "train": (str(path),)})
    frames, known = list(read_frames(config, "train")), set(subject.elements(test.head))
    kept = [frame for frame in frames if set(frame.atoms.get_chemical_symbols()) <= known]
    strange = len(frames) - len(kept)
    if subject.frames is not None and len(kept) > subject.frames:
        places = np.linspace(0, len(kept) - 1, subject.frames).round().astype(int)
        kept = [kept[place] for place in places]
    return kept, strange


def norms(pairs: dict[str, Pairs]) -> dict[str, float]:
    """Means of norms: of the error of the force on an atom, and Frobenius' of that of the stress; eV/Å, eV/Å³."""
    found = {}
    for name, unit, size in (("forces", "eV_per_A", 3), ("stress", "eV_per_A3", 9)):
        if name in pairs:
            difference = (pairs[name].predicted - pairs[name].reference).reshape(-1, size)
            found[f"{name}_norm_{unit}"] = float(torch.linalg.vector_norm(difference, dim=1).mean())
    return found


def section(record: Record) -> str:
    """A table for each group."""
    parts = [
        "`gfm-ase evaluate gfm1 $GFM_ASE_DATA/FILE --head HEAD` gives each row (norms of vectors and of"
        " stresses are made of the same predictions). *× none*: how many times smaller the error of forces is than"
        " that of no network, which says zero."
    ]
    parts += [group_section(GROUPS[name], rows) for name, rows in record.items() if rows]
    return "\n\n".join(parts)


def group_section(group: Group, rows: Sequence[Record]) -> str:
    """The table of one group with its title and note."""
    methods = list(next((row["published"] for row in rows if row["published"]), {}))
    lines = []
    for row in rows:
        errors: dict[str, Any] = row["errors"]
        ours = "/".join(number(errors.get(one.key), one.factor) for one in group.quantities)
        forces, trivial = errors.get("forces_mae_eV_per_A"), errors.get("trivial_forces_mae_eV_per_A")
        gain = f"{number(trivial / forces)} ×" if forces and trivial else "–"
        left = f" ({row['left_out']} left out)" if row["left_out"] else ""
        file = row["file"].removesuffix(".extxyz.gz")
        published = [row["published"].get(method, "–") for method in methods]
        lines.append([f"`{file}`", f"`{row['head']}`", f"{row['frames']}{left}", f"**{ours}**", gain, *published])
    columns = ["file (.extxyz.gz)", "head", "frames", "this model", "× none", *methods]
    notes = [group.note] if group.note else []
    if any(row["left_out"] for row in rows):
        notes.append("Left out: frames with elements that the head has never seen.")
    return "\n\n".join([f"**{group.title}.**", table(columns, lines), *([" ".join(notes)] if notes else [])])
