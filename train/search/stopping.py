"""`[stopping]` of a search: which rules stop trials early, and all of them as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from train.config_tables import Table
from train.search.curves import Curve, StoppingRule, Verdict
from train.search.extrapolation import Extrapolation, ExtrapolationConfig
from train.search.halving import Halving, HalvingConfig
from train.search.limits import Finite, Limits, LimitsConfig, Patience, PatienceConfig

__all__ = [
    "ExtrapolationConfig",
    "HalvingConfig",
    "LimitsConfig",
    "PatienceConfig",
    "StoppingConfig",
    "rule_of",
]

STRICTNESS = {"go_on": 0, "pause": 1, "stop": 2}


class StoppingConfig(Table):
    """`[stopping]`: a rule for each table that is there; without any, trials end early by errors that are no numbers.

    Attributes:
        halving: asynchronous successive halving, or Hyperband.
        extrapolation: of learning curves.
        patience: with a trial that does not become better.
        limits: of time and energy of a trial.
    """

    halving: HalvingConfig | None = None
    extrapolation: ExtrapolationConfig | None = None
    patience: PatienceConfig | None = None
    limits: LimitsConfig | None = None


class Together:
    """Several rules as one: the strictest verdict holds, with the reasons of all that gave it.

    Args:
        rules: one at least.
    """

    def __init__(self, rules: Sequence[StoppingRule]) -> None:
        self.rules = tuple(rules)

    def next_pause(self, trial: int, epoch: int, epochs: int) -> int | None:
        """The first that any rule asks for."""
        found = [rule.next_pause(trial, epoch, epochs) for rule in self.rules]
        return min((pause for pause in found if pause is not None), default=None)

    def judge(self, curve: Curve, others: Sequence[Curve]) -> Verdict:
        """The strictest one; a trial that would be promoted at once does not pause."""
        verdicts = [rule.judge(curve, others) for rule in self.rules]
        strictest = max(verdicts, key=lambda verdict: STRICTNESS[verdict.kind])
        if strictest.kind == "pause" and self.promote([*others, replace(curve, state="paused")]) == curve.trial:
            return Verdict("go_on", f"{strictest.reason}; those before it are out of reach")
        reasons = [verdict.reason for verdict in verdicts if verdict.kind == strictest.kind and verdict.reason]
        return replace(strictest, reason="; ".join(reasons))

    def promote(self, curves: Sequence[Curve]) -> int | None:
        """The first that a rule names and none would stop: what has finished since may be out of reach."""
        known = list(curves)
        for rule in self.rules:
            while (trial := rule.promote(known)) is not None:
                index = next(which for which, curve in enumerate(known) if curve.trial == trial)
                others = [*known[:index], *known[index + 1 :]]
                if all(one.judge(known[index], others).kind != "stop" for one in self.rules if one is not rule):
                    return trial
                # it keeps its place at its rung, where others are compared with it
                known[index] = replace(known[index], state="stopped")
        return None


def rule_of(config: StoppingConfig) -> StoppingRule:
    """The rule that a search asks.

    Args:
        config: settings.
    """
    rules: list[StoppingRule] = [Finite()]
    if config.limits is not None:
        rules.append(Limits(config.limits))
    if config.patience is not None:
        rules.append(Patience(config.patience))
    if config.halving is not None:
        rules.append(Halving(config.halving))
    if config.extrapolation is not None:
        rules.append(Extrapolation(config.extrapolation))
    return Together(rules)
