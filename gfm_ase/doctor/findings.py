"""What checks say: verdicts, rows, the report."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any


class Verdict(StrEnum):
    """What a check comes to. INFO is a figure that nobody can call right or wrong, such as a speed."""

    PASS = "pass"  # noqa: S105 - no password
    WARN = "warn"
    FAIL = "fail"
    SKIPPED = "skipped"
    INFO = "info"


SEVERITY = {Verdict.SKIPPED: 0, Verdict.INFO: 0, Verdict.PASS: 1, Verdict.WARN: 2, Verdict.FAIL: 3}


class Skipped(Exception):  # noqa: N818 - no error: the check does not apply
    """A check does not apply; the message says why."""


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes:
        verdict: of it.
        detail: a sentence on what was found, and where.
        value: the number, the worst of all that were looked at.
        threshold: above which it is no pass.
        unit: of both.
        source: where the threshold comes from.
        data: curves behind it, by name; for pictures and JSON.
    """

    verdict: Verdict
    detail: str
    value: float | None = None
    threshold: float | None = None
    unit: str = ""
    source: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """A check in the report: its name in `CHECKS`, what it found and how long it took (s)."""

    name: str
    title: str
    group: str
    finding: Finding
    seconds: float

    @property
    def verdict(self) -> Verdict:
        """Of the finding."""
        return self.finding.verdict


@dataclass(frozen=True)
class Report:
    """A whole examination.

    Attributes:
        subject: what was examined, in words.
        facts: (name, value) of the calculator and the structures, for people.
        rows: one for each check, in the order of `CHECKS`.
        seconds: all of it took.
    """

    subject: str
    facts: tuple[tuple[str, str], ...]
    rows: tuple[Row, ...]
    seconds: float

    @property
    def verdict(self) -> Verdict:
        """The worst of the rows; a check that was skipped or only measures does not count."""
        return max((row.verdict for row in self.rows), key=lambda verdict: SEVERITY[verdict], default=Verdict.SKIPPED)

    def named(self, verdict: Verdict) -> tuple[Row, ...]:
        """The rows of one verdict."""
        return tuple(row for row in self.rows if row.verdict == verdict)

    def sentence(self) -> str:
        """The verdict in words."""
        failed, warned, passed = (self.named(verdict) for verdict in (Verdict.FAIL, Verdict.WARN, Verdict.PASS))
        skipped = len(self.named(Verdict.SKIPPED))
        tail = f" {_checks(skipped)} could not be made." if skipped else ""
        if failed:
            return f"Do not use it as it is: {_checks(len(failed))} failed ({_titles(failed)}).{tail}"
        if warned:
            return f"Usable with care: {_checks(len(warned))} warned ({_titles(warned)}), none failed.{tail}"
        if not passed:
            return f"No verdict: no check could be made.{tail}"
        return f"Sound: {_checks(len(passed))} passed, none warned or failed.{tail}"

    def as_json(self) -> dict[str, Any]:
        """The report as JSON takes it: numbers that are not finite become null."""
        rows = [
            {"name": row.name, "title": row.title, "group": row.group, "seconds": row.seconds, **asdict(row.finding)}
            for row in self.rows
        ]
        report = {
            "subject": self.subject,
            "verdict": self.verdict,
            "sentence": self.sentence(),
            "facts": dict(self.facts),
            "seconds": self.seconds,
            "checks": rows,
        }
        plain: dict[str, Any] = _plain(report)
        return plain


def _checks(count: int) -> str:
    return f"{count} check" if count == 1 else f"{count} checks"


def _titles(rows: tuple[Row, ...]) -> str:
    return "; ".join(row.title for row in rows)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Verdict) else value
