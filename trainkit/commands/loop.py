"""`trainkit loop`."""

from __future__ import annotations

from typing import Any

import click

from evalkit.registry import load
from evalkit.report.visible import one_line
from trainkit.commands.options import emit, flags, merged, typed
from trainkit.settings import SftSettings


@click.command()
@click.option("--plan", required=True, metavar="PLAN", help="Plan of `trainkit curate` to prove; not applied yet.")
@click.option("--suite", "suites", multiple=True, required=True, metavar="S", help="Held-out suite that judges.")
@click.option("--seeds", default=3, show_default=True, metavar="N", help="Trainings of each arm.")
@click.option("--limit", type=int, metavar="N", help="Only the first N questions of each suite.")
@flags(SftSettings, without=("seed",))
def loop(plan: str, suites: tuple[str, ...], seeds: int, limit: int | None, config: str | None, **given: Any) -> None:
    """Retrain on the original rows, on PLAN's edits and on as many random ones; run, compare, judge.

    --data is the file that PLAN was made from. The report is OUT/loop.md; what each action did goes into ledger.jsonl
    beside the data, which later plans read. A loop that was stopped goes on where it is called again.
    """
    settings = SftSettings.of(merged(config, given))
    done = load("trainkit.loop:prove")(
        settings, plan, suites, seeds, limit, typed(), lambda line: click.echo(one_line(line), err=True)
    )
    emit(load("trainkit.looped:headline")(done))
    emit(f"report: {settings.out}/loop.md")
