"""What a run has used: joules by source, all processes and sessions added up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

ESTIMATE = "estimate"
"""How the words of every source begin that measures nothing."""

NOT_METERED = "not metered"
J_PER_KWH = 3.6e6


@dataclass
class Account:
    """Joules used so far.

    Attributes:
        parts: J by the words of the source: "nvml", "rapl", "estimate: busy cores x 8 W".
        sources: what was added up in words, "nvml + rapl"; more than one where a session had others than the last.
    """

    parts: dict[str, float] = field(default_factory=dict)
    sources: list[str] = field(default_factory=list)

    @property
    def joules(self) -> float | None:
        """All of them; none where nothing was metered at all."""
        return sum(self.parts.values()) if self.parts else None

    @property
    def source(self) -> str:
        """Where they come from, in words."""
        return ", then ".join(self.sources) or NOT_METERED

    @property
    def estimate(self) -> bool:
        """Whether a part of them is not measured."""
        return any(words.startswith(ESTIMATE) for words in self.parts)

    def add(self, used: Mapping[str, float], words: str) -> None:
        """Joules by source, and what is added up from here on, in words."""
        for name, joules in used.items():
            self.parts[name] = self.parts.get(name, 0.0) + joules
        if not self.sources or self.sources[-1] != words:
            self.sources.append(words)

    def row(self) -> dict[str, Any]:
        """For a row of the journal."""
        joules = self.joules
        return {"energy_J": None if joules is None else round(joules, 3), "energy_source": self.source}

    def record(self) -> dict[str, Any]:
        """For the manifest of a checkpoint."""
        joules = self.joules
        return {
            "joules": joules,
            "kWh": None if joules is None else joules / J_PER_KWH,
            "source": self.source,
            "estimate": self.estimate,
            "parts": dict(self.parts),
        }


def energy_text(joules: float | None, source: str) -> str:
    """For people: "1.25 kWh (nvml + rapl)", "812 J (estimate: busy cores x 8 W)", "energy not metered"."""
    if joules is None:
        return f"energy {NOT_METERED}"
    for unit, size in (("MWh", 1e3 * J_PER_KWH), ("kWh", J_PER_KWH), ("Wh", J_PER_KWH / 1e3)):
        if joules >= size:
            return f"{joules / size:.3g} {unit} ({source})"
    return f"{joules:.3g} J ({source})"
