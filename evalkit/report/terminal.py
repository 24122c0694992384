"""A run as text for a terminal: verdict line, metrics, ranked errors, evidence, slices. At most 100 columns wide."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from typing import Any

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from evalkit.analyze import Analysis, Category, Estimate, analyze, lens_of, tagged
from evalkit.report.advice import advice
from evalkit.report.pick import View, evidence_of, excerpt, remarks
from evalkit.report.table import empty_table
from evalkit.report.visible import one_line
from evalkit.report.wording import count
from evalkit.types import SEVERITY_WEIGHTS, Row, Run, Tag

WIDTH = 100
SEVERITY_STYLE = {"critical": "bold red", "major": "red", "minor": "yellow", "info": "dim"}
_AS_IT_IS: Mapping[str, Any] = {"highlight": False, "markup": False, "emoji": False}
"""Text is never parsed: not as markup, not as `:smile:`."""
_SVG = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
"""rich's frame without its fonts, which a viewer would fetch from a server."""


_GAP = Text("")


def render(run: Run, view: View | None = None, *, color: bool = False, width: int = WIDTH) -> str:
    """Return the report; without colour, evidence stands between guillemets."""
    console = Console(file=io.StringIO(), width=width, force_terminal=color, no_color=not color, **_AS_IT_IS)
    console.print(layout(run, view or View(), mark=not color))
    assert isinstance(console.file, io.StringIO)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines()) + "\n"


def render_svg(run: Run, view: View | None = None, *, width: int = WIDTH) -> str:
    """Return the report as a picture of a terminal."""
    console = Console(file=io.StringIO(), width=width, record=True, force_terminal=True, **_AS_IT_IS)
    console.print(layout(run, view or View(), mark=False))
    return console.export_svg(title=f"evalkit report · {one_line(run.suite)}", code_format=_SVG)


def layout(run: Run, view: View, *, mark: bool) -> Group:
    """Return everything that is shown, as rich renderables."""
    found = analyze(run.rows, lens_of(run, view.costs))
    if view.category:
        return Group(*_category_parts(run, found, view, mark))
    parts: list[RenderableType] = [*_head(run, found), _GAP, _metrics(found)]
    if found.categories:
        parts += [_GAP, _errors(found), *_notes(run, found, view), *_category_parts(run, found, view, mark)]
    parts += [*(_unclassified(found) if tagged(run) else ()), *_slices(found, view)]
    return Group(*parts)


def _head(run: Run, found: Analysis) -> list[RenderableType]:
    main = next((m for m in found.metrics if m.name == found.primary), None)
    line = Text()
    line.append(f"{one_line(run.suite)} {one_line(found.primary)} ", "bold")
    line.append(_interval(main.estimate) if main and main.estimate else "not scored", "bold")
    line.append(f" · {count(found.answers, 'answer')}")
    line.append(f", {found.clean} without an error" if tagged(run) else "")
    if found.categories:
        worst = found.categories[0]
        line.append(f" · {one_line(worst.name)} costs most")
    split = one_line(run.manifest["identity"]["split"])
    about = Text(f"model {one_line(run.model, 60)} · run {one_line(run.id)} · {split}", "dim")
    return [line, about, *(Text(remark, "yellow") for remark in remarks(run))]


def _metrics(found: Analysis) -> Table:
    table = _table("metric", "mean", "95 % interval", "scored", "not scored", "failed requests")
    for metric in found.metrics:
        e = metric.estimate
        name = metric.name + (" *" if metric.name == found.primary else "")
        unscored = metric.unscored - found.errors
        table.add_row(
            one_line(name), f"{e.value:.3f}" if e else "-", f"{e.low:.3f} – {e.high:.3f}" if e else "-",
            str(metric.scored), str(unscored), str(found.errors), style="bold" if name.endswith("*") else None,
        )  # fmt: skip
    return table


def _errors(found: Analysis) -> Table:
    trained = any(c.training is not None for c in found.categories)
    columns = ("error", "answers", "first", "share", "95 % interval", "refs", *(["train"] if trained else []))
    table = _table(*columns, "severity", "priority", "ceiling")
    for c in found.categories:
        norms = [c.references, c.training] if trained else [c.references]
        table.add_row(
            Text(one_line(c.name) + (" ?" if c.noisy else ""), "bold"), str(c.answers), str(c.primary),
            _percent(c.rate.value), f"{_percent(c.rate.low)} – {_percent(c.rate.high)}",
            *("-" if share is None else _percent(share) for share in norms),
            Text(c.severity, SEVERITY_STYLE[c.severity]), f"{c.priority:.1f}", f"+{c.ceiling:.1f}",
        )  # fmt: skip
    return table


