"""Taggers: what is wrong with the answer? Each is a frozen dataclass called with a Row."""

from __future__ import annotations

from collections.abc import Iterable

from evalkit.types import Tag

DEFAULT: tuple[str, ...] = (
    "empty",
    "leak",
    "repetition",
    "truncated",
    "language",
    "refusal",
    "format",
    "unsupported",
    "copied",
    "missing_facts",
    "low_overlap",
    "off_topic",
    "length",
    "misspelling",
)
"""Taggers that `default` stands for, in the order of precedence."""

PRECEDENCE: tuple[tuple[str, ...], ...] = (
    ("empty",),
    ("leak", "prompt_echo"),
    ("repetition",),
    ("truncated",),
    ("language",),
    ("refusal",),
    ("format",),
    ("missing_facts", "low_overlap", "off_topic", "unsupported", "copied"),
    ("too_long", "too_short"),
    ("misspelling",),
)
"""Categories from the one that explains most to the one that explains least: empty, leak, repetition, truncated,
language, refusal, format, wrong, length, misspelling. Categories of third parties come last, in order of the text."""

_PLACE = {
    category: place for place, group in enumerate(c for group in PRECEDENCE for c in group) for category in [group]
}


def primary_of(tags: Iterable[Tag]) -> str | None:
    """Return the category that counts when each answer may count once; None without tags above `info`."""
    found = [t.category for t in tags if t.severity != "info"]
    return min(found, key=lambda category: _PLACE.get(category, len(_PLACE)), default=None)
