"""A plan as text: a table for the terminal, and the same with reasons and before/after as Markdown. Pure."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from evalkit.report.markdown import code, grid, plain
from evalkit.report.table import empty_table
from evalkit.report.visible import one_line
from trainkit.curate.edits import NAMING, Edit, Plan, most_rows, rows_named

WIDTH = 100
SHOWN = 20
"""Edits that the terminal shows."""
CAUSES = ("error", "items", "tuned, %", "base, %", "training, %", "odds", "p", "where it comes from")


def render(plan: Plan, *, shown: int = SHOWN) -> str:
    """Return a plan for a terminal, its first edits and what the others are."""
    file = io.StringIO()
    console = Console(file=file, width=WIDTH, no_color=True, highlight=False, markup=False, emoji=False)
    for line in (_headline(plan), *_settings(plan), ""):
        console.print(Text(line))
    if causes := _causes(plan):
        console.print(_table(CAUSES, causes, (CAUSES[0], CAUSES[-1])), Text())
    for line in _lines(plan.edits[:shown]):
        console.print(Text(line))
    if len(plan.edits) > shown:
        console.print(Text(f"and {len(plan.edits) - shown} more edits; plan.md and plan.json hold all"))
    console.print(Text(_summary(plan)))
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines()) + "\n"


def markdown(plan: Plan) -> str:
    """Return the whole plan as Markdown; foreign text stands in code spans only."""
    lines = [f"# Plan {plan.id}", "", _headline(plan), "", *(f"- {one_line(line)}" for line in _settings(plan)), ""]
    if causes := _causes(plan):
        lines += ["## Where errors come from", "", *grid(CAUSES, [tuple(map(plain, row)) for row in causes]), ""]
    lines += ["## Edits", "", _summary(plan), ""]
    for edit in plan.edits:
        lines += [f"### {edit.id}: {edit.action}, {plain(edit.category)}", "", *_told(edit), ""]
    return "\n".join(lines).rstrip() + "\n"


def _told(edit: Edit) -> Iterator[str]:
    if edit.row_id:
        yield f"- row {code(edit.row_id)}, line hash {edit.row_hash or 'none'}"
    yield f"- why: {code(one_line(edit.reason, 400))}"
    yield f"- confidence {edit.confidence:.2f}, {edit.severity}; failing items: {_items(edit)}"
    if edit.before and edit.action in NAMING:
        yield f"- before: {code(one_line(edit.before, 600))}"
    if edit.after and edit.after != edit.before:
        yield f"- after: {code(one_line(edit.after, 600))}"


def _items(edit: Edit) -> str:
    listed = ", ".join(code(item) for item in edit.explains[:10])
    more = f", and {len(edit.explains) - 10} more" if len(edit.explains) > 10 else ""
    return listed + more or "none known"


def _headline(plan: Plan) -> str:
    most = most_rows(plan.rows, plan.budget)
    return (
        f"plan {plan.id}: {len(plan.edits)} edits that name {len(rows_named(plan.edits))} of {plan.rows} rows "
        f"(budget {plan.budget:g}: {most})"
    )


def _summary(plan: Plan) -> str:
    counts = Counter(edit.action for edit in plan.edits)
    told = ", ".join(f"{n} {action}" for action, n in counts.most_common()) or "nothing to edit"
    return told + (f"; {plan.left_out} edits found no room in the budget" if plan.left_out else "")


def _settings(plan: Plan) -> Iterator[str]:
    """Yield what must be looked at before any row, a line each."""
    facts: Mapping[str, Any] = (plan.facts or {}).get("configuration", {})
    if n := facts.get("cut_targets"):
        yield f"{n} of {plan.rows} training answers stop in mid sentence"
    if n := facts.get("truncated_in_training"):
        yield f"{n} rows were trained cut, without their end"
    if facts.get("trained_on_this_file") is False:
        yield "the run's model was not trained on this file"
    if n := facts.get("held_out_overlap"):
        yield f"{n} rows are held-out questions or nearly so, and go"
    if n := facts.get("dev_overlap"):
        yield f"{n} rows are questions of the run or nearly so: the tuned model has seen their answers"
    yield from (plan.facts or {}).get("notes", ())


def _causes(plan: Plan) -> list[tuple[str, ...]]:
    def share(value: float | None) -> str:
        return "-" if value is None else f"{100 * value:.1f}"

    def figure(value: float | None, digits: int) -> str:
        return "-" if value is None else f"{value:.{digits}f}"

    return [
        (one_line(c["category"], 20), str(c["failing"]), share(c["tuned"]), share(c["base"]), share(c["training"]),
         figure(c["odds"], 1), figure(c["p"], 3), c["verdict"])
        for c in (plan.facts or {}).get("causes", ())
    ]  # fmt: skip


def _lines(edits: Sequence[Edit]) -> Iterator[str]:
    """Yield two lines an edit, its figures in columns and its reason below."""
    if edits:
        yield f"{'edit':<10}{'action':<13}{'error':<18}{'row':<34}{'items':>5}{'confidence':>12}"
    for edit in edits:
        where = one_line(edit.row_id, 32) or "-"
        figures = f"{len(edit.explains):>5}{edit.confidence:>12.2f}"
        yield f"{edit.id:<10}{edit.action:<13}{one_line(edit.category, 16):<18}{where:<34}{figures}"
        yield f"{'':<10}{one_line(edit.reason, WIDTH - 10)}"
    if edits:
        yield ""


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], left: Sequence[str]) -> Table:
    table = empty_table(header, left)
    for row in rows:
        table.add_row(*map(Text, row))
    return table
