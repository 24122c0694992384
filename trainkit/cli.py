"""The command `trainkit`: one table of commands, each loaded when it is called; exit codes are evalkit's."""

from __future__ import annotations

import signal
import sys
import traceback
from collections.abc import Mapping
from typing import Any, NoReturn

import click

from evalkit.cli import INTERNAL, Terminated
from evalkit.errors import EvalkitError
from evalkit.registry import did_you_mean, load

COMMANDS: Mapping[str, tuple[str, str]] = {
    "prepare": ("trainkit.commands.prepare:prepare", "Turn raw data into training and test rows."),
    "preview": ("trainkit.commands.preview:preview", "Show rows as the model sees them: prompt and learned tokens."),
    "plan": ("trainkit.commands.plan:plan", "Say what fits on which device, and how long it takes."),
    "sft": ("trainkit.commands.sft:sft", "Fine-tune a model, whole or by LoRA, into a checkpoint."),
    "merge": ("trainkit.commands.merge:merge", "Merge a LoRA checkpoint into a plain one."),
    "curve": ("trainkit.commands.curve:curve", "Measure quality against the amount of data."),
}
"""Command -> (where it is, its line in the help)."""


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
@click.version_option(package_name="evalkit-llm", prog_name="trainkit")
@click.option("--debug", is_flag=True, help="Show a traceback for internal errors.")
def trainkit(debug: bool) -> None:
    """Fine-tune language models on question-answer rows into checkpoints that evalkit runs as they are.

    \b
    Exit codes: 0 ok, 2 usage or bad input, 4 stopped but resumable, 70 internal error,
    75 another process trains into the folder, 130 and 143 interrupted or terminated.
    """  # noqa: D301 - click reads the \b


def main() -> NoReturn:
    """Run the command line and exit with its code; every failure is one line on stderr."""
    signal.signal(signal.SIGTERM, _terminate)
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")  # type: ignore[union-attr]  # a text file
    sys.exit(call(sys.argv[1:]))


def call(arguments: list[str]) -> int:
    """Run the command line and return the exit code."""
    try:
        with trainkit.make_context("trainkit", list(arguments)) as context:
            code: Any = trainkit.invoke(context)
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
    except Exception as fault:
        if "--debug" in arguments:
            traceback.print_exc()
        return _say(f"internal error: {type(fault).__name__}: {fault} (trainkit --debug … shows where)", INTERNAL)


def _say(message: str, code: int) -> int:
    from evalkit.report.visible import visible

    click.echo(f"trainkit: {visible(' '.join(message.split()))}", err=True)
    return code


def _terminate(*_: Any) -> NoReturn:
    raise Terminated
