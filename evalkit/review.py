"""A review in progress: which answers are looked at, in what order, what was said of them. Pure; nothing is shown here.

A `Review` never changes: moving, filtering and judging return a new one. What is to be kept is handed out as a record.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from evalkit.analyze import failed
from evalkit.compare import compare_runs
from evalkit.differences import MUST_AGREE
from evalkit.errors import EvalkitError
from evalkit.labels import (
    Answered,
    Given,
    Label,
    Preference,
    Record,
    Side,
    Undo,
    digest_of,
    history,
    run_key,
    standing,
    undo_of,
)
from evalkit.registry import did_you_mean
from evalkit.taggers import PRECEDENCE
from evalkit.types import Row, Run

ALL, FAILURES, UNDECIDED, BROKEN = "all", "failures", "undecided", "broken"
JUDGED = tuple(key for key in MUST_AGREE if key not in ("suite", "data_digest"))
"""What may differ between two runs whose answers are compared by eye: how they were asked and judged."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One answer to look at."""

    row: Row
    """The answer of the run under review."""
    other: Row | None = None
    """The answer of the run that it is held against."""

    @property
    def key(self) -> Answered:
        """Return the example's id and the trial."""
        return self.row.example.id, self.row.trial

    @property
    def categories(self) -> frozenset[str]:
        """Return the error categories that taggers found."""
        return frozenset(tag.category for tag in self.row.tags)


