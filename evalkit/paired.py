"""Statistics of two runs on the same items: intervals, tests and planning for a paired change.

A change is candidate minus baseline, turned so that positive is better, in shares (0.03 is three points). `gains` and
`losses` count items that went from wrong to right and from right to wrong. Nothing here knows a margin or a verdict.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from evalkit.stats import Interval, binomial_tail, normal_quantile

Floats = NDArray[np.float64]

DRAWS = 9_999
"""Sign flips drawn where not all can be tried."""
EXHAUSTIVE = 13
"""Up to so many clusters all 2^G sign flips are tried."""
POWER = 0.8
"""Chance of a detection that planning asks for."""

_SEED = 20_240_601
_BLOCKS = 4096
"""Tables of signed sums that are held at a time, 2 kB each."""
_SIGNS = 1.0 - 2.0 * np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1)


def tango_z(gains: float, losses: float, n: float, change: float) -> float:
    """Return the score statistic of the hypothesis that the true change is `change` (Tango 1998); positive: it is more.

    Counts may be fractions: dividing all three by a design effect gives the clustered version.
    """
    variance = n * _score_variance(gains, losses, n, change)
    excess = gains - losses - n * change
    if variance <= 1e-12 * n:
        return math.copysign(math.inf, excess) if abs(excess) > 1e-9 * n else 0.0
    return excess / math.sqrt(variance)


def _score_variance(gains: float, losses: float, n: float, change: float) -> float:
    """Return the variance of one item's change, its share of losses fitted under the hypothesis."""
    a = 2 * n
    b = (2 * n - gains + losses) * change - gains - losses
    c = -losses * change * (1 - change)
    losses_fitted = (math.sqrt(max(0.0, b * b - 4 * a * c)) - b) / (2 * a)
    return max(0.0, 2 * losses_fitted + change * (1 - change))


def tango_interval(gains: float, losses: float, n: float, quantile: float) -> Interval:
    """Return every change that the score test keeps at |z| <= `quantile` (1.96 gives 95 % two-sided), in shares."""
    return _tango_lower(gains, losses, n, quantile), -_tango_lower(losses, gains, n, quantile)


def _tango_lower(gains: float, losses: float, n: float, quantile: float) -> float:
    observed = (gains - losses) / n
    return _crossing(lambda d: tango_z(gains, losses, n, d) <= quantile, -1.0, observed)


def _crossing(holds: Callable[[float], bool], low: float, high: float) -> float:
    """Return where a condition starts to hold between `low` and `high`, to 1e-11 of their distance."""
    for _ in range(37):
        middle = (low + high) / 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def mcnemar_midp(gains: int, losses: int) -> float:
    """Return the one-sided mid-p of McNemar's test for a drop (Fagerland, Lydersen, Laake 2013), in (0, 1]."""
    changed = gains + losses
    point = math.exp(
        math.lgamma(changed + 1) - math.lgamma(gains + 1) - math.lgamma(losses + 1) - changed * math.log(2)
    )
    return min(1.0, max(sys.float_info.min, binomial_tail(losses, changed) - point / 2))


def sign_flip(sums: Floats) -> float:
    """Return the one-sided p of a drop, in (0, 1], when each cluster's sum of changes may as well have the other sign.

    All 2^G flips are tried for up to 13 clusters that changed; otherwise 9,999 are drawn from a fixed seed, the same
    for any order of the clusters.
    """
    sizes = np.sort(np.abs(sums[sums != 0]))
    bound = math.fsum(sums.tolist()) + 1e-9 * math.fsum(sizes.tolist())
    if sizes.size <= EXHAUSTIVE:
        flips = (np.arange(2**sizes.size)[:, None] >> np.arange(sizes.size)) & 1
        return float(np.mean((1 - 2 * flips) @ sizes <= bound))
    return float(1 + np.count_nonzero(_drawn_totals(sizes) <= bound)) / (1 + DRAWS)


def _drawn_totals(sizes: Floats) -> Floats:
    """Return (DRAWS,) totals under random signs: a random byte looks up the signed sum of eight clusters at once."""
    blocks = np.zeros((-(-sizes.size // 8), 8))
    blocks.flat[: sizes.size] = sizes
    rng, totals = np.random.default_rng(_SEED), np.zeros(DRAWS)
    for start in range(0, len(blocks), _BLOCKS):
        for table in blocks[start : start + _BLOCKS] @ _SIGNS.T:  # (blocks, 256)
            totals += table[np.frombuffer(rng.bytes(DRAWS), dtype=np.uint8)]
    return totals


def cluster_error(sums: Floats, sizes: Floats) -> float:
    """Return the CR1 standard error of the mean change: cluster sums (G,), cluster sizes (G,), at least two clusters.

    Miller 2024 (arXiv 2411.00640), with the factor G / (G - 1); with one item a cluster it is the usual one.
    """
    groups, n = sums.size, math.fsum(sizes.tolist())
    residuals = sums - sizes * (math.fsum(sums.tolist()) / n)
    return math.sqrt(groups / (groups - 1) * math.fsum((residuals * residuals).tolist())) / n


def design_effect(sums: Floats, sizes: Floats, gains: float, losses: float) -> float:
    """Return by how much clusters inflate the variance of the mean change of a binary metric, at least 1."""
    n = math.fsum(sizes.tolist())
    independent = ((gains + losses) / n - ((gains - losses) / n) ** 2) / n
    if independent <= 0:
        return 1.0
    return max(1.0, cluster_error(sums, sizes) ** 2 / independent)


def detectable_effect(n: float, flip_rate: float, alpha: float, power: float = POWER) -> float:
    """Return the smallest drop, in shares, that a one-sided paired test at `alpha` finds with `power`.

    `flip_rate` is the share of items that change between two equal models; the drop comes on top of it.
    """
    z_alpha, z_power, f = normal_quantile(1 - alpha), normal_quantile(power), flip_rate

    def detects(d: float) -> bool:
        spread = z_alpha * math.sqrt(f + d) + z_power * math.sqrt(max(0.0, f + d - d * d))
        return d * math.sqrt(n) >= spread

    return _crossing(detects, 0.0, 1.0)


def items_needed(margin: float, flip_rate: float, alpha: float, power: float = POWER) -> int:
    """Return how many items an unchanged model needs to pass at `margin` (a share) with `power`, by the score test."""
    at_margin = _score_variance(flip_rate / 2, flip_rate / 2, 1.0, -margin)
    spread = normal_quantile(1 - alpha) * math.sqrt(at_margin) + normal_quantile(power) * math.sqrt(flip_rate)
    return math.ceil((spread / margin) ** 2)
