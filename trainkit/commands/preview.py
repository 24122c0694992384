"""`trainkit preview`."""

from __future__ import annotations

from typing import Any

import click
from rich.console import Console
from rich.text import Text

from evalkit.report.visible import visible
from trainkit.commands.options import flags, merged
from trainkit.intake import prepare
from trainkit.settings import SftSettings

PROMPT, LEARNED = "dim cyan", "bold green"


@click.command()
@click.option("--rows", "count", type=int, default=3, show_default=True, metavar="N", help="Rows to show.")
@flags(SftSettings, without=("out",))
def preview(count: int, config: str | None, **given: Any) -> None:
    """Show rows as the model sees them: the prompt in one color, what is learned in another; then the ledger.

    Without color, learned text stands between guillemets.
    """
    prepared = prepare(SftSettings.of({"out": "-", **merged(config, given)}))
    console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
    for row in prepared.train[:count]:
        text = Text()
        for ids, style in ((row.ids[: row.prompt], PROMPT), (row.ids[row.prompt :], LEARNED)):
            shown = visible(prepared.tokenizer.decode(list(ids), skip_special_tokens=False))
            text.append(shown if console.is_terminal or style == PROMPT else f"«{shown}»", style)
        console.print(Text(f"row {visible(row.id)}: {row.prompt} prompt tokens, {row.supervised} learned", "bold"))
        console.print(text)
        console.print()
    console.print(prepared.ledger.line())
