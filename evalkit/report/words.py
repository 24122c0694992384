"""Two answers to one question, cut into words that stayed and words that changed. Pure; shared by every comparison."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import SequenceMatcher

from evalkit.report.visible import visible

_WORD = re.compile(r"\s+|\w+|[^\w\s]")
_MOST_WORDS = 400
"""Words compared; a longer answer is cut, because the comparison is quadratic."""
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
    blocks = SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    left = _pieces([("".join(old[a:b]), op != "equal") for op, a, b, _, _ in blocks])
    right = _pieces([("".join(new[c:d]), op != "equal") for op, _, _, c, d in blocks])
    return _fitted(left, width, len(before)), _fitted(right, width, len(after))


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
