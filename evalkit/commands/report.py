"""`evalkit report` and `evalkit errors`."""

from __future__ import annotations

import click

from evalkit.commands.options import colored, costs_of, emit
from evalkit.errors import EvalkitError
from evalkit.record import read_run
from evalkit.registry import did_you_mean, lookup
from evalkit.report import terminal
from evalkit.report.pick import View

severity = click.option(
    "--severity",
    "costs",
    metavar="CATEGORY=COST",
    multiple=True,
    help="Cost of one error in the ranking: 0-100 or a severity's name.",
)


@click.command()
@click.argument("run")
@click.option("--format", "form", default="terminal", help="terminal, md, json or svg.  [default: terminal]")
@click.option("-o", "--output", metavar="FILE", help="Write to FILE instead of stdout.")
@click.option("--examples", type=click.IntRange(0), default=3, help="Answers shown per category.", show_default=True)
@severity
def report(run: str, form: str, output: str | None, examples: int, costs: tuple[str, ...]) -> None:
    """Write the report of RUN."""
    view = View(examples=examples, costs=costs_of(costs))
    render = lookup("reports", form)
    options = {"color": colored()} if form == "terminal" and output is None else {}
    emit(render(read_run(run), view, **options), output)


@click.command()
@click.argument("run")
@click.option("--category", metavar="C", default="", help="Show this category alone.")
@click.option("--slice", "slice_key", metavar="KEY", default="", help="Show the slices by this key of meta.")
@click.option("--top", type=click.IntRange(0), default=5, help="Categories shown with answers.", show_default=True)
@click.option("--examples", type=click.IntRange(0), default=5, help="Answers shown per category.", show_default=True)
@severity
def errors(run: str, category: str, slice_key: str, top: int, examples: int, costs: tuple[str, ...]) -> None:
    """Show the error categories of RUN, ranked by what they cost, with evidence."""
    found = read_run(run)
    known = {tag.category for row in found.rows for tag in row.tags}
    if category and category not in known:
        raise EvalkitError(f"no answer of {run} has the error {category!r}{did_you_mean(category, known)}")
    if slice_key and not any(slice_key in row.example.meta for row in found.rows):
        keys = {key for row in found.rows for key in row.example.meta}
        raise EvalkitError(f"no answer of {run} has {slice_key!r} in its meta{did_you_mean(slice_key, keys)}")
    view = View(examples=examples, top=top, category=category, slice_key=slice_key, costs=costs_of(costs))
    emit(terminal.render(found, view, color=colored()), None)
