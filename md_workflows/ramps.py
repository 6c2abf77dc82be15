"""What is held may change as a run goes on: a number, a ramp, or points with straight lines between them."""

from itertools import pairwise
from typing import Annotated, Any

from pydantic import AfterValidator, Discriminator, Field, Tag

from md_workflows.settings import Settings

MAX_POINTS = 16
Point = tuple[Annotated[int, Field(ge=0)], float]


class Ramp(Settings):
    """From `start` at step 0 in a straight line to `end` after `steps` steps; there it stays."""

    start: float
    end: float
    steps: Annotated[int, Field(ge=1)]


Points = tuple[Point, ...]
"""(step, value): straight lines between them, constant before the first and after the last."""
Schedule = float | Ramp | Points


def points_of(schedule: Schedule) -> Points:
    """The points of a number (one), a ramp (two) or of points (themselves)."""
    if isinstance(schedule, Ramp):
        return ((0, schedule.start), (schedule.steps, schedule.end))
    return schedule if isinstance(schedule, tuple) else ((0, float(schedule)),)


def value_at(schedule: Schedule, step: int) -> float:
    """What holds during the step after `step` steps have been taken."""
    points = points_of(schedule)
    for (begin, low), (end, high) in pairwise(points):
        if step < end:
            return low + (high - low) * max(step - begin, 0) / (end - begin)
    return points[-1][1]


def is_constant(schedule: Schedule) -> bool:
    """Whether it is one number all along."""
    return len({value for _, value in points_of(schedule)}) == 1


def _kind(value: Any) -> str:
    if isinstance(value, dict | Ramp):
        return "ramp"
    return "points" if isinstance(value, list | tuple) else "number"


def _in_order(points: Points) -> Points:
    steps = [step for step, _ in points]
    if not points or len(points) > MAX_POINTS or any(later <= earlier for earlier, later in pairwise(steps)):
        raise ValueError(
            f"1 to {MAX_POINTS} points (step, value) are allowed, each at a later step than the one before"
        )
    return points


def _not_negative(schedule: Schedule) -> Schedule:
    if min(value for _, value in points_of(schedule)) < 0:
        raise ValueError("no value may be below 0")
    return schedule


def _positive(schedule: Schedule) -> Schedule:
    if min(value for _, value in points_of(schedule)) <= 0:
        raise ValueError("every value has to be above 0")
    return schedule


_Changing = Annotated[Ramp, Tag("ramp")] | Annotated[Points, AfterValidator(_in_order), Tag("points")]
AnySchedule = Annotated[Annotated[float, Tag("number")] | _Changing, Discriminator(_kind)]
NotNegative = Annotated[AnySchedule, AfterValidator(_not_negative)]
Positive = Annotated[AnySchedule, AfterValidator(_positive)]
