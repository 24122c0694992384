"""`trainkit plan`."""

from __future__ import annotations

from typing import Any

import click

from evalkit.report.visible import one_line
from trainkit.commands.options import emit, flags, merged
from trainkit.config import build
from trainkit.forecast import HERE, Forecast, PlanSettings, forecast
from trainkit.plan import GIB


@click.command()
@flags(PlanSettings)
def plan(config: str | None, **given: Any) -> None:
    """Say what fits on a T4, a V100, an A100 and this machine, how long it takes, and what would fit instead.

    Bytes are counted from public formulas; --calibrate measures one tiny forward pass here.
    """
    settings = build(PlanSettings, merged(config, given))
    emit(settings.load.words)
    emit(f"{'model':<24} {'device':<14} {'GiB':>6} {'of':>6}  {'training':<13} {'inference':<13} time")
    for row in forecast(settings):
        emit(_line(row))
        for other, need in row.instead:
            emit(f"    instead: {other.words}: {need / GIB:.1f} GiB")


def _line(row: Forecast) -> str:
    time = "--calibrate measures it" if row.device.name == HERE else "not known"
    if row.verdict == "does not fit":
        time = "-"
    elif row.seconds:
        time = " - ".join(map(_time, row.seconds))
    return (
        f"{one_line(row.shape.name, 24):<24} {row.device.name:<14} {row.need.total / GIB:>6.1f} "
        f"{row.device.memory / GIB:>6.1f}  {row.verdict:<13} {row.infers:<13} {time}"
    )


def _time(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
