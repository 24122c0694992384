"""Planning a gate: what a number of items can detect, and what it can pass. Pure.

The flip rate decides: it is the share of items that change between two equal models, measured by `noise_of` from two
runs of one model (or of two equal retrains), or assumed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from evalkit.compare import Comparison
from evalkit.evaluate import TAG, evaluate
from evalkit.gate import default_margin
from evalkit.paired import detectable_effect, items_needed
from evalkit.policy import Policy
from evalkit.stats import Interval, wilson
from evalkit.types import Run
from evalkit.verdict import Check

FLIP_RATES = (0.02, 0.05, 0.10, 0.15)
"""Flip rates assumed where none was measured: retrained small models lie between these."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What one metric's items can show at one flip rate."""

    suite: str
    """The suite's name."""
    metric: str
    """The metric's name."""
    n: int
    """Items, or clusters' worth of items where they are dependent."""
    flip_rate: float
    """Share of items that change between equal models."""
    flip_interval: Interval | None
    """95 % interval of a measured flip rate; None for an assumed one."""
    margin: float
    """Points that may be lost."""
    detectable: float
    """The smallest drop, in points, that FAILs with 80 % power."""
    needed: int
    """Items with which an unchanged model passes at the margin with 80 % power."""
    passable: float
    """The smallest margin, in points, at which an unchanged model passes with 80 % power."""


def plan_gate(
    runs: Sequence[Run], policy: Policy | None = None, flip_rates: Sequence[float] = FLIP_RATES
) -> tuple[Plan, ...]:
    """Return the plan of every gating score of the suites that these (baseline) runs ran, by flip rate."""
    policy = policy or Policy()
    gating = [entry for run in runs for entry in _gating(run, policy)]
    count = len(gating) + len(runs) * sum(tag.role == "gate" for tag in policy.tags.values())
    asked = [_Asked(*entry, alpha=policy.rule.alpha, gating=count) for entry in gating]
    return tuple(one.at(rate) for one in asked for rate in flip_rates)


def noise_of(comparison: Comparison, policy: Policy | None = None) -> tuple[Plan, ...]:
    """Return what two runs of equal models say about every score: how often items flip, and what that allows."""
    policy = policy or Policy()
    verdict = evaluate([comparison], policy)
    scores = [
        c for c in verdict.checks if c.verdict != "ERROR" and not c.metric.startswith(TAG) and "[" not in c.metric
    ]
    return tuple(_measured(c, policy.rule.alpha) for c in scores)


def _measured(check: Check, alpha: float) -> Plan:
    """Return the plan of a metric whose noise was measured, at the figures of its own check."""
    needed, interval = check.n_needed or 0, wilson(check.broken + check.fixed, check.n)
    if check.method.startswith("Tango"):
        independent = items_needed(check.margin / 100, check.flip_rate, alpha)
        passable = _passable(check.n * independent / max(1, needed), check.flip_rate, alpha)
    else:
        passable = math.ceil(10 * check.margin * math.sqrt(needed / check.n)) / 10
    return Plan(
        check.suite, check.metric, check.n, check.flip_rate, interval, check.margin, check.mde or 0.0, needed, passable
    )


def _gating(run: Run, policy: Policy) -> list[tuple[str, str, int, float]]:
    """Return (suite, metric, items, margin) of the scores of a run that gate."""
    primary = str(run.manifest["identity"].get("primary", ""))
    n = len({row.example.id for row in run.rows})
    names = dict.fromkeys(s.name for row in run.rows for s in row.scores)
    asked = [(name, policy.metric(run.suite, name, primary)) for name in names]
    return [(run.suite, name, n, a.margin or default_margin("binary", n)) for name, a in asked if a.role == "gate"]


@dataclass(frozen=True, slots=True)
class _Asked:
    """One metric that is planned, and how it is judged."""

    suite: str
    metric: str
    n: int
    margin: float
    alpha: float
    gating: int

    def at(self, rate: float) -> Plan:
        detectable = 100 * detectable_effect(self.n, rate, self.alpha / max(1, self.gating))
        needed = items_needed(self.margin / 100, rate, self.alpha)
        passable = _passable(self.n, rate, self.alpha)
        return Plan(self.suite, self.metric, self.n, rate, None, self.margin, detectable, needed, passable)


def _passable(n: float, rate: float, alpha: float) -> float:
    """Return the smallest margin in tenths of a point that `n` items pass; 100 where none is small enough."""
    low, high = 1, 1000
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if items_needed(middle / 1000, rate, alpha) <= n else (middle + 1, high)
    return low / 10
