"""Find answers that were cut off, and say whether the evaluation's budget or the model is to blame.

The finish reason decides; where neither it nor a token count is known, a guess from the text can be switched on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from evalkit.taggers.length import measure
from evalkit.taggers.repetition import runs_to_end
from evalkit.taggers.text import count_words, fences, number, require, silent
from evalkit.types import Row, Tag

_OPEN_END = re.compile(r"(?:[\w,;:(\-–—/+=&]|[^\W\d_]['’])\s*$")
_WORD_START = re.compile(r"(?<!\S)\S")
_SENTENCE = re.compile(r"[.!?。！？][\"'”’)\]]?\s")


@dataclass(frozen=True)
class Truncated:
    """Tag answers that end at the token limit without repeating itself to the end (that is repetition)."""

    ratio: float = 1.5
    """Up to this many times the reference, the budget was too small; above it, the model ran on."""
    guess: bool = False
    """Where no token count is known, take an answer that stops in mid sentence for cut off."""

    def __post_init__(self) -> None:
        """Refuse settings that make no sense."""
        require(number(self.ratio) and self.ratio > 0, "truncated", "ratio", self.ratio, "a number above 0")
        require(isinstance(self.guess, bool), "truncated", "guess", self.guess, "true or false")

    def __call__(self, row: Row) -> Iterable[Tag]:
        """Yield at most one tag, with the last characters of the answer as evidence."""
        response = row.response
        if silent(row):
            return
        if response.finish == "length":
            if not runs_to_end(response.text, cut=True):
                yield self._cut(row)
        elif self.guess and response.tokens is None and _open_ended(response.text):
            yield Tag("truncated", "info", "the text stops in mid sentence; no finish reason is known", _tail(row), 0.4)

    def _cut(self, row: Row) -> Tag:
        count = "" if row.response.tokens is None else f" of {row.response.tokens} tokens"
        measured = measure(row)
        says = f"stopped at the limit{count}"
        if measured is None:
            return Tag("truncated", "minor", f"{says}; no reference says how long it should be", _tail(row), 0.9)
        says += f", {measured.times:.2f} times as long as the reference"
        if measured.ratio <= self.ratio:
            return Tag("truncated", "info", f"{says}: raise max_new_tokens, the budget is too small", _tail(row), 1.0)
        return Tag("truncated", "major", f"{says}: the model ran on", _tail(row), 1.0)


def _tail(row: Row) -> tuple[int, int]:
    """Return [start, end) of the last 40 characters, from the beginning of a word where there is one."""
    text = row.response.text
    end = len(text.rstrip())
    start = max(0, end - 40)
    word = _WORD_START.search(text, start, end)
    return (word.start() if word else start), end


def _open_ended(text: str) -> bool:
    if any(not closed for _, _, closed in fences(text[-20_000:])) and count_words(text) >= 10:
        return True
    many = len(_SENTENCE.findall(text[-20_000:])) >= 2 and count_words(text) >= 30
    last_line = text.rstrip().rsplit("\n", 1)[-1]
    return many and len(last_line.split()) >= 6 and _OPEN_END.search(text[-80:]) is not None
