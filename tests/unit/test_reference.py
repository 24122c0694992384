"""docs/reference.md names every option of every command, and none that is not there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from evalkit.cli import COMMANDS, evalkit
from evalkit.registry import load

PAGE = (Path(__file__).parents[2] / "docs/reference.md").read_text(encoding="utf-8")
TABLE = dict(re.findall(r"^\| `evalkit ([a-z -]+)` \| (.*) \|$", PAGE[PAGE.index("## Options") :], re.MULTILINE))


def commands() -> Iterator[tuple[str, click.Command]]:
    for name, (where, _) in COMMANDS.items():
        command = load(where)
        if isinstance(command, click.Group):
            yield from ((f"{name} {sub}", found) for sub, found in command.commands.items())
        else:
            yield name, command


@pytest.mark.parametrize(("name", "command"), list(commands()), ids=str)
def test_the_page_names_a_commands_options_and_no_others(name, command):
    options = {text for p in command.params if isinstance(p, click.Option) for text in p.opts}
    assert set(re.findall(r"`(-[-a-z]+)", TABLE[name])) == options


def test_the_page_names_no_command_that_is_not_there():
    assert set(TABLE) == {name for name, _ in commands()}


def test_the_page_names_the_options_before_a_command():
    for param in evalkit.params:
        assert f"`evalkit {param.opts[0]}" in PAGE


def test_the_page_says_when_two_runs_are_taken():
    two = {name.split()[0] for name, command in commands() if any(p.name == "run2" for p in command.params)}
    assert two == {"errors", "report"}
    assert all(f"`evalkit {name} RUN RUN2" in PAGE for name in two)
