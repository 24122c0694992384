"""A run as Markdown, for a pull request or a folder of reports. Foreign text stands in code spans only."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import accumulate

from evalkit.analyze import Analysis, Category, Estimate, analyze, lens_of, tagged
from evalkit.report.advice import advice
from evalkit.report.pick import Excerpt, View, evidence, excerpt, remarks
from evalkit.report.visible import one_line
from evalkit.report.wording import count
from evalkit.types import Run

SLICES = 30
"""Slices shown by one key of meta."""
LIMIT = 60_000
"""Bytes of a report, so that it fits into a comment on a pull request (65,536 characters on GitHub)."""


def render(run: Run, view: View | None = None) -> str:
    """Return the report as Markdown, its details folded and at most LIMIT bytes long."""
    view = view or View()
    found = analyze(run.rows, lens_of(run, view.costs))
    known = [line for remark in remarks(run) for line in (f"**{plain(remark, 200)}**", "")]
    parts = [[f"# {plain(run.suite)}: {plain(run.model)}", "", _sentence(run, found), "", *known, *_metrics(found)]]
    if found.categories:
        parts.append(["", "## Errors", "", *_errors(found)])
        parts += [folded(f"{c.name}: evidence", _evidence(run, c, view)) for c in found.categories[: view.top]]
    if notes := run.summary.get("notes"):
        parts.append(folded("bounds and tools", [f"- {plain(str(note))}" for note in notes]))
    if found.unclassified and tagged(run):
        wrong = [
            f"- {code(r.example.id)} {code(r.example.question, 120)}: {code(r.response.text, 200)}"
            for r in found.unclassified[:5]
        ]
        parts.append(folded(f"wrong, and no error found in it: {len(found.unclassified)}", wrong))
    return fitted([*parts, *_slices(found)])


def folded(title: str, lines: Sequence[str]) -> list[str]:
    """Return lines that open when a reader clicks on their title; without a line there is nothing to open."""
    if not any(lines):
        return []
    shown = re.sub(r"[^\w\s.,:;()%+-]", lambda sign: f"&#{ord(sign.group())};", one_line(title, 160))
    return ["", f"<details><summary>{shown}</summary>", "", *lines, "", "</details>"]


def fitted(parts: Iterable[Sequence[str]], limit: int = LIMIT) -> str:
    """Return the parts as one text of at most `limit` bytes, in order: all that fit; the first one is cut at a line."""
    first, *others = parts
    room = limit - 100  # for the note
    lines = _cut(first, room)
    kept, left_out = ["".join(f"{line}\n" for line in lines)], 0
    room -= len(kept[0].encode())
    for part in others:
        text = "".join(f"{line}\n" for line in part)
        if len(text.encode()) > room:
            left_out += 1
        else:
            kept.append(text)
            room -= len(text.encode())
    missing = [count(n, name) for n, name in ((len(first) - len(lines), "line"), (left_out, "part")) if n]
    note = f"\n{' and '.join(missing)} left out, to keep this short.\n" if missing else ""
    return "".join(kept) + note


def grid(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return a Markdown table: the first column to the left, the others to the right."""
    return [
        f"| {' | '.join(header)} |",
        f"|---|{'---:|' * (len(header) - 1)}",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]


def code(text: str, width: int = 0) -> str:
    """Return foreign text as a code span: nothing in it is read as Markdown or HTML."""
    inside = one_line(text, width) or "(empty)"
    longest = max(map(len, re.findall("`+", inside)), default=0)
    pad = " " if "`" in (inside[0], inside[-1]) else ""
    return f"{'`' * (longest + 1)}{pad}{inside}{pad}{'`' * (longest + 1)}"


def plain(text: str, width: int = 100) -> str:
    """Return a name (of a suite, model, category) with Markdown's signs escaped."""
    return "".join(f"\\{c}" if c in "\\`*_{}[]<>()#|!&~" else c for c in one_line(text, width))


