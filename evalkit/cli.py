"""The command `evalkit`: one table of commands, each loaded when it is called, and the exit codes."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Mapping
from types import FrameType
from typing import Any, NoReturn

import click

from evalkit.errors import EvalkitError
from evalkit.registry import did_you_mean, load

COMMANDS: Mapping[str, tuple[str, str]] = {
    "run": ("evalkit.commands.run:run", "Run suites against a model: answer, score, tag, report."),
    "score": ("evalkit.commands.score:score", "Score and tag kept answers anew; no model is asked."),
    "errors": ("evalkit.commands.report:errors", "Show the error categories of a run, ranked, with evidence."),
    "report": ("evalkit.commands.report:report", "Write the report of a run: terminal, Markdown, JSON or SVG."),
    "import": ("evalkit.commands.imports:imports", "Turn lm-evaluation-harness's results into runs."),
    "compare": ("evalkit.commands.gate:compare", "Compare two runs item by item, with intervals."),
    "gate": ("evalkit.commands.gate:gate", "Say whether a candidate may replace a baseline, by exit code."),
    "baseline": ("evalkit.commands.gate:baseline", "Pin runs by name, with a reason."),
    "noise": ("evalkit.commands.gate:noise", "Measure how much two runs of one model differ."),
    "suites": ("evalkit.commands.suites:suites", "List, show, check and make suites."),
    "models": ("evalkit.commands.models:models", "List and fetch models that come through a package index."),
}
"""Command -> (where it is, its line in the help)."""
INTERNAL = 70


class Terminated(BaseException):
    """SIGTERM: end as after Ctrl-C, with its own exit code."""


class Commands(click.Group):
    """A group that imports a command only when it is called, so that `--help` stays fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command."""
        if cmd_name not in COMMANDS:
            ctx.fail(f"no command {cmd_name!r}{did_you_mean(cmd_name, COMMANDS)}")
        command: click.Command = load(COMMANDS[cmd_name][0])
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table of commands from their lines, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
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
    """Run the command line and exit with its code; every failure is one line on stderr."""
    signal.signal(signal.SIGTERM, _terminate)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by the caller: what would be printed goes nowhere
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - open until the process ends
        else:
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")  # the same bytes in every locale
    sys.exit(call(sys.argv[1:]))


def call(arguments: list[str]) -> int:
    """Run the command line and return the exit code."""
    code: Any = 0
    try:
        with evalkit.make_context("evalkit", list(arguments)) as context:
            code = evalkit.invoke(context)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.ClickException as fault:
        fault.show()
        return fault.exit_code
    except EvalkitError as fault:
        return _say(str(fault), fault.exit_code)
    except (KeyboardInterrupt, click.Abort):
        return _say("interrupted", 130)
    except Terminated:
        return _say("terminated", 143)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return code if isinstance(code, int) else 0
    except Exception as fault:
        if "--debug" in arguments:
            traceback.print_exc()
        return _say(f"internal error: {type(fault).__name__}: {fault} (evalkit --debug … shows where)", INTERNAL)


def _say(message: str, code: int) -> int:
    from evalkit.report.visible import visible

    click.echo(f"evalkit: {visible(' '.join(message.split()))}", err=True)
    return code


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise Terminated
