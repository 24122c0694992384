"""The numbers behind a check: paired scores of one metric to interval, p-value and planning figures.

Picks the statistic that fits the data: score interval and mid-p McNemar for independent 0/1 items, their clustered
version, or sign flips and a cluster-robust t interval. Knows no verdict.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from evalkit.paired import (
    POWER,
    Floats,
    cluster_error,
    design_effect,
    detectable_effect,
    items_needed,
    mcnemar_midp,
    sign_flip,
    tango_interval,
)
from evalkit.stats import Interval, normal_quantile, t_quantile
from evalkit.verdict import MetricPair

FEWEST_CHANGES = 10
"""With fewer changed items a graded metric is judged as if each were a full flip."""

FEWEST_DF = 2
"""A design effect comes from the clusters that changed: t has one degree of freedom less, but at least so many."""


@dataclass(frozen=True, slots=True)
class Paired:
    """Scores of two runs with every gap filled, as arrays (n,)."""

    baseline: Floats
    candidate: Floats
    change: Floats
    """Candidate minus baseline, turned so that positive is better."""
    clusters: Sequence[Hashable] | None
    lost_baseline: float
    """Items without a score in the baseline, counted as unchanged."""
    lost_candidate: float
    """Items without a score in the candidate, counted as the worst."""
    out_of_range: int
    """Scores that are infinite or outside 0..1."""
    valued: bool
    """Whether any item of either run has a score."""

    @property
    def n(self) -> int:
        """Return the number of items."""
        return self.change.size

    @property
    def broken(self) -> int:
        """Return how many items got worse."""
        return int(np.count_nonzero(self.change < 0))

    @property
    def fixed(self) -> int:
        """Return how many items got better."""
        return int(np.count_nonzero(self.change > 0))

    @property
    def baseline_mean(self) -> float:
        """Return the baseline's mean score."""
        return math.fsum(self.baseline.tolist()) / self.n

    @property
    def candidate_mean(self) -> float:
        """Return the candidate's mean score."""
        return math.fsum(self.candidate.tolist()) / self.n

    @property
    def binary(self) -> bool:
        """Return whether all scores are 0 or 1."""
        return bool(np.all((self.baseline == 0) | (self.baseline == 1)) and np.all(np.abs(self.change) % 1 == 0))


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the scores say about the change, in shares."""

    change: float
    clusters: int
    ci95: Interval
    lower: float
    upper: float
    p: float
    method: str
    detectable: float
    items_needed: int | None


def pair_up(pair: MetricPair) -> Paired:
    """Fill the gaps and turn the change: a missing candidate score is the worst, a missing baseline changes nothing."""
    baseline, candidate = np.array(pair.baseline, dtype=np.float64), np.array(pair.candidate, dtype=np.float64)
    gap_before, gap_after = np.isnan(baseline), np.isnan(candidate)
    candidate = np.where(gap_after, 0.0 if pair.direction == "up" else 1.0, candidate)
    baseline = np.where(gap_before, candidate, baseline)
    change = candidate - baseline if pair.direction == "up" else baseline - candidate
    change = np.where(np.abs(change) < 1e-9, 0.0, change)
    bad = sum(int(np.count_nonzero(~((s >= 0) & (s <= 1)))) for s in (baseline, candidate))
    lost_before, lost_after = pair.lost_trials
    return Paired(
        baseline,
        candidate,
        change,
        pair.clusters,
        np.count_nonzero(gap_before) + lost_before,
        np.count_nonzero(gap_after) + lost_after,
        bad,
        not (gap_before.all() and gap_after.all()),
    )


def gather(paired: Paired, alpha: float, metrics: int, margin: float) -> Evidence:
    """Return the evidence at one-sided `alpha`; planning divides alpha by the number of gating `metrics`."""
    sums, sizes = _cluster_sums(paired, paired.change)
    spread = _spread(paired, sums, sizes)
    independent = paired.binary and paired.clusters is None
    lower, upper = spread.interval(1 - alpha)
    return Evidence(
        change=math.fsum(sums.tolist()) / paired.n,
        clusters=sums.size,
        ci95=spread.interval(0.975),
        lower=lower,
        upper=upper,
        p=mcnemar_midp(paired.fixed, paired.broken) if independent else sign_flip(sums),
        method=f"{spread.method}; {'mid-p McNemar' if independent else 'sign flip'}",
        detectable=spread.detectable(alpha / metrics),
        items_needed=spread.items_needed(margin, alpha),
    )


@dataclass(frozen=True, slots=True)
class _Counted:
    """Uncertainty of a change that is counted in full flips: Tango's interval, widened by a design effect.

    Items of a graded score that changed by `size` on average are no full flips: where an end of the interval would
    claim more than they show, it is drawn in to that size, and the change itself always lies inside.
    """

    gains: int
    losses: int
    n: int
    inflation: float
    df: float
    method: str
    change: float
    size: float

    def interval(self, p: float) -> Interval:
        f = self.inflation
        low, high = tango_interval(self.gains / f, self.losses / f, self.n / f, t_quantile(p, self.df))
        return min(low, self.size * low, self.change), max(high, self.size * high, self.change)

    def detectable(self, alpha: float) -> float:
        return detectable_effect(self.n / self.inflation, (self.gains + self.losses) / self.n, alpha)

    def items_needed(self, margin: float, alpha: float) -> int:
        return math.ceil(self.inflation * items_needed(margin, (self.gains + self.losses) / self.n, alpha))


@dataclass(frozen=True, slots=True)
class _Averaged:
    """Uncertainty of a mean change: CR1 standard error with t(G - 1)."""

    change: float
    error: float
    n: int
    df: float
    method: str

    def interval(self, p: float) -> Interval:
        half = t_quantile(p, self.df) * self.error
        return max(-1.0, self.change - half), min(1.0, self.change + half)

    def detectable(self, alpha: float) -> float:
        return min(1.0, (t_quantile(1 - alpha, self.df) + t_quantile(POWER, self.df)) * self.error)

    def items_needed(self, margin: float, alpha: float) -> int:
        return math.ceil(self.n * ((normal_quantile(1 - alpha) + normal_quantile(POWER)) * self.error / margin) ** 2)


@dataclass(frozen=True, slots=True)
class _Unknown:
    """A single cluster has no spread: every change is plausible."""

    method: str = "one cluster: no interval"

    def interval(self, p: float) -> Interval:
        return -1.0, 1.0

    def detectable(self, alpha: float) -> float:
        return 1.0

    def items_needed(self, margin: float, alpha: float) -> None:
        return None


def _spread(paired: Paired, sums: Floats, sizes: Floats) -> _Counted | _Averaged | _Unknown:
    """Choose how the uncertainty of the change is measured."""
    grouped, groups, gains, losses = paired.clusters is not None, sums.size, paired.fixed, paired.broken
    if grouped and groups < 2:
        return _Unknown()
    change = math.fsum(sums.tolist()) / paired.n
    if not paired.binary and gains + losses >= FEWEST_CHANGES:
        return _Averaged(change, cluster_error(sums, sizes), paired.n, groups - 1, f"CR1 t({groups - 1})")
    method = "Tango" if paired.binary else "Tango, changed items as full flips"
    size = math.fsum(np.abs(paired.change).tolist()) / max(1, gains + losses)
    if not grouped:
        return _Counted(gains, losses, paired.n, 1.0, math.inf, method, change, size)
    df = max(FEWEST_DF, int(np.count_nonzero(sums)) - 1)
    flips = sums if paired.binary else _cluster_sums(paired, np.sign(paired.change))[0]
    inflation = design_effect(flips, sizes, gains, losses)
    method = f"{method}, design effect {inflation:.2f}, t({df})"
    return _Counted(gains, losses, paired.n, inflation, df, method, change, size)


def _cluster_sums(paired: Paired, change: Floats) -> tuple[Floats, Floats]:
    """Return sum (G,) and size (G,) of each cluster; an item without a label is a cluster of its own."""
    if paired.clusters is None:
        return change, np.ones_like(change)
    codes: dict[Hashable, int] = {}
    labels = [codes.setdefault((i,) if c is None else c, len(codes)) for i, c in enumerate(paired.clusters)]
    index = np.array(labels, dtype=np.intp)
    order = np.lexsort((change, index))  # the order of items must not change the last digit
    sums = np.bincount(index[order], weights=change[order])
    return sums.astype(np.float64), np.bincount(index).astype(np.float64)
