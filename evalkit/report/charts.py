"""The geometry of small charts: where an interval, a bar or a point of a curve is drawn. Pure numbers, no markup.

Horizontal positions are 0..100 within a table cell; a curve has its own box. The templates turn them into SVG.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from evalkit.analyze import Estimate

BINS = 12
"""Bins of a histogram of lengths."""
WIDTH, HEIGHT, LEFT, BOTTOM = 480, 220, 44, 24
"""Box of a curve, and the room that its labels take at the left and below."""


@dataclass(frozen=True, slots=True)
class Scale:
    """Values from `low` to `high`, drawn over 0..100."""

    low: float
    """The value at 0."""
    high: float
    """The value at 100."""

    def at(self, value: float) -> float:
        """Return where a value is drawn; one outside is drawn at the edge."""
        if self.high <= self.low:
            return 50.0
        return round(min(100.0, max(0.0, 100 * (value - self.low) / (self.high - self.low))), 2)


SHARE = Scale(0.0, 1.0)


def around_zero(ends: Iterable[float]) -> Scale:
    """Return a scale with 0 in its middle that holds every value."""
    reach = max((abs(end) for end in ends), default=0.0) or 1.0
    return Scale(-reach, reach)


@dataclass(frozen=True, slots=True)
class Bin:
    """One bar of a histogram, for each series."""

    label: str
    """The range of values."""
    counts: tuple[int, ...]
    """Values in it, per series."""


def histogram(series: Sequence[Sequence[float]], edges: Sequence[float], last: str = "") -> tuple[Bin, ...]:
    """Count each series' values in [edge, next edge); the last bin takes everything above, and is labelled `last`.

    A value below the first edge is counted in the first bin, so that every value is counted once.
    """
    counts = [[0] * len(edges) for _ in series]
    for number, values in enumerate(series):
        for value in values:
            counts[number][max(0, bisect_right(edges, value) - 1)] += 1
    labels = [f"{low:g} – {high:g}" for low, high in pairwise(edges)]
    labels.append(last or f"{edges[-1]:g} or more")
    return tuple(Bin(label, tuple(c[i] for c in counts)) for i, label in enumerate(labels))


def length_edges(values: Sequence[float]) -> tuple[float, ...]:
    """Return about a dozen round edges from 0 that reach the 98th percentile."""
    ordered = sorted(values)
    top = ordered[min(len(ordered) - 1, int(0.98 * len(ordered)))] if ordered else 0.0
    step = nice_step(max(1.0, top) / BINS)
    return tuple(step * i for i in range(max(1, math.ceil(max(1.0, top) / step))))


def nice_step(size: float) -> float:
    """Return the smallest of 1, 2, 5 times a power of ten, at least 1, that is not below `size`."""
    power = 10.0 ** math.floor(math.log10(size)) if size > 1 else 1.0
    return next(factor * power for factor in (1.0, 2.0, 5.0, 10.0) if factor * power >= size * (1 - 1e-9))


@dataclass(frozen=True, slots=True)
class Point:
    """One checkpoint on a curve, in the box's coordinates, y downwards."""

    x: float
    """Horizontal place."""
    y: float
    """The estimate's place."""
    top: float
    """The interval's upper end."""
    bottom: float
    """The interval's lower end."""


@dataclass(frozen=True, slots=True)
class Curve:
    """A metric over checkpoints."""

    lines: tuple[tuple[Point, ...], ...]
    """A line per suite; a checkpoint without a score has no point."""
    ticks: tuple[tuple[float, str], ...]
    """Horizontal rules: y, and the value in points of 100."""
    columns: tuple[tuple[float, str], ...]
    """Checkpoints: x, and their number from 1."""


def curve(series: Sequence[Sequence[Estimate | None]]) -> Curve:
    """Lay out one line per series; the checkpoints stand at equal distances in the order given."""
    known = [e for line in series for e in line if e]
    low = math.floor(10 * min((e.low for e in known), default=0.0)) / 10
    high = max(low + 0.1, math.ceil(10 * max((e.high for e in known), default=1.0)) / 10)
    scale, count = Scale(low, high), max((len(line) for line in series), default=0)

    def x(column: int) -> float:
        return round(LEFT + (WIDTH - LEFT) * (column + 0.5) / max(1, count), 1)

    def y(value: float) -> float:
        return round(8 + (HEIGHT - BOTTOM - 8) * (1 - scale.at(value) / 100), 1)

    steps = round((high - low) * 10)
    every = max(1, math.ceil(steps / 5))
    return Curve(
        lines=tuple(
            tuple(Point(x(i), y(e.value), y(e.high), y(e.low)) for i, e in enumerate(line) if e) for line in series
        ),
        ticks=tuple((y(low + i / 10), f"{100 * low + 10 * i:.0f}") for i in range(0, steps + 1, every)),
        columns=tuple((x(i), str(i + 1)) for i in range(count)),
    )
