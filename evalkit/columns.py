"""The rows of a run as columns, some 200 bytes a row: what a comparison needs of runs of a million answers.

No text of an answer is kept: the run's own rows, which may be on disk, are asked for the few that are shown. Knows how
examples of several runs are numbered, and nothing of what is compared.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from evalkit.errors import NotComparable
from evalkit.paired import Floats
from evalkit.types import Example, Row, Run

Numbers = NDArray[np.int64]
Flags = NDArray[np.bool_]

NAMED, LONGEST = 1_000, 200
"""Values that a key of meta may have, and characters that they may have, for slices to be named by them."""


class Labels:
    """The values of one key of meta, by the number of the example: a mark each, and the texts of a few."""

    def __init__(self) -> None:
        """Start without any."""
        self._marks = array("Q")  # 0 for none; the lowest bit says whether a slice may be named by the value
        self._names: dict[str, int] = {}

    def put(self, number: int, value: object) -> None:
        """Keep the value of one example; numbers grow."""
        self._marks.extend([0] * (number - len(self._marks)))
        text = str(value)
        named = isinstance(value, str | int | bool) and 0 < len(text) <= LONGEST
        mark = (named and self._names.get(text)) or _mark(text, named)
        if named and len(self._names) <= NAMED:
            self._names[text] = mark
        self._marks.append(mark)

    def marks(self, numbers: Numbers) -> NDArray[np.uint64]:
        """Return what the value of each example is known by; 0 where it has none."""
        whole = np.zeros(int(numbers.max(initial=-1)) + 1, dtype=np.uint64)
        known = np.array(self._marks, dtype=np.uint64)[: whole.size]
        whole[: known.size] = known
        return whole[numbers]

    def clusters(self, numbers: Numbers) -> list[int | None]:
        """Return a label of each example, equal where values have equal texts; None where it has none."""
        return [mark >> 1 or None for mark in self.marks(numbers).tolist()]

    def counts(self, numbers: Numbers) -> dict[str, int]:
        """Return value -> examples that have it, of values that a slice can be named by; of too many, none."""
        if len(self._names) > NAMED:
            return {}
        names = {mark: text for text, mark in self._names.items()}
        marks, counts = np.unique(self.marks(numbers), return_counts=True)
        return {names[m]: n for m, n in zip(marks.tolist(), counts.tolist(), strict=True) if m in names}

    def mark(self, text: str) -> int:
        """Return the mark of a value that a slice is named by."""
        return self._names[text]


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

    def ids(self, numbers: Numbers) -> list[str]:
        """Return the ids of some."""
        known = list(self.numbers)
        return [known[number] for number in numbers]

    def clusters(self, key: str, numbers: Numbers) -> list[int | None]:
        """Return the cluster of each by one key of meta; None where it has none."""
        labels = self.meta.get(key)
        return labels.clusters(numbers) if labels else [None] * numbers.size


@dataclass(frozen=True, slots=True, eq=False)
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


@dataclass(frozen=True, eq=False)
class Columns:
    """Some rows of one run, (n,) each; made when the examples of every run that is compared have their numbers."""

    rows: Sequence[Row]
    """All rows of the run, in memory or on disk."""
    examples: Examples
    """What the rows are answers to, shared with other runs."""
    places: Numbers
    """Where each row stands among all."""
    numbers: Numbers
    """Number of the example that each row answers."""
    failed: Flags
    """Whether the request failed."""
    scores: Mapping[str, Floats]
    """Name -> values, in the order in which the names are met; NaN is unscored."""
    named: Mapping[str, Flags]
    """Name -> whether the row has a score of that name, be it unscored."""
    tags: Mapping[str, Flags]
    """Category -> whether the answer has the error."""

    def __len__(self) -> int:
        return self.places.size

    def __iter__(self) -> Iterator[Row]:
        """Yield the rows, whole, in their order."""
        return map(self.rows.__getitem__, map(int, self.places))

    def only(self, kept: Flags) -> Columns:
        """Return the columns of some of the rows."""
        return replace(
            self,
            places=self.places[kept],
            numbers=self.numbers[kept],
            failed=self.failed[kept],
            scores={name: values[kept] for name, values in self.scores.items()},
            named={name: flags[kept] for name, flags in self.named.items()},
            tags={name: flags[kept] for name, flags in self.tags.items()},
        )

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
        return asked[self.numbers]

    @cached_property
    def _grouped(self) -> tuple[Numbers, Numbers]:
        """Return the rows by example, and where each example's begin, (n,) and (examples + 1,)."""
        order = np.argsort(self.numbers, kind="stable")
        return order, np.searchsorted(self.numbers[order], np.arange(len(self.examples) + 1))

    def count(self, flags: Flags | None) -> Numbers:
        """Return how many rows of each example are flagged, (examples,); None flags none."""
        flagged = self.numbers[:0] if flags is None else self.numbers[flags]
        return np.bincount(flagged, minlength=len(self.examples))

    def per_item(self, values: Floats, worst: float | None = None) -> PerItem:
        """Return the mean of each example; a trial without a value counts as the `worst`, or not at all."""
        known = ~np.isnan(values)
        trials, scored = self.count(np.ones_like(known)), self.count(known)
        totals = np.bincount(self.numbers[known], weights=values[known], minlength=len(self.examples))
        lost = (trials - scored) * (worst is not None)
        means = (totals + lost * (worst or 0.0)) / np.maximum(1, scored + lost)
        return PerItem(np.where(scored, means, np.nan), scored, trials)


