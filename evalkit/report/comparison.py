"""Two runs as text for a terminal: verdict, metrics with intervals, changed errors, broken items with both answers."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from evalkit.compare import Comparison, Item
from evalkit.evaluate import TAG, evaluate
from evalkit.report.table import empty_table, printed
from evalkit.report.visible import one_line, visible
from evalkit.report.wording import headline, p_value, points, sentence, shown_change, shown_interval, stands_out
from evalkit.report.words import Piece, changed_words
from evalkit.types import Row
from evalkit.verdict import Check, Verdict

WIDTH = 100
STYLE = {
    "PASS": "bold green",
    "FAIL": "bold red",
    "ERROR": "bold red",
    "INCONCLUSIVE": "bold yellow",
    "WAIVED": "bold blue",
}
SLICES_SHOWN = 8


def render(
    comparison: Comparison,
    verdict: Verdict | None = None,
    *,
    color: bool = False,
    width: int = WIDTH,
    examples: int = 5,
) -> str:
    """Return the comparison of one suite; without a verdict, the default policy judges it."""
    verdict = verdict or evaluate([comparison])
    parts = [*_opening(verdict), *_suite(comparison, verdict, examples, mark=not color)]
    return printed(*parts, color=color, width=width)


def render_gate(
    verdict: Verdict,
    comparisons: Sequence[Comparison] = (),
    *,
    color: bool = False,
    width: int = WIDTH,
    examples: int = 5,
) -> str:
    """Return the gate's answer over all suites: its verdict first, then every comparison."""
    parts: list[RenderableType] = [*_opening(verdict)]
    for comparison in comparisons:
        parts += _suite(comparison, verdict, examples, mark=not color)
    return printed(Group(*parts), color=color, width=width)


def _opening(verdict: Verdict) -> list[RenderableType]:
    lines = [Text(_kept(headline(verdict)), STYLE[verdict.verdict])]
    lines += [_styled(sentence(c, verdict), c) for c in verdict.gating]
    return [*lines, *(Text(f"note: {one_line(note)}", "dim") for note in verdict.notes)]


def _kept(line: str) -> str:
    """Return a line of the gate as it is: visible, and with the two spaces that logs are searched by."""
    return visible(line).replace("\n", " ")


def _styled(line: str, check: Check) -> Text:
    text = Text(_kept(line))
    text.stylize(STYLE[check.verdict], 0, len(check.verdict))
    return text


def _suite(comparison: Comparison, verdict: Verdict, examples: int, *, mark: bool) -> list[RenderableType]:
    checks = [c for c in verdict.checks if c.suite == comparison.suite]
    tags = [c for c in checks if c.metric.startswith(TAG)]
    slices = [c for c in checks if "[" in c.metric and c not in tags]
    metrics = [c for c in checks if c not in tags and c not in slices]
    parts: list[RenderableType] = [Text(f"\n{_runs(comparison)}", "dim"), _metric_table(metrics)]
    legend = "points of 100 · * gates · broken: got worse, fixed: got better · 95 % interval of the change"
    parts.append(Text(legend, "dim"))
    parts += _errors(tags) + _slices(slices) + _broken(comparison, examples, mark)
    return parts


def _runs(comparison: Comparison) -> str:
    before, after = (one_line(m, 60) or "unnamed model" for m in comparison.models)
    ids = f"{one_line(comparison.baseline, 40)} -> {one_line(comparison.candidate, 40)}"
    return f"{one_line(comparison.suite, 40)}: {before} -> {after}\nruns {ids}"


def _metric_table(checks: Sequence[Check]) -> Table:
    table = _table("metric", "items", "baseline", "candidate", "change", "95 % interval", "broken", "fixed", "verdict")
    for c in checks:
        name = c.metric + (" *" if c.role == "gate" else "") + (" vs anchor" if c.against == "anchor" else "")
        table.add_row(
            Text(one_line(name, 24), "bold" if c.role == "gate" else ""),
            str(c.n), points(c.baseline), points(c.candidate),
            shown_change(c), shown_interval(c), str(c.broken), str(c.fixed), _outcome(c),
        )  # fmt: skip
    return table


