"""The command `evalkit`: one table of commands, each loaded when it is called, and the exit codes."""

from __future__ import annotations

from typing import NoReturn

import click

from evalkit import program
from evalkit.program import Commands, Table

COMMANDS: Table = {
    "run": ("evalkit.commands.run:run", "Run suites against a model: answer, score, tag, report."),
    "merge": ("evalkit.commands.merge:merge", "Put the parts of a run together that several machines answered."),
    "score": ("evalkit.commands.score:score", "Score and tag kept answers anew; no model is asked but a judge."),
    "errors": ("evalkit.commands.report:errors", "Show the error categories of a run, ranked, with evidence."),
    "report": ("evalkit.commands.report:report", "Write the report of a run: terminal, Markdown, JSON or SVG."),
    "import": ("evalkit.commands.imports:imports", "Turn lm-evaluation-harness's results into runs."),
    "compare": ("evalkit.commands.gate:compare", "Compare two runs item by item, with intervals."),
    "gate": ("evalkit.commands.gate:gate", "Say whether a candidate may replace a baseline, by exit code."),
    "baseline": ("evalkit.commands.gate:baseline", "Pin runs by name, with a reason."),
    "noise": ("evalkit.commands.gate:noise", "Measure how much two runs of one model differ."),
    "review": ("evalkit.commands.review:review", "Label answers by hand in the terminal, or choose between two runs'."),
    "judge-report": (
        "evalkit.commands.judge:judge_report",
        "Hold judge, match and the other scorers against human labels.",
    ),
    "suites": ("evalkit.commands.suites:suites", "List, show, check and make suites."),
    "models": ("evalkit.commands.models:models", "List and fetch models that come through a package index."),
}


@click.group(cls=Commands, table=COMMANDS)
@click.version_option(package_name="evalkit-llm", prog_name="evalkit")
@click.option("--debug", is_flag=True, help="Show a traceback for internal errors.")
def evalkit(debug: bool) -> None:
    """Evaluate fine-tuned language models, see which errors they make, and decide what to ship.

    \b
    Exit codes: 0 ok or gate PASS, 1 gate FAIL, 2 usage or bad input, 3 gate INCONCLUSIVE,
    4 not comparable, too many errors, or stopped but resumable, 70 internal error,
    75 another process holds the run, 130 and 143 interrupted or terminated.
    """  # noqa: D301 - click reads the \b


def main() -> NoReturn:
    """Run the command line of this process and exit with its code."""
    program.run(evalkit)


def call(arguments: list[str]) -> int:
    """Run a command line and return its exit code."""
    return program.call(evalkit, arguments)
