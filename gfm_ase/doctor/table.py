"""The report in the terminal."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from gfm_ase.doctor.findings import Finding, Report, Verdict

COLOURS = {
    Verdict.PASS: "green",
    Verdict.WARN: "yellow",
    Verdict.FAIL: "bold red",
    Verdict.SKIPPED: "dim",
    Verdict.INFO: "cyan",
}


def table_of(report: Report) -> Table:
    """A row for each check; texts are shown as they are, for names of structures may hold brackets."""
    table = Table(title=f"Examination of {report.subject}", title_justify="left", caption_justify="left")
    for column in ("", "check", "number", "threshold", "found"):
        digits = column in {"number", "threshold"}
        table.add_column(column, justify="right" if digits else "left", overflow="fold", no_wrap=digits)
    for row in report.rows:
        number, threshold = numbers_of(row.finding)
        verdict = Text(row.verdict.value, style=COLOURS[row.verdict])
        table.add_row(verdict, Text(row.title), number, threshold, Text(row.finding.detail))
    return table


def numbers_of(finding: Finding) -> tuple[str, str]:
    """Number and threshold in words, with their unit."""
    unit = f" {finding.unit}" if finding.unit else ""
    value = "" if finding.value is None else f"{finding.value:.2g}{unit}"
    return value, "" if finding.threshold is None else f"{finding.threshold:.2g}{unit}"
