"""Two runs, item by item: alignment, what broke and what was fixed, changes of error categories. Pure.

Refuses two runs whose answers were not asked or judged in the same way. Knows no margin and no verdict: it hands paired
scores to the gate.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from evalkit.differences import refuse_differences, remarks_on
from evalkit.errors import NotComparable
from evalkit.types import Example, Row, Run
from evalkit.verdict import MetricPair

SLICE_ITEMS, SLICE_VALUES = 10, 30
"""A slice is compared from so many items on, a key of meta only up to so many values."""

Value = Callable[[Row], float | None]


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

    def values(self, value: Value, worst: float | None = 0.0) -> tuple[float | None, float | None]:
        """Return the mean over trials in both runs; a trial that the candidate lost counts as the `worst`, or not."""
        return _mean(self.baseline, value, None), _mean(self.candidate, value, worst)


@dataclass(frozen=True)
class Comparison:
    """Two runs of one suite, aligned."""

    suite: str
    """The suite's name."""
    baseline: str
    """Id of the baseline run."""
    candidate: str
    """Id of the candidate run."""
    items: tuple[Item, ...]
    """Every example of either run, in the baseline's order."""
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

    @cached_property
    def metrics(self) -> tuple[str, ...]:
        """Return the names of all scores, the primary first."""
        found = dict.fromkeys(
            s.name for item in self.items for row in (*item.baseline, *item.candidate) for s in row.scores
        )
        answered = any(row.response.error is None for i in self.items for row in (*i.baseline, *i.candidate))
        if self.primary in found or not answered:  # where every request failed, the primary metric stands for all
            return (self.primary, *(name for name in found if name != self.primary))
        return tuple(found)

    @cached_property
    def categories(self) -> tuple[str, ...]:
        """Return the error categories of both runs, by name."""
        rows = (row for item in self.items for row in (*item.baseline, *item.candidate))
        return tuple(sorted({tag.category for row in rows for tag in row.tags}))

    @cached_property
    def slices(self) -> Mapping[str, tuple[str, ...]]:
        """Return key of meta -> its values with enough items."""
        counts: dict[str, Counter[str]] = {}
        for item in self.items:
            for key, value in item.example.meta.items():
                if isinstance(value, str | int | bool) and str(value):
                    counts.setdefault(key, Counter())[str(value)] += 1
        large = {key: tuple(sorted(v for v, n in c.items() if n >= SLICE_ITEMS)) for key, c in sorted(counts.items())}
        return {key: values for key, values in large.items() if 1 < len(counts[key]) <= SLICE_VALUES and values}

    def without(self, ids: Iterable[str]) -> Comparison:
        """Return the comparison with some items left out of both runs."""
        left_out = set(ids)
        return replace(self, items=tuple(item for item in self.items if item.example.id not in left_out))

    def by(self, key: str) -> Mapping[str, Comparison]:
        """Return the comparison over each slice of one key of meta that has enough items."""
        found: dict[str, list[Item]] = {value: [] for value in self.slices.get(key, ())}
        for item in self.items:
            group = found.get(str(item.example.meta.get(key)))
            if group is not None:
                group.append(item)
        return {value: replace(self, items=tuple(items)) for value, items in found.items()}

    def changed(self, sign: int, metric: str = "") -> tuple[Item, ...]:
        """Return the items whose score fell (`sign` -1) or rose (+1): those with new errors first, then by how much."""
        value = score_of(metric or self.primary)
        found: list[tuple[int, float, int, Item]] = []
        for item in self.items:
            before, after = item.values(value)
            change = (after or 0.0) - before if before is not None else 0.0
            if sign * change > 1e-9:
                found.append((-len(item.new_tags) if sign < 0 else 0, -abs(change), len(found), item))
        return tuple(entry[-1] for entry in sorted(found, key=lambda entry: entry[:3]))

    @property
    def broken(self) -> tuple[Item, ...]:
        """Return the items that got worse by the primary metric: negative flips, those with new errors first."""
        return self.changed(-1)

    @property
    def fixed(self) -> tuple[Item, ...]:
        """Return the items that got better by the primary metric."""
        return self.changed(+1)

    @property
    def both_wrong(self) -> tuple[Item, ...]:
        """Return the items that neither model answers right by the primary metric."""
        value = score_of(self.primary)
        return tuple(item for item in self.items if item.values(value) == (0.0, 0.0))


