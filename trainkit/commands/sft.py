"""`trainkit sft`."""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from evalkit.errors import EvalkitError
from evalkit.registry import load
from evalkit.report.visible import one_line
from trainkit.checkpoint import last_step
from trainkit.commands.options import emit, flags, merged
from trainkit.errors import TrainError
from trainkit.plot import spark
from trainkit.settings import SftSettings


@click.command()
@click.option("--resume", metavar="DIR", help="Complete a training that was stopped; takes no other settings.")
@flags(SftSettings)
def sft(resume: str | None, config: str | None, **given: Any) -> None:
    """Fine-tune a model on question-answer rows into a checkpoint that `evalkit run --model` takes.

    Every setting can stand in a TOML file (--config); the checkpoint keeps them as sft.toml. The last line on stdout is
    `checkpoint: DIR`.
    """
    if resume and (config or any(value is not None for value in given.values())):
        raise TrainError("--resume DIR takes its settings from the training; leave the other options out")
    with _progress() as tell:
        how = {"say": lambda line: click.echo(one_line(line), err=True), "tell": tell}
        if resume:
            with _resumable(resume):
                done = load("trainkit.sft:resume")(resume, **how)
        else:
            settings = SftSettings.of(merged(config, given))
            with _resumable(settings.out):
                done = load("trainkit.sft:sft")(settings, **how)
    _show(done)


def _show(done: Any) -> None:
    result = done.manifest["result"]
    losses = [entry["loss"] for entry in done.history if "loss" in entry]
    if losses:
        emit(f"loss {losses[0]:.3f} {spark(losses)} {losses[-1]:.3f}")
    for entry in result["evaluations"]:
        kept = "  kept" if entry["step"] == result["kept_step"] else ""
        emit("  ".join(f"{k.removeprefix('eval_')} {v:g}" for k, v in entry.items()) + kept)
    tokens = result["tokens"]
    emit(
        f"{result['steps']} steps, {tokens['tokens']} tokens ({tokens['supervised']} learned, "
        f"{tokens['padding']} padding), {result['seconds']:.0f} s, {result['mode']}"
    )
    if done.probe:
        emit(done.probe.line())
    emit(f"checkpoint: {done.folder}")


@contextlib.contextmanager
def _resumable(out: str) -> Iterator[None]:
    """Print the command that resumes, whatever stops the training; bad input stops none."""
    try:
        yield
    except BaseException as fault:
        if not isinstance(fault, EvalkitError) and last_step(Path(out)):
            click.echo(f"stopped; to go on: trainkit sft --resume {shlex.quote(out)}", err=True)
        raise


@contextlib.contextmanager
def _progress() -> Iterator[Any]:
    """Show a bar with the loss on stderr where that is a terminal, and evaluations as lines where it is not."""
    if not sys.stderr.isatty():
        yield _lines
        return
    columns = (
        TextColumn("steps"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[loss]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("steps", total=None, loss="")

        def tell(step: int, steps: int, logs: Mapping[str, float]) -> None:
            bar.update(task, completed=step, total=steps)
            if "loss" in logs:
                bar.update(task, loss=f"loss {logs['loss']:.3f}")

        yield tell


def _lines(step: int, steps: int, logs: Mapping[str, float]) -> None:
    """Tell evaluations, and the loss about ten times."""
    told = {
        k: v
        for k, v in logs.items()
        if k in ("eval_loss", "eval_suite") or (k == "loss" and step % max(1, steps // 10) == 0)
    }
    if told:
        click.echo(f"step {step} of {steps}: " + ", ".join(f"{k} {v:.4g}" for k, v in told.items()), err=True)
