"""Rows -> what they say: metrics with intervals, error categories ranked by what they cost, slices. Pure.

A share of answers has Wilson's interval, a mean Student's t. With several trials an item counts once, by its mean.
Knows nothing of files or of how any of this is shown.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import fmean, median
from typing import Any

from evalkit.stats import mean_interval, median_interval, wilson
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
    unclassified: tuple[Row, ...]
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


def analyze(rows: Sequence[Row], lens: Lens) -> Analysis:
    """Analyse the rows of one run."""
    answered = [row for row in rows if row.response.error is None]
    return Analysis(
        answers=len(answered),
        items=len({row.example.id for row in rows}),
        errors=len(rows) - len(answered),
        clean=sum(not _explained(row) for row in answered),
        primary=lens.primary,
        metrics=(*(metric_of(rows, name) for name in score_names(rows)), *_macro(rows, lens.primary)),
        categories=categories_of(answered, lens),
        slices=_slices(answered, lens),
        unclassified=tuple(row for row in answered if failed(row, lens.primary) and not _explained(row)),
        length_ratio=_length_ratio(answered),
        variety=variety_of([(row.example.id, row.response.text) for row in answered]),
    )


def lens_of(run: Run, costs: Mapping[str, float] | None = None) -> Lens:
    """Return the lens of a run: its primary metric, and the rates that it kept when it finished."""
    rates = run.summary.get("rates", {})
    primary = str(run.manifest["identity"]["primary"])
    return Lens(primary, costs or {}, rates.get("references"), rates.get("training"))


def score_names(rows: Iterable[Row]) -> tuple[str, ...]:
    """Return the names of all scores, in the order of their first use."""
    return tuple(dict.fromkeys(score.name for row in rows for score in row.scores))


def failed(row: Row, primary: str) -> bool:
    """Say whether the primary metric calls an answer wrong (below one half); an unscored one is not called anything."""
    score = row.score(primary)
    return score is not None and score.value is not None and score.value < 0.5


def tagged(run: Run) -> bool:
    """Say whether any tagger looked at the answers; without one, an answer without tags means nothing."""
    return bool(run.manifest["identity"].get("taggers") != "[]")


def _macro(rows: Sequence[Row], primary: str) -> tuple[Metric, ...]:
    """Return the mean of the tasks' means, where a run holds several tasks: small tasks weigh as much as large ones."""
    tasks: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        score = row.score(primary)
        if "task" in row.example.meta and score and score.value is not None:
            tasks[str(row.example.meta["task"])].append(score.value)
    if len(tasks) < 2:
        return ()
    values = sum(map(len, tasks.values()))
    estimate = estimate_of([(task, fmean(found)) for task, found in tasks.items()])
    return (Metric(f"{primary}, macro over {len(tasks)} tasks", estimate, values, len(rows) - values),)


def metric_of(rows: Sequence[Row], name: str) -> Metric:
    """Return the mean of one score over the items that have it."""
    values = [(row.example.id, s.value) for row in rows if (s := row.score(name)) and s.value is not None]
    return Metric(name, estimate_of(values), len(values), len(rows) - len(values))


def estimate_of(values: Sequence[tuple[str, float]]) -> Estimate | None:
    """Return the mean over items of (item id, value in 0..1) with its interval: Wilson for 0/1, otherwise Student's t.

    A t interval is cut to 0..1; one item, or several that are all alike, give the whole range rather than no width.
    """
    if not values:
        return None
    items: dict[str, list[float]] = defaultdict(list)
    for item, value in values:
        items[item].append(value)
    means = [fmean(found) for found in items.values()]
    mean, n = fmean(means), len(means)
    if all(m in (0.0, 1.0) for m in means) or max(means) == min(means):
        return Estimate(mean, *wilson(mean * n, n))
    low, high = mean_interval(means) or (0.0, 1.0)
    return Estimate(mean, max(0.0, low), min(1.0, high))


def summarize(rows: Sequence[Row], lens: Lens) -> dict[str, Any]:
    """Return the figures of summary.json."""
    found = analyze(rows, lens)
    return {
        "answers": found.answers,
        "items": found.items,
        "errors": found.errors,
        "clean": found.clean,
        "primary": lens.primary,
        "metrics": [asdict(metric) for metric in found.metrics],
        "categories": [asdict(category) for category in found.categories],
        "rates": {"references": lens.references, "training": lens.training},
    }


def categories_of(rows: Sequence[Row], lens: Lens) -> tuple[Category, ...]:
    """Return the errors of some answers, the costliest first; rows of failed requests must not be among them."""
    found: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        for name in {tag.category for tag in row.tags}:
            found[name].append(row)
    built = (_category(name, having, rows, lens) for name, having in found.items())
    return tuple(sorted(built, key=lambda c: (-c.priority, -c.answers, c.name)))


def _category(name: str, having: Sequence[Row], rows: Sequence[Row], lens: Lens) -> Category:
    worst = [
        max((t for t in row.tags if t.category == name), key=lambda tag: (lens.cost(tag), tag.confidence))
        for row in having
    ]
    counts = Counter(tag.severity for tag in worst)
    lost = [1 - value for value in _values(having, lens.primary)]
    return Category(
        name=name,
        answers=len(having),
        rate=Estimate(len(having) / len(rows), *wilson(len(having), len(rows))),
        severity=max(counts, key=lambda s: (counts[s], SEVERITY_WEIGHTS[s])),
        confidence=fmean(tag.confidence for tag in worst),
        priority=100 * sum(lens.cost(tag) * tag.confidence for tag in worst) / len(rows),
        ceiling=100 * sum(lost) / len(_values(rows, lens.primary)) if lost else 0.0,
        primary=sum(row.primary == name for row in having),
        references=None if lens.references is None else lens.references.get(name, 0.0),
        training=None if lens.training is None else lens.training.get(name, 0.0),
    )


def _values(rows: Sequence[Row], name: str) -> list[float]:
    return [score.value for row in rows if (score := row.score(name)) and score.value is not None]


def _slices(rows: Sequence[Row], lens: Lens) -> tuple[Slice, ...]:
    """Return the slices by every key of meta that groups answers, each with at least SLICE_MIN of them."""
    groups: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        for key, value in row.example.meta.items():
            if isinstance(value, str | int | bool):
                groups[key, str(value)].append(row)
    built = [
        Slice(key, value, len(group), metric_of(group, lens.primary).estimate, _worst(group, lens))
        for (key, value), group in groups.items()
        if SLICE_MIN <= len(group) < len(rows)
    ]
    return tuple(sorted(built, key=lambda s: (s.key, s.estimate.value if s.estimate else math.inf, s.value)))


def _worst(rows: Sequence[Row], lens: Lens) -> str:
    cost: dict[str, float] = defaultdict(float)
    for row in rows:
        for tag in row.tags:
            cost[tag.category] += lens.cost(tag) * tag.confidence
    return max(sorted(cost), key=lambda name: cost[name], default="")


def _explained(row: Row) -> bool:
    return any(tag.severity != "info" for tag in row.tags)


def _length_ratio(rows: Sequence[Row]) -> Estimate | None:
    ratios = [ratio for row in rows if (ratio := length_ratio(row)) is not None]
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
