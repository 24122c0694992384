"""Findings and evidence -> a plan: one edit a row, ordered by what it explains, within the budget. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from trainkit.curate.attribute import Attribution
from trainkit.curate.audit import Audit, Finding
from trainkit.curate.edits import NAMING, REMOVING, Edit, most_rows
from trainkit.curate.effects import Effect, trust
from trainkit.curate.lines import DataSet
from trainkit.errors import TrainError

BASE_MODEL = 0.5
"""What the confidence of an edit is multiplied by where the base model makes the error as often."""
LIFTED, LIFT_P = 1.25, 0.05
"""What it is multiplied by where defective rows stand near failing items, and the p-value that shows it."""


def draft(
    data: DataSet,
    audit: Audit,
    evidence: Attribution,
    *,
    first: Sequence[Edit] = (),
    effects: Sequence[Effect] = (),
    only: str | None = None,
    budget: float = 0.2,
) -> tuple[tuple[Edit, ...], int]:
    """Return the edits of a plan, and how many the budget left out.

    `first` are edits that come before all others: settings, and rows that must go. `only` keeps the edits of one
    category, with `first`.
    """
    gone = {edit.row_id for edit in first if edit.action in REMOVING}
    found = [f for f in audit.findings if f.action != "dedupe" or f.other not in gone]  # no row stays that it copies
    wanted = [*_mending(data, found, evidence, only), *_sources(data, audit, evidence), *_requests(audit, evidence)]
    chosen = [edit for edit in wanted if only in (None, edit.category)]
    weighed = [replace(edit, confidence=round(edit.confidence * trust(effects, edit), 3)) for edit in chosen]
    edits = [*first, *sorted(_covered(weighed, data, first, budget), key=lambda edit: edit.rank)]
    return within(edits, most_rows(len(data.rows), budget))


def within(edits: Iterable[Edit], most: int) -> tuple[tuple[Edit, ...], int]:
    """Return the edits that name no more than `most` rows together, in order, and how many are left out."""
    kept: list[Edit] = []
    named: set[str] = set()
    left = 0
    for edit in edits:
        if edit.action in NAMING and edit.row_id not in named:
            if len(named) == most:
                left += 1
                continue
            named.add(edit.row_id)
        kept.append(edit)
    return tuple(kept), left


def _mending(data: DataSet, findings: Iterable[Finding], evidence: Attribution, only: str | None) -> Iterator[Edit]:
    """Yield an edit for each finding, with the failing items that point at its row."""
    causes = {cause.category: cause for cause in evidence.causes}
    for found in findings:
        category = only if only in found.categories else found.categories[0]
        cause, name = causes.get(category), found.row.id
        items = {*(cause.rows.get(name, ()) if cause else ()), *evidence.sources.get(name, ())}
        confidence, reason = found.confidence, found.reason
        if cause and cause.verdict == "base model":
            confidence *= BASE_MODEL
            reason += f"; the base model has {category} as often"
        elif cause and cause.p is not None and cause.p <= LIFT_P and (cause.odds or 0) > 1:
            confidence = min(1.0, confidence * LIFTED)
            reason += f"; such rows stand near failing items (odds {cause.odds:.1f}, p {cause.p:.3f})"
        yield _edit(data, found, category, tuple(sorted(items)), confidence, reason)


def _edit(data: DataSet, found: Finding, category: str, items: tuple[str, ...], confidence: float, reason: str) -> Edit:
    name = found.row.id
    return Edit(
        found.action, category, name, data.hashes[name], found.row.answer, found.after, reason, items, confidence,
        found.severity,
    )  # fmt: skip


def _sources(data: DataSet, audit: Audit, evidence: Attribution) -> Iterator[Edit]:
    """Yield a review of each clean row that wrong answers repeat word for word."""
    known = {found.row.id for found in audit.findings}
    for name, items in evidence.sources.items():
        if name not in known:
            answer = data.named[name].answer
            reason = f"{len(items)} wrong answers repeat eight or more words of it: is its question too wide?"
            yield Edit("review", "verbatim", name, data.hashes[name], answer, answer, reason, items, 0.5, "minor")


def _requests(audit: Audit, evidence: Attribution) -> Iterator[Edit]:
    """Yield what a person should write: rows where questions have no neighbour, answers where there is none."""
    for gap in evidence.gaps:
        reason = f"{len(gap.items)} failing questions: {gap.why}"
        about = f"rows about: {gap.about or 'these questions'}; other wordings than the suite's"
        yield Edit("add_request", "coverage", after=about, reason=reason, explains=gap.items, confidence=0.6,
                   severity="major")  # fmt: skip
    for found in audit.findings:
        if "empty" in found.categories:
            yield Edit("add_request", "empty", found.row.id, after="an answer to this row's question",
                       reason="the row has no answer; none is invented", confidence=1.0, severity="minor")  # fmt: skip


def _covered(edits: Sequence[Edit], data: DataSet, first: Sequence[Edit], budget: float) -> Iterator[Edit]:
    """Yield edits so that no topic loses more than the budget's share of its rows by `drop`; the rest is reviewed.

    A duplicate does not count: its content stays.
    """
    topic = {row.id: str(row.meta.get("topic", "")) for row in data.rows}
    size = Counter(topic.values())
    lost: Counter[str] = Counter()
    gone = {edit.row_id for edit in first if edit.action in NAMING}
    for edit in sorted(edits, key=lambda e: e.rank):
        if edit.row_id and edit.row_id in gone and edit.action in NAMING:
            continue
        if edit.action == "drop" and edit.before.strip():
            of = topic[edit.row_id]
            if lost[of] + 1 > size[of] * budget:
                where = f"topic {of!r}" if of else "the set"
                yield replace(
                    edit, action="review", after=edit.before, reason=f"{edit.reason}; {where} would lose too much"
                )
                continue
            lost[of] += 1
        yield edit


def held_out_edits(data: DataSet, overlap: Mapping[str, tuple[str, float]], budget: float) -> list[Edit]:
    """Return a drop for each row that is a held-out question, or nearly one.

    Raises:
        TrainError: the budget has no room for all of them; a version that keeps some would train on the test.
    """
    most = most_rows(len(data.rows), budget)
    if len(overlap) > most:
        raise TrainError(
            f"{data.path}: {len(overlap)} rows are held-out questions or nearly so ({next(iter(overlap))} first), "
            f"and a budget of {budget:g} allows {most} edits; raise --budget, or take those rows out first"
        )
    return [
        Edit("drop", "held_out", name, data.hashes[name], data.named[name].answer, "",
             f"its question is held-out item {item} (similarity {similarity:.2f}): it may only judge", (), 1.0,
             "critical")
        for name, (item, similarity) in overlap.items()
    ]  # fmt: skip
