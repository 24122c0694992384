"""The edge to matplotlib, and curves of block characters for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

BLOCKS = "▁▂▃▄▅▆▇█"
WIDTH = 60
Interval = tuple[float, float, float]
"""A value, the lower and the upper end of its interval."""


def loss_png(history: Sequence[Mapping[str, float]], path: Path) -> None:
    """Draw training and evaluation loss against steps."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    for key, style in (("loss", "-"), ("eval_loss", "o-")):
        points = [(entry["step"], entry[key]) for entry in history if key in entry]
        if points:
            axes.plot(*zip(*points, strict=True), style, label=key.replace("_", " "), linewidth=1)
    axes.set_xlabel("step")
    axes.set_ylabel("loss, nats per supervised token")
    axes.legend()
    figure.savefig(path, dpi=120, metadata={"Software": ""})


def curve_png(points: Sequence[tuple[int, float, float, float]], path: Path, label: str, base: float | None) -> None:
    """Draw (amount, mean, low, high) with error bars against the amount of data, log scale."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    amounts, means = [p[0] for p in points], [p[1] for p in points]
    bars = ([p[1] - p[2] for p in points], [p[3] - p[1] for p in points])
    axes.errorbar(amounts, means, yerr=bars, fmt="o-", capsize=4)
    if base is not None:
        axes.axhline(base, linestyle="--", linewidth=1, color="gray", label="before training")
        axes.legend()
    axes.set_xscale("log", base=2)
    axes.set_xticks(amounts, [str(a) for a in amounts])
    axes.set_xlabel("training rows")
    axes.set_ylabel(label)
    figure.savefig(path, dpi=120, metadata={"Software": ""})


def forest_png(names: Sequence[str], sides: Mapping[str, Sequence[Interval | None]], path: Path, label: str) -> None:
    """Draw each side's changes (change, low, high) below one another, a line a name; None draws nothing."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 1.2 + 0.36 * len(names)), layout="constrained")
    axes = figure.add_subplot()
    for number, (side, changes) in enumerate(sides.items()):
        drawn = [(place + 0.22 * number, change) for place, change in enumerate(changes) if change is not None]
        middle = [change[0] for _, change in drawn]
        bars = ([c[0] - c[1] for _, c in drawn], [c[2] - c[0] for _, c in drawn])
        axes.errorbar(middle, [at for at, _ in drawn], xerr=bars, fmt="osD^"[number % 4], capsize=3, label=side)
    axes.axvline(0, linewidth=1, color="gray")
    axes.set_yticks([place + 0.11 * (len(sides) - 1) for place in range(len(names))], names)
    axes.invert_yaxis()
    axes.set_xlabel(label)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(sides), frameon=False)
    figure.savefig(path, dpi=120, metadata={"Software": ""})


def spark(values: Sequence[float], width: int = WIDTH) -> str:
    """Return values as a line of blocks, the highest as a full one; means of neighbours where there are many."""
    if not values:
        return ""
    size = max(1, -(-len(values) // width))
    means = [sum(values[i : i + size]) / len(values[i : i + size]) for i in range(0, len(values), size)]
    low, high = min(means), max(means)
    scale = (len(BLOCKS) - 1) / (high - low) if high > low else 0.0
    return "".join(BLOCKS[round((v - low) * scale)] for v in means)
