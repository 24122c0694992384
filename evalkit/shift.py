"""Two runs' error categories side by side: what grew, what shrank, with paired intervals. Pure.

Only questions that both runs answered count. The runs may have been asked by different prompts, since that is what a
reader may want to see; no verdict is given, and nothing here is shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from evalkit.analyze import Category, categories_of, lens_of
from evalkit.columns import Columns, Numbers, tag_of
from evalkit.compare import Comparison, compare_runs, pair_of
from evalkit.errors import NotComparable
from evalkit.evaluate import TAG
from evalkit.gate import decide
from evalkit.types import Row, Run, Severity
from evalkit.verdict import Check


@dataclass(frozen=True, slots=True)
class Shift:
    """One error category in both runs."""

    category: str
    """The category."""
    severity: Severity
    """What most of its tags have, in the second run where it has any."""
    check: Check
    """Shares in points, the paired change and its interval; `broken` counts questions that gained the error."""
    cost: float
    """Its priority in the run where it costs more: the order of the table."""

    @property
    def sign(self) -> int:
        """Return 1 where the interval lies above no change (more errors), -1 below it, 0 where it holds it."""
        low, high = self.check.ci95 or (0.0, 0.0)  # positive is better
        return (high < 0) - (low > 0)


@dataclass(frozen=True, slots=True)
class Shifts:
    """The errors of two runs of one suite."""

    comparison: Comparison
    """The questions that both runs answered."""
    shifts: tuple[Shift, ...]
    """A category each, the costliest first."""
    left_out: int
    """Questions that one of the runs did not answer, or that it lacks."""

    @property
    def clean(self) -> tuple[int, int]:
        """Return how many questions each run answered without any error."""
        c = self.comparison
        erring = [np.zeros(len(c.items), dtype=np.bool_) for _ in range(2)]
        for category in c.categories:
            for known, found in zip(erring, c.with_error(category), strict=True):
                known |= found
        before, after = (int(np.count_nonzero(~known)) for known in erring)
        return before, after

    def gained(self, category: str) -> Columns:
        """Return the second run's answers to questions that have an error in that run alone."""
        before, after = self.comparison.with_error(category)
        return _some(self.comparison.after, self.comparison.numbers[after & ~before])

    def lost(self, category: str) -> Columns:
        """Return the first run's answers to questions that have an error in that run alone."""
        before, after = self.comparison.with_error(category)
        return _some(self.comparison.before, self.comparison.numbers[before & ~after])


def shifts_of(baseline: Run, candidate: Run, costs: Mapping[str, float] | None = None) -> Shifts:
    """Return how the errors of two runs differ; other prompts of the same questions are allowed, and noted.

    Raises:
        NotComparable: the runs are not of the same questions and taggers, or share no answered question.
    """
    return shifts_in(compare_runs(baseline, candidate, tolerate=("template",)), baseline, candidate, costs)


def shifts_in(whole: Comparison, baseline: Run, candidate: Run, costs: Mapping[str, float] | None = None) -> Shifts:
    """Return how the errors of two runs differ that are compared already.

    Raises:
        NotComparable: the runs share no answered question.
    """
    both = whole.answered()
    if not both.items:
        raise NotComparable(f"runs {baseline.id} and {candidate.id} share no answered question; nothing to compare")
    before, after = _categories(both.before, baseline, costs), _categories(both.after, candidate, costs)
    return Shifts(both, _shifts(both, before, after), len(whole.items) - len(both.items))


def _shifts(both: Comparison, before: Mapping[str, Category], after: Mapping[str, Category]) -> tuple[Shift, ...]:
    pairs = [
        replace(pair_of(both, TAG + name, tag_of(name), both.cluster_key), role="watch", direction="down", margin=1.0)
        for name in both.categories
    ]
    found = []
    for name, check in zip(both.categories, decide(pairs).checks, strict=True):
        one, other = before.get(name), after.get(name)
        severity = next(c.severity for c in (other, one) if c)
        found.append(Shift(name, severity, check, max(c.priority for c in (one, other) if c)))
    return tuple(sorted(found, key=lambda s: (-s.cost, s.category)))


def _some(columns: Columns, numbers: Numbers) -> Columns:
    return columns.only(columns.among(numbers))


def _categories(rows: Iterable[Row], run: Run, costs: Mapping[str, float] | None) -> dict[str, Category]:
    return {c.name: c for c in categories_of(rows, lens_of(run, costs))}
