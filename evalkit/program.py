"""What a command-line program is here: a table of commands, each loaded when it is called, and the exit codes.

`evalkit` and `trainkit` are two of them.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from types import FrameType
from typing import Any, NoReturn

import click

from evalkit.errors import EvalkitError, Stopped
from evalkit.registry import did_you_mean, load

Table = Mapping[str, tuple[str, str]]
"""Command -> (where it is, its line in the help)."""
INTERNAL = 70
SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143}
"""Signal -> the exit code of a command that it stopped."""
GRACE = 2.0
"""Seconds that a command has to end after SIGTERM."""
CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class Terminated(BaseException):
    """SIGTERM: end as after Ctrl-C, with its own exit code."""


class Commands(click.Group):
    """A group that imports a command only when it is called, so that `--help` stays fast."""

    def __init__(self, *args: Any, table: Table, **kwargs: Any) -> None:
        super().__init__(*args, context_settings=CONTEXT, **kwargs)
        self.table = table

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order of the table."""
        return list(self.table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command."""
        if cmd_name not in self.table:
            ctx.fail(f"no command {cmd_name!r}{did_you_mean(cmd_name, self.table)}")
        command: click.Command = load(self.table[cmd_name][0])
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table of commands from their lines, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in self.table.items()])


def run(group: click.Command) -> NoReturn:
    """Run the command line of this process and exit with its code; every failure is one line on stderr."""
    signal.signal(signal.SIGTERM, _stop)
    _watch()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a job in the background ignores it
        signal.signal(signal.SIGINT, _stop)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by the caller: what would be printed goes nowhere
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - open until the process ends
        else:
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")  # the same bytes in every locale
    logging.basicConfig(format=f"{group.name}: warning: %(message)s", level=logging.WARNING)
    code = call(group, sys.argv[1:])
    if code in SIGNALS.values():  # what Python would tidy up takes seconds where torch is loaded
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def call(group: click.Command, arguments: list[str]) -> int:
    """Run a command line and return the exit code."""
    program, code = str(group.name), 0
    try:
        with group.make_context(program, list(arguments)) as context:
            returned = group.invoke(context)
        code = returned if isinstance(returned, int) else 0
        sys.stdout.flush()
        return code
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.ClickException as fault:
        fault.show()
        return fault.exit_code
    except EvalkitError as fault:
        return _say(program, str(fault), fault.exit_code)
    except (KeyboardInterrupt, click.Abort):
        return _say(program, "interrupted", SIGNALS[signal.SIGINT])
    except Terminated:
        return _say(program, "terminated", SIGNALS[signal.SIGTERM])
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return code
    except SystemExit:
        raise
    except BaseException as fault:  # a panic of a native library is no Exception
        return _unforeseen(program, fault, debug="--debug" in arguments)


def _unforeseen(program: str, fault: BaseException, *, debug: bool) -> int:
    """Say what no command foresees, and return the exit code."""
    if isinstance(fault, OSError) and fault.errno == errno.ENAMETOOLONG:  # any option may hold a path
        return _say(program, f"{str(fault.filename)[:60]}…: {fault.strerror}", EvalkitError.exit_code)
    if debug:
        traceback.print_exception(fault)
    if isinstance(fault, MemoryError):
        message = "out of memory; free some, and give the command again (a run goes on by --resume)"
        return _say(program, message, Stopped.exit_code)
    return _say(program, f"internal error: {type(fault).__name__}: {fault} ({program} --debug … shows where)", INTERNAL)


def _say(program: str, message: str, code: int) -> int:
    from evalkit.report.visible import visible

    click.echo(f"{program}: {visible(' '.join(message.split()))}", err=True)
    return code


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    """Stop the command in good order; a second signal ends the process at once, which loses as little as a kill."""
    for other, code in SIGNALS.items():
        if signal.getsignal(other) is _stop:
            signal.signal(other, lambda *_, code=code: os._exit(code))
    raise Terminated if number == signal.SIGTERM else KeyboardInterrupt


def _watch() -> None:
    """End the process some seconds after SIGTERM, even in a computation that no signal of Python's interrupts."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))  # a worker's signals are its own

    def leave() -> NoReturn:
        while signal.SIGTERM not in os.read(reader, 64):
            pass
        time.sleep(GRACE)
        os._exit(SIGNALS[signal.SIGTERM])

    threading.Thread(target=leave, daemon=True).start()
