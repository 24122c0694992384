"""`trainkit curate`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from evalkit.registry import load
from evalkit.report.visible import one_line
from trainkit.commands.options import emit
from trainkit.errors import TrainError

COMMANDLINE = click.core.ParameterSource.COMMANDLINE
_TAKES = {
    "a plan": {"run", "train", "base", "out", "budget", "only", "held_out"},
    "--apply": {"plan", "train", "held_out"},
    "--undo": {"undo", "train"},
    "--self-test": {"self_test", "train", "seed", "out"},
}
"""What is asked for -> the parameters that it looks at."""


@click.command()
@click.argument("run", required=False, metavar="RUN")
@click.option(
    "--train", metavar="FILE", help="Training rows with ids, JSONL: the file that RUN's model was trained on."
)
@click.option("--base", metavar="RUN", help="The base model's run on the same suite, to see what training added.")
@click.option("--out", metavar="DIR", help="Folder for plan.json and plan.md, or for the planted rows of a self-test.")
@click.option(
    "--budget", default=0.2, show_default=True, metavar="SHARE", help="Share of the rows that edits may name."
)
@click.option("--only", metavar="CATEGORY", help="Plan edits for one error category alone, such as repetition.")
@click.option(
    "--held-out", multiple=True, metavar="SUITE",
    help="Suite whose questions must not be trained; default: every held-out suite whose questions are on disk.",
)  # fmt: skip
@click.option("--apply", "plan", metavar="PLAN", help="Write the next version of the data with PLAN's edits in it.")
@click.option(
    "--undo", multiple=True, metavar="ID", help="Write the next version of FILE without an edit, a plan or `all`."
)
@click.option("--self-test", is_flag=True, help="Plant defects in a copy of FILE's rows, and grade a plan on them.")
@click.option("--seed", type=int, default=0, show_default=True, metavar="N", help="Seed of the planted defects.")
def curate(
    run: str | None, train: str | None, base: str | None, out: str | None, budget: float, only: str | None,
    held_out: tuple[str, ...], plan: str | None, undo: tuple[str, ...], self_test: bool, seed: int,
) -> None:  # fmt: skip
    """Name the training rows behind a run's errors, and plan edits that can be taken back.

    RUN is the tuned model's run on a dev suite; without it the rows are audited alone. A plan changes nothing until
    --apply writes a new version of the data; --undo takes edits back.
    """
    ways = [name for name, given in (("--apply", plan), ("--undo", undo), ("--self-test", self_test)) if given]
    if len(ways) > 1:
        raise TrainError(f"{' and '.join(ways)}: each is a command of its own; give one of them")
    _refuse_others(ways[0] if ways else "a plan")
    if plan:
        _written(load("trainkit.curate.version:applied")(plan, train, held_out))
        return
    if not train:
        raise TrainError("no training rows: give --train FILE")
    if undo:
        _written(load("trainkit.curate.version:undone")(train, undo))
    elif self_test:
        test = "trainkit.curate.selftest:"
        for line in load(f"{test}table")(load(f"{test}self_test")(train, seed, out)):
            emit(line)
    else:
        _plan(run, train, base, out, budget, only, held_out)


def _refuse_others(way: str) -> None:
    """Refuse what was given and would not be looked at."""
    context = click.get_current_context()
    given = [p for p in context.command.params if context.get_parameter_source(p.name or "") is COMMANDLINE]
    others = ["RUN" if p.name == "run" else p.opts[0] for p in given if p.name not in _TAKES[way]]
    if others:
        raise TrainError(f"{' and '.join(others)}: nothing that {way} looks at; leave it out")


def _plan(
    run: str | None, train: str, base: str | None, out: str | None, budget: float, only: str | None,
    held_out: tuple[str, ...],
) -> None:  # fmt: skip
    if not out:
        raise TrainError("no folder for the plan: give --out DIR")
    flow, show = "trainkit.curate.flow:", "trainkit.curate.show:"
    made = load(f"{flow}curate")(load(f"{flow}Asked")(train, run, base, budget, only, held_out), out)
    emit(load(f"{show}render")(made).rstrip("\n"))
    emit(f"plan: {Path(out) / 'plan.json'}")


def _written(done: Any) -> None:
    version, path = done.version, done.path
    changed = f"{len(version.undone)} edits undone" if version.undone else f"plan {version.plan} applied"
    emit(one_line(f"version {version.number} of {version.origin}: {changed}, {len(version.edits)} edits in force"))
    emit(f"data: {path}")
