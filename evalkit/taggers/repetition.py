"""Find text that repeats itself: loops, stutter, repeated and nearly repeated sentences, runs of characters.

Linear time; the spans are exact. It does not know whether a repetition was asked for, except that a loop the
reference has as well is not one of the model's.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from evalkit.taggers.text import (
    TOKEN,
    WORD,
    clip,
    lowered,
    mask_blocks,
    number,
    percent,
    pieces,
    require,
    sentences,
    silent,
    tokens,
    whole,
    words_between,
)
from evalkit.types import Row, Severity, Tag

_GRAM = 4
_DIGITS = re.compile(r"\d")
_LONG_WORD = re.compile(r"[^\W\d_]{15,}")
_CHARACTER_RUN = re.compile(r"([^\W\d_]{1,8}?)\1{14,}")
_LEAST = ((2, 6, 8), (5, 4, 12))  # period up to, copies from, tokens from; longer periods: 3 copies, 24 tokens


@dataclass(frozen=True, slots=True)
class Loop:
    """A stretch of a text that repeats itself."""

    kind: str
    """`loop`, `sentences`, `near` or `characters`."""
    start: int
    """First character."""
    end: int
    """One past the last character."""
    copies: float
    """How often the unit stands there; the last one may be cut."""
    extra: int
    """Characters that would go if only one copy stayed."""
    unit: str
    """The unit, as it stands."""
    severity: Severity = "info"
    """How bad it is."""
    to_end: bool = False
    """Whether it runs to the end of the text."""


def _tokens(low: str) -> list[str]:
    if _DIGITS.search(low) is None:
        return tokens(low)
    return ["0" if t[0].isdigit() else t for t in tokens(low)]


def _stretches(said: Sequence[str]) -> Iterator[tuple[int, int, int]]:
    """Yield (first, last, distance) of runs of 4-grams that came back after the same distance all along."""
    seen: dict[tuple[str, ...], int] = {}
    run = start = 0
    at = -1
    for at, gram in enumerate(zip(said, said[1:], said[2:], said[3:], strict=False)):
        distance = at - seen.get(gram, at)
        seen[gram] = at
        if distance != run:
            if run:
                yield start, at - 1, run
            run, start = distance, at
    if run:
        yield start, at, run


def _enough(period: int, copies: float, length: int) -> bool:
    for up_to, least_copies, least_length in _LEAST:
        if period <= up_to:
            return copies >= least_copies and length >= least_length
    return copies >= 3 and length >= 24


def _loops(said: Sequence[str]) -> Iterator[tuple[int, int, int]]:
    """Yield (first token, last token, period) of each loop that is long enough and has a letter in its unit.

    Stutter needs no pass of its own: six copies of one or two tokens are five 4-grams at the same distance.
    """
    for first, last, period in _stretches(said):
        begin, end = first - period, last + _GRAM - 1
        length = end - begin + 1
        unit = said[begin : begin + period]
        if _enough(period, length / period, length) and any(c.isalpha() for t in unit for c in t):
            yield begin, end, period


def _token_loops(text: str, low: str, said: Sequence[str]) -> list[Loop]:
    found = list(_loops(said))
    if not found:
        return []
    places = [m.span() for m in TOKEN.finditer(low)]
    loops = []
    for begin, end, period in found:
        length = end - begin + 1
        while not said[begin][0].isalnum():  # a loop may begin anywhere in its unit: show it from a word on
            begin, length = begin + 1, length - 1
        start, stop = places[begin][0], places[end][1]
        unit = text[start : places[begin + period - 1][1]]
        loops.append(Loop("loop", start, stop, length / period, stop - places[begin + period][0], unit))
    return loops


def _repeated_sentences(text: str, spans: Sequence[tuple[int, int]], said: Sequence[Sequence[str]]) -> Iterator[Loop]:
    """Yield sentences of six or more words that stand three times or more, wherever they stand."""
    places: dict[tuple[str, ...], list[tuple[int, int]]] = defaultdict(list)
    for span, words in zip(spans, said, strict=True):
        if len(words) >= 6:
            places[tuple(words)].append(span)
    for at in places.values():
        if len(at) >= 3:
            extra = sum(e - s for s, e in at[1:])
            (start, end), (again, stop) = at[0], at[-1]
            in_a_row = extra + end - start >= 0.8 * (stop - start)
            yield Loop("sentences", start if in_a_row else again, stop, len(at), extra, text[start:end])


def _alike(a: frozenset[object], b: frozenset[object]) -> bool:
    common = len(a & b)
    return common > 0 and common >= 0.6 * (len(a) + len(b) - common)


def _shingles(words: Sequence[str]) -> frozenset[object]:
    said = ["0" if w[0].isdigit() else w for w in words]
    return frozenset(zip(said, said[1:], said[2:], strict=False))


def _near_sentences(text: str, spans: Sequence[tuple[int, int]], said: Sequence[Sequence[str]]) -> Iterator[Loop]:
    """Yield four or more sentences in a row that are each nearly one of the eight before them."""
    grams = [_shingles(words) for words in said]
    known: set[object] = set()
    run: list[int] = []
    for i, mine in enumerate(grams):
        familiar = len(mine) >= 2 and len(mine & known) >= 0.6 * len(mine)  # else it can be near none of them
        known |= mine
        if familiar and any(_alike(mine, other) for other in grams[max(0, i - 8) : i]):
            run.append(i)
            continue
        if mine:
            yield from _near_run(text, spans, run)
            run = []
    yield from _near_run(text, spans, run)


def _near_run(text: str, spans: Sequence[tuple[int, int]], run: Sequence[int]) -> Iterator[Loop]:
    if len(run) >= 4:
        start, end = spans[run[0]][0], spans[run[-1]][1]
        yield Loop("near", start, end, len(run), end - start, text[slice(*spans[run[0]])])


def _character_runs(text: str) -> Iterator[Loop]:
    for word in _LONG_WORD.finditer(text):
        run = _CHARACTER_RUN.search(word.group())
        if run is not None:
            start, unit = word.start() + run.start(), run[1]
            size = run.end() - run.start()
            yield Loop("characters", start, start + size, size / len(unit), size - len(unit), unit)


def _find(text: str) -> list[Loop]:
    """Find every repetition in a text of which code and tables are already blanked."""
    low = lowered(text)
    said = _tokens(low)
    loops = list(_character_runs(low)) if max(map(len, said), default=0) >= 15 else []
    repeats = len(said) - 2 - len(set(zip(said, said[1:], said[2:], strict=False)))
    if repeats >= 4:
        loops += _token_loops(text, low, said)
    if repeats >= 10:
        spans = sentences(text)
        words = words_between(low, spans)
        loops += _repeated_sentences(text, spans, words)
        loops += _near_sentences(text, spans, words)
    return loops


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
def loops_of(text: str, tagger: Repetition) -> tuple[Loop, ...]:
    """Return what repeats in an answer; in code and tables only what runs to the very end."""
    found: list[Loop] = []
    for piece in pieces(text):
        masked = mask_blocks(piece.text)
        loops = [_graded(x, piece.text, piece.start, len(text), tagger) for x in _find(masked)]
        if masked != piece.text and not any(x.to_end for x in loops):
            whole_piece = [_graded(x, piece.text, piece.start, len(text), tagger) for x in _find(piece.text)]
            loops += [x for x in whole_piece if x.to_end and x.kind == "loop"]
        found += loops
    return tuple(_disjoint(found))


def runs_to_end(text: str) -> bool:
    """Return whether an answer ends in a loop, by the default settings."""
    return any(x.to_end and x.kind == "loop" for x in loops_of(text, Repetition()))


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
        loops = loops_of(text, self)
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
