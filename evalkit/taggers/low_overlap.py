"""Find answers that share few words with any reference: "low overlap", not "wrong".

Content words are compared as they stand, without their endings; it knows no synonyms.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from evalkit.taggers.missing_facts import scored_right
from evalkit.taggers.text import listed, number, percent, require, silent, words
from evalkit.types import Row, Tag

_FUNCTION = listed(
    "a an the of and or but if to in on at by for with from as is are was were be been being am it its this that "
    "these those he she they we you i his her their our your my me him them us not no do does did done have has "
    "had will would can could should may might must shall so than then there here what which who whom whose when "
    "where why how all any some such only own same too very also just into about over under more most other s t"
)
_ENDINGS = ("ations", "ation", "ments", "ment", "ings", "ing", "ies", "ers", "ed", "er", "es", "ly", "s", "e", "y")
_SHORT = re.compile(r"([aeiou][^aeiouy])(?:es?|ed|ing)")  # use, uses, used, using
_MAJOR = 0.05  # share from which down next to nothing of the reference is there


@lru_cache(maxsize=65_536)
def stem(word: str) -> str:
    """Return a word without a common ending, at least three letters long, two for words like `use`."""
    if short := _SHORT.fullmatch(word):
        return short[1]
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word


@lru_cache(maxsize=32)
def content(text: str) -> frozenset[str]:
    """Return the stems of the content words of a text."""
    return frozenset(stem(w) for w in set(words(text)) - _FUNCTION)


@dataclass(frozen=True)
class LowOverlap:
    """Tag answers that hold few of the content words of the nearest reference."""

    recall: float = 0.2
    """Share of the reference's content words below which an answer is tagged."""

    def __post_init__(self) -> None:
        """Refuse settings that make no sense."""
        require(
            number(self.recall) and 0 < self.recall <= 1,
            "low_overlap",
            "recall",
            self.recall,
            "a share above 0, up to 1",
        )

    def __call__(self, row: Row) -> Iterable[Tag]:
        """Yield at most one tag; an answer scored right has none."""
        if silent(row) or not row.example.target or scored_right(row):
            return
        mine = content(row.response.text)
        best = (-1.0, 0, 0)
        for target in row.example.target[:50]:
            theirs = content(target)
            if not theirs:
                return
            common = len(mine & theirs)
            best = max(best, (common / len(theirs), common, len(theirs)))
        share, common, total = best
        if share < self.recall:
            why = f"shares {common} of {total} content words with the nearest reference ({percent(share)})"
            yield Tag("low_overlap", "major" if share <= _MAJOR else "minor", why, None, 0.5 if total >= 3 else 0.4)
