"""`trainkit prepare`."""

from __future__ import annotations

from typing import Any

import click

from evalkit.report.visible import one_line
from trainkit.commands.options import emit, flags, merged
from trainkit.config import build
from trainkit.prepare import PrepareSettings
from trainkit.prepare import prepare as write_rows

SHOWN = 5


@click.command()
@click.argument("data", required=False, metavar="DATA")
@flags(PrepareSettings, without=("source",))
def prepare(data: str | None, config: str | None, **given: Any) -> None:
    """Turn raw data into training and test rows: question and answer, Alpaca, chats, or text by a model.

    DATA is a file (.jsonl .json .csv .parquet .txt .md) or a data set on the hub. Near duplicates across the split
    are listed.
    """
    settings = build(PrepareSettings, merged(config, {**given, "source": data}))
    done = write_rows(settings)
    for where, why in list(done.dropped.items())[:SHOWN]:
        click.echo(f"dropped {where}: {one_line(why, 120)}", err=True)
    emit(f"{len(done.train)} training rows, {len(done.test)} test rows, {len(done.dropped)} dropped")
    emit(f"{len({test for test, _, _ in done.crossing})} test rows have a near duplicate among the training rows")
    for test, train, similarity in done.crossing[:SHOWN]:
        emit(f"  {one_line(test, 40)} is like {one_line(train, 40)} ({similarity:.2f})")
    emit(f"rows: {done.folder}")