def _outcome(check: Check) -> Text:
    """Return the verdict of a gating metric; of a watched one only what stands out."""
    if check.unscored and check.role == "watch":
        return Text("not scored", "dim")
    if check.role == "gate" or check.verdict == "ERROR":
        return Text(check.verdict, STYLE[check.verdict])
    return Text("fell", "red") if stands_out(check) else Text("watched", "dim")


def _errors(checks: Sequence[Check]) -> list[RenderableType]:
    """Return the error categories whose share changed, the most grown first."""
    moved = sorted(
        (c for c in checks if c.broken or c.fixed or c.role == "gate"), key=lambda c: (c.change or 0.0, c.metric)
    )
    if not moved:
        return []
    table = _table("error", "share, %", "change", "95 % interval", "new in", "gone", "adj. p", "")
    for c in moved:
        outcome = _outcome(c) if c.role == "gate" else Text("grew", "red") if stands_out(c) else Text("")
        table.add_row(
            Text(one_line(c.metric.removeprefix(TAG), 24), "bold"), f"{points(c.baseline)} -> {points(c.candidate)}",
            shown_change(c), shown_interval(c), str(c.broken), str(c.fixed), p_value(c.p_adj), outcome,
        )  # fmt: skip
    return [Text("\nerrors, share of answers that have them", "bold"), table]


def _slices(checks: Sequence[Check]) -> list[RenderableType]:
    """Return the slices that fell most."""
    fallen = sorted((c for c in checks if (c.change or 0.0) < 0), key=lambda c: (c.change or 0.0, c.metric))[
        :SLICES_SHOWN
    ]
    if not fallen:
        return []
    table = _table("slice", "items", "baseline", "candidate", "change", "95 % interval", "")
    for c in fallen:
        table.add_row(
            one_line(c.metric.split("[", 1)[1].removesuffix("]"), 40),
            str(c.n), points(c.baseline), points(c.candidate),
            shown_change(c), shown_interval(c), Text("fell", "red") if stands_out(c) else "",
        )  # fmt: skip
    return [Text("\nslices that fell most", "bold"), table]


def _broken(comparison: Comparison, examples: int, mark: bool) -> list[RenderableType]:
    broken, fixed, wrong = comparison.broken, comparison.fixed, comparison.both_wrong
    counts = f"{len(broken)} broken, {len(fixed)} fixed, {len(wrong)} wrong in both, of {len(comparison.items)}"
    shown = broken[:examples]
    if not shown:
        return [Text(f"\n{one_line(comparison.primary)}: {counts}", "bold")]
    signs = "words between « and » differ" if mark else "coloured words differ"
    return [
        Text(f"\n{one_line(comparison.primary)}: {counts}", "bold"),
        Text(f"{len(shown)} broken shown, those with new errors first; {signs}", "dim"),
        *(Padding(_item(item, mark), (0, 0, 0, 2)) for item in shown),
    ]


def _item(item: Item, mark: bool) -> Text:
    text = Text(f"{one_line(item.example.id, 40)}  ", "cyan")
    text.append(one_line(item.example.question, 90), "dim")
    if item.example.target:
        text.append(f"\nexpected   {one_line(item.example.target[0], 160)}", "green")
    before, after = changed_words(_answer(item.baseline), _answer(item.candidate))
    text.append("\nbaseline   ").append_text(_pieces(before, "blue", mark))
    text.append("\ncandidate  ").append_text(_pieces(after, "red", mark))
    for category in item.new_tags:
        why = next(t.why for row in item.candidate for t in row.tags if t.category == category)
        text.append(f"\n→ new error: {one_line(category, 40)}: {one_line(why, 140)}", "magenta")
    return text.append("\n")


def _answer(rows: Sequence[Row]) -> str:
    """Return the answer of the first trial, or why there is none."""
    if not rows:
        return "(not asked)"
    response = rows[0].response
    if response.error is not None:
        return f"(request failed: {response.error})"
    return response.text or (rows[0].scores[0].answer if rows[0].scores else None) or "(empty)"


def _pieces(pieces: Sequence[Piece], style: str, mark: bool) -> Text:
    text = Text()
    for piece in pieces:
        if piece.changed and mark:
            text.append(f"«{piece.text}»")
        else:
            text.append(piece.text, f"bold {style}" if piece.changed else "default")
    return text


def _table(*columns: str) -> Table:
    return empty_table(columns, (columns[0], "", "verdict"))