def compare_runs(baseline: Run, candidate: Run, tolerate: Collection[str] = ()) -> Comparison:
    """Align two runs by example id; a difference in a field of `tolerate` is noted instead of refused.

    Raises:
        NotComparable: the two were asked or judged differently, share no example, or hold an answer twice.
    """
    if baseline.id == candidate.id and baseline.manifest.get("made") == candidate.manifest.get("made"):
        raise NotComparable(f"{baseline.id} is given twice; a run cannot be judged by itself")
    unlike = refuse_differences(baseline, candidate, tolerate)
    before, after = _by_example(baseline), _by_example(candidate)
    if not before.keys() & after.keys():
        raise NotComparable(f"runs {baseline.id} and {candidate.id} share no example; nothing can be compared")
    identity = baseline.manifest["identity"]
    items = [Item(_example(key, before, after), before.get(key, ()), after.get(key, ())) for key in {**before, **after}]
    margin = identity.get("margin")
    return Comparison(
        suite=baseline.suite,
        baseline=baseline.id,
        candidate=candidate.id,
        items=tuple(items),
        primary=identity.get("primary") or next((s.name for row in baseline.rows for s in row.scores), ""),
        cluster_key=identity.get("cluster_key", ""),
        margin=float(margin) if margin not in (None, "", "None") else None,
        models=(_model(baseline), _model(candidate)),
        tagged=identity.get("taggers", "default") not in ("", "[]"),
        remarks=remarks_on(baseline, candidate),
        unlike=unlike,
    )


def score_of(metric: str) -> Value:
    """Return what reads a score from a row: None where it is unscored or the request failed."""

    def value(row: Row) -> float | None:
        if row.response.error is None:
            for score in row.scores:  # not row.score(): this runs for every item of every metric
                if score.name == metric:
                    return score.value
        return None

    return value


def tag_of(category: str) -> Value:
    """Return what reads from a row whether its answer has an error: 0 or 1, None where the request failed."""

    def value(row: Row) -> float | None:
        if row.response.error is not None:
            return None
        for tag in row.tags:
            if tag.category == category:
                return 1.0
        return 0.0

    return value


def pair_of(
    comparison: Comparison, name: str, value: Value, cluster_key: str = "", worst: float | None = 0.0
) -> MetricPair:
    """Return the paired scores of one metric; an example that nothing can be scored on is left out of both runs."""
    items = [item for item in comparison.items if item.example.target or not _unscorable(item, value)]
    before = _means([item.baseline for item in items], value, None)
    after = _means([item.candidate for item in items], value, worst)
    keys = [item.example.meta.get(cluster_key) for item in items] if cluster_key else None
    return MetricPair(
        suite=comparison.suite,
        metric=name,
        baseline=before,
        candidate=after,
        clusters=None if keys is None else [None if key is None else str(key) for key in keys],
        kind=_kind(name, before, after),
        lost_trials=(_lost((i.baseline for i in items), value), _lost((i.candidate for i in items), value)),
    )


def _kind(name: str, *scores: Sequence[float | None]) -> str:
    if name.startswith("judge"):
        return "judge"
    return "graded" if {s for column in scores for s in column} - {0.0, 1.0, None} else "binary"


def _mean(rows: Sequence[Row], value: Value, worst: float | None) -> float | None:
    """Return the mean over trials, None where no trial has a value; lost trials count as `worst`, or not at all."""
    if len(rows) == 1:
        return value(rows[0])
    values = [value(row) for row in rows]
    known = [v for v in values if v is not None]
    if not known:
        return None
    lost = 0 if worst is None else len(values) - len(known)
    return (sum(known) + lost * (worst or 0.0)) / (len(known) + lost)


def _means(trials: Sequence[Sequence[Row]], value: Value, worst: float | None) -> list[float | None]:
    """Return the mean of each item; that of a single trial, which is the rule, without another call."""
    return [value(rows[0]) if len(rows) == 1 else _mean(rows, value, worst) for rows in trials]


def _lost(trials: Iterable[Sequence[Row]], value: Value) -> float:
    """Return the trials without a value in items that still have one, in items."""
    lost = 0.0
    for rows in trials:
        if len(rows) > 1:
            missing = sum(value(row) is None for row in rows)
            lost += missing / len(rows) if missing < len(rows) else 0.0
    return lost


def _unscorable(item: Item, value: Value) -> bool:
    """Say whether no run could score an example without a target, so that there is nothing to be right about."""
    if not (item.baseline and item.candidate):
        return False
    rows = (*item.baseline, *item.candidate)
    return all(row.response.error is None and value(row) is None for row in rows)


def _by_example(run: Run) -> dict[str, tuple[Row, ...]]:
    found: dict[str, tuple[Row, ...]] = {}
    for row in run.rows:
        before = found.get(row.example.id, ())
        if before and any(other.trial == row.trial for other in before):
            raise NotComparable(f"run {run.id}: example {row.example.id!r}, trial {row.trial}, stands there twice")
        found[row.example.id] = (*before, row)
    return found


def _example(key: str, *runs: Mapping[str, tuple[Row, ...]]) -> Example:
    return next(run[key][0].example for run in runs if key in run)


def _model(run: Run) -> str:
    return str(run.manifest.get("settings", {}).get("model", ""))
