"""Two runs' errors side by side, for a terminal (100 columns) and as Markdown: one table, and answers as evidence."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from evalkit.report.advice import advice
from evalkit.report.markdown import code, fitted, folded, grid, plain
from evalkit.report.pick import View, evidence
from evalkit.report.table import empty_table, printed
from evalkit.report.terminal import SEVERITY_STYLE, WIDTH, example
from evalkit.report.visible import one_line
from evalkit.report.wording import points, shown_change, shown_interval
from evalkit.shift import Shift, Shifts
from evalkit.types import Row, Tag

HEADER = ("error", "share, %", "change", "95 % interval", "new in", "gone from", "severity")
LEGEND = (
    "share of the answers, and its paired change, in points of 100 · new in, gone from: answers that have the error in "
    "the second run alone, in the first alone · the costliest first"
)


def render(found: Shifts, view: View | None = None, *, color: bool = False, width: int = WIDTH) -> str:
    """Return the table and the evidence as text; without colour, evidence stands between guillemets."""
    view = view or View()
    shifts = _chosen(found, view)
    parts: list[RenderableType] = [Text(_headline(found), "bold"), *(Text(line, "dim") for line in _about(found))]
    if shifts:
        parts += [_table(shifts), Text(LEGEND, "dim"), *(Text(line) for line in _verdicts(shifts, one_line))]
    for shift in shifts[: view.top]:
        for title, shown in _evidence(found, shift, view.examples):
            parts.append(Text(f"\n{title}", "bold " + SEVERITY_STYLE[shift.severity]))
            parts += [Text(hint, "italic")] if (hint := advice(shift.category)) else []
            for row, tag, other in shown:
                text = example(row, tag, mark=not color)
                text.append(f"\nother run: {one_line(other, 160) or '(empty)'}", "dim")
                parts.append(Padding(text, (0, 0, 0, 2)))
    return printed(Group(*parts), color=color, width=width)


def markdown(found: Shifts, view: View | None = None) -> str:
    """Return the table and the evidence as Markdown; foreign text stands in code spans only."""
    return fitted(parts(found, view))


def parts(found: Shifts, view: View | None = None) -> list[list[str]]:
    """Return the same as parts, of which a short report may leave out the later ones."""
    view = view or View()
    shifts = _chosen(found, view)
    lines = [f"## {plain(_headline(found))}", "", *(f"- {_escaped(line)}" for line in _about(found))]
    if shifts:
        lines += ["", *grid(HEADER, [(plain(one_line(s.category)), *_cells(s)) for s in shifts]), "", f"{LEGEND}.", ""]
        lines += [f"- {line}" for line in _verdicts(shifts, plain)]
    details = [
        folded(title, [line for entry in shown for line in _entry(*entry)])
        for shift in shifts[: view.top]
        for title, shown in _evidence(found, shift, view.examples)
    ]
    return [lines, *details]


def _chosen(found: Shifts, view: View) -> tuple[Shift, ...]:
    return tuple(s for s in found.shifts if view.category in ("", s.category))


def _headline(found: Shifts) -> str:
    before, after = found.clean
    asked = len(found.comparison.items)
    questions = f"{asked} question" if asked == 1 else f"{asked} questions"
    return f"{one_line(found.comparison.suite, 40)}: {questions}, without any error {before} -> {after}"


def _about(found: Shifts) -> Iterator[str]:
    """Yield which runs these are, and what a reader must know about them."""
    c = found.comparison
    before, after = (one_line(model, 60) or "unnamed model" for model in c.models)
    yield f"{before} -> {after}"
    yield f"runs {one_line(c.baseline, 40)} -> {one_line(c.candidate, 40)}"
    for remark in c.unlike:
        yield f"note: the runs differ in {one_line(remark)}"
    for remark in c.remarks:
        yield f"note: the runs also differ in {one_line(remark)}"
    if found.left_out:
        more = "1 more question" if found.left_out == 1 else f"{found.left_out} more questions"
        yield f"note: {more} left out, unanswered in one of the runs"
    if not c.tagged:
        yield "note: no tagger looked for errors"


def _cells(shift: Shift) -> tuple[str, ...]:
    c = shift.check
    share = f"{points(c.baseline)} -> {points(c.candidate)}"
    return share, shown_change(c), shown_interval(c), str(c.broken), str(c.fixed), shift.severity


def _table(shifts: Sequence[Shift]) -> Table:
    table = empty_table(HEADER, ("error", "severity"))
    for shift in shifts:
        style = {1: "red", -1: "green"}.get(shift.sign, "")
        share, change, *rest, severity = _cells(shift)
        table.add_row(
            Text(one_line(shift.category, 40), "bold"), share, Text(change, style), *rest,
            Text(severity, SEVERITY_STYLE[shift.severity]),
        )  # fmt: skip
    return table


def _verdicts(shifts: Sequence[Shift], shown: Callable[[str], str]) -> list[str]:
    """Return which errors are shown to have changed: those whose interval excludes no change."""
    lines = []
    for sign, word in ((1, "more"), (-1, "less")):
        names = [shown(s.category) for s in shifts if s.sign == sign]
        lines += [f"{word} in the second run, by the interval: {', '.join(names)}"] if names else []
    return lines or ["no category is shown to have changed: every interval holds 0"]


def _evidence(found: Shifts, shift: Shift, count: int) -> Iterator[tuple[str, list[tuple[Row, Tag, str]]]]:
    """Yield a title, and answers that show the error with the other run's: the new ones, or the gone."""
    gained, lost = found.gained(shift.category), found.lost(shift.category)
    new, gone = (len(set(rows.numbers.tolist())) for rows in (gained, lost))
    if new and new >= gone:
        rows, others, what = gained, found.comparison.before, f"new in {new}"
    elif gone:
        rows, others, what = lost, found.comparison.after, f"gone from {gone}"
    else:
        return
    shown = evidence(rows, shift.category, count)
    others_said = [others.answers_to(row.example.id)[0].response.text for row, _ in shown]
    yield (
        f"{one_line(shift.category, 40)}: {what}",
        [(*pair, said) for pair, said in zip(shown, others_said, strict=True)],
    )


def _entry(row: Row, tag: Tag, other: str) -> list[str]:
    return [
        f"- {code(row.example.id, 60)} {code(row.example.question, 100)}",
        f"  - {code(row.response.text, 240)}",
        f"  - {code(tag.why, 180)} ({tag.severity}, confidence {tag.confidence:.2f})",
        f"  - other run: {code(other, 160)}",
    ]


def _escaped(line: str) -> str:
    return "".join(f"\\{c}" if c in "\\`*_{}[]<>#|!&~" else c for c in line)
