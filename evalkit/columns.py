"""The rows of a run as columns: what a comparison needs of runs of any size, some sixty bytes a row. Pure.

No text of an answer is kept; the run's own rows are asked for the few that are shown. Knows no second run.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from evalkit.errors import NotComparable
from evalkit.lines import Drawn
from evalkit.types import Example, Row, Run

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]
Flags = NDArray[np.bool_]


class Labels:
    """The values of one key of meta as texts, by the number of the example."""

    def __init__(self) -> None:
        """Start without any."""
        self._codes = array("q")
        self._texts: dict[str, int] = {}
        self._unfit: set[str] = set()

    def put(self, number: int, value: object) -> None:
        """Keep the value of one example; numbers grow."""
        self._codes.extend([-1] * (number - len(self._codes)))
        text = str(value)
        if not (isinstance(value, str | int | bool) and text):
            self._unfit.add(text)
        self._codes.append(self._texts.setdefault(text, len(self._texts)))

    def codes(self, numbers: Numbers) -> Numbers:
        """Return the code of each example's value; -1 where it has none."""
        whole = np.full(int(numbers.max(initial=-1)) + 1, -1, dtype=np.int64)
        known = np.array(self._codes, dtype=np.int64)[: whole.size]
        whole[: known.size] = known
        return whole[numbers]

    def texts(self, numbers: Numbers) -> list[str | None]:
        """Return the value of each example; None where it has none."""
        known = [*self._texts, None]  # the last stands for -1
        return [known[code] for code in self.codes(numbers)]

    def counts(self, numbers: Numbers) -> dict[str, int]:
        """Return value -> examples that have it, of values that a slice can be named by."""
        codes = self.codes(numbers)
        counts = np.bincount(codes[codes >= 0], minlength=len(self._texts)).tolist()
        return {text: n for text, n in zip(self._texts, counts, strict=True) if n and text not in self._unfit}

    def code(self, text: str) -> int:
        """Return the code of a value."""
        return self._texts[text]


class Examples:
    """The examples of several runs of a suite, numbered in the order in which they are met."""

    def __init__(self) -> None:
        """Start without any."""
        self.numbers: dict[str, int] = {}
        """Id -> number."""
        self.meta: dict[str, Labels] = {}
        """Key of meta -> its values."""
        self._targeted = bytearray()

    def number(self, example: Example) -> int:
        """Return the number of an example, a new one where it is met first."""
        number = self.numbers.setdefault(example.id, len(self.numbers))
        if number == len(self._targeted):
            self._targeted.append(bool(example.target))
            for key, value in example.meta.items():
                if value is not None:
                    self.meta.setdefault(key, Labels()).put(number, value)
        return number

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def targeted(self) -> Flags:
        """Return whether each has an accepted answer."""
        return np.frombuffer(bytes(self._targeted), dtype=np.bool_)

    def texts(self, key: str, numbers: Numbers) -> list[str | None]:
        """Return the values of one key of meta; None where an example has none."""
        labels = self.meta.get(key)
        return labels.texts(numbers) if labels else [None] * numbers.size


@dataclass(frozen=True, slots=True)
class PerItem:
    """One figure of every example in one run, (examples,) each."""

    means: Floats
    """The mean over trials; NaN where no trial has a value."""
    scored: Numbers
    """Trials that have a value."""
    trials: Numbers
    """Trials in all."""

    @property
    def lost(self) -> Floats:
        """Return the share of trials without a value, of examples that still have one."""
        partly = (self.scored > 0) & (self.scored < self.trials)
        return np.where(partly, (self.trials - self.scored) / np.maximum(1, self.trials), 0.0)


