"""Two runs, item by item: alignment, what broke and what was fixed, changes of error categories. Pure.

Refuses two runs whose answers were not asked or judged in the same way. Knows no margin and no verdict: it hands paired
scores to the gate.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from evalkit.columns import Columns, Examples, Flags, Numbers, PerItem, Value, columns_of, score_of
from evalkit.differences import refuse_differences, remarks_on
from evalkit.errors import NotComparable
from evalkit.lines import Drawn
from evalkit.paired import Floats
from evalkit.types import Example, Row, Run
from evalkit.verdict import MetricPair

SLICE_ITEMS, SLICE_VALUES = 10, 30
"""A slice is compared from so many items on, a key of meta only up to so many values."""


@dataclass(frozen=True, slots=True)
class Item:
    """One example in both runs."""

    example: Example
    """The question."""
    baseline: tuple[Row, ...]
    """The baseline's trials; empty where it lacks the example."""
    candidate: tuple[Row, ...]
    """The candidate's trials; empty where it lacks the example."""

    @property
    def new_tags(self) -> tuple[str, ...]:
        """Return the error categories that only the candidate's answers have."""
        before = {tag.category for row in self.baseline for tag in row.tags}
        return tuple(dict.fromkeys(t.category for row in self.candidate for t in row.tags if t.category not in before))


class Items(Drawn[Item]):
    """Items by their numbers; each is put together when it is asked for, so that rows may stay on disk."""

    def __init__(self, before: Columns, after: Columns, numbers: Numbers) -> None:
        """Keep the numbers alone."""
        self._before, self._after, self._numbers = before, after, numbers

    def __len__(self) -> int:
        return self._numbers.size

    @property
    def ids(self) -> list[str]:
        """Return the ids of the examples, without their rows."""
        return self._before.examples.ids(self._numbers)

    def _item(self, index: int) -> Item:
        number = int(self._numbers[index])
        baseline, candidate = self._before.of(number), self._after.of(number)
        return Item((*baseline, *candidate)[0].example, baseline, candidate)


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two runs of one suite, aligned."""

    suite: str
    """The suite's name."""
    baseline: str
    """Id of the baseline run."""
    candidate: str
    """Id of the candidate run."""
    before: Columns
    """The baseline's rows."""
    after: Columns
    """The candidate's rows."""
    numbers: Numbers
    """Every example that is compared, in the baseline's order."""
    primary: str
    """The metric that decides."""
    cluster_key: str = ""
    """Key of meta whose equal values make items dependent."""
    margin: float | None = None
    """Points the primary metric may lose, by the suite's own word."""
    models: tuple[str, str] = ("", "")
    """The two models as they were named."""
    tagged: bool = True
    """Whether any tagger looked for errors."""
    remarks: tuple[str, ...] = ()
    """What else differs between the runs and may explain a change."""
    unlike: tuple[str, ...] = ()
    """Differences that were tolerated, so that the runs may be looked at side by side; no gate judges them."""

    @property
    def examples(self) -> Examples:
        """Return the examples of both runs."""
        return self.before.examples

    @property
    def items(self) -> Items:
        """Return what is compared, item by item."""
        return self._items(self.numbers)

    @cached_property
    def metrics(self) -> tuple[str, ...]:
        """Return the names of all scores, the primary first."""
        found = dict.fromkeys(
            name for c in self._sides for name, named in c.named.items() if np.any(named[c.among(self.numbers)])
        )
        if self.primary in found or not any(np.any(~c.failed[c.among(self.numbers)]) for c in self._sides):
            # where every request failed, the primary metric stands for all
            return (self.primary, *(name for name in found if name != self.primary))
        return tuple(found)

    @cached_property
    def categories(self) -> tuple[str, ...]:
        """Return the error categories of both runs, by name."""
        found = {name for c in self._sides for name, flags in c.tags.items() if np.any(flags[c.among(self.numbers)])}
        return tuple(sorted(found))

    @cached_property
    def slices(self) -> Mapping[str, tuple[str, ...]]:
        """Return key of meta -> its values with enough items."""
        found = {}
        for key, labels in sorted(self.examples.meta.items()):
            counts = labels.counts(self.numbers)
            large = tuple(sorted(value for value, n in counts.items() if n >= SLICE_ITEMS))
            if large and 1 < len(counts) <= SLICE_VALUES:
                found[key] = large
        return found

    def holds(self, example_id: str) -> bool:
        """Say whether an example is compared."""
        return example_id in self.examples.numbers and self.examples.numbers[example_id] in self.numbers

    def without(self, ids: Iterable[str]) -> Comparison:
        """Return the comparison with some items left out of both runs."""
        known = self.examples.numbers
        left_out = [known[name] for name in ids if name in known]
        return replace(self, numbers=self.numbers[~np.isin(self.numbers, left_out)])

    def by(self, key: str) -> Mapping[str, Comparison]:
        """Return the comparison over each slice of one key of meta that has enough items."""
        values = self.slices.get(key, ())
        if not values:
            return {}
        labels = self.examples.meta[key]
        marks = labels.marks(self.numbers)
        return {value: replace(self, numbers=self.numbers[marks == labels.mark(value)]) for value in values}

    def answered(self) -> Comparison:
        """Return the comparison of the items that both runs answered, without the trials that failed."""
        before, after = (c.only(~c.failed) for c in self._sides)
        both = (before.count(~before.failed) > 0) & (after.count(~after.failed) > 0)
        numbers = self.numbers[both[self.numbers]]
        before, after = (c.only(c.among(numbers)) for c in (before, after))
        return replace(self, before=before, after=after, numbers=numbers)

    def changed(self, sign: int, metric: str = "") -> Items:
        """Return the items whose score fell (`sign` -1) or rose (+1): those with new errors first, then by how much."""
        before, after = self._means(metric or self.primary)
        change = np.where(np.isnan(before), 0.0, np.nan_to_num(after) - before)
        found = np.flatnonzero(sign * change > 1e-9)
        new = self._new_errors()[self.numbers[found]] if sign < 0 else np.zeros_like(found)
        return self._items(self.numbers[found[np.lexsort((found, -np.abs(change[found]), -new))]])

    @property
    def broken(self) -> Items:
        """Return the items that got worse by the primary metric: negative flips, those with new errors first."""
        return self.changed(-1)

    @property
    def fixed(self) -> Items:
        """Return the items that got better by the primary metric."""
        return self.changed(+1)

    @property
    def both_wrong(self) -> Items:
        """Return the items that neither model answers right by the primary metric."""
        before, after = self._means(self.primary)
        return self._items(self.numbers[(before == 0) & (after == 0)])

    def with_error(self, category: str) -> tuple[Flags, Flags]:
        """Return which items have an error of a category in the baseline, and in the candidate, (items,) each."""
        before, after = (c.count(c.tags.get(category))[self.numbers] > 0 for c in self._sides)
        return before, after

    @property
    def _sides(self) -> tuple[Columns, Columns]:
        return self.before, self.after

    def _items(self, numbers: Numbers) -> Items:
        return Items(self.before, self.after, numbers)

    def _means(self, metric: str) -> tuple[Floats, Floats]:
        """Return the score of each item in both runs; a trial that the candidate lost counts as wrong."""
        found = measure(self, score_of(metric))
        return found.before.means[self.numbers], found.after.means[self.numbers]

    def _new_errors(self) -> Numbers:
        """Return how many error categories only the candidate's answers have, by example."""
        found = np.zeros(len(self.examples), dtype=np.int64)
        for category, flags in self.after.tags.items():
            found += (self.after.count(flags) > 0) & (self.before.count(self.before.tags.get(category)) == 0)
        return found


