"""A verdict as Markdown, for a pull request or a step summary. Foreign text stands in code spans only."""

from __future__ import annotations

from collections.abc import Sequence

from evalkit.compare import Comparison, Item
from evalkit.evaluate import TAG
from evalkit.gate import WATCH_RATE
from evalkit.report.markdown import code, fitted, folded, grid, plain
from evalkit.report.visible import visible
from evalkit.report.wording import headline, margin, p_value, points, sentence, shown_change, shown_interval, stands_out
from evalkit.verdict import Check, Verdict

SIGN = {"PASS": "✅", "FAIL": "❌", "ERROR": "❌", "INCONCLUSIVE": "⚠️", "WAIVED": "⏭️"}

WATCHED = 30
"""Watched metrics shown that got worse."""


def render(verdict: Verdict, comparisons: Sequence[Comparison] = (), *, examples: int = 5) -> str:
    """Return the verdict, a table of gating metrics, what else moved, and broken items with both answers."""
    return fitted(parts(verdict, comparisons, examples=examples))


def parts(verdict: Verdict, comparisons: Sequence[Comparison] = (), *, examples: int = 5) -> list[list[str]]:
    """Return the same as parts, of which a short report may leave out the later ones."""
    lines = [f"## {SIGN[verdict.verdict]} {_plain(headline(verdict))}", ""]
    lines += [f"- {_plain(sentence(c, verdict))}" for c in verdict.gating if c.verdict != "PASS"]
    found = [[*lines, "", *_table(verdict.gating)]]
    moved = [c for c in verdict.watched if stands_out(c)]
    if moved:
        shown = sorted(moved, key=lambda c: c.p_adj or 0.0)[:WATCHED] if len(moved) > WATCHED else moved
        more = f", the {WATCHED} surest of {len(moved)}" if len(moved) > WATCHED else ""
        title = f"Watched, and got worse (false alarms at most {WATCH_RATE:.0%} of these{more}):"
        found.append(["", title, "", *_table(shown)])
    found += [broken for comparison in comparisons if (broken := _broken(comparison, examples))]
    about = f"Baseline {code(verdict.baseline)}, candidate {code(verdict.candidate)}"
    about += f", anchor {code(verdict.anchor)}" if verdict.anchor else ""
    notes = ["", *(f"> {_plain(note)}" for note in verdict.notes)] if verdict.notes else []
    return [*found, [*notes, "", f"{about}; points of 100, alpha {verdict.alpha:g}, {verdict.adjust}."]]


HEADER = (
    "metric",
    "items",
    "baseline",
    "candidate",
    "change",
    "95 % interval",
    "margin",
    "adjusted p",
    "broken",
    "fixed",
)


def _table(checks: Sequence[Check]) -> list[str]:
    return grid((*HEADER, "verdict"), [_line(c) for c in checks])


def _line(c: Check) -> tuple[str, ...]:
    return (
        plain(c.name.replace(TAG, "")), str(c.n), points(c.baseline), points(c.candidate), shown_change(c),
        shown_interval(c), margin(c.margin), p_value(c.p_adj).replace("<", "&lt;"),
        str(c.broken), str(c.fixed), _outcome(c),
    )  # fmt: skip


def _outcome(check: Check) -> str:
    return f"{SIGN[check.verdict]} {check.verdict}" if check.role == "gate" else "watched"


def _broken(comparison: Comparison, examples: int) -> list[str]:
    broken = comparison.broken
    shown = broken[:examples]
    if not shown:
        return []
    title = f"{comparison.suite}: {len(broken)} broken by {comparison.primary}, {len(shown)} shown"
    return folded(title, [line for item in shown for line in _item(item)])


def _item(item: Item) -> list[str]:
    lines = [f"- {code(item.example.id, 60)} {code(item.example.question, 120)}"]
    for name, rows in (("baseline", item.baseline), ("candidate", item.candidate)):
        lines.append(f"  - {name}: {code(rows[0].response.text, 240) if rows else '(not asked)'}")
    return [*lines, *([f"  - new errors: {', '.join(map(plain, item.new_tags))}"] if item.new_tags else [])]


def _plain(line: str) -> str:
    """Return a sentence of the gate with Markdown's signs escaped, at its full length."""
    return "".join(f"\\{c}" if c in "\\`*_{}[]<>#|!" else c for c in " ".join(visible(line).split()))