def _cut(lines: Sequence[str], room: int) -> Sequence[str]:
    """Return the lines that fit into `room` bytes; of a heading, which has no code spans, at least the beginning."""
    whole = sum(size <= room for size in accumulate(len(line.encode()) + 1 for line in lines))
    return lines[:whole] or [lines[0].encode()[: max(0, room - 4)].decode(errors="ignore") + "…"]


def _sentence(run: Run, found: Analysis) -> str:
    main = next((m for m in found.metrics if m.name == found.primary and m.estimate), None)
    head = f"**{plain(found.primary)} {_range(main.estimate)}** over " if main and main.estimate else ""
    clean = f", {found.clean} without any error" if tagged(run) else ""
    return f"{head}{found.answers} answers{clean}; {found.errors} requests failed."


def _metrics(found: Analysis) -> list[str]:
    return grid(
        ("metric", "mean", "95 % interval", "scored", "not scored"),
        [
            (
                plain(m.name),
                f"{m.estimate.value:.3f}" if m.estimate else "-",
                f"{m.estimate.low:.3f} – {m.estimate.high:.3f}" if m.estimate else "-",
                str(m.scored),
                str(m.unscored),
            )
            for m in found.metrics
        ],
    )


def _errors(found: Analysis) -> list[str]:
    table = grid(
        ("error", "answers", "share", "95 % interval", "in references", "severity", "priority", "ceiling"),
        [
            (plain(c.name), str(c.answers), _pc(c.rate.value), f"{_pc(c.rate.low)} – {_pc(c.rate.high)}",
             "-" if c.references is None else _pc(c.references), c.severity, f"{c.priority:.1f}", f"+{c.ceiling:.1f}")
            for c in found.categories
        ],
    )  # fmt: skip
    return [
        *table,
        "",
        "Priority is share x severity x confidence in points; the ceiling is how many points of "
        f"{plain(found.primary)} there are to win if the error vanished.",
    ]


def _evidence(run: Run, category: Category, view: View) -> list[str]:
    lines = [f"{advice(category.name)[:1].upper()}{advice(category.name)[1:]}.", ""] if advice(category.name) else []
    for row, tag in evidence(run.rows, category.name, view.examples):
        shown = excerpt(row.response.text, tag.span)
        lines += [
            f"- {code(row.example.id)} {code(row.example.question, 100)}",
            f"  {_shown(shown)}",
            f"  {code(tag.why, 180)} ({tag.severity}, confidence {tag.confidence:.2f})",
        ]
    return lines


def _shown(shown: Excerpt) -> str:
    inside = f"**{code(shown.inside)}**" if shown.inside else ""
    parts = [
        code(shown.before) if shown.before.strip() else "",
        inside,
        code(shown.after) if shown.after.strip() else "",
    ]
    return " ".join(part for part in parts if part) or "(empty)"


def _slices(found: Analysis) -> list[list[str]]:
    parts: list[list[str]] = []
    for key in sorted({s.key for s in found.slices}):
        rows = [
            (code(s.value, 40).replace("|", "\\|"), str(s.items), f"{s.estimate.value:.3f}" if s.estimate else "-",
             f"{s.estimate.low:.3f} – {s.estimate.high:.3f}" if s.estimate else "-", plain(s.worst) or "-")
            for s in found.slices
            if s.key == key
        ]  # fmt: skip
        header = (plain(key), "answers", plain(found.primary), "95 % interval", "costliest error")
        shown = f", the {SLICES} lowest of {len(rows)}" if len(rows) > SLICES else ""
        parts.append(folded(f"by {key}{shown}", grid(header, rows[:SLICES])))
    return parts


def _range(e: Estimate) -> str:
    return f"{e.value:.3f} [{e.low:.3f}, {e.high:.3f}]"


def _pc(share: float) -> str:
    return f"{100 * share:.1f} %"
