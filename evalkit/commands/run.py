"""`evalkit run`."""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from evalkit import flow
from evalkit.commands.options import assessing, colored, emit, overrides_of
from evalkit.court import unjudged
from evalkit.errors import EvalkitError, Stopped
from evalkit.folder import new_run_id, salvage
from evalkit.record import ANSWERED, read_answers, read_manifest, read_run
from evalkit.report import terminal
from evalkit.report.visible import one_line
from evalkit.settings import RunSettings


@click.command()
@click.option(
    "--model",
    metavar="M",
    help="A checkpoint folder, hub id, catalogue name, adapter folder, openai:URL#MODEL, or backend:where.",
)
@click.option(
    "--suite", "suites", metavar="S", multiple=True, help="A suite's name or folder, or lm_eval:TASK; may be repeated."
)
@click.option("--limit", type=int, metavar="N", help="Ask only the first N examples of each suite.")
@click.option("--fewshot", type=int, metavar="N", help="Solved examples before each question (lm_eval suites).")
@click.option(
    "--batch-tokens",
    type=int,
    metavar="N",
    help="Tokens of one scoring pass (else measured); 16 times as many may be written in a batch.",
)
@click.option("--concurrency", type=int, metavar="N", help="Most requests in flight to an endpoint (else 16).")
@click.option("--timeout", type=float, metavar="SECONDS", help="Time of one request to an endpoint (else 600).")
@click.option(
    "--max-errors", default="0", metavar="N", help="Failed requests to tolerate: a count, or a share such as 0.01."
)
@click.option("--shard", metavar="K/N", help="Answer only the K-th of N parts; `evalkit merge` puts them together.")
@click.option("--engine", metavar="E", help="Where answers are computed: local (else) or ray. It changes none.")
@click.option(
    "--workers", type=int, metavar="N", help="With --engine ray: models loaded (else what the cluster holds)."
)
@click.option("--ray-address", metavar="ADDR", help="With --engine ray: the cluster (else RAY_ADDRESS, else our own).")
@click.option("--out", metavar="DIR", help="The run's folder: new or empty. Default: runs/<time>-<random>.")
@click.option(
    "--resume", metavar="RUN", help="Complete a run that was stopped; takes no other settings but the engine's."
)
@click.option("--retry-errors", is_flag=True, help="With --resume: ask the failed requests again.")
@click.option(
    "--keep-prefix", is_flag=True, help="With --resume: go on from the lines before a corrupt one, in a new run."
)
@assessing
def run(resume: str | None, retry_errors: bool, keep_prefix: bool, out: str | None, **given: Any) -> int:
    """Run suites against a model: every answer is kept, scored and tagged, and the report printed.

    The last line on stdout is `run: DIR`. Ctrl-C stops it; what was answered is kept and can be resumed.
    """
    if resume is None and (retry_errors or keep_prefix):
        raise EvalkitError("--retry-errors and --keep-prefix go with --resume RUN")
    engine = {key: given.pop(key) for key in ("engine", "workers", "ray_address")}
    engine = {key: value for key, value in engine.items() if value is not None}
    if resume is not None and (out or any(v not in (None, (), "0") for v in given.values())):
        raise EvalkitError("--resume RUN takes its settings from the run; leave the other options out")
    place = Path(resume or out or Path("runs", new_run_id()))
    if keep_prefix:
        place = salvage(place)
    with _progress() as progress, _resumable(place):
        if resume is not None:
            folders = flow.resume(place, retry_errors=retry_errors, progress=progress, **engine)
        else:
            folders = flow.start(_settings({**given, **engine}), out=place, progress=progress)
    return max(show(folder) for folder in folders)


def _settings(given: dict[str, Any]) -> RunSettings:
    if not given["model"]:
        raise EvalkitError(
            "no model: give --model FOLDER, a hub id or a catalogue name; `evalkit models list` shows some"
        )
    try:
        errors = float(given.pop("max_errors"))
    except ValueError:
        raise EvalkitError("--max-errors: expected a count, or a share such as 0.01") from None
    overrides = overrides_of(given)
    return RunSettings(overrides=overrides, max_errors=errors, **given)


def show(folder: Path) -> int:
    """Print a run's report and where it is; return 4 where more requests failed than the run tolerates."""
    manifest = read_manifest(folder)
    if manifest["status"] == ANSWERED:
        errors = [record["response"]["error"] for record in read_answers(folder).values()]
        click.echo(f"part {manifest['part']}: {len(errors)} answers; `evalkit merge PART … --out RUN` joins all parts")
    else:
        run = read_run(folder)
        emit(terminal.render(run, color=colored()), None)
        errors = [row.response.error for row in run.rows]
    failed = [error for error in errors if error] + unjudged(folder)
    limit = float(manifest["settings"]["max_errors"])
    too_many = len(failed) > (limit * len(errors) if 0 < limit < 1 else limit)
    if too_many:
        click.echo(
            f"evalkit: {len(failed)} of {len(errors)} requests failed (--max-errors {limit:g}), the first: "
            f"{one_line(failed[0], 200)}; "
            f"`evalkit run --resume {shlex.quote(str(folder))} --retry-errors` asks them again",
            err=True,
        )
    click.echo(f"run: {folder}")
    return Stopped.exit_code if too_many else 0


@contextlib.contextmanager
def _resumable(place: Path) -> Iterator[None]:
    """Print the command that resumes, whatever stops the run; bad input stops none."""
    try:
        yield
    except BaseException as fault:
        if isinstance(fault, Stopped) or not isinstance(fault, EvalkitError):
            for manifest in sorted({*place.glob("manifest.json"), *place.glob("*/manifest.json")}):
                click.echo(f"stopped; to go on: evalkit run --resume {shlex.quote(str(manifest.parent))}", err=True)
        raise


@contextlib.contextmanager
def _progress() -> Iterator[flow.Progress | None]:
    """Show a bar with rate and time left on stderr, where that is a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    columns = (
        TextColumn("answers"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("answers", total=None, rate="")

        def update(done: int, total: int) -> None:
            speed = bar.tasks[task].speed
            bar.update(task, completed=done, total=total, rate=f"{speed:.1f}/s" if speed else "")

        yield update
