"""What `gfm-ase doctor` says of some heads."""

from __future__ import annotations

from benchmarks.card.subject import Record, Subject, table
from gfm_ase.doctor import examine

HEADS = ("pbe_mp", "pbe_metals", "pbe_def2svp")


def measure(subject: Subject) -> Record:
    """The report of each head, without curves; always the quick one, as it takes a minute a head."""
    found = {}
    for place, head in enumerate(HEADS):
        if not subject.knows(head):
            continue
        subject.progress(f"doctor: {head}", place, len(HEADS))
        report = examine(subject.calculator(head), quick=True).as_json()
        for check in report["checks"]:
            check.pop("data")
        found[head] = report
    return found


def section(record: Record) -> str:
    """A row for each check, a column for each head, and what did not pass in words."""
    checks = {check["name"]: check["title"] for report in record.values() for check in report["checks"]}
    rows = [
        [f"{title} (`{name}`)", *(cell(report, name) for report in record.values())] for name, title in checks.items()
    ]
    said = [f"`{head}`: {report['sentence']}" for head, report in record.items()]
    notes = [
        f"- `{head}`, {check['title']}: {check['verdict']}: {check['detail']}"
        for head, report in record.items()
        for check in report["checks"]
        if check["verdict"] in {"warn", "fail"}
    ]
    command = "`gfm-ase doctor gfm1 --head HEAD --quick` gives a column, see [doctor](doctor.md)."
    parts = [
        command,
        "\n".join(f"- {line}" for line in said),
        table(["check", *(f"`{head}`" for head in record)], rows),
    ]
    return "\n\n".join([*parts, *(["\n".join(notes)] if notes else [])])


def cell(report: Record, name: str) -> str:
    """Verdict and number of one check."""
    for check in report["checks"]:
        if check["name"] == name:
            value = "" if check["value"] is None else f" {check['value']:.2g} {check['unit']}".rstrip()
            return f"{check['verdict']}{value}" if check["verdict"] != "skipped" else "–"
    return "–"
