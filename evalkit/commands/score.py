"""`evalkit score`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click

from evalkit.commands.options import assessing, colored, emit, overrides_of
from evalkit.court import unjudged
from evalkit.errors import EvalkitError, Stopped
from evalkit.folder import new_run_id
from evalkit.record import open_run
from evalkit.report import terminal
from evalkit.report.visible import one_line
from evalkit.score import Rescoring, score_answers, score_run


@click.command()
@click.argument("run", required=False)
@click.option(
    "--answers",
    metavar="FILE",
    help='JSONL with "id", "question", "answer", optionally "target", "meta", "finish", "tokens".',
)
@click.option("--suite", metavar="S", help="Score by this suite; default: the run's own, or the targets in FILE.")
@click.option("--out", metavar="DIR", help="The new run's folder: new or empty. Default: runs/<time>-<random>.")
@assessing
def score(run: str | None, answers: str | None, out: str | None, **given: Any) -> None:
    """Score and tag the answers of RUN, or of --answers FILE, into a new run; no model is asked."""
    if (run is None) == (answers is None):
        raise EvalkitError("give one of RUN and --answers FILE")
    overrides = overrides_of(given)
    how, place = Rescoring(overrides=overrides, **given), Path(out or Path("runs", new_run_id()))
    folder = score_answers(Path(answers), how, place) if answers is not None else score_run(str(run), how, place)
    emit(terminal.render(open_run(folder), color=colored()), None)
    click.echo(f"run: {folder}")
    if failed := unjudged(folder):
        raise Stopped(
            f"{len(failed)} requests to the judge failed, the first: {one_line(failed[0], 200)}; "
            f"`evalkit score {shlex.quote(str(folder))} --judge {shlex.quote(str(how.judge))}` asks them again"
        )
