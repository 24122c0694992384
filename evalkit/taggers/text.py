"""Read an answer: pieces, words, sentences, and masks that hide code and links but keep every offset.

All functions are pure, total on any text and linear in its length. Nothing here knows what an error is.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

from evalkit.errors import SuiteError
from evalkit.types import Row

CAP = 50_000
"""Characters read at each end of a text: taggers see the first and the last CAP of a longer one, never the middle."""
_SEAM = 200  # how far a cut may move to fall between two words

_OPEN_SCRIPTS = (  # written without spaces between words: each character counts as a word
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
)
TOKEN = re.compile(rf"[{_OPEN_SCRIPTS}]|\d+|[^\W\d_{_OPEN_SCRIPTS}]+(?:['’][^\W\d_{_OPEN_SCRIPTS}]+)*|[^\w\s]|_+")
"""A word, a run of digits, one character of a script without spaces, or one mark of punctuation."""
WORD = re.compile(rf"[{_OPEN_SCRIPTS}]|\d+|[^\W\d_{_OPEN_SCRIPTS}]+(?:['’][^\W\d_{_OPEN_SCRIPTS}]+)*")
"""The same without punctuation."""
_ASCII_TOKEN = re.compile(
    r"[A-Za-z]+(?:'[A-Za-z]+)*|\d+|[^\w\s\x1c-\x1f]|_+", re.A
)  # the same for ASCII alone, in half the time
_ASCII_WORD = re.compile(r"[A-Za-z]+(?:'[A-Za-z]+)*|\d+", re.A)
_WESTERN_TOKEN = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*|\d+|[^\w\s]|_+")  # for texts without such scripts
_WESTERN_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*|\d+")
_OPEN = re.compile(rf"[{_OPEN_SCRIPTS}]")
_SENTENCE_END = re.compile(r"[.!?…][\"'”’)\]]{0,3}[ \t]+|[。！？]|\n+")

_FENCE = re.compile(r"^[ \t>]*(?:[-*+][ \t]+)?(`{3,}|~{3,})", re.M)
_TABLE_ROW = re.compile(r"^[ \t]*\|.*$|^[^|\n]*\|[^|\n]*\|.*$", re.M)
_RULER = re.compile(r"^[ \t]*(?:[-=_*~#+.][ \t]?){3,}$", re.M)
_INLINE_CODE = re.compile(r"``[^\n]{1,1000}?``|`[^`\n]{1,1000}`")
_LINKS = re.compile(
    r"(?:https?|ftp|file|git|ssh)://[^\s<>\"'`]{1,2000}|\bwww\.[^\s<>\"'`]{1,2000}"
    r"|\]\([^)\s]{1,1000}\)|^[ \t]*\[[^\]\n]{1,80}\]:[^\n]*$",
    re.M,
)
_MAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}")
_TAG = re.compile(r"</?[A-Za-z!][^<>\n]{0,300}>|&[a-z]{2,8};|\{\{[^{}\n]{0,200}\}\}|\[\[[^\[\]\n]{1,100}\]\]")
_LATEX = re.compile(
    r"\$\$[^$]{1,2000}\$\$|\$(?=\S)[^$\n]{1,300}(?<=\S)\$(?!\d)|\\\[.{1,2000}?\\\]|\\\(.{1,500}?\\\)"
    r"|\\[a-zA-Z]{1,30}(?:\{[^{}\n]{0,200}\})?",
    re.S,
)
_BLANKED = re.compile(r"[^\n]")

TaggerT = TypeVar("TaggerT")


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a text that is read as it stands."""

    start: int
    """Where it begins, in characters of the whole text."""
    text: str
    """Its characters."""


@lru_cache(maxsize=16)
def pieces(text: str) -> tuple[Piece, ...]:
    """Return what is read of a text: all of it, or the first and the last CAP characters, cut between words."""
    if len(text) <= 2 * CAP:
        return (Piece(0, text),)
    head = max(text.rfind(" ", CAP - _SEAM, CAP), text.rfind("\n", CAP - _SEAM, CAP))
    first = len(text) - CAP
    tails = [p + 1 for p in (text.find(" ", first, first + _SEAM), text.find("\n", first, first + _SEAM)) if p >= 0]
    tail = min(tails, default=first)
    return Piece(0, text[: head if head > 0 else CAP]), Piece(tail, text[tail:])


def lowered(text: str) -> str:
    """Return the text in lower case with every character at its old place."""
    low = text.lower()
    if len(low) == len(text):
        return low
    return "".join(c if len(c.lower()) != 1 else c.lower() for c in text)


def tokens(text: str) -> list[str]:
    """Return the words and marks of a text in order; what TOKEN finds."""
    if text.isascii():
        return _ASCII_TOKEN.findall(text)
    return (TOKEN if _OPEN.search(text) else _WESTERN_TOKEN).findall(text)


def words_between(text: str, spans: Iterable[tuple[int, int]]) -> list[list[str]]:
    """Return the words of each part [start, end) of a text; what WORD finds."""
    pattern = _ASCII_WORD if text.isascii() else WORD if _OPEN.search(text) else _WESTERN_WORD
    return [pattern.findall(text, start, end) for start, end in spans]


@lru_cache(maxsize=32)
def words(text: str) -> tuple[str, ...]:
    """Return the words of what is read of a text, in lower case and order, without punctuation."""
    parts = [lowered(p.text) for p in pieces(text)]
    found = [words_between(part, [(0, len(part))])[0] for part in parts]
    return tuple(found[0]) if len(found) == 1 else tuple(w for part in found for w in part)


def count_words(text: str) -> int:
    """Return the number of words; of a text too long to be read whole, an estimate from both its ends."""
    read = sum(len(p.text) for p in pieces(text))
    return len(words(text)) if read == len(text) else round(len(words(text)) * len(text) / read)


