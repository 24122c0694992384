"""The one look of tables in the terminal. Knows nothing of what they hold."""

from __future__ import annotations

import io
from collections.abc import Collection, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, OverflowMethod, RenderableType
from rich.table import Table


def printed(*content: RenderableType, color: bool, width: int) -> str:
    """Return what a terminal of `width` columns shows, without spaces at the ends of lines."""
    file = io.StringIO()
    Console(
        file=file, width=width, force_terminal=color, no_color=not color, highlight=False, markup=False, emoji=False
    ).print(Group(*content))
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines()) + "\n"


def empty_table(columns: Sequence[str], left: Collection[str], *, wrap: bool = False) -> Table:
    """Return an empty table; columns named in `left` start at the left; the first, or all with `wrap`, may wrap."""
    found = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="dim", show_edge=False)
    for number, name in enumerate(columns):
        no_wrap = number > 0 and not wrap
        overflow: OverflowMethod = "ellipsis" if wrap else "fold"
        found.add_column(name, justify="left" if name in left else "right", no_wrap=no_wrap, overflow=overflow)
    return found