def _notes(run: Run, found: Analysis, view: View) -> list[RenderableType]:
    """Return the lines under the table of errors: what its columns mean, and where they mislead."""
    weights = ", ".join(f"{name} {weight:g}" for name, weight in SEVERITY_WEIGHTS.items())
    lines = [
        "first: answers whose first error it is, by a fixed precedence; refs: share of the references that have it",
        f"priority: share x severity ({weights}) x confidence, in points; "
        f"ceiling: points of {found.primary} to win if the error vanished",
    ]
    if view.costs:
        lines.append(f"costs as given: {', '.join(f'{name} {cost:g}' for name, cost in view.costs.items())}")
    ranked = tuple(c.name for c in found.categories)
    if found.by_count != ranked:
        lines.append(f"by frequency alone: {', '.join(found.by_count)}")
    if noisy := [c.name for c in found.categories if c.noisy]:
        lines.append(f"? references are flagged about as often as answers: {', '.join(noisy)} says little here")
    if ratio := found.length_ratio:
        lines.append(f"median length: {ratio.value:.2f} times the reference (95 % {ratio.low:.2f} – {ratio.high:.2f})")
    if found.variety.near_duplicates:
        v = found.variety
        lines.append(f"{v.near_duplicates} of {v.of} longer answers are near copies of an answer to another question")
    if found.variety.rep_4 is not None and found.variety.distinct_2 is not None:
        lines.append(f"distinct-2 {found.variety.distinct_2:.2f}, rep-4 {found.variety.rep_4:.2f} (trend numbers)")
    lines += [str(note) for note in run.summary.get("notes", [])]
    return [Text(one_line(line), "dim") for line in lines]


def _category_parts(run: Run, found: Analysis, view: View, mark: bool) -> list[RenderableType]:
    chosen = [c for c in found.categories if c.name == view.category] if view.category else found.categories[: view.top]
    parts: list[RenderableType] = []
    shown = evidence_of(run.rows, [category.name for category in chosen], view.examples)
    for category in chosen:
        parts.append(_heading(category))
        for row, tag in shown[category.name]:
            parts.append(Padding(example(row, tag, mark), (0, 0, 0, 2)))
    return parts


def _heading(category: Category) -> Text:
    text = Text("\n")
    text.append(one_line(category.name), "bold " + SEVERITY_STYLE[category.severity])
    text.append(f" · {count(category.answers, 'answer')}, first error of {category.primary}")
    if what := advice(category.name):
        text.append(f"\n{what}", "italic")
    return text


def example(row: Row, tag: Tag, mark: bool) -> Text:
    """Return a question, its answer around the evidence, and why; with `mark` the evidence is in guillemets."""
    shown = excerpt(row.response.text, tag.span)
    opening, closing = ("«", "»") if mark and shown.inside else ("", "")
    text = Text(f"{one_line(row.example.id, 40)}  ", "cyan")
    text.append(one_line(row.example.question, 90), "dim")
    text.append("\n")
    text.append(shown.before, "default")
    text.append(f"{opening}{shown.inside}{closing}", SEVERITY_STYLE[tag.severity] + " reverse")
    text.append(shown.after or ("" if shown.before or shown.inside else "(empty)"), "default")
    text.append(f"\n→ {one_line(tag.why, 180)} ({tag.severity}, confidence {tag.confidence:.2f})", "magenta")
    return text


def _unclassified(found: Analysis) -> list[RenderableType]:
    if not found.unclassified:
        return []
    parts: list[RenderableType] = [
        Text(f"\nwrong, and no error found in it · {count(len(found.unclassified), 'answer')}", "bold")
    ]
    for row in found.unclassified[:3]:
        text = Text(f"{one_line(row.example.id, 40)}  ", "cyan")
        text.append(one_line(row.example.question, 90), "dim")
        text.append(f"\n{one_line(row.response.text, 180)}", "default")
        if row.example.target:
            text.append(f"\nexpected: {one_line(row.example.target[0], 120)}", "green")
        parts.append(Padding(text, (0, 0, 0, 2)))
    return parts


def _slices(found: Analysis, view: View) -> list[RenderableType]:
    keys = [view.slice_key] if view.slice_key else sorted({s.key for s in found.slices})
    parts: list[RenderableType] = []
    for key in keys:
        slices = [s for s in found.slices if s.key == key]
        if slices:
            table = _table(one_line(key, 40), "answers", one_line(found.primary), "95 % interval", "costliest error")
            for s in slices if view.slice_key else slices[:5]:
                e = s.estimate
                table.add_row(
                    one_line(s.value, 40), str(s.items), f"{e.value:.3f}" if e else "-",
                    f"{e.low:.3f} – {e.high:.3f}" if e else "-", one_line(s.worst),
                )  # fmt: skip
            shown = "" if view.slice_key or len(slices) <= 5 else f", the 5 lowest of {len(slices)}"
            parts += [Text(f"\nby {one_line(key, 40)}{shown}", "bold"), table]
    return parts


def _table(*columns: str) -> Table:
    return empty_table(columns, (columns[0], "severity", "costliest error"), wrap=True)


def _interval(e: Estimate) -> str:
    return f"{e.value:.3f} [{e.low:.3f}, {e.high:.3f}]"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