def sentences(text: str) -> list[tuple[int, int]]:
    """Return [start, end) of each sentence or line that holds anything but space."""
    cuts = [0]
    for gap in _SENTENCE_END.finditer(text):
        cuts += [_end_of_sentence(gap), gap.end()]
    cuts.append(len(text))
    found = []
    for start, end in zip(cuts[::2], cuts[1::2], strict=True):
        part = text[start:end]
        if inner := part.strip():
            begin = start + part.index(inner[0])
            found.append((begin, begin + len(inner)))
    return found


def sentence_at(text: str, position: int) -> tuple[int, int]:
    """Return [start, end) of the sentence around a position, looking no further than 1,000 characters either way."""
    low, high = max(0, position - 1000), min(len(text), position + 1000)
    start, end = low, high
    for gap in _SENTENCE_END.finditer(text, low, high):
        if gap.end() <= position:
            start = gap.end()
        elif gap.start() >= position:
            end = _end_of_sentence(gap)
            break
    return start, end


def _end_of_sentence(gap: re.Match[str]) -> int:
    """Return where the sentence before a gap ends: after its mark and closing quotes, before the space."""
    return gap.start() + len(gap.group().rstrip())


def chunk_at(text: str, start: int, end: int, reach: int = 120) -> tuple[int, int]:
    """Widen [start, end) to the spaces around it, by at most `reach` characters a side."""
    low, high = max(0, start - reach), min(len(text), end + reach)
    while start > low and not text[start - 1].isspace():
        start -= 1
    while end < high and not text[end].isspace():
        end += 1
    return start, end


def _blank(match: re.Match[str]) -> str:
    return _BLANKED.sub(" ", match.group())


def fences(text: str) -> list[tuple[int, int, bool]]:
    """Return [start, end) of each fenced block of code, fences included, and whether it is closed."""
    if "```" not in text and "~~~" not in text:
        return []
    found: list[tuple[int, int, bool]] = []
    opened: re.Match[str] | None = None
    for fence in _FENCE.finditer(text):
        if opened is None:
            line_end = text.find("\n", fence.end())
            if fence[1] in text[fence.end() : line_end if line_end >= 0 else len(text)]:
                continue  # opened and closed in one line: inline code
            opened = fence
        elif fence[1].startswith(opened[1]):
            found.append((opened.start(), fence.end(), True))
            opened = None
    if opened is not None:
        found.append((opened.start(), len(text), False))
    return found


def blanked(text: str, spans: Iterable[tuple[int, int]]) -> str:
    """Return the text with each span filled with spaces, its line breaks kept."""
    out, last = [], 0
    for start, end in spans:
        out += [text[last:start], _BLANKED.sub(" ", text[start:end])]
        last = end
    return "".join([*out, text[last:]])


def mask_blocks(text: str) -> str:
    """Blank fenced code, rows of tables and rulers."""
    text = blanked(text, ((s, e) for s, e, _ in fences(text)))
    if "|" in text:
        text = _TABLE_ROW.sub(_blank, text)
    return _RULER.sub(_blank, text)


_MASKS: tuple[tuple[tuple[str, ...], re.Pattern[str]], ...] = (
    (("`",), _INLINE_CODE),
    (("://", "www.", "](", "]:"), _LINKS),
    (("@",), _MAIL),
    (("<", "&", "{{", "[["), _TAG),
    (("$", "\\"), _LATEX),
)


@lru_cache(maxsize=16)
def mask_prose(text: str) -> str:
    """Blank everything that is not prose: code, links, addresses, mark-up, formulas."""
    text = blanked(text, ((s, e) for s, e, _ in fences(text)))
    for marks, pattern in _MASKS:
        if any(mark in text for mark in marks):
            text = pattern.sub(_blank, text)
    return text


def silent(row: Row) -> bool:
    """Return whether a row has no answer to judge: it failed, only chose, or is blank."""
    return row.response.error is not None or not row.response.text.strip()


def asked(row: Row) -> str:
    """Return everything the model was asked, as one text: the input, or all turns of a chat."""
    given = row.example.input
    return given if isinstance(given, str) else "\n".join(m.content for m in given)


def clip(text: str, width: int = 60) -> str:
    """Return one line of at most `width` characters, for a tag's reason."""
    line = " ".join(text[: 4 * width].split())
    return line if len(line) <= width else line[: width - 1] + "…"


def percent(share: float) -> str:
    """Return a share as a whole percentage."""
    return f"{100 * share:.0f} %"


def require(holds: bool, tagger: str, name: str, given: object, expected: str) -> None:
    """Raise SuiteError unless a setting holds what it must."""
    if not holds:
        raise SuiteError(f"[tagger.{tagger}] {name} = {given!r}: expected {expected}")


def number(value: object) -> bool:
    """Return whether a setting is a finite number (a bool is not)."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e18


def whole(value: object, least: int) -> bool:
    """Return whether a setting is a whole number of at least `least`."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def listed(text: str) -> frozenset[str]:
    """Return the words of a text as a set."""
    return frozenset(text.split())


def with_state(tagger: TaggerT, **state: Any) -> TaggerT:
    """Return a copy of a frozen tagger that also knows what `prepare` learned; its settings and repr stay."""
    made = copy.copy(tagger)
    for name, value in state.items():
        object.__setattr__(made, name, value)
    return made


def nearest(texts: Iterable[str], likeness: Callable[[str], float]) -> tuple[float, str]:
    """Return the best likeness and its text; (0, "") where there is none."""
    return max(((likeness(t), t) for t in texts), key=lambda pair: pair[0], default=(0.0, ""))
