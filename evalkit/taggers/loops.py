"""Find stretches of a text that repeat: loops, repeated and nearly repeated sentences, runs of characters.

Linear time; the spans are exact. It does not know how bad a stretch is, nor what of the text is code.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from evalkit.taggers.text import TOKEN, lowered, sentences, tokens, words_between
from evalkit.types import Severity

_GRAM = 4
_DIGITS = re.compile(r"\d")
_LONG_WORD = re.compile(r"[^\W\d_]{15,}")
_CHARACTER_RUN = re.compile(r"([^\W\d_]{1,8}?)\1{14,}")
_LEAST = ((2, 6, 8), (5, 4, 12))  # period up to, copies from, tokens from; longer periods: 3 copies, 24 tokens
_LONG = 24  # tokens of a unit that need not stand three times where the answer was cut
_LONG_COPY = 48  # tokens of a second copy that need no third
_CANDIDATES = 8  # earlier places of the last words that are tried


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
        if _enough(period, length / period, length) and _has_letter(unit):
            cut = end == len(said) - 2 and said[end + 1 - period].startswith(said[-1])
            yield begin, end + cut, period  # the last word of a loop to the end may be half a word


def _has_letter(unit: Sequence[str]) -> bool:
    return any(c.isalpha() for t in unit for c in t)


def _cut_copy(said: Sequence[str]) -> Iterator[tuple[int, int, int]]:
    """Yield (first token, last token, period) of a long unit that comes round again when the answer is cut.

    At the end stand two copies and the beginning of a third, or most of a second copy of _LONG_COPY tokens.
    """
    last = len(said) - 2  # the very last word may be half a word
    tail = said[last - _GRAM + 1 : last + 1]
    places = (at for at in range(last - _LONG, _GRAM - 2, -1) if said[at - _GRAM + 1 : at + 1] == tail)
    for at in islice(places, _CANDIDATES):
        period, begin = last - at, at
        while begin >= 0 and said[begin] == said[begin + period]:
            begin -= 1
        again = at - begin  # tokens that stand there for another time
        whole = again >= period + _GRAM or again >= max(_LONG_COPY, 0.8 * period)
        copy = said[at + 1 - again : at + 1]
        verbatim = _has_letter(copy) and copy.count("0") <= len(copy) / 8  # rows of figures are alike, not the same
        if whole and verbatim and said[at + 1].startswith(said[-1]):
            yield begin + 1, last + 1, period
            return


def _token_loops(text: str, low: str, said: Sequence[str], cut: bool) -> list[Loop]:
    found = [*_loops(said), *(_cut_copy(said) if cut else ())]
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
        if i == len(grams) - 1 and len(run) >= 4 and any(_begins(said[i], other) for other in said[max(0, i - 8) : i]):
            run.append(i)
        elif mine:
            yield from _near_run(text, spans, run)
            run = []
    yield from _near_run(text, spans, run)


def _begins(mine: Sequence[str], other: Sequence[str]) -> bool:
    """Return whether a sentence is the beginning of another, up to a last word that may be half a word."""
    n = len(mine)
    return 0 < n <= len(other) and mine[:-1] == other[: n - 1] and other[n - 1].startswith(mine[-1])


def _near_run(text: str, spans: Sequence[tuple[int, int]], run: Sequence[int]) -> Iterator[Loop]:
    if len(run) >= 4:
        start, end = spans[run[0]][0], spans[run[-1]][1]
        yield Loop("near", start, end, len(run), end - start, text[slice(*spans[run[0]])])


def _character_runs(text: str) -> Iterator[Loop]:
    for word in _LONG_WORD.finditer(text):
        run = _CHARACTER_RUN.search(word.group())
        if run is not None:
            start, unit = word.start() + run.start(), run[1]
            rest = word.group()[run.end() :]
            size = run.end() - run.start() + len(rest) * unit.startswith(rest)  # the last copy may be cut
            yield Loop("characters", start, start + size, size / len(unit), size - len(unit), unit)


def find_loops(text: str, cut: bool = False) -> list[Loop]:
    """Find every repetition in a text; where it was cut, a long unit counts from its second copy on."""
    low = lowered(text)
    said = _tokens(low)
    loops = list(_character_runs(low)) if max(map(len, said), default=0) >= 15 else []
    repeats = len(said) - 2 - len(set(zip(said, said[1:], said[2:], strict=False)))
    if repeats >= 4:
        loops += _token_loops(text, low, said, cut)
    if repeats >= 10:
        spans = sentences(text)
        words = words_between(low, spans)
        loops += _repeated_sentences(text, spans, words)
        loops += _near_sentences(text, spans, words)
    return loops
