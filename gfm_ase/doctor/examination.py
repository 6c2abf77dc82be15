"""`examine`: all checks on one calculator."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ase import Atoms

from gfm_ase.doctor.calculators import in_words, known_elements, told_cutoff
from gfm_ase.doctor.checks import CHECKS, Check
from gfm_ase.doctor.dimers import dimer
from gfm_ase.doctor.findings import Finding, Report, Row, Skipped, Verdict
from gfm_ase.doctor.samples import completed, made_structures, own_structures
from gfm_ase.doctor.subject import VACUUM, Subject
from md_workflows.attached import forget
from md_workflows.progress import ProgressCallback
from md_workflows.structures import one_line

MOST_STRUCTURES = 8


def examine(
    calculator: Any,
    structures: Mapping[str, Atoms] | Iterable[Atoms] | None = None,
    *,
    training: Sequence[Atoms] = (),
    elements: Sequence[str] | None = None,
    only: Sequence[str] = (),
    quick: bool = False,
    progress: ProgressCallback | None = None,
) -> Report:
    """Examine any ASE calculator; it is asked for energies, forces and stress, and nothing of it is changed.

    Args:
        calculator: a `GFMCalculator`, or any of ASE's kind.
        structures: by name, or in a row; the first eight are used. Without them fitting ones are made of the elements
            that the calculator knows.
        training: structures it was trained on: what lies outside of them is told.
        elements: symbols it knows, where it does not tell itself.
        only: names of `CHECKS`; all where none are named.
        quick: fewer structures, directions and steps.
        progress: called with checks done and their number.

    Raises:
        ValueError: no structures, and the calculator does not tell which elements it knows; an unknown check;
            structures of which none can be used.
    """
    start = time.perf_counter()
    chosen = _chosen(only)
    known = tuple(elements) if elements else known_elements(calculator)
    given = _structures(calculator, structures, known)
    usable, refused = _usable(given, known)
    used = dict(list(usable.items())[:MOST_STRUCTURES])
    subject = Subject(
        calculator, used, refused, known, told_cutoff(calculator), [_bare(atoms) for atoms in training], quick=quick
    )
    subject.needs_cell = _needs_cell(subject)
    rows = []
    for index, (name, check) in enumerate(chosen.items()):
        if progress is not None:
            progress(index, len(chosen))
        rows.append(_row(name, check, subject))
    if progress is not None:
        progress(len(chosen), len(chosen))
    left_out = len(usable) - len(used)
    facts = _facts(subject, left_out)
    return Report(in_words(calculator), facts, tuple(rows), time.perf_counter() - start)


def _needs_cell(subject: Subject) -> str:
    """What the calculator raises on two atoms without a cell, where it answers on them in one; else nothing."""
    symbol = next(iter(subject.structures.values())).get_chemical_symbols()[0]
    pair = dimer((symbol, symbol), 2.5)
    try:
        subject.answer(pair)
    except Exception as error:
        reason = one_line(error)
    else:
        return ""
    pair.cell, pair.pbc = [VACUUM] * 3, True
    try:
        subject.answer(pair)
    except Exception:  # then cells are not what it lacks, and each check will tell
        return ""
    return reason


def _row(name: str, check: Check, subject: Subject) -> Row:
    """One check; whatever it raises is a row, never the end."""
    start = time.perf_counter()
    try:
        finding = check.run(subject)
    except Skipped as reason:
        finding = Finding(Verdict.SKIPPED, str(reason))
    except Exception as error:
        finding = Finding(Verdict.FAIL, f"the calculator raised {one_line(error)}", source="it must answer at all")
        forget(subject.calculator)
    return Row(name, check.title, check.group, finding, time.perf_counter() - start)


def _chosen(only: Sequence[str]) -> dict[str, Check]:
    unknown = sorted(set(only) - set(CHECKS))
    if unknown:
        raise ValueError(f"there is no check {', '.join(unknown)}; there are {', '.join(CHECKS)}")
    return {name: check for name, check in CHECKS.items() if not only or name in only}


def _structures(
    calculator: Any, given: Mapping[str, Atoms] | Iterable[Atoms] | None, known: Sequence[str] | None
) -> dict[str, Atoms]:
    if isinstance(given, Mapping):
        found = dict(given)
    elif given is not None:
        found = {f"structure {index}": atoms for index, atoms in enumerate(given)}
    else:
        found = completed(own_structures(calculator)) or made_structures(known or ())
        if not found:
            raise ValueError(
                f"{in_words(calculator)} does not tell which elements it knows; give structures, or the elements to"
                " make some of"
            )
    if not found:
        raise ValueError("there are no structures; give at least one, or none at all to have some made")
    return {name: _bare(atoms) for name, atoms in found.items()}


def _bare(atoms: Atoms) -> Atoms:
    """Without constraints, which would hide forces, and without velocities and a calculator."""
    bare = Atoms(numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    bare.info = {key: atoms.info[key] for key in ("charge", "spin") if key in atoms.info}
    return bare


def _usable(given: Mapping[str, Atoms], known: Sequence[str] | None) -> tuple[dict[str, Atoms], dict[str, str]]:
    usable, refused = {}, {}
    for name, atoms in given.items():
        strange = set() if known is None else set(atoms.get_chemical_symbols()) - set(known)
        if not len(atoms):
            refused[name] = "it has no atoms"
        elif strange:
            refused[name] = f"it has {', '.join(sorted(strange))}"
        else:
            usable[name] = atoms
    if not usable:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in list(refused.items())[:4])
        raise ValueError(f"no structure is made of known elements alone ({reasons}); known are {' '.join(known or ())}")
    return usable, refused


def _facts(subject: Subject, left_out: int) -> tuple[tuple[str, str], ...]:
    names = ", ".join(f"{name} ({len(atoms)} atoms)" for name, atoms in subject.structures.items())
    facts = [("Structures", names)]
    if left_out:
        facts.append(("Not used", f"{left_out} structures beyond the first {MOST_STRUCTURES}"))
    if subject.refused:
        facts.append(("Refused", "; ".join(f"{name}: {reason}" for name, reason in subject.refused.items())))
    if subject.elements is not None:
        facts.append(("Known elements", " ".join(subject.elements)))
    if subject.told_cutoff is not None:
        facts.append(("Cutoff", f"{subject.told_cutoff:g} Å"))
    manifest = getattr(subject.calculator, "manifest", None)
    if manifest is not None:
        head = manifest.heads[subject.calculator.head]
        facts.append(("Head", f"{subject.calculator.head}, trained on {', '.join(head.labels) or 'no stated labels'}"))
        facts.append(
            ("Trained on", ", ".join(f"{n} structures ({s})" for s, n in head.structures.items()) or "not said")
        )
        facts.append(("Network", f"{manifest.potential.backbone.name}, {subject.calculator.potential.dtype}"))
    facts.append(("Calls", str(subject.calls)))
    return tuple(facts)
