"""`evalkit suites`."""

from __future__ import annotations

from pathlib import Path

import click

from evalkit.assess import Assessor
from evalkit.errors import SuiteError
from evalkit.jsonl import dump
from evalkit.prompt import request_of
from evalkit.report.visible import one_line, visible
from evalkit.suite import NAME, describe, read_suite, suite_folders

_TOML = """name = "{name}"
version = 1
split = "dev"                       # or "held_out": may judge, never choose training rows
description = ""
chat = true                         # the model's chat template; false: `template`
scorers = ["exact", "fuzzy", "match"]
taggers = ["default"]
primary = "match"

[generation]
max_new_tokens = 128
"""
_EXAMPLES = (
    '{"id": "capital", "input": "What is the capital of France?", "target": ["Paris"], "meta": {"topic": "cities"}}\n'
)


@click.group()
def suites() -> None:
    """List, show, check and make suites."""


@suites.command("list")
def list_suites() -> None:
    """List the suites that a bare name finds: those in ./suites, and those that ship with evalkit."""
    for name, folder in sorted(suite_folders().items()):
        about = describe(folder)
        click.echo(f"{one_line(name):24}{about.split:10}{one_line(about.description, 100)}")


@suites.command()
@click.argument("suite")
@click.option("--data-dir", metavar="DIR", help="Mirror of data sets.")
@click.option("--examples", default=2, show_default=True, help="Examples shown.")
def show(suite: str, data_dir: str | None, examples: int) -> None:
    """Show a suite's settings and its first examples as they are asked."""
    read = read_suite(suite, data_dir=data_dir)
    kind = Assessor.of(read).kind
    click.echo(f"{one_line(read.name)} version {read.version}, {read.split}: {one_line(read.description)}")
    click.echo(f"{len(read.examples)} examples, digest {read.digest[:16]}, primary metric {one_line(read.primary)}")
    click.echo(
        f"scorers {', '.join(read.scorers)}; taggers {', '.join(read.taggers)}; "
        f"up to {read.generation.max_new_tokens} tokens"
    )
    for example in read.examples[:examples]:
        request = request_of(read, example, 0, kind)
        asked = request.prompt or "\n".join(f"{turn.role}: {turn.content}" for turn in request.messages)
        click.echo(f"\n[{one_line(example.id)}]\n{visible(asked)}")
        click.echo(f"accepted: {dump([one_line(target) for target in example.target])}")


@suites.command()
@click.argument("names", metavar="SUITE...", nargs=-1, required=True)
@click.option("--data-dir", metavar="DIR", help="Mirror of data sets.")
def check(names: tuple[str, ...], data_dir: str | None) -> None:
    """Check suites: settings, examples, plug-ins and their settings. Exit code 2 at the first fault."""
    for name in names:
        read = read_suite(name, data_dir=data_dir)
        Assessor.of(read)
        without = sum(not example.target for example in read.examples)
        click.echo(f"{one_line(read.name)}: ok, {len(read.examples)} examples, {without} without an accepted answer")


@suites.command()
@click.argument("name")
def new(name: str) -> None:
    """Make the folder suites/NAME with a suite.toml and one example to replace."""
    if not NAME.fullmatch(name):
        raise SuiteError(f"suite name {name!r}: expected letters, digits, '.', '_' or '-', at most 100")
    folder = Path("suites", name)
    try:
        folder.mkdir(parents=True)
        (folder / "suite.toml").write_text(_TOML.format(name=name), encoding="utf-8")
        (folder / "examples.jsonl").write_text(_EXAMPLES, encoding="utf-8")
    except FileExistsError:
        raise SuiteError(f"{folder}: is there already") from None
    except OSError as fault:
        raise SuiteError(f"{folder}: cannot be made: {fault.strerror}") from None
    click.echo(f"{folder}/suite.toml and examples.jsonl are there; `evalkit suites check {name}` checks them")