def columns_of(run: Run, examples: Examples) -> Columns:
    """Go through the rows of a run once; new examples get numbers.

    Raises:
        NotComparable: an answer stands there twice.
    """
    numbers, trials, failed = array("q"), array("q"), bytearray()
    scores: dict[str, _Scores] = {}
    tags: dict[str, array[int]] = {}
    for place, row in enumerate(run.rows):
        numbers.append(examples.number(row.example))
        trials.append(row.trial)
        failed.append(row.response.error is not None)
        for score in row.scores:
            scores.setdefault(score.name, _Scores()).put(place, score.value)
        for category in {tag.category for tag in row.tags}:
            tags.setdefault(category, array("q")).append(place)
    count, asked = len(numbers), np.array(numbers, dtype=np.int64)
    if (again := _repeated(asked, np.array(trials, dtype=np.int64))) is not None:
        row = run.rows[again]
        raise NotComparable(f"run {run.id}: example {row.example.id!r}, trial {row.trial}, stands there twice")
    return Columns(
        run.rows,
        examples,
        places=np.arange(count),
        numbers=asked,
        failed=np.frombuffer(bytes(failed), dtype=np.bool_),
        scores={name: np.array(column.filled(count)) for name, column in scores.items()},
        named={name: np.frombuffer(bytes(column.named), dtype=np.bool_) for name, column in scores.items()},
        tags={category: _flags(places, count) for category, places in tags.items()},
    )


Value = Callable[[Columns], Floats]
"""Reads one figure of every row, (n,); NaN where it has none or the request failed."""


def score_of(metric: str) -> Value:
    """Return what reads a score."""
    return lambda columns: np.where(columns.failed, np.nan, columns.scores.get(metric, np.nan))


def tag_of(category: str) -> Value:
    """Return what reads whether an answer has an error: 0 or 1."""
    return lambda columns: np.where(columns.failed, np.nan, columns.tags.get(category, 0.0))


class _Scores:
    """The scores of one name, as they come."""

    def __init__(self) -> None:
        self.values, self.named = array("d"), bytearray()

    def put(self, place: int, value: float | None) -> None:
        if len(self.values) <= place:  # of two scores of one name the first counts
            self.filled(place).append(np.nan if value is None else value)
            self.named.append(True)

    def filled(self, length: int) -> array[float]:
        """Return the values up to a place, with NaN where no row has one."""
        missing = length - len(self.values)
        self.values.extend([np.nan] * missing)
        self.named.extend(bytes(missing))
        return self.values


def _mark(text: str, named: bool) -> int:
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return (int.from_bytes(digest) | 2) & ~1 | named


def _repeated(numbers: Numbers, trials: Numbers) -> int | None:
    """Return the place of a row whose trial of its example stands there before; None where there is none."""
    order = np.lexsort((trials, numbers))
    equal = (np.diff(numbers[order]) == 0) & (np.diff(trials[order]) == 0)
    return int(order[1:][equal].min()) if equal.any() else None


def _flags(places: Sequence[int], length: int) -> Flags:
    flags = np.zeros(length, dtype=np.bool_)
    flags[np.array(places, dtype=np.int64)] = True
    return flags
