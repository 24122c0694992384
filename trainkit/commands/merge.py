"""`trainkit merge`."""

from __future__ import annotations

import click

from trainkit.commands.options import emit
from trainkit.merge import merge as merged


@click.command()
@click.argument("adapter", metavar="DIR")
@click.option("--out", required=True, metavar="DIR", help="Folder of the plain checkpoint: new or empty.")
def merge(adapter: str, out: str) -> None:
    """Merge a LoRA checkpoint into its base: a plain checkpoint whose logits differ by at most 1e-4."""
    difference = merged(adapter, out)
    emit(f"largest difference of a logit: {difference:.2g}")
    emit(f"checkpoint: {out}")
