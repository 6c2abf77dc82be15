"""The demo's page: what was done, how well, and all numbers behind it, in one file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from examples.demo.alloys import Candidate, Lattice
from examples.demo.datasets import DataSet
from examples.demo.dynamics import Simulation
from examples.demo.judgement import TRIVIAL, Verdict, shortfalls
from examples.demo.page import (
    Cell,
    banner,
    facts,
    heading,
    listing,
    page,
    paragraph,
    picture,
    section,
    table,
    time_bar,
)
from examples.demo.report_of_runs import dynamics_section, relaxation_section, screening_section
from examples.demo.settings import DemoSettings
from examples.demo.training import Trained
from gfm_ase.curves import learning_figure
from gfm_ase.plots import parity_figure
from md_workflows import Status
from md_workflows.durable import write_beside
from train.energy.account import energy_text
from train.evaluation import Pairs
from train.export import environment
from train.journal import read_journal

METHODS = {"molecules_gfn2": "GFN2-xTB", "metals_emt": "EMT"}
CONTENTS = {
    "molecules_gfn2": "molecules of H, C, N, O from ASE's G2 collection, rattled and from short MD",
    "metals_emt": "fcc metals and random alloys of Al, Ni, Cu, Pd, Ag, Pt, Au, strained, rattled and from short MD",
}


@dataclass(frozen=True)
class Story:
    """All that the page tells.

    Attributes:
        settings: of the demo.
        steps: name and seconds of each step.
        data: the data sets.
        trained: the potential and its predictions.
        verdicts: on its errors.
        simulations, lattices, candidates: what was done with it.
    """

    settings: DemoSettings
    steps: Sequence[tuple[str, float]]
    data: dict[str, DataSet]
    trained: Trained
    verdicts: list[Verdict]
    simulations: list[Simulation]
    lattices: list[Lattice]
    candidates: list[Candidate]


def write_report(path: Path, story: Story) -> None:
    """Write the page, beside its name first.

    Raises:
        ValueError: matplotlib is not installed.
    """
    versions = ", ".join(f"{name} {version}" for name, version in environment().items() if name != "machine")
    minutes = sum(seconds for _, seconds in story.steps) / 60
    lead = paragraph(
        "One potential, trained on two levels of theory at once, each with a head of its own; then dynamics, relaxation"
        f" and screening with it through ASE. All of it was made here, from nothing, in {minutes:.1f} minutes."
    ) + paragraph(versions)
    text = page(
        "gfm-ase: from structures to a running simulation",
        lead,
        [
            _outcome(story),
            _summary(story),
            _work(story),
            _errors(story),
            _learning(story),
            dynamics_section(story.simulations),
            relaxation_section(story.lattices),
            screening_section(story.candidates),
            _run_file(story),
        ],
    )

    def fill(handle: IO[bytes]) -> None:
        handle.write(text.encode("utf-8"))

    write_beside(path, fill)


def _outcome(story: Story) -> str:
    wrong = shortfalls(story.verdicts)
    if not story.settings.enforced:
        return banner(
            True, ["A quick run, which is too short to learn from: its factors are computed, not demanded.", *wrong]
        )
    if wrong:
        return banner(
            False, ["Failed: the potential does not beat the trivial predictors by the factors demanded.", *wrong]
        )
    return banner(True, ["Passed: every error lies below the trivial predictor's by more than the factor demanded."])


def _summary(story: Story) -> str:
    result, nve = story.trained.result, story.simulations[0]
    by_name = {(verdict.dataset, verdict.quantity): verdict for verdict in story.verdicts}
    forces = [(METHODS[name], by_name[name, "forces"]) for name in METHODS]
    rows = [candidate.row for candidate in story.candidates]
    done = sum(row.status is Status.CONVERGED for row in rows)
    return facts(
        [
            *((f"{verdict.mae:.0f} {verdict.unit}", f"force error against {method}") for method, verdict in forces),
            (f"{story.trained.parameters:,}", f"weights, {result.position.steps:,} steps"),
            (f"{1e3 * nve.largest_deviation:.2g} meV", "an atom: largest change of the total energy in NVE"),
            (f"{done} of {len(rows)}", "screened alloys converged"),
        ]
    )


def _work(story: Story) -> str:
    rows: list[tuple[str | Cell, ...]] = []
    for name, files in story.data.items():
        counts = [str(_frames(getattr(files, split))) for split in ("train", "valid", "test")]
        rows.append((name, METHODS[name], Cell(CONTENTS[name], "long"), *counts, str(files.dropped)))
    columns = ("data set and head", "level of theory", "structures", "training", "validation", "test", "lost")
    return section(
        "What was done",
        paragraph(
            "Frames of one trajectory, or displacements of one parent, are never in two splits. The test frames were"
            " looked at once, after training."
        ),
        table(columns, rows, texts=3),
        heading("Time"),
        time_bar(story.steps),
    )


def _frames(path: Path) -> int:
    import ase.io

    return len(ase.io.read(path, index=":"))


def _errors(story: Story) -> str:
    rows = [
        (
            verdict.dataset,
            f"{verdict.quantity}, {verdict.unit}",
            f"{verdict.mae:.3g}",
            f"{verdict.rmse:.3g}",
            f"{verdict.trivial:.3g}",
            f"{verdict.factor:.1f} ×",
            f"{verdict.least:g} ×",
            Cell("pass", "good") if verdict.passed else Cell("fail", "bad"),
        )
        for verdict in story.verdicts
    ]
    columns = ("head", "quantity", "MAE", "RMSE", "trivial MAE", "smaller by", "demanded", "")
    pictures = [
        picture(
            parity_figure(above_e0(predictions.pairs()), ""),
            f"{name}: prediction against {METHODS[name]} on the test frames. Energies are measured from E0.",
        )
        for name, predictions in story.trained.predictions.items()
    ]
    trivial = ", ".join(f"{words} for the {name}" for name, words in TRIVIAL.items())
    return section(
        "Errors on structures held back from training",
        paragraph(
            f"Of the checkpoint, loaded again. The trivial predictor is what no network gets right: {trivial}; E0 are"
            " energies of the elements fitted to the training frames. Energies are per atom."
        ),
        table(columns, rows, texts=2),
        *pictures,
    )


def above_e0(pairs: dict[str, Pairs]) -> dict[str, Pairs]:
    """The same, less what E0 alone predicts: with it the energies of molecules would hide every error."""
    energy = pairs["energy"]
    reference, predicted = energy.reference - energy.trivial, energy.predicted - energy.trivial
    return {**pairs, "energy": Pairs(reference, predicted, energy.trivial - energy.trivial, energy.unit)}


def _learning(story: Story) -> str:
    result = story.trained.result
    rows = read_journal(story.trained.checkpoint.with_name("journal.jsonl"))
    reasons = {
        "epochs": f"all {story.settings.epochs} epochs were done",
        "max_minutes": f"its time was over, in epoch {result.position.epoch + 1} of {story.settings.epochs}",
    }
    return section(
        "Learning curves",
        picture(
            learning_figure(rows),
            "Dashed: the trivial predictor of the data set in the same colour. The weights judged are averages"
            f" over steps; those of epoch {result.position.best_epoch} were kept. Training ended because"
            f" {reasons.get(result.reason, result.reason)}; it used"
            f" {energy_text(result.position.joules, result.position.energy.source)}.",
        ),
    )


def _run_file(story: Story) -> str:
    return section(
        "The run file",
        paragraph("The potential was trained by this file, through the same door as `gfm-ase train run.toml`."),
        listing(story.trained.run_file.read_text(encoding="utf-8")),
    )