@dataclass(frozen=True)
class Review:
    """One labeller's way through the answers of a run."""

    run: Run
    """The run under review."""
    labeller: str
    """Who judges."""
    entries: tuple[Entry, ...]
    """Every answer that can be judged, in the run's order; failed requests have none."""
    records: tuple[Record, ...] = ()
    """Everything said so far, by anyone."""
    against: Run | None = None
    """The run that it is held against."""
    broken: frozenset[str] = frozenset()
    """Ids of the examples that `against` answers better by the primary metric."""
    blind: bool = False
    """Two answers are shown side by side, in an order that does not tell whose they are."""
    seed: int = 0
    """What the order of sides is drawn from."""
    only: tuple[str, ...] = ()
    """Filters that every shown answer passes."""
    queue: tuple[Entry, ...] = ()
    """The answers that are shown; they stay until another filter is chosen, whatever is said of them."""
    position: int = 0
    """Place in the queue, from 0."""

    @property
    def entry(self) -> Entry:
        """Return the answer in front."""
        return self.queue[self.position]

    @property
    def given(self) -> Given | None:
        """Return what this labeller says of the answer in front."""
        return self._given.get(self.entry.key)

    @property
    def decided(self) -> int:
        """Return how many answers this labeller has decided on."""
        return sum(map(self._is_decided, self.entries))

    @property
    def filters(self) -> tuple[str, ...]:
        """Return the filters that can be chosen; in blind mode none that would tell whose answer is whose."""
        if self.blind:
            return ALL, UNDECIDED
        broken = (BROKEN,) if self.against else ()
        return (ALL, UNDECIDED, FAILURES, *broken, *sorted({c for entry in self.entries for c in entry.categories}))

    @property
    def categories(self) -> tuple[str, ...]:
        """Return the error categories that a label can name: evalkit's own in order of precedence, then the run's."""
        found = sorted({category for entry in self.entries for category in entry.categories})
        return tuple(dict.fromkeys([*(category for group in PRECEDENCE for category in group), *found]))

    @property
    def swapped(self) -> bool:
        """Say whether the run's own answer stands on the right."""
        assert self.against
        draw = repr((self.seed, run_key(self.run), run_key(self.against), self.entry.key))
        return hashlib.sha256(draw.encode("utf-8", "surrogatepass")).digest()[0] % 2 == 1

    def moved(self, step: int) -> Review:
        """Go on by so many answers, not beyond the ends."""
        return replace(self, position=min(max(0, self.position + step), len(self.queue) - 1))

    def filtered(self, only: Sequence[str]) -> Review:
        """Show the answers that pass every filter, from the first one on.

        Raises:
            EvalkitError: a filter is unknown, or no answer passes.
        """
        for name in only:
            if name not in self.filters:
                raise EvalkitError(self._unknown(name))
        queue = tuple(entry for entry in self.entries if all(self._passes(entry, name) for name in only))
        if not queue:
            raise EvalkitError(f"no answer is left to review ({' and '.join(only) or 'the run holds none'})")
        return replace(self, only=tuple(name for name in only if name != ALL), queue=queue, position=0)

    def at(self, key: Answered) -> Review:
        """Go to an answer; where the filters leave it out, they are dropped."""
        for review in (self, replace(self, only=(), queue=self.entries)):
            for position, entry in enumerate(review.queue):
                if entry.key == key:
                    return replace(review, position=position)
        return self

    def said(self, record: Record) -> Review:
        """Add what was said; of an answer that is not in front too, as undo takes back."""
        return replace(self, records=(*self.records, record))

    def label(self, time: str, **changes: Any) -> Label:
        """Return the label of the answer in front with some fields changed."""
        item, trial = self.entry.key
        before = self.given
        if not isinstance(before, Label):
            before = Label(item, trial, self.run.suite, self.labeller, run_key(self.run), digest_of(self.entry.row))
        return replace(before, time=time, **changes)

    def preference(self, time: str, better: Side) -> Preference:
        """Return the choice between the two answers in front."""
        (left, left_answer), (right, right_answer) = self._sides()
        (item, trial), own = self.entry.key, run_key(self.run)
        return Preference(
            item, trial, self.run.suite, self.labeller, own, left, right, left_answer, right_answer, better, time
        )

    def undo(self, time: str) -> Undo | None:
        """Return what takes back the last thing this labeller said here; None where nothing was said."""
        mine = [given for given in history(self.records) if self._is_mine(given)]
        return undo_of(mine[-1], time) if mine else None

    @cached_property
    def _given(self) -> dict[Answered, Given]:
        return {(given.id, given.trial): given for given in standing(self.records) if self._is_mine(given)}

    def _is_mine(self, given: Given) -> bool:
        """Say whether this labeller said it, in this mode and against this run."""
        if isinstance(given, Label):
            return not self.blind and given.labeller == self.labeller
        against = self.blind and self.against is not None and given.other == run_key(self.against)
        return against and given.labeller == self.labeller

    def _is_decided(self, entry: Entry) -> bool:
        given = self._given.get(entry.key)
        return given is not None and not (isinstance(given, Label) and given.verdict is None)

    def _passes(self, entry: Entry, name: str) -> bool:
        if name == UNDECIDED:
            return not self._is_decided(entry)
        if name == FAILURES:
            return failed(entry.row, self.run.manifest["identity"]["primary"])
        if name == BROKEN:
            return entry.row.example.id in self.broken
        return name == ALL or name in entry.categories

    def _unknown(self, name: str) -> str:
        if name == BROKEN and not self.blind:
            return "--only broken needs the run that was better: give --against RUN2"
        why = "with --blind, a filter must not tell whose answer is whose" if self.blind else "no such filter"
        return f"--only {name!r}: {why}{did_you_mean(name, self.filters)}"

    def _sides(self) -> list[tuple[str, str]]:
        """Return (run, digest of its answer) of the left and of the right."""
        assert self.against
        assert self.entry.other
        sides = [
            (run_key(self.run), digest_of(self.entry.row)),
            (run_key(self.against), digest_of(self.entry.other)),
        ]
        return sides[::-1] if self.swapped else sides


def review_of(
    run: Run, labeller: str, records: Sequence[Record] = (), against: Run | None = None, **how: Any
) -> Review:
    """Start a review; `how` may be `blind` and `seed`.

    Raises:
        NotComparable: the two runs are not of the same questions.
        EvalkitError: no answer can be reviewed.
    """
    blind = bool(how.get("blind"))
    pair = compare_runs(against, run, tolerate=JUDGED if blind else ("template",)) if against else None
    others = {(r.example.id, r.trial): r for r in against.rows if r.response.error is None} if against else {}
    entries = [Entry(row, others.get((row.example.id, row.trial))) for row in run.rows if row.response.error is None]
    if blind:
        entries = [entry for entry in entries if entry.other and digest_of(entry.row) != digest_of(entry.other)]
    broken = frozenset(pair.broken.ids) if pair and not blind else frozenset()
    return Review(run, labeller, tuple(entries), tuple(records), against, broken, **how).filtered(())
