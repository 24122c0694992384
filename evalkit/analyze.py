"""Rows -> what they say: metrics with intervals, error categories ranked by what they cost, slices. Pure.

A share of answers has Wilson's interval, a mean Student's t. With several trials an item counts once, by its mean.
Rows may be many: they are gone through a few times, one at a time, and only numbers are kept. Knows nothing of files or
of how any of this is shown.
"""

from __future__ import annotations

import math
from array import array
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import fmean, median
from typing import Any, overload

from evalkit.stats import mean_interval, median_interval, wilson
from evalkit.tally import Column, Errors, Tally, explained, floats
from evalkit.types import SEVERITY_WEIGHTS, Row, Run, Severity, Tag
from evalkit.variety import Variety, variety_of

LENGTH_OFFSET = 5
"""Added to both lengths of a ratio, so that one-word references do not make every answer look long."""
SLICE_MIN = 10
"""Items that a slice needs before it is shown."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its 95 % interval."""

    value: float
    """The figure itself; shares and scores are 0..1."""
    low: float
    """Lower end of the interval."""
    high: float
    """Upper end of the interval."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One score over all items."""

    name: str
    """The score's name."""
    estimate: Estimate | None
    """Mean over the scored items; None where nothing was scored."""
    scored: int
    """Answers that have a value."""
    unscored: int
    """Answers without a value, errors among them; they never count as 0."""


@dataclass(frozen=True, slots=True)
class Category:
    """One kind of error over all answers."""

    name: str
    """The category."""
    answers: int
    """Answers that have it."""
    rate: Estimate
    """Share of the answers that have it."""
    severity: Severity
    """The severity most of its tags have; the graver one of equals."""
    confidence: float
    """Mean confidence of its tags."""
    priority: float
    """100 x mean over all answers of severity weight x confidence: what it costs, and the order of the table."""
    ceiling: float
    """Points of 100 that the primary metric would gain if every answer with this error became right."""
    primary: int
    """Answers of which it is the primary error; these add up over categories."""
    references: float | None
    """Share of the references that have it: the noise floor. None where there is no reference."""
    training: float | None
    """Share of the training answers that have it; None where they are not known."""

    @property
    def noisy(self) -> bool:
        """Say whether references are flagged about as often as answers, so that the category says little."""
        return self.references is not None and self.references > 0 and self.references >= self.rate.low


@dataclass(frozen=True, slots=True)
class Slice:
    """Answers that share a value of meta."""

    key: str
    """Key of meta."""
    value: str
    """The shared value."""
    items: int
    """Answers in it."""
    estimate: Estimate | None
    """The primary metric over it."""
    worst: str
    """Its costliest category, or an empty text."""


@dataclass(frozen=True, slots=True)
class Analysis:
    """What the rows of one run say."""

    answers: int
    """Answers, errors not counted."""
    items: int
    """Examples asked."""
    errors: int
    """Requests that failed: neither right nor wrong."""
    clean: int
    """Answers without any tag above `info`."""
    primary: str
    """The metric that decides."""
    metrics: tuple[Metric, ...]
    """Every score, in the suite's order."""
    categories: tuple[Category, ...]
    """Every error found, the costliest first."""
    slices: tuple[Slice, ...]
    """Slices with enough items, the worst first."""
    unclassified: Sequence[Row]
    """Answers that the primary metric calls wrong and no tagger explains."""
    length_ratio: Estimate | None
    """Median of answer length over reference length, in the model's tokens where known."""
    variety: Variety
    """How much answers differ from each other and within themselves."""

    @property
    def by_count(self) -> tuple[str, ...]:
        """Return the categories by frequency alone, to show where the ranking differs from it."""
        return tuple(c.name for c in sorted(self.categories, key=lambda c: (-c.answers, c.name)))


@dataclass(frozen=True, slots=True)
class Lens:
    """How rows are looked at: what decides, what errors cost, and what is normal."""

    primary: str
    """The metric that decides."""
    costs: Mapping[str, float] = field(default_factory=dict)
    """Category -> cost of one tag, where it is not that of the tag's severity."""
    references: Mapping[str, float] | None = None
    """Category -> share of the references that have it; None where there are none."""
    training: Mapping[str, float] | None = None
    """Category -> share of the training answers that have it; None where they are not known."""

    def cost(self, tag: Tag) -> float:
        """Return what a tag costs before its confidence counts."""
        return self.costs.get(tag.category, SEVERITY_WEIGHTS[tag.severity])


