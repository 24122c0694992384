"""`evalkit review`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from evalkit.baseline import find_baseline
from evalkit.errors import EvalkitError
from evalkit.jsonl import scrub
from evalkit.labels import FILE, read_records
from evalkit.record import read_run
from evalkit.registry import load
from evalkit.report.visible import one_line
from evalkit.report.wording import count
from evalkit.review import review_of


@click.command()
@click.argument("run")
@click.option("--labeller", metavar="NAME", help="Who judges.  [default: your user name]")
@click.option("--against", metavar="RUN2", help="A run, or a baseline's name, to show beside it.")
@click.option(
    "--only",
    metavar="F",
    multiple=True,
    help="undecided, failures, broken (with --against), or an error category; several must all hold.",
)
@click.option("--blind", is_flag=True, help="Choose the better of two answers without knowing whose they are.")
@click.option("--seed", type=int, default=0, show_default=True, help="What --blind draws the sides from.")
def review(run: str, labeller: str | None, against: str | None, only: tuple[str, ...], blind: bool, seed: int) -> int:
    """Label the answers of RUN by hand, in the terminal; each label goes to RUN/labels.jsonl at once.

    `?` shows the keys.
    """
    name = _labeller(labeller)
    if blind and not against:
        raise EvalkitError("--blind shows the answers of two runs: give --against RUN2")
    if not all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)):  # textual draws on stderr
        raise EvalkitError("review needs a terminal to show answers in; to read labels: evalkit.read_labels(RUN)")
    found, other = read_run(run), read_run(find_baseline(against)) if against else None
    begun = review_of(found, name, read_records(Path(run), found), other, blind=blind, seed=seed).filtered(only)
    ended, code = load("evalkit.screen:run")(Path(run), begun)
    click.echo(f"{one_line(name)}: {ended.decided} of {count(len(ended.entries), 'answer')} labelled, in {run}/{FILE}")
    return int(code)


def _labeller(given: str | None) -> str:
    """Return who judges: what was given, else the user name of the environment."""
    user = os.environ.get("LOGNAME") or os.environ.get("USER") or ""
    name = " ".join(str(scrub(user if given is None else given)).split())
    if not name or len(name) > 60:
        raise EvalkitError("no labeller: give --labeller NAME, of at most 60 characters")
    return name
