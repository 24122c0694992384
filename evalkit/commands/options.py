"""Options that several commands share, and what the user's words for them mean."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from evalkit.errors import EvalkitError
from evalkit.jsonl import write_atomic
from evalkit.policy import Policy, read_policy
from evalkit.registry import did_you_mean
from evalkit.types import SEVERITY_WEIGHTS

Command = Callable[..., Any]
DEFAULT_POLICY = Path("gate.toml")
PICTURE = re.compile(r"!\[[^\]\n]*\]\(([A-Za-z0-9._-]{1,100}\.png)\)")
"""A picture in Markdown, a file beside the page."""


def assessing(command: Command) -> Command:
    """Add the options that change how answers are scored and tagged."""
    for option in (
        click.option(
            "--training", metavar="FILE", help="Training rows (JSONL): their words and error rates are known then."
        ),
        click.option("--vocabulary", metavar="FILE", help="Words of the domain, one a line, that are no misspellings."),
        click.option(
            "--against", metavar="RUN2", help="With a judge of the mode pairwise: the run to hold it against."
        ),
        click.option(
            "--judge-when",
            type=click.Choice(["undecided", "always"]),
            help="Judge what rules leave open, or everything.",
        ),
        click.option("--judge", metavar="M", help="Let this model judge the answers; named as --model is."),
        click.option("--set", "overrides", metavar="KEY=VALUE", multiple=True, help="Override a setting of the suite."),
        click.option("--taggers", metavar="A,B", help="Taggers by name, `default` or `none`."),
        click.option("--scorers", metavar="A,B", help="Scorers by name."),
        click.option("--data-dir", metavar="DIR", help="Mirror of data sets: DIR/<hub id>/<config>/<split>.jsonl."),
    ):
        command = option(command)
    return command


def overrides_of(given: dict[str, Any]) -> tuple[str, ...]:
    """Take `--set` and its short forms `--scorers a,b`, `--taggers a,b` and `--judge-when W` out of what was given."""
    overrides, when = given.pop("overrides"), given.pop("judge_when")
    names = {key: given.pop(key) for key in ("scorers", "taggers")}
    short = [f"{key}={names_of(value)}" for key, value in names.items() if value is not None]
    return (*overrides, *short, *([f'scorer.judge.when="{when}"'] if when else []))


def names_of(given: str) -> str:
    """Return `a,b` as the TOML list `["a", "b"]`."""
    return "[" + ", ".join(f'"{name.strip()}"' for name in given.split(",") if name.strip()) + "]"


def costs_of(given: tuple[str, ...]) -> dict[str, float]:
    """Return `repetition=4` or `repetition=critical` as category -> cost."""
    costs = {}
    for item in given:
        name, equals, text = item.partition("=")
        try:
            costs[name] = SEVERITY_WEIGHTS[text] if text in SEVERITY_WEIGHTS else float(text)  # type: ignore[index]  # tested before
        except ValueError:
            raise EvalkitError(
                f"--severity {item!r}: expected CATEGORY=COST{did_you_mean(text, SEVERITY_WEIGHTS)}"
            ) from None
        if not equals or not 0 <= costs[name] <= 100:
            raise EvalkitError(f"--severity {item!r}: expected CATEGORY=COST with a cost from 0 to 100")
    return costs


def policy_of(file: str | None) -> Policy:
    """Return the policy of a file, of ./gate.toml where none is given, or the default."""
    if file is None and not DEFAULT_POLICY.is_file():
        return Policy()
    return read_policy(Path(file or DEFAULT_POLICY))


def colored() -> bool:
    """Say whether stdout is a terminal that shows colour."""
    return sys.stdout.isatty()


def emit(text: str | bytes, output: str | None) -> None:
    """Write a report to a file, whole or not at all, or to stdout as it is.

    A reader of stdout that has gone away changes no exit code: what follows is written to nowhere.
    """
    content = text if isinstance(text, bytes) else text.encode()
    if output is None:
        try:
            if isinstance(text, bytes):
                sys.stdout.buffer.write(text)
            else:
                sys.stdout.write(text)
            sys.stdout.flush()
        except OSError as fault:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            if not isinstance(fault, BrokenPipeError):
                raise EvalkitError(f"stdout: cannot be written: {fault.strerror}") from None
        return
    path = Path(output)
    try:
        if path.exists() and not path.is_file():  # a device or a pipe is written to, never replaced
            path.write_bytes(content)
        else:
            write_atomic(path.resolve(), [content])
    except OSError as fault:
        raise EvalkitError(f"{output}: cannot be written: {fault.strerror}") from None


def emit_study(page: Path, output: str | None) -> None:
    """Write a page of Markdown as `emit` does, and beside the file the pictures that the page shows."""
    try:
        text = page.read_text(encoding="utf-8")
        pictures = {name: (page.parent / name).read_bytes() for name in PICTURE.findall(text)}
    except (OSError, UnicodeDecodeError) as fault:
        raise EvalkitError(f"{page}: cannot be read whole: {fault}") from None
    if output is not None:
        for name, content in pictures.items():
            emit(content, str(Path(output).parent / name))
    emit(text, output)
