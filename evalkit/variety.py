"""How much answers differ: near duplicates between questions (mode collapse), distinct-n and rep-4. Pure.

Near duplicates are found in linear time by MinHash with banding (Broder 1997): two answers whose 4-word shingles have a
Jaccard similarity of .9 meet with probability .99, of .5 with .2, and candidates are then checked exactly. Answers are
read one at a time; what is kept of one are numbers.
"""

from __future__ import annotations

import zlib
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Numbers = np.ndarray[Any, np.dtype[Any]]

FEWEST_WORDS = 12
"""Shorter answers may well be equal for good reasons."""
NEAR = 0.8
"""Jaccard similarity of 4-word shingles from which two answers are near duplicates."""
HEAD = 256
"""Words from the start of an answer that distinct-n and rep-4 read."""
_ROWS, _BANDS = 4, 4
_SEEDS = np.random.default_rng(20261124).integers(1, 2**63, size=_ROWS * _BANDS, dtype=np.uint64) | np.uint64(1)


@dataclass(frozen=True, slots=True)
class Variety:
    """Plain trend numbers over a whole run; they judge no single answer."""

    near_duplicates: int
    """Answers that are near duplicates of an answer to another question."""
    of: int
    """Answers long enough to be looked at."""
    groups: tuple[tuple[str, ...], ...]
    """Ids of examples whose answers are near duplicates of each other, the largest groups first, at most 5."""
    distinct_1: float | None
    """Different words / words, over the first 256 words of all answers; None where there is none."""
    distinct_2: float | None
    """The same for pairs of words."""
    rep_4: float | None
    """Mean share of an answer's 4-grams that repeat an earlier one of the same answer."""


def variety_of(answers: Iterable[tuple[str, str]]) -> Variety:
    """Measure (example id, answer) pairs."""
    words_seen, pairs_seen, repeated, long = _Seen(), _Seen(), _Mean(), _Sketches()
    for item, text in answers:
        words = text[: HEAD * 40].lower().split()[:HEAD]
        words_seen.add(_grams(words, 1))
        pairs_seen.add(_grams(words, 2))
        if grams := Counter(_grams(words, 4)):
            repeated.add(1 - len(grams) / grams.total())
        if len(words) >= FEWEST_WORDS:
            long.add(item, words)
    groups = long.near_groups()
    return Variety(
        near_duplicates=sum(len(group) for group in groups),
        of=len(long.items),
        groups=tuple(tuple(long.items[i] for i in group) for group in groups[:5]),
        distinct_1=words_seen.share,
        distinct_2=pairs_seen.share,
        rep_4=repeated.value,
    )


def _grams(words: Sequence[str], n: int) -> Iterator[tuple[str, ...]]:
    return zip(*(words[i:] for i in range(n)), strict=False)


@dataclass(slots=True)
class _Seen:
    """How many things were seen, and how many different ones; kept as hashes of 64 bits."""

    total: int = 0
    different: set[int] = field(default_factory=set)

    def add(self, things: Iterable[object]) -> None:
        hashes = [hash(thing) for thing in things]
        self.total += len(hashes)
        self.different.update(hashes)

    @property
    def share(self) -> float | None:
        return len(self.different) / self.total if self.total else None


@dataclass(slots=True)
class _Mean:
    """A mean of which only sum and count are kept."""

    total: float = 0.0
    count: int = 0

    def add(self, value: float) -> None:
        self.total += value
        self.count += 1

    @property
    def value(self) -> float | None:
        return self.total / self.count if self.count else None


@dataclass(slots=True)
class _Sketches:
    """The long answers as numbers: the shingles of each, one after the other, and a code for each of its bands."""

    items: list[str] = field(default_factory=list)
    shingles: array[int] = field(default_factory=lambda: array("I"))
    ends: array[int] = field(default_factory=lambda: array("Q", [0]))
    codes: tuple[array[int], ...] = field(default_factory=lambda: tuple(array("q") for _ in range(_BANDS)))

    def add(self, item: str, words: Sequence[str]) -> None:
        found = {zlib.crc32(" ".join(gram).encode()) for gram in _grams(words, 4)}
        hashes = np.fromiter(found, dtype=np.uint64, count=len(found)) + np.uint64(1)
        least = (hashes[:, None] * _SEEDS[None, :]).min(axis=0)
        for band, codes in enumerate(self.codes):
            codes.append(hash(least[band * _ROWS : (band + 1) * _ROWS].tobytes()))
        self.items.append(item)
        self.shingles.extend(found)
        self.ends.append(len(self.shingles))

    def near_groups(self) -> list[list[int]]:
        """Return groups of indices whose answers are near duplicates across different questions, the largest first."""
        parent = array("Q", range(len(self.items)))
        for codes in self.codes:
            for first, *others in _alike(np.array(codes)):
                mine = self._shingles(first)
                for other in others:
                    if self.items[first] != self.items[other] and _jaccard(mine, self._shingles(other)) >= NEAR:
                        parent[_root(parent, other)] = _root(parent, first)
        roots = np.fromiter((_root(parent, index) for index in range(len(parent))), np.int64, len(parent))
        return sorted(_alike(roots), key=lambda group: (-len(group), group[0]))

    def _shingles(self, index: int) -> set[int]:
        return set(self.shingles[self.ends[index] : self.ends[index + 1]])


def _alike(codes: Numbers) -> Iterator[list[int]]:
    """Yield the indices, in order, of every code that stands there more than once."""
    order = np.argsort(codes, kind="stable")
    bounds = np.concatenate([[0], np.flatnonzero(np.diff(codes[order])) + 1, [len(codes)]])
    many = np.diff(bounds) > 1
    for begin, end in zip(bounds[:-1][many], bounds[1:][many], strict=True):
        yield order[begin:end].tolist()


def _jaccard(a: set[int], b: set[int]) -> float:
    return len(a & b) / len(a | b)


def _root(parent: array[int], index: int) -> int:
    while parent[index] != index:
        parent[index] = parent[parent[index]]
        index = parent[index]
    return index