def compare_runs(baseline: Run, candidate: Run, tolerate: Collection[str] = ()) -> Comparison:
    """Align two runs by example id; a difference in a field of `tolerate` is noted instead of refused.

    Raises:
        NotComparable: the two were asked or judged differently, share no example, or hold an answer twice.
    """
    if baseline.id == candidate.id and baseline.manifest.get("made") == candidate.manifest.get("made"):
        raise NotComparable(f"{baseline.id} is given twice; a run cannot be judged by itself")
    unlike = refuse_differences(baseline, candidate, tolerate)
    examples = Examples()
    before = columns_of(baseline, examples)
    own = len(examples)
    after = columns_of(candidate, examples)
    if not np.any(after.numbers < own):
        raise NotComparable(f"runs {baseline.id} and {candidate.id} share no example; nothing can be compared")
    identity = baseline.manifest["identity"]
    margin = identity.get("margin")
    return Comparison(
        suite=baseline.suite,
        baseline=baseline.id,
        candidate=candidate.id,
        before=before,
        after=after,
        numbers=np.arange(len(examples)),
        primary=identity.get("primary") or next(iter(before.scores), ""),
        cluster_key=identity.get("cluster_key", ""),
        margin=float(margin) if margin not in (None, "", "None") else None,
        models=(_model(baseline), _model(candidate)),
        tagged=identity.get("taggers", "default") not in ("", "[]"),
        remarks=remarks_on(baseline, candidate),
        unlike=unlike,
    )


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """One figure of every example in both runs."""

    before: PerItem
    """The baseline's."""
    after: PerItem
    """The candidate's."""
    unscorable: Flags
    """Whether it has no target and was answered in both runs, unscored: there is nothing to be right about."""


def measure(comparison: Comparison, value: Value, worst: float | None = 0.0) -> Measured:
    """Return a figure of every example; a trial that the candidate lost counts as the `worst`, or not at all."""
    sides = comparison.before, comparison.after
    before, after = sides[0].per_item(value(sides[0])), sides[1].per_item(value(sides[1]), worst)
    failed = sum(side.count(side.failed) for side in sides)
    unscored = (failed == 0) & (before.scored + after.scored == 0)
    asked = (before.trials > 0) & (after.trials > 0)
    return Measured(before, after, ~comparison.examples.targeted & asked & unscored)


def pair_of(
    comparison: Comparison, name: str, value: Value, cluster_key: str = "", worst: float | None = 0.0
) -> MetricPair:
    """Return the paired scores of one metric; an example that nothing can be scored on is left out of both runs."""
    return pair_in(comparison, name, measure(comparison, value, worst), cluster_key)


def pair_in(comparison: Comparison, name: str, found: Measured, cluster_key: str = "") -> MetricPair:
    """Return the paired scores of a comparison, or of a part of the one that was measured."""
    kept = comparison.numbers[~found.unscorable[comparison.numbers]]
    scores = found.before.means[kept], found.after.means[kept]
    return MetricPair(
        suite=comparison.suite,
        metric=name,
        baseline=scores[0],
        candidate=scores[1],
        clusters=comparison.examples.clusters(cluster_key, kept) if cluster_key else None,
        kind=_kind(name, *scores),
        lost_trials=(float(found.before.lost[kept].sum()), float(found.after.lost[kept].sum())),
    )


def _kind(name: str, *scores: Floats) -> str:
    if name.startswith("judge"):
        return "judge"
    binary = all(np.all((values == 0) | (values == 1) | np.isnan(values)) for values in scores)
    return "binary" if binary else "graded"


def _model(run: Run) -> str:
    return str(run.manifest.get("settings", {}).get("model", ""))
