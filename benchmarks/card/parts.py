"""The parts of a card by name; each is a section of the page between markers of that name."""

from __future__ import annotations

from benchmarks.card import dimers, errors, facts, nve, speed, verdicts
from benchmarks.card.subject import Part

PARTS = {
    "facts": Part(facts.measure, facts.section, facts.pictures),
    "errors": Part(errors.measure, errors.section),
    "dimers": Part(dimers.measure, dimers.section, dimers.pictures),
    "nve": Part(nve.measure, nve.section, nve.pictures),
    "speed": Part(speed.measure, speed.section),
    "doctor": Part(verdicts.measure, verdicts.section),
}
