"""What a gate can detect, as text for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from evalkit.plan import Plan
from evalkit.report.table import empty_table, printed
from evalkit.report.visible import one_line
from evalkit.report.wording import margin

LEGEND = (
    "flips: items that change between equal models (95 % interval where measured) · FAIL finds: the smallest drop in "
    "points found with 80 % power · items for it: with these an unchanged model passes at the margin with 80 % power · "
    "passable: the smallest margin that these items pass"
)


def render(plans: Sequence[Plan], *, color: bool = False, width: int = 100) -> str:
    """Return a table with a line per metric and flip rate."""
    table = empty_table(("metric", "items", "flips", "FAIL finds", "margin", "items for it", "passable"), ("metric",))
    for p in plans:
        interval = f" [{100 * p.flip_interval[0]:.1f}, {100 * p.flip_interval[1]:.1f}]" if p.flip_interval else ""
        table.add_row(
            Text(one_line(f"{p.suite}/{p.metric}", 40)), str(p.n), f"{100 * p.flip_rate:.1f} %{interval}",
            f"{p.detectable:.1f}", margin(p.margin), f"{p.needed:,}", f"{p.passable:.1f}",
        )  # fmt: skip
    return printed(table, Text(LEGEND, "dim"), color=color, width=width)
