"""The command `trainkit`: one table of commands, each loaded when it is called; exit codes are evalkit's."""

from __future__ import annotations

from typing import NoReturn

import click

from evalkit import program
from evalkit.program import Commands, Table

COMMANDS: Table = {
    "prepare": ("trainkit.commands.prepare:prepare", "Turn raw data into training and test rows."),
    "preview": ("trainkit.commands.preview:preview", "Show rows as the model sees them: prompt and learned tokens."),
    "plan": ("trainkit.commands.plan:plan", "Say what fits on which device, and how long it takes."),
    "sft": ("trainkit.commands.sft:sft", "Fine-tune a model, whole or by LoRA, into a checkpoint."),
    "merge": ("trainkit.commands.merge:merge", "Merge a LoRA checkpoint into a plain one."),
    "curate": ("trainkit.commands.curate:curate", "Name the training rows behind errors, and plan edits."),
    "loop": ("trainkit.commands.loop:loop", "Retrain on the planned edits, and on random ones, and compare."),
    "curve": ("trainkit.commands.curve:curve", "Measure quality against the amount of data."),
}


@click.group(cls=Commands, table=COMMANDS)
@click.version_option(package_name="evalkit-llm", prog_name="trainkit")
@click.option("--debug", is_flag=True, help="Show a traceback for internal errors.")
def trainkit(debug: bool) -> None:
    """Fine-tune language models on question-answer rows into checkpoints that evalkit runs as they are.

    \b
    Exit codes: 0 ok, 2 usage or bad input, 4 stopped but resumable, 70 internal error,
    75 another process trains into the folder, 130 and 143 interrupted or terminated.
    """  # noqa: D301 - click reads the \b


def main() -> NoReturn:
    """Run the command line of this process and exit with its code."""
    program.run(trainkit)


def call(arguments: list[str]) -> int:
    """Run a command line and return its exit code."""
    return program.call(trainkit, arguments)