class Chosen(Sequence[Row]):
    """Some of many rows, by their places."""

    def __init__(self, rows: Sequence[Row], places: array[int]) -> None:
        """Keep the places alone."""
        self._rows, self._places = rows, places

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | Sequence[Row]:
        if isinstance(index, slice):
            return [self._rows[place] for place in self._places[index]]
        return self._rows[self._places[index]]


def analyze(rows: Sequence[Row], lens: Lens) -> Analysis:
    """Analyse the rows of one run."""
    tally = tallied((), lens)
    wrong, ratios = array("Q"), floats()
    groups: Counter[tuple[str, str]] = Counter()
    for place, row in enumerate(tally.watched(rows)):
        if row.response.error is None:
            groups.update(_groups(row))
            if failed(row, lens.primary) and not explained(row):
                wrong.append(place)
            if (ratio := length_ratio(row)) is not None:
                ratios.append(ratio)
    return Analysis(
        answers=tally.answers,
        items=len(tally.items),
        errors=tally.rows - tally.answers,
        clean=tally.clean,
        primary=lens.primary,
        metrics=_metrics(tally),
        categories=_categories(tally, lens),
        slices=_slices(rows, {group for group, n in groups.items() if SLICE_MIN <= n < tally.answers}, lens),
        unclassified=Chosen(rows, wrong),
        length_ratio=_middle(ratios),
        variety=variety_of((row.example.id, row.response.text) for row in rows if row.response.error is None),
    )


def tallied(rows: Iterable[Row], lens: Lens) -> Tally:
    """Return what is counted of some rows."""
    tally = Tally(lens.primary, lens.cost)
    for row in rows:
        tally.add(row)
    return tally


def lens_of(run: Run, costs: Mapping[str, float] | None = None) -> Lens:
    """Return the lens of a run: its primary metric, and the rates that it kept when it finished."""
    rates = run.summary.get("rates", {})
    primary = str(run.manifest["identity"]["primary"])
    return Lens(primary, costs or {}, rates.get("references"), rates.get("training"))


def failed(row: Row, primary: str) -> bool:
    """Say whether the primary metric calls an answer wrong (below one half); an unscored one is not called anything."""
    score = row.score(primary)
    return score is not None and score.value is not None and score.value < 0.5


def tagged(run: Run) -> bool:
    """Say whether any tagger looked at the answers; without one, an answer without tags means nothing."""
    return bool(run.manifest["identity"].get("taggers") != "[]")


def _metrics(tally: Tally) -> tuple[Metric, ...]:
    """Return every score; of several tasks also the mean of their means: small tasks weigh as much as large ones."""
    found = [_metric(name, column, tally.rows) for name, column in tally.scores.items()]
    if len(tally.tasks) > 1:
        values, name = sum(map(len, tally.tasks.values())), f"{tally.primary}, macro over {len(tally.tasks)} tasks"
        estimate = estimate_of([(task, fmean(found)) for task, found in tally.tasks.items()])
        found.append(Metric(name, estimate, values, tally.rows - values))
    return tuple(found)


def _metric(name: str, column: Column, rows: int) -> Metric:
    return Metric(name, _estimate(column), len(column.values), rows - len(column.values))


def metric_of(rows: Sequence[Row], name: str) -> Metric:
    """Return the mean of one score over the items that have it."""
    values = [(row.example.id, s.value) for row in rows if (s := row.score(name)) and s.value is not None]
    return Metric(name, estimate_of(values), len(values), len(rows) - len(values))


def estimate_of(values: Iterable[tuple[str, float]]) -> Estimate | None:
    """Return the mean over items of (item id, value in 0..1) with its interval: Wilson for 0/1, otherwise Student's t.

    A t interval is cut to 0..1; one item, or several that are all alike, give the whole range rather than no width.
    """
    numbers: dict[str, int] = {}
    column = Column()
    for item, value in values:
        column.add(numbers.setdefault(item, len(numbers)), value)
    return _estimate(column)


def _estimate(column: Column) -> Estimate | None:
    if not column.values:
        return None
    means = column.means()
    mean, n = fmean(means), len(means)
    if all(m in (0.0, 1.0) for m in means) or max(means) == min(means):
        return Estimate(mean, *wilson(mean * n, n))
    low, high = mean_interval(means) or (0.0, 1.0)
    return Estimate(mean, max(0.0, low), min(1.0, high))


