"""Mend one answer: take out leaked strings, repeats and known misspellings, and say what was done. Pure.

What is taken out is never replaced by anything new: text is cut, or a word gets the spelling that is known to be right.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from evalkit.taggers.leak import Leak
from evalkit.taggers.misspelling import Misspelling
from evalkit.taggers.repetition import Repetition, loops_of
from evalkit.taggers.text import WORD, count_words, lowered, sentences
from evalkit.types import SEVERITY_WEIGHTS, Example, Response, Row, Tag

TWICE_WORDS = 6
"""Words of a sentence that no writer says twice in one answer."""
_TURN = (
    r"(?:<\|im_start\|>|<start_of_turn>|<\|start_header_id\|>)\s*(?:{roles})\b(?:<\|end_header_id\|>)?|<\|(?:{roles})\|>"
    r"|^[ \t]*(?:#{{2,4}}[ \t]*(?:{roles})|<?(?:{roles})>?)[ \t]*:|{token}"
)
_ASKED = re.compile(
    _TURN.format(roles="question|instruction|input|human|user|system|student", token=r"\[INST\]|<<SYS>>"), re.I | re.M
)
_ANSWERED = re.compile(
    _TURN.format(roles="answer|response|output|assistant|model|bot|ai", token=r"\[/INST\]"), re.I | re.M
)
_ENDS = re.compile(r"[.!?…。！？:;)\]\"'”’`]\s*$")


@dataclass(frozen=True, slots=True)
class Mended:
    """An answer after one kind of repair."""

    text: str
    """The answer as it is now."""
    action: str
    """`fix` or `trim`; `review` where nothing can be changed without a person."""
    tag: Tag
    """The gravest tag that asked for it."""


def row_to_tag(question: str, answer: str) -> Row:
    """Return a training row as evalkit's taggers take it: as if a model had answered, without a reference."""
    return Row(Example("", question), Response(text=answer))


def graves(tags: list[Tag]) -> Tag | None:
    """Return the gravest tag above `info`."""
    found = [tag for tag in tags if tag.severity != "info"]
    return max(found, key=lambda tag: (SEVERITY_WEIGHTS[tag.severity], tag.confidence), default=None)


def mend_leak(row: Row, tagger: Leak) -> Mended | None:
    """Remove leaked strings: one at the beginning alone, one further on with all that follows it.

    What comes after a marker is another turn, which the answer never was. A question at the beginning goes up to the
    marker of its answer; where there is no such marker, a person is asked.
    """
    text, action, worst = row.response.text, "fix", None
    for _ in range(10):
        tags = [
            tag for tag in tagger(replace(row, response=Response(text=text))) if tag.category == "leak" and tag.span
        ]
        if not tags:
            break
        worst = worst or graves(tags)
        start, end = tags[0].span or (0, 0)
        if not count_words(text[:start]):
            rest = _begun(text[start:], end - start)
            if rest is None:
                return Mended(row.response.text, "review", worst) if worst else None
            text = (text[:start] + rest).strip()
        else:
            action = "trim" if count_words(text[end:]) else action
            text = text[:start].rstrip()
    return Mended(text, action, worst) if worst else None


def _begun(text: str, end: int) -> str | None:
    """Return what a text that begins with a leak of `end` characters answers; None where it only asks."""
    asked = _ASKED.match(text)
    answered = _ANSWERED.search(text, asked.end()) if asked else _ANSWERED.match(text)
    if asked and not answered:
        return None
    return text[answered.end() if answered else end :]


