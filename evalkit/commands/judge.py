"""`evalkit judge-report`."""

from __future__ import annotations

from pathlib import Path

import click

from evalkit.agreement import trust_of
from evalkit.commands.options import colored, emit
from evalkit.court import read_judgements
from evalkit.errors import EvalkitError
from evalkit.labels import FILE, Given, labels_of_file, read_labels, read_preferences
from evalkit.record import read_run
from evalkit.report import trust as shown


@click.command("judge-report")
@click.argument("run")
@click.option(
    "--labels",
    "files",
    metavar="FILE",
    multiple=True,
    help='Labels made elsewhere: JSONL with "id", "correct" or "better", optionally "trial", "labeller", "answer".',
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["terminal", "md", "json"]),
    default="terminal",
    show_default=True,
    help="How the report is written.",
)
@click.option("-o", "--output", metavar="FILE", help="Write to FILE instead of stdout.")
def judge_report(run: str, files: tuple[str, ...], form: str, output: str | None) -> None:
    """Hold the scorers of RUN against human labels: which one to trust on this suite, and how far.

    Labels are those of `evalkit review RUN`, and those of --labels.
    """
    found = read_run(run)
    given: list[Given] = [*read_labels(run), *read_preferences(run)]
    for file in files:
        given += labels_of_file(Path(file), found)
    if not given:
        raise EvalkitError(f"{run}: no label ({FILE}); `evalkit review {run}` makes some, or give --labels FILE")
    trust = trust_of(found, given, read_judgements(run))
    if form == "terminal":
        emit(shown.terminal(trust, color=colored() and output is None), output)
    else:
        emit(shown.markdown(trust) if form == "md" else shown.as_json(trust), output)
