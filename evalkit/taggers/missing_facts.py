"""Find numbers, identifiers and quoted strings of the reference that the answer does not hold.

It compares letter by letter (numbers in any notation): a fact said in other words counts as missing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from evalkit.taggers.facts import Fact, key_facts, numbers
from evalkit.taggers.text import clip, lowered, number, pieces, require, silent
from evalkit.types import Row, Tag

_MOST = 40


@dataclass(frozen=True)
class MissingFacts:
    """Tag answers that lack key facts of every accepted reference."""

    major_share: float = 0.5
    """Share of the facts that must be missing for a major tag."""

    def __post_init__(self) -> None:
        """Refuse settings that make no sense."""
        share = self.major_share
        require(number(share) and 0 < share <= 1, "missing_facts", "major_share", share, "a share above 0, up to 1")

    def __call__(self, row: Row) -> Iterable[Tag]:
        """Yield at most one tag, for the reference nearest to the answer; an answer scored right has none."""
        if silent(row) or not row.example.target or scored_right(row):
            return
        text = row.response.text
        best: tuple[list[Fact], list[Fact]] | None = None
        for target in row.example.target[:50]:
            facts = list({f.key: f for f in key_facts(target[:20_000])}.values())[:_MOST]
            missing = _missing(facts, text)
            if not missing:
                return
            if best is None or len(missing) * len(best[1]) < len(best[0]) * len(facts):
                best = missing, facts
        if best is not None:
            missing, facts = best
            named = ", ".join(f"{f.kind} {clip(f.text, 30)!r}" for f in missing[:4])
            why = f"{len(missing)} of {len(facts)} key facts of the reference are missing: {named}"
            yield Tag(
                "missing_facts", "major" if len(missing) >= self.major_share * len(facts) else "minor", why, None, 0.6
            )


def _missing(facts: list[Fact], text: str) -> list[Fact]:
    if not facts:
        return []
    said = " ".join(lowered(p.text) for p in pieces(text))
    values = numbers(text) if any(f.kind == "number" for f in facts) else frozenset()
    return [f for f in facts if not (f.key in values if f.kind == "number" else " ".join(f.key.split()) in said)]


def scored_right(row: Row) -> bool:
    """Return whether a scorer already found the answer right."""
    return any(s.name in ("exact", "match", "judge") and s.value is not None and s.value >= 1 for s in row.scores)
