"""Flags from settings: a settings class is the one table for flags, TOML and Python."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import MISSING
from typing import Any

import click

from evalkit.jsonl import scrub
from trainkit.config import Knob, knobs_of, read_settings

Command = Callable[..., Any]


def flags(kind: type[Any], without: Collection[str] = ()) -> Callable[[Command], Command]:
    """Add `--config FILE` and a flag for each setting; a flag that is not given is None, so a config can fill it."""

    def decorate(command: Command) -> Command:
        for knob in reversed(knobs_of(kind)):
            if knob.name not in without:
                command = _option(knob)(command)
        return click.option(
            "--config", metavar="FILE", help="Settings in TOML, named like the flags; flags come first."
        )(command)

    return decorate


def merged(config: str | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config's settings, overridden by the flags that were given."""
    read = read_settings(config) if config else {}
    return {**read, **{name: value for name, value in given.items() if value is not None}}


def emit(text: str) -> None:
    """Write to stdout."""
    click.echo(scrub(text))


def typed() -> str:
    """Return the command as it can be typed again."""
    return " ".join(["trainkit", *map(shlex.quote, sys.argv[1:])])


def colored() -> bool:
    """Say whether stdout is a terminal that shows colour."""
    return sys.stdout.isatty()


def _option(knob: Knob) -> Callable[[Command], Command]:
    flag = f"--{knob.name.replace('_', '-')}"
    shown = "" if knob.default in (MISSING, None, "", False) else f" [default: {knob.default}]"
    says = f"{knob.says}{shown}"
    if knob.kind is bool:
        return click.option(f"{flag}/--no-{flag[2:]}", knob.name, default=None, help=says)
    if knob.choices:
        return click.option(flag, knob.name, type=click.Choice(knob.choices), help=says)
    return click.option(flag, knob.name, type=knob.kind, metavar=knob.metavar or knob.kind.__name__.upper(), help=says)