@dataclass(frozen=True)
class Columns:
    """Some rows of one run, (n,) each."""

    rows: Sequence[Row]
    """All rows of the run, in memory or on disk."""
    examples: Examples
    """What the rows are answers to, shared with other runs."""
    places: Numbers
    """Where each row stands among all."""
    items: Numbers
    """Number of the example that each row answers."""
    failed: Flags
    """Whether the request failed."""
    scores: Mapping[str, Floats]
    """Name -> values, in the order in which the names are met; NaN is unscored."""
    tags: Mapping[str, Flags]
    """Category -> whether the answer has the error."""

    def only(self, kept: Flags) -> Columns:
        """Return the columns of some of the rows."""
        return replace(
            self,
            places=self.places[kept],
            items=self.items[kept],
            failed=self.failed[kept],
            scores={name: values[kept] for name, values in self.scores.items()},
            tags={name: flags[kept] for name, flags in self.tags.items()},
        )

    def __iter__(self) -> Iterator[Row]:
        """Yield the rows, whole, in their order."""
        places = map(int, self.places)
        return self.rows.at(places) if isinstance(self.rows, Drawn) else map(self.rows.__getitem__, places)

    def of(self, number: int) -> tuple[Row, ...]:
        """Return the rows of one example, whole."""
        order, starts = self._grouped
        return tuple(self.rows[place] for place in self.places[order[starts[number] : starts[number + 1]]])

    def answers_to(self, example_id: str) -> tuple[Row, ...]:
        """Return the rows of one example, whole, by its id."""
        return self.of(self.examples.numbers[example_id])

    def among(self, numbers: Numbers) -> Flags:
        """Return which rows answer one of some examples, (n,)."""
        asked = np.zeros(len(self.examples), dtype=np.bool_)
        asked[numbers] = True
        return asked[self.items]

    @cached_property
    def _grouped(self) -> tuple[Numbers, Numbers]:
        """Return the rows by example, and where each example's begin, (n,) and (examples + 1,)."""
        order = np.argsort(self.items, kind="stable")
        return order, np.searchsorted(self.items[order], np.arange(len(self.examples) + 1))

    def count(self, flags: Flags) -> Numbers:
        """Return how many rows of each example are flagged, (examples,)."""
        return np.bincount(self.items[flags], minlength=len(self.examples))

    def per_item(self, values: Floats, worst: float | None = None) -> PerItem:
        """Return the mean of each example; a trial without a value counts as the `worst`, or not at all."""
        known = ~np.isnan(values)
        trials, scored = self.count(np.ones_like(known)), self.count(known)
        totals = np.bincount(self.items[known], weights=values[known], minlength=len(self.examples))
        lost = (trials - scored) * (worst is not None)
        means = (totals + lost * (worst or 0.0)) / np.maximum(1, scored + lost)
        return PerItem(np.where(scored, means, np.nan), scored, trials)


def columns_of(run: Run, examples: Examples) -> Columns:
    """Go through the rows of a run once; new examples get numbers.

    Raises:
        NotComparable: an answer stands there twice.
    """
    items, failed = array("q"), bytearray()
    scores: dict[str, array[float]] = {}
    tags: dict[str, array[int]] = {}
    asked = _Asked()
    for place, row in enumerate(run.rows):
        items.append(examples.number(row.example))
        if asked.again(items[-1], row.trial):
            raise NotComparable(f"run {run.id}: example {row.example.id!r}, trial {row.trial}, stands there twice")
        failed.append(row.response.error is not None)
        for score in row.scores:
            column = scores.setdefault(score.name, array("d"))
            if len(column) <= place:  # of two scores with one name the first counts
                _fill(column, place)
                column.append(np.nan if score.value is None else score.value)
        for category in {tag.category for tag in row.tags}:
            tags.setdefault(category, array("q")).append(place)
    for column in scores.values():
        _fill(column, len(items))
    return Columns(
        run.rows,
        examples,
        np.arange(len(items)),
        np.array(items, dtype=np.int64),
        np.frombuffer(bytes(failed), dtype=np.bool_),
        {name: np.array(column) for name, column in scores.items()},
        {category: _flags(places, len(items)) for category, places in tags.items()},
    )


Value = Callable[[Columns], Floats]
"""Reads one figure of every row, (n,); NaN where it has none or the request failed."""


def score_of(metric: str) -> Value:
    """Return what reads a score."""
    return lambda columns: np.where(columns.failed, np.nan, columns.scores.get(metric, np.nan))


def tag_of(category: str) -> Value:
    """Return what reads whether an answer has an error: 0 or 1."""
    return lambda columns: np.where(columns.failed, np.nan, columns.tags.get(category, 0.0))


class _Asked:
    """Which trials of which examples were met."""

    def __init__(self) -> None:
        self._first, self._later = bytearray(), set[tuple[int, int]]()

    def again(self, number: int, trial: int) -> bool:
        """Say whether a trial was met before, and note it."""
        if trial:
            before = len(self._later)
            self._later.add((number, trial))
            return len(self._later) == before
        self._first.extend(bytes(max(0, number + 1 - len(self._first))))
        met, self._first[number] = self._first[number], 1
        return bool(met)


def _fill(column: array[float], length: int) -> None:
    column.extend([np.nan] * (length - len(column)))


def _flags(places: Sequence[int], length: int) -> Flags:
    flags = np.zeros(length, dtype=np.bool_)
    flags[np.array(places, dtype=np.int64)] = True
    return flags
