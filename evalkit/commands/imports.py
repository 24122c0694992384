"""`evalkit import`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from evalkit.commands.options import colored
from evalkit.folder import new_run_id
from evalkit.importer import import_logs
from evalkit.record import read_run
from evalkit.report import terminal


@click.group("import")
def imports() -> None:
    """Turn the results of other tools into runs."""


@imports.command("lm-eval")
@click.argument("path")
@click.option(
    "--out",
    metavar="DIR",
    help="The run's folder; with several tasks, a folder of runs. Default: runs/<time>-<random>.",
)
def lm_eval(path: str, out: str | None) -> None:
    """Turn lm-evaluation-harness's samples (a file, or a folder with results and samples) into runs, one per task."""
    for folder in import_logs(path, Path(out or Path("runs", new_run_id()))):
        sys.stdout.write(terminal.render(read_run(folder), color=colored()))
        click.echo(f"run: {folder}")
