"""Which answers to show as evidence, and which part of them. Pure; shared by every report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from evalkit.report.visible import one_line, visible
from evalkit.report.wording import count as counted
from evalkit.types import SEVERITY_WEIGHTS, Row, Run, Tag

Evidence = tuple[Row, Tag]
"""An answer, and the error in it that is shown."""
MANY = 1000
"""Answers that are held at a time while the ones to show are looked for."""
BEFORE, INSIDE, AFTER = 70, 160, 70
"""Characters shown before, inside and after the evidence."""


@dataclass(frozen=True)
class View:
    """What of a run is shown."""

    examples: int = 3
    """Answers shown per category."""
    top: int = 5
    """Categories that are shown with answers."""
    category: str = ""
    """Show this category alone."""
    slice_key: str = ""
    """Show the slices by this key of meta; empty: every key, the five worst slices each."""
    costs: Mapping[str, float] = field(default_factory=dict)
    """Category -> cost of one tag that overrides its severity."""


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A part of an answer with its evidence in the middle, already visible and on one line."""

    before: str
    """Text before the evidence."""
    inside: str
    """The evidence."""
    after: str
    """Text after it."""


def evidence(rows: Iterable[Row], category: str, count: int) -> list[Evidence]:
    """Return up to `count` answers with their gravest tag of a category: the clearest first, a borderline one last."""
    return evidence_of(rows, [category], count)[category]


def evidence_of(rows: Iterable[Row], categories: Iterable[str], count: int) -> dict[str, list[Evidence]]:
    """Return the evidence of several categories, the rows gone through once."""
    found: dict[str, list[Evidence]] = {category: [] for category in categories}
    for row in rows:
        for category in {tag.category for tag in row.tags} & found.keys():
            held = found[category]
            held.append((row, max((tag for tag in row.tags if tag.category == category), key=_clarity)))
            if len(held) > count + MANY:
                held[:] = _ends(held, count + 1)
    return {category: _ends(held, count) for category, held in found.items()}


def _ends(found: list[Evidence], count: int) -> list[Evidence]:
    """Return the clearest of some evidence and, as one of `count`, the least clear."""
    ranked = sorted(found, key=lambda pair: _clarity(pair[1]), reverse=True)
    return ranked[:count] if count < 2 or len(ranked) <= count else [*ranked[: count - 1], ranked[-1]]


def excerpt(text: str, span: tuple[int, int] | None) -> Excerpt:
    """Cut the part of an answer around its evidence; without a span, the answer's start."""
    if span is None:
        return Excerpt(_flat(text[: BEFORE + INSIDE]) + ("…" if len(text) > BEFORE + INSIDE else ""), "", "")
    start, end = span
    head, tail = text[max(0, start - BEFORE) : start], text[end : end + AFTER]
    inside = text[start:end]
    if len(inside) > INSIDE:
        inside = f"{inside[: INSIDE - 40]} … {inside[-36:]}"
    return Excerpt(
        ("…" if start > BEFORE else "") + _flat(head),
        _flat(inside),
        _flat(tail) + ("…" if len(text) > end + AFTER else ""),
    )


def _clarity(tag: Tag) -> tuple[float, float]:
    return SEVERITY_WEIGHTS[tag.severity], tag.confidence


def _flat(text: str) -> str:
    """Return visible text with line breaks shown as a sign, so that an excerpt keeps to its lines."""
    return visible(text).replace("\n", "⏎").replace("\t", " ")


def remarks(run: Run) -> list[str]:
    """Return what a reader must know of how the answers were made, a line each."""
    cut = sum(row.response.truncated_tokens > 0 for row in run.rows)
    prompts = [f"{counted(cut, 'prompt')} cut at the left to fit the model's context"] if cut else []
    return [*prompts, *(one_line(warning) for warning in run.manifest.get("warnings", ()))]
