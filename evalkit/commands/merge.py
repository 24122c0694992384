"""`evalkit merge`."""

from __future__ import annotations

from pathlib import Path

import click

from evalkit.commands.run import show
from evalkit.folder import new_run_id
from evalkit.merge import merge as merge_parts


@click.command()
@click.argument("parts", nargs=-1, required=True, metavar="PART...")
@click.option("--out", metavar="DIR", help="The run's folder: new or empty. Default: runs/<time>-<random>.")
def merge(parts: tuple[str, ...], out: str | None) -> int:
    """Put parts together that `evalkit run --shard K/N` answered; score, tag and report the whole run.

    All N parts must be there, of one run. PART is a part's folder, or one that holds parts of several suites. The files
    are those of a run that one machine answered; no model is asked.
    """
    folders = merge_parts([Path(part) for part in parts], Path(out or Path("runs", new_run_id())))
    return max(show(folder) for folder in folders)
