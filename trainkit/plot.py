"""The edge to matplotlib, and curves of block characters for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

BLOCKS = "▁▂▃▄▅▆▇█"
WIDTH = 60


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


def spark(values: Sequence[float], width: int = WIDTH) -> str:
    """Return values as a line of blocks, the highest as a full one; means of neighbours where there are many."""
    if not values:
        return ""
    size = max(1, -(-len(values) // width))
    means = [sum(values[i : i + size]) / len(values[i : i + size]) for i in range(0, len(values), size)]
    low, high = min(means), max(means)
    scale = (len(BLOCKS) - 1) / (high - low) if high > low else 0.0
    return "".join(BLOCKS[round((v - low) * scale)] for v in means)
