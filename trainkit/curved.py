"""What a curve found, and how it is told: one Markdown page with its table and plot. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from evalkit.report.markdown import code, grid, plain

HEADER = ("training rows", "mean", "95 % interval over seeds", "each seed")


@dataclass(frozen=True, slots=True)
class Point:
    """One amount of data."""

    amount: int
    """Training rows."""
    scores: tuple[float, ...]
    """Primary metric of each seed, 0..1."""
    mean: float
    """Their mean."""
    low: float
    """Lower end of the 95 % interval over seeds (Student's t, within 0 and 1); the mean itself for one seed."""
    high: float
    """Upper end."""


@dataclass(frozen=True, slots=True)
class Curve:
    """Scores by amount, and what more data is expected to give."""

    suite: str
    """The suite that judged."""
    base: float
    """Score before training."""
    points: tuple[Point, ...]
    """In order of amount."""
    gain: float | None
    """Points of 0..1 that the next doubling is expected to give; None with fewer than three scores or two amounts."""
    gain_low: float | None
    """Lower end of its 95 % interval."""
    gain_high: float | None
    """Upper end."""


def outlook(curve: Curve) -> str:
    """Return what the next doubling of the rows is expected to give, in one clause; empty where it is not known."""
    if curve.gain is None:
        return ""
    return f"the next doubling is expected to give {curve.gain:+.3f} ({curve.gain_low:+.3f} to {curve.gain_high:+.3f})"


def report(curve: Curve, command: str = "", plot: str = "curve.png") -> str:
    """Return the whole report as Markdown; `plot` is the picture's file beside it."""
    lines = ["# Quality against data", ""]
    if command:
        lines += [f"Made by {code(command)}.", ""]
    lines += [
        f"Scores of {plain(curve.suite)}, 0 to 1; every seed draws its own rows, and the rows of a smaller amount are "
        f"among those of a larger one. Before training: {curve.base:.3f}.",
        "",
        f"![scores against training rows]({plot})",
        "",
        *grid(HEADER, map(_row, curve.points)),
        "",
    ]
    if told := outlook(curve):
        lines += [f"By the slope over all seeds, {told}.", ""]
    return "\n".join(lines)


def _row(point: Point) -> Sequence[str]:
    each = ", ".join(f"{score:.3f}" for score in point.scores)
    return f"{point.amount:,}", f"{point.mean:.3f}", f"{point.low:.3f} to {point.high:.3f}", each
