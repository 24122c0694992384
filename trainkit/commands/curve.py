"""`trainkit curve`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from trainkit.commands.options import emit, flags, merged, typed
from trainkit.curve import curve as draw
from trainkit.curved import Curve, outlook
from trainkit.errors import TrainError
from trainkit.plot import spark
from trainkit.settings import SftSettings


@click.command()
@click.option("--suite", required=True, metavar="S", help="Suite that judges every result.")
@click.option("--amounts", default="50,100,200,400", show_default=True, metavar="N,N", help="Numbers of training rows.")
@click.option("--seeds", default=3, show_default=True, metavar="N", help="Trainings for each amount.")
@click.option("--limit", type=int, metavar="N", help="Only the first N questions of the suite.")
@flags(SftSettings, without=("seed",))
def curve(suite: str, amounts: str, seeds: int, limit: int | None, config: str | None, **given: Any) -> None:
    """Measure quality against the amount of data: train on parts of the rows, and judge each result by a suite.

    The report is OUT/curve.md, with its plot. A curve that was stopped goes on where it is called again with the same
    settings.
    """
    try:
        numbers = [int(part) for part in amounts.split(",")]
    except ValueError:
        raise TrainError(f"--amounts {amounts!r}: expected whole numbers with commas, such as 50,100,200") from None
    settings = SftSettings.of(merged(config, given))
    done = draw(
        settings, suite, numbers, seeds, limit=limit, command=typed(), say=lambda line: click.echo(line, err=True)
    )
    _show(done)
    emit(f"curve: {Path(settings.out)}")


def _show(done: Curve) -> None:
    emit(f"{done.suite}: before training {done.base:.3f}")
    for point in done.points:
        emit(
            f"{point.amount:>8} rows   {point.mean:.3f}   {point.low:.3f} - {point.high:.3f}  {len(point.scores)} seeds"
        )
    emit(spark([done.base, *(p.mean for p in done.points)]))
    if told := outlook(done):
        emit(told)
