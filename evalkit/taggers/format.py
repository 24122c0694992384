"""Find answers that do not have the form that was asked for: JSON, one block of code, a choice's letter, a pattern.

Without a setting it only looks at what an answer itself claims: a block marked `json` must parse, and a
block must be closed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from evalkit.taggers.text import CAP, clip, fences, require, silent, whole
from evalkit.types import Row, Tag

_KINDS = ("auto", "json", "fence", "choice", "regex")
_LETTER = re.compile(
    r"^\W*(?:(?:the )?(?:correct )?(?:answer|option|choice)(?: is)?\W*)?([A-Z]|\d{1,2})(?![\w'’])", re.I
)


@dataclass(frozen=True)
class Format:
    """Tag answers that miss the form a suite asks for."""

    kind: Literal["auto", "json", "fence", "choice", "regex"] = "auto"
    """What an answer must be: `auto` holds it to its own fences, `json` one JSON value, `fence` one closed block of
    code, `choice` a letter of a choice, `regex` a match of `pattern`."""
    pattern: str = ""
    """RE2 pattern that must be found in the answer; only with kind `regex`."""
    most: int = 1_000_000
    """Characters above which JSON is not parsed and the answer has the wrong form."""

    def __post_init__(self) -> None:
        """Refuse settings that make no sense."""
        require(self.kind in _KINDS, "format", "kind", self.kind, "one of " + ", ".join(_KINDS))
        require(isinstance(self.pattern, str), "format", "pattern", self.pattern, "a text")
        wanted = "a pattern with kind = 'regex', and none without it"
        require((self.kind == "regex") == bool(self.pattern), "format", "pattern", self.pattern, wanted)
        require(whole(self.most, 1), "format", "most", self.most, "a whole number from 1")
        if self.pattern:
            problem = _compiled(self.pattern)
            require(not isinstance(problem, str), "format", "pattern", self.pattern, f"a valid RE2 pattern ({problem})")

    def __call__(self, row: Row) -> Iterable[Tag]:
        """Yield what is wrong with the answer's form."""
        if silent(row):
            return
        text = row.response.text
        if self.kind == "auto":
            if row.response.finish != "length":
                yield from self._own_claims(text)
            return
        why = getattr(self, f"_{self.kind}")(text, row)
        if why:
            yield Tag("format", "major", why, None, 1.0)

    def _own_claims(self, text: str) -> Iterator[Tag]:
        whole_text = len(text) <= 2 * CAP
        for start, end, closed in fences(text[: 2 * CAP])[:50]:
            block = text[start:end]
            if not closed and whole_text:
                yield Tag("format", "minor", "a block of code is opened and never closed", (start, end), 0.8)
            elif closed and re.match(r"\s*(?:`{3,}|~{3,})json\s*\n", block) and (why := self._json_problem(block)):
                yield Tag("format", "minor", f"a block marked json is none: {why}", (start, end), 0.8)

    def _json_problem(self, block: str) -> str:
        inner = block[block.index("\n") + 1 :].rstrip().rstrip("`~")
        return "" if "..." in inner or "//" in inner else _parse(inner, self.most)

    def _json(self, text: str, _row: Row) -> str:
        inner = text.strip()
        blocks = fences(inner[: self.most])
        if len(blocks) == 1 and blocks[0][2] and blocks[0][:2] == (0, len(inner)):
            inner = inner[inner.find("\n") + 1 :].rstrip("`~")
        problem = _parse(inner, self.most)
        return f"not one JSON value: {problem}" if problem else ""

    def _fence(self, text: str, _row: Row) -> str:
        blocks = fences(text[: self.most])
        if len(blocks) != 1:
            return f"{len(blocks)} blocks of code, expected 1"
        return "" if blocks[0][2] else "the block of code is not closed"

    def _choice(self, text: str, row: Row) -> str:
        choices = row.example.choices
        last = max(1, len(choices)) if choices else 26
        found = _LETTER.search(text[:200].strip())
        if found is not None:
            at = int(found[1]) if found[1].isdigit() else ord(found[1].upper()) - 64
            if 1 <= at <= last:
                return ""
        if any(c.strip().lower() == text.strip().lower() for c in choices):
            return ""
        return f"no letter of a choice (A-{chr(64 + min(last, 26))}) at the beginning: {clip(text, 40)!r}"

    def _regex(self, text: str, _row: Row) -> str:
        found = _compiled(self.pattern).search(text[: self.most])
        return "" if found else f"nothing matches {clip(self.pattern)!r}"


@cache
def _compiled(pattern: str) -> Any:
    """Return the compiled pattern, or why it does not compile; RE2 runs in linear time whatever a suite asks."""
    import re2

    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        text = error.args[0] if error.args else error
        return text.decode(errors="replace") if isinstance(text, bytes) else str(text)


def _parse(text: str, most: int) -> str:
    """Return why a text is not JSON; nothing where it is."""
    if len(text) > most:
        return f"{len(text)} characters are more than {most}"
    try:
        json.loads(text, parse_int=len, parse_constant=_refuse)
    except RecursionError:
        return "nested too deeply"
    except ValueError as error:
        return str(error)[:100]
    return ""


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
