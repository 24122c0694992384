"""Find text that repeats itself: loops, stutter, repeated and nearly repeated sentences, runs of characters.

The spans are exact. It does not know whether a repetition was asked for, except that a loop the reference has as
well is not one of the model's.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from evalkit.taggers.loops import Loop, find_loops
from evalkit.taggers.text import WORD, clip, mask_blocks, number, percent, pieces, require, silent, whole
from evalkit.types import Row, Severity, Tag


def _graded(loop: Loop, text: str, offset: int, total: int, tagger: Repetition) -> Loop:
    """Return the loop at its place in the whole answer with its severity; `text` is what was read of it."""
    to_end = loop.end >= len(text.rstrip()) - 3 and offset + len(text) == total
    read = max(1, len(text.strip()))
    cover, extra = (loop.end - loop.start) / read, loop.extra / read
    severity: Severity = "info"
    if loop.kind == "loop":
        if to_end or cover >= tagger.critical_share:
            severity = "critical"
        elif cover >= tagger.major_share or loop.copies >= tagger.major_copies:
            severity = "major"
    elif loop.kind == "sentences":
        severity = "major" if extra >= 0.2 else "minor"
    else:
        severity = "major"
    return Loop(loop.kind, loop.start + offset, loop.end + offset, loop.copies, loop.extra, loop.unit, severity, to_end)


def _disjoint(loops: Iterable[Loop]) -> list[Loop]:
    """Keep the worst loop of those that share text, in the order of the text."""
    order = {"critical": 0, "major": 1, "minor": 2, "info": 3}
    kept: list[Loop] = []
    for loop in sorted(loops, key=lambda x: (order[x.severity], x.start - x.end, x.start)):
        if all(loop.end <= k.start or loop.start >= k.end for k in kept):
            kept.append(loop)
        if len(kept) == 10:
            break
    return sorted(kept, key=lambda x: x.start)


@lru_cache(maxsize=16)
def loops_of(text: str, tagger: Repetition, cut: bool = False) -> tuple[Loop, ...]:
    """Return what repeats in an answer (`cut` at the limit); in code and tables only what runs to the very end."""
    found: list[Loop] = []
    for piece in pieces(text):
        at_limit = cut and piece.start + len(piece.text) == len(text)
        masked = mask_blocks(piece.text)
        loops = [_graded(x, piece.text, piece.start, len(text), tagger) for x in find_loops(masked, at_limit)]
        if masked != piece.text and not any(x.to_end for x in loops):
            whole_piece = [
                _graded(x, piece.text, piece.start, len(text), tagger) for x in find_loops(piece.text, at_limit)
            ]
            loops += [x for x in whole_piece if x.to_end and x.kind == "loop"]
        found += loops
    return tuple(_disjoint(found))


def runs_to_end(text: str, cut: bool = False) -> bool:
    """Return whether an answer ends in a repetition without a break, by the default settings."""
    return any(x.to_end and x.kind != "sentences" for x in loops_of(text, Repetition(), cut))


_SAYS = {
    "loop": "{unit!r} {copies:.1f} times in a row",
    "sentences": "sentence {unit!r} {copies:.0f} times",
    "near": "{copies:.0f} sentences in a row that nearly repeat earlier ones, from {unit!r}",
    "characters": "{unit!r} {copies:.0f} times without a break",
}


@dataclass(frozen=True)
class Repetition:
    """Tag what an answer says again and again."""

    critical_share: float = 0.3
    """A loop that covers this share of the answer is critical; so is one that reaches the end."""
    major_share: float = 0.15
    """A loop that covers this share is major."""
    major_copies: int = 8
    """A loop of this many copies is major."""

    def __post_init__(self) -> None:
        """Refuse settings that make no sense."""
        share = self.critical_share
        require(number(share) and 0 < share <= 1, "repetition", "critical_share", share, "a share above 0, up to 1")
        share = self.major_share
        fits = number(share) and 0 < share <= self.critical_share
        require(fits, "repetition", "major_share", share, f"above 0, up to critical_share ({self.critical_share})")
        require(whole(self.major_copies, 2), "repetition", "major_copies", self.major_copies, "2 or more")

    def __call__(self, row: Row) -> Iterable[Tag]:
        """Yield a tag per stretch of repeated text."""
        if silent(row):
            return
        text = row.response.text
        loops = loops_of(text, self, cut=row.response.finish == "length")
        if loops and row.example.target:
            known = {_key(x) for t in row.example.target for x in loops_of(t, self)}
            loops = tuple(x for x in loops if _key(x) not in known)
        for loop in loops:
            yield Tag(
                "repetition", loop.severity, _why(loop, len(text)), (loop.start, loop.end), _CONFIDENCE[loop.kind]
            )


_CONFIDENCE = {"loop": 0.97, "sentences": 0.97, "near": 0.9, "characters": 0.97}


def _why(loop: Loop, total: int) -> str:
    said = _SAYS[loop.kind].format(unit=clip(loop.unit), copies=loop.copies)
    if loop.kind == "sentences":
        return f"{said}, {percent(loop.extra / max(1, total))} of the answer is repeats of it"
    return f"{said}, {percent((loop.end - loop.start) / max(1, total))} of the answer" + (", to its end" * loop.to_end)


def _key(loop: Loop) -> tuple[str, frozenset[str]]:
    """Return what makes two loops the same: their kind and the words of their unit, wherever the unit starts."""
    return loop.kind, frozenset(WORD.findall(loop.unit.lower()))
