"""The one look of tables in the terminal. Knows nothing of what they hold."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table


def empty_table(columns: Sequence[str], left: Collection[str], *, wrap: bool = False) -> Table:
    """Return an empty table whose columns named in `left` start at the left; with `wrap` cells after the first may too."""
    found = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="dim", show_edge=False)
    for number, name in enumerate(columns):
        justify = "left" if name in left else "right"
        found.add_column(
            name, justify=justify, no_wrap=number > 0 and not wrap, overflow="ellipsis" if wrap else "fold"
        )
    return found
