"""Tables in Markdown of what `benchmarks.model_solids` has computed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

FACETS = ("100", "110", "111")


def markdown(found: Mapping[str, Any]) -> str:
    """All sections that are there, one table after another."""
    seconds = ", ".join(f"{name} {busy:.0f} s ({wall:.0f})" for name, (wall, busy) in found["seconds"].items())
    heads = ", ".join(found["heads"].values())
    first = f"`{found['model']}`, heads {heads}; {found['written']}; {found['machine']}; processor (clock): {seconds}."
    parts = [first, *(f"Not computed: {reason}." for reason in found["missing"])]
    if found.get("elements"):
        parts += [crystals(found["elements"]), surfaces(found["elements"]), vacancies(found["elements"])]
        parts += notes(found["elements"])
    if found.get("phases"):
        parts += [phases(found["phases"], found["heads"]), *literature(found["phases"])]
    if found.get("polymorphs"):
        parts += [polymorphs(found["polymorphs"]), small_groups(found["polymorphs"])]
    return "\n\n".join(parts)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def number(value: float | None, digits: int) -> str:
    """A dash for None."""
    return "-" if value is None else f"{value:.{digits}f}"


def pair(model: float | None, dft: float | None, digits: int) -> str:
    """The model's number, and DFT's in brackets."""
    return f"{number(model, digits)} ({number(dft, digits)})"


def crystals(elements: Mapping[str, Any]) -> str:
    """Lattice and elastic constants."""
    rows = []
    for name, one in elements.items():
        model, dft = one["model"], one["dft"]
        row = [name, pair(model["a0"], dft["a0"], 3)]
        row += [pair(model.get(key), dft[key], 0) for key in ("B", "C11", "C12", "C44_clamped")]
        rows.append([*row, number(model.get("C44_relaxed"), 0)])
    head = ["model (DFT)", "a0, Å", "B, GPa", "C11", "C12", "C44, clamped", "C44, relaxed"]
    return table(head, rows)


def surfaces(elements: Mapping[str, Any]) -> str:
    """Low facets from the model's own slabs, and all Surface frames as they are."""
    rows = []
    for name, one in elements.items():
        own, labelled = one["model"].get("surfaces") or {}, one["dft"]["surfaces"]
        row = [name, *(pair(own.get(facet), labelled.get(facet), 2) for facet in FACETS)]
        off = [slab["model"] - slab["dft"] for slab in one["slabs"] if slab["model"] is not None]
        values = [f"{np.mean(off):+.2f}", f"{np.abs(off).mean():.2f}"] if off else ["-", "-"]
        rows.append([*row, str(len(off)), *values])
    head = ["surface energy, J/m²: model (DFT)", *FACETS, "Surface frames", "mean error", "MAE"]
    return table(head, rows)


def vacancies(elements: Mapping[str, Any]) -> str:
    """Formation energies, and the hot frames."""
    rows = []
    for name, one in elements.items():
        hot = one["vacancy_frames"]
        row = [name, number(one["model"].get("vacancy"), 2)]
        if hot is None:
            rows.append([*row, "-", "-", "-", "-"])
            continue
        estimate = f"{hot['dft_estimate']:.2f} ± {hot['error_of_mean']:.2f}"
        rows.append([*row, str(hot["frames"]), number(hot["dft_mean"], 2), f"{hot['bias']:+.2f}", estimate])
    head = ["vacancy, eV", "model", "hot frames", "excess energy, DFT", "model less DFT", "model less its error there"]
    return table(head, rows)


def notes(elements: Mapping[str, Any]) -> list[str]:
    """What has to be known of an element's data, and what failed."""
    lines = [f"{name}: {one['note']}." for name, one in elements.items() if one["note"]]
    return lines + [f"{name}: {error}" for name, one in elements.items() for error in one["errors"]]


def phases(by_head: Mapping[str, Any], heads: Mapping[str, str]) -> str:
    """Diamond and β-tin by head and element."""
    rows = []
    for kind, elements in by_head.items():
        for name, one in elements.items():
            if one["error"]:
                rows.append([heads[kind], name, one["error"], "", "", "", "", ""])
                continue
            first, second = one["diamond"], one["beta_tin"]
            row = [heads[kind], name, number(first["volume"], 2), number(second["volume"], 2)]
            row += [number(second["ratio"], 3), number(first["B_GPa"], 0), number(one["difference_eV"], 3)]
            rows.append([*row, number(one["pressure_GPa"], 1)])
    head = ["head", "", "V diamond, Å³/atom", "V β-tin", "c/a β-tin", "B diamond, GPa", "E difference, eV/atom"]
    return table([*head, "transition, GPa"], rows)


def literature(by_head: Mapping[str, Any]) -> list[str]:
    """What is published, once for each element."""
    said = {name: one["literature"] for elements in by_head.values() for name, one in elements.items()}
    return [f"{name}, transition published: {text}." for name, text in said.items() if text]


def polymorphs(sets: Sequence[Mapping[str, Any]]) -> str:
    """Order and differences by set."""
    rows = []
    for one in sets:
        for way, words in (("still", "as labelled"), ("relaxed", "relaxed by the model")):
            found = one.get(way)
            if not found or not found["pairs"]:
                continue
            row = [one["name"], one["head"], words, str(len(one["groups"])), f"{found['agreeing']} of {found['pairs']}"]
            rows.append([*row, number(found["tau"], 2), number(found["mae"], 0), number(found["spread"], 0)])
    head = ["set", "head", "geometry", "compositions", "pairs in order", "Kendall's τ", "MAE, meV/atom"]
    text = table([*head, "mean difference by DFT"], rows)
    said = [f"{one['name']}: {one['about']}{_failed(one)}." for one in sets]
    return "\n\n".join([text, *said])


def _failed(one: Mapping[str, Any]) -> str:
    return f"; {len(one['failed'])} calculations failed, the first: {one['failed'][0]}" if one["failed"] else ""


def small_groups(sets: Sequence[Mapping[str, Any]]) -> str:
    """Single compositions of sets that were relaxed: energies over the lowest by DFT."""
    rows = []
    for one in sets:
        if "relaxed" not in one:
            continue
        for formula, entries in one["groups"].items():
            for entry in entries:
                energies = [number(entry.get(way), 0) for way in ("dft", "still", "relaxed")]
                rows.append([one["name"], formula, entry["name"], *energies])
    head = ["set", "composition", "structure", "DFT, meV/atom", "model, as labelled", "model, relaxed"]
    return table(head, rows)
