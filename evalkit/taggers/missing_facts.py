"""Find links, numbers, identifiers and quoted strings of the reference that the answer does not hold.

What the question gives is asked of no answer. It compares letter by letter (numbers in any notation): a fact said in
other words counts as missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice

from evalkit.taggers.facts import Fact, key_facts, merged, numbers
from evalkit.taggers.text import clip, count_words, lowered, number, pieces, require, silent
from evalkit.types import Row, Severity, Tag

_MOST = 40
_SHORT = 8  # words of a reference that is hardly more than its one fact


@dataclass(frozen=True)
class MissingFacts:
    """Tag answers that lack key facts of every accepted reference."""

    major_share: float = 0.5
    """Share of the facts that must be missing for a major tag, and two of them unless the reference is short."""

    def __post_init__(self) -> None:
        """Refuse settings that make no sense."""
        share = self.major_share
        require(number(share) and 0 < share <= 1, "missing_facts", "major_share", share, "a share above 0, up to 1")

    def __call__(self, row: Row) -> Iterable[Tag]:
        """Yield at most one tag, for the reference nearest to the answer; an answer scored right has none."""
        if silent(row) or not row.example.target or scored_right(row):
            return
        best: tuple[list[Fact], list[Fact], str] | None = None
        for target in row.example.target[:50]:
            facts = _lacking(_stated(target), row.example.question)
            missing = _lacking(facts, row.response.text)
            if not missing:
                return
            if best is None or len(missing) * len(best[1]) < len(best[0]) * len(facts):
                best = missing, facts, target
        if best is not None:
            missing, facts, target = best
            named = ", ".join(f"{f.kind} {clip(f.text, 30)!r}" for f in missing[:4])
            why = f"{len(missing)} of {len(facts)} key facts of the reference are missing: {named}"
            yield Tag("missing_facts", self._severity(len(missing), len(facts), target), why, None, 0.6)

    def _severity(self, missing: int, facts: int, target: str) -> Severity:
        heavy = missing >= 2 or count_words(target) <= _SHORT
        return "major" if heavy and missing >= self.major_share * facts else "minor"


@lru_cache(maxsize=64)
def _stated(target: str) -> tuple[Fact, ...]:
    """Return the distinct facts of a reference."""
    return tuple(merged(islice(key_facts(target[:20_000]), 4 * _MOST))[:_MOST])


def _lacking(facts: Sequence[Fact], text: str) -> list[Fact]:
    """Return the facts that a text does not hold."""
    if not facts:
        return []
    said = " ".join(" ".join(lowered(p.text) for p in pieces(text)).split())
    values = numbers(text) if any(f.kind == "number" for f in facts) else frozenset()
    return [f for f in facts if not (f.key in values if f.kind == "number" else f.key in said)]


def scored_right(row: Row) -> bool:
    """Return whether a scorer already found the answer right."""
    return any(s.name in ("exact", "match", "judge") and s.value is not None and s.value >= 1 for s in row.scores)