def summarize(tally: Tally, lens: Lens) -> dict[str, Any]:
    """Return the figures of summary.json."""
    return {
        "answers": tally.answers,
        "items": len(tally.items),
        "errors": tally.rows - tally.answers,
        "clean": tally.clean,
        "primary": lens.primary,
        "metrics": [asdict(metric) for metric in _metrics(tally)],
        "categories": [asdict(category) for category in _categories(tally, lens)],
        "rates": {"references": lens.references, "training": lens.training},
    }


def categories_of(rows: Iterable[Row], lens: Lens) -> tuple[Category, ...]:
    """Return the errors of some answers, the costliest first; rows of failed requests do not count."""
    return _categories(tallied(rows, lens), lens)


def _categories(tally: Tally, lens: Lens) -> tuple[Category, ...]:
    built = (_category(name, errors, tally, lens) for name, errors in tally.categories.items())
    return tuple(sorted(built, key=lambda c: (-c.priority, -c.answers, c.name)))


def _category(name: str, errors: Errors, tally: Tally, lens: Lens) -> Category:
    having, counts = len(errors.costs), errors.severities
    return Category(
        name=name,
        answers=having,
        rate=Estimate(having / tally.answers, *wilson(having, tally.answers)),
        severity=max(counts, key=lambda s: (counts[s], SEVERITY_WEIGHTS[s])),
        confidence=fmean(errors.confidences),
        priority=100 * sum(errors.costs) / tally.answers,
        ceiling=100 * sum(errors.lost) / tally.scored if errors.lost else 0.0,
        primary=errors.primary,
        references=None if lens.references is None else lens.references.get(name, 0.0),
        training=None if lens.training is None else lens.training.get(name, 0.0),
    )


@dataclass(slots=True)
class _Group:
    """What is counted of one slice."""

    answers: int = 0
    scores: Column = field(default_factory=Column)
    costs: dict[str, float] = field(default_factory=lambda: defaultdict(float))


def _groups(row: Row) -> Iterator[tuple[str, str]]:
    """Yield the slices that a row is in: a key of meta and its value."""
    return ((key, str(value)) for key, value in row.example.meta.items() if isinstance(value, str | int | bool))


def _slices(rows: Iterable[Row], wanted: Collection[tuple[str, str]], lens: Lens) -> tuple[Slice, ...]:
    """Return some slices of the answers, those of a key together, the worst first."""
    found, numbers = {group: _Group() for group in wanted}, dict[str, int]()
    for row in rows if wanted else ():
        if row.response.error is None:
            item, score = numbers.setdefault(row.example.id, len(numbers)), row.score(lens.primary)
            for group in (found[name] for name in _groups(row) if name in found):
                group.answers += 1
                if score and score.value is not None:
                    group.scores.add(item, score.value)
                for tag in row.tags:
                    group.costs[tag.category] += lens.cost(tag) * tag.confidence
    built = [
        Slice(key, value, group.answers, _estimate(group.scores), _worst(group.costs))
        for (key, value), group in found.items()
    ]
    return tuple(sorted(built, key=lambda s: (s.key, s.estimate.value if s.estimate else math.inf, s.value)))


def _worst(costs: Mapping[str, float]) -> str:
    return max(sorted(costs), key=lambda name: costs[name], default="")


def _middle(ratios: Sequence[float]) -> Estimate | None:
    """Return the median with its interval."""
    if not ratios:
        return None
    low, high = median_interval(ratios) or (min(ratios), max(ratios))
    return Estimate(median(ratios), low, high)


def length_ratio(row: Row) -> float | None:
    """Return (answer + 5) / (nearest reference + 5) in tokens, or in words where tokens are not known."""
    if not row.example.target or row.response.choice_logprobs:
        return None
    answer, references = row.response.tokens, row.response.target_tokens
    if answer is None or not references:
        answer, references = len(row.response.text.split()), tuple(len(t.split()) for t in row.example.target)
    nearest = min(references, key=lambda n: abs(math.log((answer + LENGTH_OFFSET) / (n + LENGTH_OFFSET))))
    return (answer + LENGTH_OFFSET) / (nearest + LENGTH_OFFSET)
