"""How much answers differ: near duplicates between questions (mode collapse), distinct-n and rep-4. Pure.

Near duplicates are found in linear time by MinHash with banding (Broder 1997): two answers whose 4-word shingles have a
Jaccard similarity of .9 meet with probability .99, of .5 with .2, and candidates are then checked exactly.
"""

from __future__ import annotations

import zlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

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


def variety_of(answers: Sequence[tuple[str, str]]) -> Variety:
    """Measure (example id, answer) pairs."""
    words = [text[: HEAD * 40].lower().split()[:HEAD] for _, text in answers]
    long = [(item, tokens) for (item, _), tokens in zip(answers, words, strict=True) if len(tokens) >= FEWEST_WORDS]
    groups = _near_groups(long)
    return Variety(
        near_duplicates=sum(len(group) for group in groups),
        of=len(long),
        groups=tuple(tuple(long[i][0] for i in group) for group in groups[:5]),
        distinct_1=_distinct(words, 1),
        distinct_2=_distinct(words, 2),
        rep_4=_rep(words, 4),
    )


def _near_groups(answers: Sequence[tuple[str, list[str]]]) -> list[list[int]]:
    """Return groups of indices whose answers are near duplicates across different questions."""
    shingles = [_shingles(tokens) for _, tokens in answers]
    buckets: dict[tuple[int, bytes], list[int]] = defaultdict(list)
    for index, found in enumerate(shingles):
        hashes = np.fromiter(found, dtype=np.uint64, count=len(found))
        least = (hashes[:, None] * _SEEDS[None, :]).min(axis=0)
        for band in range(_BANDS):
            buckets[band, least[band * _ROWS : (band + 1) * _ROWS].tobytes()].append(index)
    parent = list(range(len(answers)))
    for members in buckets.values():
        first = members[0]
        for other in members[1:]:
            if answers[first][0] != answers[other][0] and _jaccard(shingles[first], shingles[other]) >= NEAR:
                parent[_root(parent, other)] = _root(parent, first)
    groups: dict[int, list[int]] = defaultdict(list)
    for index in range(len(answers)):
        groups[_root(parent, index)].append(index)
    return sorted((g for g in groups.values() if len(g) > 1), key=lambda g: (-len(g), g[0]))


def _shingles(tokens: Sequence[str]) -> set[int]:
    return {zlib.crc32(" ".join(tokens[i : i + 4]).encode()) + 1 for i in range(len(tokens) - 3)}


def _jaccard(a: set[int], b: set[int]) -> float:
    return len(a & b) / len(a | b)


def _root(parent: list[int], index: int) -> int:
    while parent[index] != index:
        parent[index] = parent[parent[index]]
        index = parent[index]
    return index


def _distinct(answers: Sequence[Sequence[str]], n: int) -> float | None:
    grams = [gram for words in answers for gram in zip(*(words[i:] for i in range(n)), strict=False)]
    return len(set(grams)) / len(grams) if grams else None


def _rep(answers: Sequence[Sequence[str]], n: int) -> float | None:
    shares = []
    for words in answers:
        grams = Counter(zip(*(words[i:] for i in range(n)), strict=False))
        if grams:
            shares.append(1 - len(grams) / grams.total())
    return sum(shares) / len(shares) if shares else None
