"""Text to comparable words: one normal form for every scorer. Knows no locale, no numbers' values and no scores."""

from __future__ import annotations

import re
import unicodedata

MAX_CHARS = 20_000
"""Characters of an answer or target that are read; what stands after them is not judged."""

ARTICLES = frozenset({"a", "an", "the"})

_LETTERS = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "ı": "i", "ʻ": "'", "ʼ": "'"}
)
_MARKS = re.compile("[\u0300-\u036f]+")
_HIDDEN = re.compile("[\u00ad\u200b-\u200f\u2060\ufeff]")
_DASHES = re.compile("[\u2010-\u2015\u2212]")
_QUOTES = re.compile("[\u2018\u2019\u201b\u2032\u0060\u00b4]")
_POSSESSIVE = re.compile(r"'s\b")
_INITIALS = re.compile(r"(?<![^\W_])(?:(?:[^\W\d_]\. ?){2,8}|(?:[^\W\d_]\.){1,8}[^\W\d_])(?![^\W_])")
_WORD = re.compile(
    r"[12]\d\d0s(?![a-z])"  # a decade is no number
    r"|(?:(?<![\w.,])-)?\d+(?:[.,]\d+)*(?:e[+-]?\d{1,2}\b)?"  # commas and points stand between digits
    r"|[^\W\d_]+(?:\+\+|#(?!\w))?"  # c++, c#
)
# search engines glue words of a page: actressLizzy, inNew York
_GLUED = re.compile(r"(?<![A-Za-z])([a-z]{3,30}|[Ii]n|[Oo]n|[Aa]t|[Bb]y|[Ii]s|to|of)(?=[A-Z][a-z]{2})")


def fold(text: str) -> str:
    """Return the first MAX_CHARS of `text` in compatibility form, without case, diacritics and hidden characters."""
    text = unicodedata.normalize("NFKC", text[:MAX_CHARS])[:MAX_CHARS]
    text = _GLUED.sub(r"\1 ", _HIDDEN.sub("", text))
    text = _QUOTES.sub("'", _DASHES.sub("-", text)).casefold()
    text = _MARKS.sub("", unicodedata.normalize("NFD", text)).translate(_LETTERS)
    return unicodedata.normalize("NFKC", text)


def words(text: str) -> list[str]:
    """Return the words and numerals of folded `text`, initials joined (`u. s.` is `us`), possessive endings off."""
    text = _INITIALS.sub(lambda m: m[0].replace(".", "").replace(" ", "") + " ", text.replace("%", " percent "))
    return _WORD.findall(_POSSESSIVE.sub("", text).replace("'", ""))


def plain(text: str) -> str:
    """Return the words of `text` without articles, one space between them; a text of signs only is kept as it is."""
    found = words(fold(text))
    return " ".join([w for w in found if w not in ARTICLES] or found) or " ".join(fold(text).split())