def mend_repetition(row: Row, tagger: Repetition) -> Mended | None:
    """Keep one copy of what an answer repeats: a loop, a run of characters, a sentence that stands there again."""
    text, worst = row.response.text, graves(list(tagger(row)))
    for _ in range(10):
        loops = [
            loop for loop in loops_of(text, tagger) if loop.severity != "info" and loop.kind in ("loop", "characters")
        ]
        if not loops:
            break
        loop = loops[-1]
        text = _once(text, loop.start, loop.end, len(loop.unit))
    shorter = said_once(text, near=worst is not None)
    if shorter != text and worst is None:
        lost = len(text) - len(shorter)
        why = f"says the same sentence again: {lost} of {len(text)} characters are repeats"
        worst = Tag("repetition", "major" if lost >= 0.3 * len(text) else "minor", why, None, 0.9)
    return Mended(shorter, "trim", worst) if worst and shorter != row.response.text else None


def _once(text: str, start: int, end: int, unit: int) -> str:
    """Return a text with one copy of a loop, up to the end of a sentence where the loop ran to the end of the text."""
    kept = text[: start + unit]
    rest = text[end:]
    closing = re.match(r"\s*[.!?…]", text[start + unit :])
    if closing and not _ENDS.search(kept):
        kept += closing.group().strip()
    if re.fullmatch(r"[\s.!?…]*", rest):
        return kept.rstrip()
    return kept + ("" if rest[:1].isspace() or not rest[:1].isalnum() else " ") + rest


def said_once(text: str, near: bool = False) -> str:
    """Return a text without sentences of TWICE_WORDS or more words that it holds already, with `near` nearly so."""
    kept: list[tuple[int, int]] = []
    known: list[list[str]] = []
    spans = sentences(text)
    for start, end in spans:
        said = WORD.findall(lowered(text[start:end]))
        again = any(said == other or (near and _alike(said, other)) for other in known)
        if len(said) >= TWICE_WORDS and again:
            continue
        kept.append((start, end))
        known.append(said)
    if len(kept) == len(spans):
        return text
    return _joined(text, spans, kept)


def _alike(one: Sequence[str], other: Sequence[str]) -> bool:
    """Say whether two sentences have four of five words in common, in any order."""
    mine, theirs = set(one), set(other)
    return len(mine & theirs) >= 0.8 * len(mine | theirs)


def _joined(text: str, spans: list[tuple[int, int]], kept: list[tuple[int, int]]) -> str:
    """Return the kept sentences with the space that stood behind each."""
    gaps = {span: text[span[1] : after[0]] for span, after in pairwise(spans)}
    parts = [text[start:end] + gaps.get((start, end), "") for start, end in kept]
    return (text[: spans[0][0]] + "".join(parts)).rstrip()


def mend_spelling(row: Row, tagger: Misspelling) -> Mended | None:
    """Write known misspellings (tier 1) as they are meant; likely ones are left to a person."""
    text, worst = row.response.text, None
    for _ in range(50):
        tags = [
            t for t in tagger(replace(row, response=Response(text=text))) if t.confidence >= tagger.known_confidence
        ]
        if not tags:
            break
        start, end = tags[0].span or (0, 0)
        meant = _meant(text[start:end], tagger.table)
        if not meant:
            break
        worst = worst or tags[0]
        text = text[:start] + meant + text[end:]
    return Mended(text, "fix", worst) if worst else None


def _meant(word: str, table: Mapping[str, tuple[str, int]]) -> str:
    """Return the known spelling of a word in its own case; empty where none is known."""
    meant, tier = table.get(word.lower(), ("", 2))
    if tier != 1:
        return ""
    if word.isupper():
        return meant.upper()
    return meant[:1].upper() + meant[1:] if word[:1].isupper() else meant


Mend = Callable[[Row], Mended | None]


def mended(row: Row, steps: Mapping[str, Mend]) -> Iterator[tuple[str, Mended]]:
    """Yield (category, what was done) of each step that changes the answer; each works on what the one before left.

    Where a step asks for a person, the others are not taken.
    """
    for category, step in steps.items():
        done = step(row)
        if done is not None and done.action == "review":
            yield category, done
            return
        if done is not None and done.text != row.response.text:
            yield category, done
            row = replace(row, response=Response(text=done.text))
