"""What the file holds: size, heads, elements, and what the training took; its learning curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from benchmarks.card.periodic_table import elements_figure
from benchmarks.card.sets import HEADS
from benchmarks.card.subject import Record, Subject, table
from gfm_ase.plots import new_figure
from train.energy.account import energy_text
from train.journal import read_journal

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#1f5fa8", "#c8553d", "#3a7d44", "#7b4fa3", "#b8860b", "#2b8c8c", "#d16ba5", "#4a4a4a")
"""Of heads, in their order."""


def measure(subject: Subject) -> Record:
    """From the manifest, the weights and the journal."""
    manifest, training = subject.loaded.manifest, subject.loaded.manifest.training
    potential = subject.loaded.potential
    heads = {
        name: {"elements": list(head.elements), "structures": dict(head.structures), "labels": list(head.labels)}
        for name, head in manifest.heads.items()
    }
    return {
        "parameters": sum(value.numel() for value in potential.parameters()),
        "bytes": subject.path.stat().st_size,
        "backbone": manifest.potential.backbone.model_dump(mode="json"),
        "head_width": manifest.potential.head_width,
        "cutoff": manifest.cutoff,
        "dtype": manifest.dtype,
        "made_with": dict(manifest.made_with),
        "heads": heads,
        "training": {
            key: training.get(key) for key in ("seconds", "steps", "epochs", "best_epoch", "reason", "energy")
        },
        "journal": journal_of(subject),
    }


def journal_of(subject: Subject) -> list[Record]:
    """Minutes, joules and validation errors of forces by head (eV/Å), of each row of the journals, one after another.

    A training that goes on from a checkpoint counts its minutes and joules from zero; here they are added up.
    """
    found: list[Record] = []
    for folder in subject.runs:
        minutes, joules = (found[-1]["minutes"], found[-1]["joules"]) if found else (0.0, 0.0)
        for row in read_journal(folder / "journal.jsonl"):
            used = row.get("energy_J")
            found.append(
                {
                    "run": folder.name,
                    "minutes": minutes + row["seconds"] / 60,
                    "joules": None if used is None or joules is None else joules + used,
                    "forces": {name: errors.get("forces_mae_eV_per_A") for name, errors in row["valid"].items()},
                    "trivial": {
                        name: errors.get("trivial_forces_mae_eV_per_A") for name, errors in row["valid"].items()
                    },
                }
            )
    return found


def before(record: Record) -> Record | None:
    """The last row of the journals of earlier trainings: their minutes and joules together."""
    rows = [row for row in record["journal"] if row["run"] != record["journal"][-1]["run"]]
    return rows[-1] if rows else None


def section(record: Record) -> str:
    """Two tables and two pictures."""
    parts = [facts_table(record), heads_table(record["heads"]), "![Elements of each head](pictures/model_elements.png)"]
    if record["journal"]:
        parts.append("![Validation errors along the training](pictures/model_learning.png)")
    return "\n\n".join(parts)


def facts_table(record: Record) -> str:
    """Of the file and its training."""
    backbone, training = dict(record["backbone"]), record["training"]
    energy, earlier = training["energy"] or {"joules": None, "source": ""}, before(record)
    known = set().union(*(head["elements"] for head in record["heads"].values()))
    seconds, joules = training["seconds"], energy["joules"]
    took = "not said" if seconds is None else f"{seconds / 60:.0f} minutes, {training['steps']:,} steps"
    if earlier is not None:
        took += f", after {earlier['minutes']:.0f} minutes of an earlier training that it went on from"
        both = joules is not None and earlier["joules"] is not None
        joules = joules + earlier["joules"] if both else None
    name = backbone.pop("name")
    settings = ", ".join(f"{key} {_short(value)}" for key, value in backbone.items() if value is not None)
    rows = [
        ["architecture", f"{name}: {settings}; heads of width {record['head_width']}"],
        ["parameters", f"{record['parameters']:,}, {record['dtype']}, energies summed in float64"],
        ["file", f"{record['bytes'] / 1e6:.1f} MB"],
        ["cutoff", f"{record['cutoff']:g} Å, two layers: an atom feels others up to twice as far"],
        ["elements", f"{len(known)} in all"],
        ["training", f"{took}, ended by {training['reason']}"],
        ["energy used", energy_text(joules, energy["source"])],
        ["made with", ", ".join(f"{key} {value}" for key, value in record["made_with"].items())],
    ]
    return table(["", ""], rows)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def heads_table(heads: Mapping[str, Record]) -> str:
    """Theory, sets, frames and elements of each head."""
    rows = []
    for name, head in heads.items():
        theory, sets = HEADS.get(name, ("–", "–"))
        frames = f"{head['structures'].get('train', 0):,} + {head['structures'].get('valid', 0):,}"
        rows.append([f"`{name}`", theory, sets, frames, str(len(head["elements"])), ", ".join(head["labels"])])
    return table(["head", "theory", "trained on", "frames, + validation", "elements", "labels"], rows)


def pictures(record: Record) -> dict[str, Figure]:
    """Elements of each head, and learning curves where there is a journal."""
    known = {name: head["elements"] for name, head in record["heads"].items()}
    colours = colours_of(list(known))
    found = {"model_elements.png": elements_figure(known, colours)}
    if record["journal"]:
        found["model_learning.png"] = learning_figure(record["journal"], colours)
    return found


def colours_of(heads: Sequence[str]) -> dict[str, str]:
    """A colour for each head."""
    return {name: COLOURS[place % len(COLOURS)] for place, name in enumerate(heads)}


def learning_figure(rows: Sequence[Mapping[str, Any]], colours: Mapping[str, str]) -> Figure:
    """Validation errors of forces by head against minutes of training; dashed is what no network gets."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    figure, axes = new_figure(8.5, 4.4)
    axis, minutes = axes[0], [row["minutes"] for row in rows]
    for name, colour in colours.items():
        errors = [row["forces"].get(name) for row in rows]
        if any(error is None for error in errors):
            continue
        axis.plot(minutes, [1e3 * error for error in errors], ".-", color=colour, label=name, linewidth=1.2)
        trivial = rows[0]["trivial"].get(name)
        if trivial is not None:
            axis.axhline(1e3 * trivial, color=colour, linestyle=":", linewidth=0.8)
    axis.set_yscale("log")
    axis.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.yaxis.set_minor_formatter(NullFormatter())
    axis.set_xlabel("minutes of training", fontsize=9)
    axis.set_title("MAE of force components on validation frames, meV/Å (dotted: no network)", fontsize=10)
    axis.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    axis.grid(color="0.92")
    axis.tick_params(labelsize=8)
    return figure
