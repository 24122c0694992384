"""Find answers that decline to answer, in English and in Korean, where no reference declines too.

It reads the beginning of an answer. It does not know whether declining was right.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from evalkit.taggers.text import clip, require, silent, whole
from evalkit.types import Row, Tag

_SORRY = (
    r"(?:(?:i(?:['’]m| am) (?:very |so |really |truly )?|we(?:['’]re| are) )?(?:sorry|afraid)"
    r"|(?:my |i )?apolog(?:ies|ize|ise)|unfortunately)"
)
_ACTS = (
    r"(?:help|assist|provide|answer|fulfill|comply|complete|do (?:that|this)|discuss|give|create|write|generate|engage"
    r"|access|offer|share|support|produce|recommend|determine|perform|browse|view|see|open|process|carry|continue)"
)
_CANNOT = (
    r"i(?:['’]m| am)?\s+(?:currently\s+|simply\s+)?(?:"
    r"(?:can(?:not|['’]t| not)|could(?:n['’]t| not)|won['’]t|will not|wouldn['’]t)(?: be able to)? (?:\w+ ){0,2}?"
    rf"{_ACTS}|(?:unable|not able|not allowed|not permitted|not comfortable|not equipped|not qualified) (?:to|with)"
    r"|(?:must|have to) (?:decline|refuse)|decline to"
    r"|do(?:n['’]t| not) have (?:access|the (?:ability|capabilit(?:y|ies)|capacity|expertise)|real-time"
    r"|(?:any |enough |sufficient )?information))"
)
_AS_AN_AI = r"as an? (?:ai\b|artificial intelligence|(?:large )?language model|(?:virtual |digital )?assistant)"
_REFUSES = re.compile(
    rf"(?:^|[.!?,;:\"“\n]\s*|\bbut )(?:{_SORRY}[^.!?\n]{{0,80}}?\b)?{_CANNOT}"
    rf"|{_AS_AN_AI}[^.!?\n]{{0,120}}?\b(?:cannot|can['’]t|can not|unable|not able|do(?:n['’]t| not) have|am not)"
    rf"|^(?:{_SORRY},? (?:but )?)?i do(?:n['’]t| not) (?:know(?! every| why)|have an answer)"
    r"|^(?:sorry|no comment|i refuse|i decline|i['’]d rather not|i would rather not)\b"
    r"|(?:it is|it['’]s) (?:not possible|impossible) (?:for me )?to (?:answer|determine|provide)"
    r"|(?:죄송(?:하지만|합니다만|합니다)|유감(?:스럽게도|이지만))[^.\n]{0,60}(?:수 없|어렵|못|드릴 수)"
    r"|(?:답변|도움|도와|제공|대답)[^.\n]{0,20}(?:할|드릴|해\s?드릴)\s*수\s*없",
    re.I,
)


@dataclass(frozen=True)
class Refusal:
    """Tag answers whose beginning declines the request."""

    reach: int = 240
    """Characters of the beginning that are read."""

    def __post_init__(self) -> None:
        """Refuse settings that make no sense."""
        require(whole(self.reach, 20), "refusal", "reach", self.reach, "a whole number from 20")

    def __call__(self, row: Row) -> Iterable[Tag]:
        """Yield at most one tag; a long answer that goes on after declining is minor."""
        if silent(row):
            return
        text = row.response.text
        indent = len(text) - len(text.lstrip())
        found = _REFUSES.search(text[indent : indent + self.reach])
        if found is None or any(_REFUSES.search(t.strip()[: self.reach]) for t in row.example.target):
            return
        start = indent + found.start() + len(found.group()) - len(found.group().lstrip(' \t\n.,;:!?"“'))
        goes_on = len(text) > indent + found.end() + 600
        why = f"declines at character {start}: {clip(found.group().strip(' .,;:!?'))!r}"
        why += ", then goes on" if goes_on else ""
        yield Tag(
            "refusal", "minor" if goes_on else "major", why, (start, indent + found.end()), 0.7 if goes_on else 0.85
        )
