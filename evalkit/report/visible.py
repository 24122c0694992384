"""The one filter between foreign text and a terminal or log.

Everything a model, data set or suite wrote passes `visible` before it is printed: rich does not stop escape sequences,
C1 controls, bidirectional overrides or zero-width characters, and its markup would parse `[/]` in an answer.
"""

from __future__ import annotations

import re
import unicodedata

_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 but tab and newline, DEL, C1
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"  # soft hyphen, joiners and fillers
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb"  # zero width, line separators, bidi
    "\ufe00-\ufe0e\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\ufffe\uffff"  # variation selectors, music, no characters
    "\ud800-\udfff\U000e0000-\U000e0fff]"  # lone surrogates, tags, variation selectors supplement
    # the selector of coloured emoji, unless it follows one
    "|(?<![0-9#*\u00a9\u00ae\u203c\u2049\u2122-\u2bff\u3030\u303d\u3297\u3299\U0001f000-\U0001faff])\ufe0f"
)
_MARKS_ALLOWED = 4
HIDDEN_IN_SCRIPT = "".join(sign if " " <= sign <= "~" else f"\\u{{{ord(sign):x}}}" for sign in _HIDDEN.pattern)
"""The same characters as a regular expression of JavaScript, for its flag `u`."""
FLOOD_IN_SCRIPT = rf"([\p{{Mn}}\p{{Me}}]{{{_MARKS_ALLOWED}}})[\p{{Mn}}\p{{Me}}]+"
"""More combining marks than one character may carry, likewise; its group is what is kept."""


def visible(text: str) -> str:
    r"""Return `text` with every character that hides, moves or reorders shown as `\xNN` or `\uNNNN`.

    Tab and newline stay. Floods of combining marks are cut after four per character.
    """
    if text.isascii() and text.isprintable():
        return text
    return _thin_marks(_HIDDEN.sub(_escape, text))


def one_line(text: str, width: int = 0) -> str:
    """Return visible text on one line, cut to `width` characters with `…` (0: not cut)."""
    line = " ".join(visible(text if not width else text[: 4 * width]).split())
    cut = bool(width) and (len(line) > width or len(text) > 4 * width)
    return line[: width - 1].rstrip() + "…" if cut else line


def _escape(match: re.Match[str]) -> str:
    code = ord(match.group())
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _thin_marks(text: str) -> str:
    if text.isascii():
        return text
    kept, marks = [], 0
    for char in text:
        marks = marks + 1 if unicodedata.category(char) in ("Mn", "Me") else 0
        if marks <= _MARKS_ALLOWED:
            kept.append(char)
    return "".join(kept)
