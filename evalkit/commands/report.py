"""`evalkit report` and `evalkit errors`, of one run or of two."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from evalkit.commands.options import colored, costs_of, emit, emit_study, policy_of
from evalkit.compare import compare_runs
from evalkit.errors import EvalkitError
from evalkit.evaluate import evaluate
from evalkit.jsonl import collector_paused
from evalkit.record import open_run, read_run, run_folders, study_of
from evalkit.registry import did_you_mean, load, lookup
from evalkit.report import comparison, gate_json, gate_markdown, shifts, terminal
from evalkit.report.markdown import fitted
from evalkit.report.pick import View
from evalkit.shift import shifts_in, shifts_of
from evalkit.types import Run

OF_TWO = ("terminal", "md", "json")
TABLES = {
    "csv": "evalkit.report.export:csv_of",
    "jsonl": "evalkit.report.export:jsonl_of",
    "parquet": "evalkit.report.export:parquet_of",
}
"""Formats that take the rows of any number of runs."""
OF_MANY = ("html", *TABLES)
severity = click.option(
    "--severity",
    "costs",
    metavar="CATEGORY=COST",
    multiple=True,
    help="Cost of one error in the ranking: 0-100 or a severity's name.",
)


@click.command()
@click.argument("run")
@click.argument("run2", required=False)
@click.argument("more", nargs=-1, metavar="[RUN3]...")
@click.option(
    "--format",
    "form",
    default="terminal",
    help="terminal, md, json, svg (one run), html, csv, jsonl or parquet.  [default: terminal]",
)
@click.option("-o", "--output", metavar="FILE", help="Write to FILE instead of stdout.")
@click.option("--examples", type=click.IntRange(0), default=3, help="Answers shown per category.", show_default=True)
@severity
def report(
    run: str,
    run2: str | None,
    more: tuple[str, ...],
    form: str,
    output: str | None,
    examples: int,
    costs: tuple[str, ...],
) -> None:
    """Write the report of RUN, or how RUN2 differs from it.

    Of two runs, json is the gate's verdict. Runs that were asked by different prompts are only shown side by side.
    html shows any number of checkpoints, the first being the baseline; each is a run or a folder of runs, a suite each.
    The folder of a `trainkit loop` or `trainkit curve` has a report of its own, which md writes, its plots beside FILE.
    """
    if run2 is None and (own := study_of(Path(run))):
        if form != "md":
            raise EvalkitError(f"--format {form} shows runs; {run} holds {own.name}, which --format md writes")
        emit_study(own, output)
        return
    view, render, given = View(examples=examples, costs=costs_of(costs)), lookup("reports", form), [run, run2, *more]
    color = colored() if form == "terminal" and output is None else False
    if form in OF_MANY:
        with collector_paused():
            emit(_of_many([each for each in given if each], form, view), output)
    elif run2 is None:
        emit(render(open_run(run), view, **({"color": color} if form == "terminal" else {})), output)
    elif more:
        raise EvalkitError(f"--format {form} shows at most two runs; for more give one of {', '.join(OF_MANY)}")
    else:
        with collector_paused():
            emit(_of_two(open_run(run), open_run(run2), form, view, color=color), output)


@click.command()
@click.argument("run")
@click.argument("run2", required=False)
@click.option("--category", metavar="C", default="", help="Show this category alone.")
@click.option("--slice", "slice_key", metavar="KEY", default="", help="Show the slices by this key of meta (one run).")
@click.option("--top", type=click.IntRange(0), default=5, help="Categories shown with answers.", show_default=True)
@click.option("--examples", type=click.IntRange(0), default=5, help="Answers shown per category.", show_default=True)
@severity
def errors(run: str, run2: str | None, costs: tuple[str, ...], **shown: Any) -> None:
    """Show the error categories of RUN, ranked by what they cost, with evidence; with RUN2, those of both side by side.

    Two runs are of the same questions and taggers; their prompts may differ, which is noted.
    """
    view, found = View(costs=costs_of(costs), **shown), open_run(run)
    if run2 is None:
        _refuse_unknown(run, [found], view)
        emit(terminal.render(found, view, color=colored()), None)
        return
    with collector_paused():
        other = open_run(run2)
        _refuse_unknown(f"{run} or {run2}", [found, other], view)
        emit(shifts.render(shifts_of(found, other, view.costs), view, color=colored()), None)


def _refuse_unknown(given: str, runs: list[Run], view: View) -> None:
    """Refuse a category or a key of meta that no answer has, with what they have."""
    if view.slice_key and len(runs) > 1:
        raise EvalkitError("--slice goes with one run; `evalkit compare` shows the slices of two")
    if view.category:
        known = {tag.category for run in runs for row in run.rows for tag in row.tags}
        if view.category not in known:
            hint = did_you_mean(view.category, known)
            raise EvalkitError(f"no answer of {given} has the error {view.category!r}{hint}")
    if view.slice_key:
        keys = {key for run in runs for row in run.rows for key in row.example.meta}
        if view.slice_key not in keys:
            hint = did_you_mean(view.slice_key, keys)
            raise EvalkitError(f"no answer of {given} has {view.slice_key!r} in its meta{hint}")


def _of_many(given: list[str], form: str, view: View) -> str | bytes:
    """Return the page or the table of any number of checkpoints, each a run or a folder of runs."""
    columns = [[read_run(folder) for folder in run_folders(Path(each)) or [Path(each)]] for each in given]
    if form == "html":
        return str(load("evalkit.report.html:render_all")(columns, view, policy_of(None)))
    table: str | bytes = load(TABLES[form])([run for column in columns for run in column])
    return table


def _of_two(before: Run, after: Run, form: str, view: View, *, color: bool) -> str:
    """Return the comparison of two runs; where the prompts differ nothing is judged, and only errors are shown."""
    if form not in OF_TWO:
        raise EvalkitError(f"--format {form} shows one run; for two give one of {', '.join((*OF_TWO, *OF_MANY))}")
    pair = compare_runs(before, after, tolerate=() if form == "json" else ("template",))
    side_by_side = shifts_in(pair, before, after, view.costs) if form != "json" else None
    if pair.unlike and side_by_side:
        return shifts.markdown(side_by_side, view) if form == "md" else shifts.render(side_by_side, view, color=color)
    verdict = evaluate([pair], policy_of(None))
    if side_by_side is None:
        return gate_json.render(verdict)
    if form == "md":
        judged = gate_markdown.parts(verdict, [pair], examples=view.examples)
        return fitted([*judged, [""], *shifts.parts(side_by_side, view)])
    return comparison.render_gate(verdict, [pair], color=color, examples=view.examples)
