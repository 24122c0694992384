"""Two answers to one question, cut into words that stayed and words that changed. Pure; shared by every comparison."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import islice

from evalkit.report.visible import visible

Span = tuple[int, int]
Block = tuple[str, int, int, int, int]

_WORD = re.compile(r"\s+|\w+|[^\w\s]")
_MOST_WORDS = 400
"""Words compared, and an eighth of the characters; a longer answer is cut, because the comparison is quadratic."""
_LEAD = 60
"""Characters of common beginning that are shown before the first change."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of an answer, already visible and on one line."""

    text: str
    """The words."""
    changed: bool
    """Whether the other answer lacks them."""


def changed_words(before: str, after: str, width: int = 240) -> tuple[tuple[Piece, ...], tuple[Piece, ...]]:
    """Return both answers in pieces, from shortly before the first change on and at most `width` characters long."""
    old, new = _words(before), _words(after)
    blocks = _blocks(old, new)
    left = _pieces([("".join(old[a:b]), op != "equal") for op, a, b, _, _ in blocks])
    right = _pieces([("".join(new[c:d]), op != "equal") for op, _, _, c, d in blocks])
    return _fitted(left, width, len(before)), _fitted(right, width, len(after))


def changed_spans(before: str, after: str) -> tuple[list[Span], list[Span]]:
    """Return what the other answer lacks, as [start, end) in characters of each whole answer.

    The first 400 words among its first 3,200 characters are compared.
    """
    old, new = _places(before), _places(after)
    blocks = _blocks([before[a:b] for a, b in old], [after[a:b] for a, b in new])
    left = [(old[a][0], old[b - 1][1]) for op, a, b, _, _ in blocks if op != "equal" and a < b]
    right = [(new[c][0], new[d - 1][1]) for op, _, _, c, d in blocks if op != "equal" and c < d]
    return _joined(left, before), _joined(right, after)


def equal_pairs(before: str, after: str) -> int:
    """Return how many pairs of equal words two answers have: what comparing them costs, whatever they say."""
    old, new = (Counter(text[a:b] for a, b in _places(text)) for text in (before, after))
    return sum(count * new[word] for word, count in old.items())


def same_words(before: str, after: str) -> bool:
    """Return whether two whole answers differ in nothing but space."""
    old, new = ([word for word in _WORD.findall(text) if not word.isspace()] for text in (before, after))
    return old == new


def _blocks(old: Sequence[str], new: Sequence[str]) -> Sequence[Block]:
    return SequenceMatcher(None, old, new, autojunk=False).get_opcodes()


def _places(text: str) -> list[Span]:
    """Return where words and signs stand; without the space between them there is far less to compare."""
    found = (match.span() for match in _WORD.finditer(text[: 8 * _MOST_WORDS]) if not match.group().isspace())
    return list(islice(found, _MOST_WORDS))


def _joined(spans: Sequence[Span], text: str) -> list[Span]:
    """Join neighbours with nothing but space between them: it has changed with them."""
    joined: list[Span] = []
    for start, end in spans:
        if joined and not text[joined[-1][1] : start].strip():
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return joined


def _pieces(parts: list[tuple[str, bool]]) -> list[Piece]:
    """Join neighbours of one kind; a space between two changed words has changed with them."""
    pieces: list[Piece] = []
    for number, (text, differs) in enumerate(parts):
        changed = differs or (not text.strip() and 0 < number < len(parts) - 1)
        if pieces and pieces[-1].changed == changed:
            pieces[-1] = Piece(pieces[-1].text + text, changed)
        elif text:
            pieces.append(Piece(text, changed))
    return pieces


def _words(text: str) -> list[str]:
    return _WORD.findall(visible(text[: 8 * _MOST_WORDS]).replace("\n", "⏎").replace("\t", " "))[:_MOST_WORDS]


def _fitted(pieces: list[Piece], width: int, whole: int) -> tuple[Piece, ...]:
    """Cut a long common beginning, and the end, so that the pieces fit into `width` characters."""
    if len(pieces) > 1 and not pieces[0].changed and len(pieces[0].text) > _LEAD:
        pieces = [Piece("…" + pieces[0].text[-_LEAD:], False), *pieces[1:]]
    fitted: list[Piece] = []
    room = width
    for piece in pieces:
        text = piece.text if len(piece.text) <= room else piece.text[: max(0, room - 1)] + "…"
        fitted.append(Piece(text, piece.changed))
        room -= len(piece.text)
        if room <= 0:
            break
    if room > 0 and whole > 8 * _MOST_WORDS:
        fitted.append(Piece("…", False))
    return tuple(fitted)
