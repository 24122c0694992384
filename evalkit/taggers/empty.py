"""Find answers that say nothing: no text, or only space, special tokens, invisible characters and punctuation."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from evalkit.taggers.leak import SPECIAL
from evalkit.taggers.text import CAP, pieces
from evalkit.types import Row, Tag

_LETTER = re.compile(r"[^\W_]")


@dataclass(frozen=True)
class Empty:
    """Tag answers without a letter, a digit or a symbol."""

    def __call__(self, row: Row) -> Iterable[Tag]:
        """Yield at most one tag; a row that only chose between choices has nothing to be empty."""
        response = row.response
        if response.error is not None or (not response.text and response.choice_logprobs):
            return
        text = response.text
        if any(text.strip() == t.strip() for t in row.example.target) or _says_something(text):
            return
        yield Tag("empty", "critical", _why(text))


def _says_something(text: str) -> bool:
    """Return whether a text holds a letter, digit or symbol, or a drawing of more than ten marks of punctuation."""
    begin = text[:200]
    if _LETTER.search(begin) and "<" not in begin and "[" not in begin:
        return True
    marks = 0
    for piece in pieces(text):
        for c in SPECIAL.sub(" ", piece.text):
            kind = unicodedata.category(c)[0]
            marks += kind == "P"
            if kind in "LNS" or marks > 10:
                return True
    return len(text) > 2 * CAP and _LETTER.search(text) is not None


def _why(text: str) -> str:
    if not text:
        return "the answer has no characters"
    if not text.strip():
        return f"the answer is {len(text)} characters of white space"
    if SPECIAL.search(text[:CAP]):
        return "the answer holds only special tokens"
    return f"the answer holds only punctuation or invisible characters ({len(text)} characters)"
