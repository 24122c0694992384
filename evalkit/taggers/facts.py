"""Read the checkable facts of a text: links, versions, flags, identifiers, numbers, quoted strings.

Only what can be compared letter by letter; it knows no meaning.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from evalkit.taggers.text import pieces

_URL = re.compile(r"(?:https?://|www\.)[^\s<>\"'`)\]}|\\]{3,500}")
_VERSION = re.compile(
    r"(?<![\w.$€£])v?\d{1,4}(?:\.\d{1,4}){2,3}(?:[-.]?(?:rc|beta|alpha|dev|post)\d{0,3})?(?![\w.]*\d)|(?<!\w)v\d{1,3}\.\d{1,3}(?![\w.]*\d)"
)
_FLAG = re.compile(r"(?<![\w-])--[a-z][a-z0-9]{1,30}(?:-[a-z0-9]{1,30}){0,6}(?![\w-])")
_IDENTIFIER = re.compile(
    r"(?<![\w./@#-])(?:[A-Za-z][A-Za-z0-9]{0,40}(?:_[A-Za-z0-9]{1,40}){1,8}|[A-Za-z_]\w{0,40}(?:\.[A-Za-z_]\w{0,40}){1,6}(?=\()"
    r"|[A-Z][a-z0-9]{1,30}(?:[A-Z][a-z0-9]{1,30}){1,6}(?=\()|[a-z]{2,30}(?:[A-Z][a-z0-9]{1,30}){1,6})(?![\w@])"
)
_DOTTED = re.compile(
    r"(?<![\w./@#-])[A-Za-z_]\w{1,40}(?:\.[a-z_]\w{1,40}){1,6}(?:\.[A-Z]\w{0,40})?(?![\w@])"
)  # package.module, package.module.Class, file.py; not "e.g." and not one sentence's end and the next one's beginning
_NAMED = re.compile(r"(?<!\w)[^\W\d_]\w*(?:[-/]\w+)+")  # UTF-8/16: a name, no numbers
_NUMBER = re.compile(r"(?<![\w.,])[-−]?\d{1,15}(?:,\d{3}){0,6}(?:\.\d{1,15})?(?!\w*\d)")
_QUOTED = re.compile(r"\"([^\"\n]{3,80})\"|“([^”\n]{3,80})”|`([^`\n]{2,80})`|「([^」\n]{2,80})」")
_COUNT = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen twenty"
)
_NUMERALS = {word: str(value) for value, word in enumerate(re.findall(r"\w+", _COUNT))}
_NUMERAL = re.compile(rf"\b(?:{'|'.join(_NUMERALS)})\b", re.I)


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing a text states that can be looked for elsewhere."""

    kind: str
    """`URL`, `version`, `flag`, `identifier`, `number` or `quote`."""
    text: str
    """As it stands."""
    start: int
    """Its first character."""

    @property
    def key(self) -> str:
        """Return what must be equal for two facts to be the same."""
        if self.kind == "number":
            return plain_number(self.text)
        if self.kind == "URL":
            return re.sub(r"^(?:https?://)?(?:www\.)?", "", self.text.lower()).rstrip("/.,;:!?*")
        low = " ".join(self.text.lower().split())
        return low.removeprefix("v") if self.kind == "version" else low.removesuffix("()")


def plain_number(text: str) -> str:
    """Return a number without separators, sign variants and trailing zeros: `1,250.50` is `1250.5`."""
    plain = text.replace(",", "").replace("−", "-")
    if "." in plain:
        plain = plain.rstrip("0").rstrip(".")
    return re.sub(r"^(-?)0+(?=\d)", r"\1", plain)


def claims(text: str) -> Iterator[Fact]:
    """Yield links, versions, flags and identifiers, in this order; the caller blanks code blocks first."""
    yield from _links(text)
    text = _without(_URL, text)
    if "." in text:
        yield from (Fact("version", m.group(), m.start()) for m in _VERSION.finditer(text))
    if "--" in text:
        yield from (Fact("flag", m.group(), m.start()) for m in _FLAG.finditer(text))
    yield from (Fact("identifier", m.group(), m.start()) for m in _IDENTIFIER.finditer(text))


def key_facts(text: str) -> Iterator[Fact]:
    """Yield what a reference says that an answer ought to say: links, numbers, identifiers, quoted strings."""
    yield from _links(text)
    text = _without(_URL, text)
    yield from (Fact("number", m.group(), m.start()) for m in _NUMBER.finditer(_without(_NAMED, text)))
    for pattern in (_DOTTED, _IDENTIFIER):
        yield from (Fact("identifier", m.group(), m.start()) for m in pattern.finditer(text))
    for match in _QUOTED.finditer(text):
        inner = next(g for g in match.groups() if g)
        yield Fact("quote", inner, match.start() + 1)


def merged(facts: Iterable[Fact]) -> list[Fact]:
    """Return each fact once, in the order of the text: `load` is part of `load.py`, a number part of its quote."""
    kept: list[Fact] = []
    for fact in sorted(facts, key=lambda f: (-len(f.key), f.kind != "number", f.start)):
        if not any(_part_of(fact, other) for other in kept):
            kept.append(fact)
    return sorted(kept, key=lambda f: f.start)


def _part_of(fact: Fact, other: Fact) -> bool:
    if fact.key == other.key:
        return True
    if fact.kind == "number":
        return other.start <= fact.start < other.start + len(other.text)
    return fact.key in other.key and re.search(rf"(?<!\w){re.escape(fact.key)}(?!\w)", other.key) is not None


def _links(text: str) -> Iterator[Fact]:
    if "://" in text or "www." in text:
        for match in _URL.finditer(text):
            yield Fact("URL", match.group().rstrip(".,;:!?*"), match.start())


def _without(pattern: re.Pattern[str], text: str) -> str:
    """Return the text with every match blanked."""
    return pattern.sub(lambda m: " " * len(m.group()), text)


def numbers(text: str) -> frozenset[str]:
    """Return every number of a text in plain form, numerals up to twenty included, those of links left out."""
    parts = [_without(_URL, p.text) for p in pieces(text)]
    found = {plain_number(m.group()) for part in parts for m in _NUMBER.finditer(part)}
    found |= {_NUMERALS[m.group().lower()] for part in parts for m in _NUMERAL.finditer(part)}
    return frozenset(found)
