"""Rows, one at a time -> columns of numbers: what an analysis needs of a run of any size. Pure.

Of a row its numbers are kept, of an example its id. Knows no intervals, no ranking and no slices.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from evalkit.types import Row, Severity, Tag

Cost = Callable[[Tag], float]
"""What a tag costs before its confidence counts."""


def floats() -> array[float]:
    """Return an empty column of numbers."""
    return array("d")


@dataclass(slots=True)
class Column:
    """Values of items; an item may have several, and counts once, by their mean."""

    items: array[int] = field(default_factory=lambda: array("Q"))
    """The number of the item that each value belongs to."""
    values: array[float] = field(default_factory=floats)
    """The values, in the order of the rows."""

    def add(self, item: int, value: float) -> None:
        """Add a value of an item."""
        self.items.append(item)
        self.values.append(value)

    def means(self) -> Sequence[float]:
        """Return the mean of each item."""
        if len(set(self.items)) == len(self.items):
            return self.values
        found: dict[int, list[float]] = {}
        for item, value in zip(self.items, self.values, strict=True):
            found.setdefault(item, []).append(value)
        return [fmean(values) for values in found.values()]


@dataclass(slots=True)
class Errors:
    """The answers with errors of one category; of each answer the costliest counts."""

    severities: Counter[Severity] = field(default_factory=Counter)
    """Severity -> answers."""
    costs: array[float] = field(default_factory=floats)
    """What it costs, its confidence counted."""
    confidences: array[float] = field(default_factory=floats)
    """How sure it is."""
    lost: array[float] = field(default_factory=floats)
    """What the primary metric lacks to 1, of the answers that it scored."""
    primary: int = 0
    """Answers of which it is the primary error."""


@dataclass(slots=True)
class Tally:
    """What was counted of the rows so far."""

    primary: str
    """The metric that decides."""
    cost: Cost
    """What a tag costs."""
    rows: int = 0
    """Rows, failed requests among them."""
    answers: int = 0
    """Rows without those."""
    clean: int = 0
    """Answers without any tag above `info`."""
    scored: int = 0
    """Answers that the primary metric has a value for."""
    items: dict[str, int] = field(default_factory=dict)
    """Id of an example -> its number."""
    scores: dict[str, Column] = field(default_factory=dict)
    """Name -> values, in the order of their first use."""
    tasks: dict[str, array[float]] = field(default_factory=dict)
    """Task of a group of tasks -> values of the primary metric."""
    categories: dict[str, Errors] = field(default_factory=dict)
    """Category -> its answers."""

    def add(self, row: Row) -> None:
        """Count one row."""
        self.rows += 1
        item = self.items.setdefault(row.example.id, len(self.items))
        value = row.score(self.primary)
        for name in dict.fromkeys(score.name for score in row.scores):
            column = self.scores.setdefault(name, Column())
            score = row.score(name)
            if score and score.value is not None:
                column.add(item, score.value)
        if "task" in row.example.meta and value and value.value is not None:
            self.tasks.setdefault(str(row.example.meta["task"]), floats()).append(value.value)
        if row.response.error is None:
            self._add_answer(row, value.value if value else None)

    def watched(self, rows: Iterable[Row]) -> Iterator[Row]:
        """Yield rows as they are, and count each."""
        for row in rows:
            self.add(row)
            yield row

    def _add_answer(self, row: Row, value: float | None) -> None:
        self.answers += 1
        self.scored += value is not None
        self.clean += not explained(row)
        for name in {tag.category for tag in row.tags}:
            worst = max((t for t in row.tags if t.category == name), key=lambda tag: (self.cost(tag), tag.confidence))
            errors = self.categories.setdefault(name, Errors())
            errors.severities[worst.severity] += 1
            errors.costs.append(self.cost(worst) * worst.confidence)
            errors.confidences.append(worst.confidence)
            errors.primary += row.primary == name
            if value is not None:
                errors.lost.append(1 - value)


def explained(row: Row) -> bool:
    """Say whether an answer has a tag above `info`."""
    return any(tag.severity != "info" for tag in row.tags)
