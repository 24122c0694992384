"""Intervals, distributions and multiplicity, in closed form and without scipy, whose import alone takes a second.

Everything here is a function from numbers to numbers; nothing knows what a run, a metric or a margin is. Tests of two
runs on the same items are in `paired`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from statistics import NormalDist, fmean

Interval = tuple[float, float]

_NORMAL = NormalDist()
_TINY = 1e-300


def wilson(k: float, n: float, level: float = 0.95) -> Interval:
    """Return Wilson's score interval of a share: `k` of `n`, both ends in 0..1; (0, 1) where n is 0.

    Raises:
        ValueError: unless 0 <= k <= n.
    """
    if not 0 <= k <= n:
        raise ValueError(f"expected 0 <= k <= n, got k={k}, n={n}")
    if n == 0:
        return 0.0, 1.0
    z2 = normal_quantile(0.5 + level / 2) ** 2
    middle = (k + z2 / 2) / (n + z2)
    half = math.sqrt(z2) / (n + z2) * math.sqrt(k * (n - k) / n + z2 / 4)
    return (0.0 if k == 0 else max(0.0, middle - half)), (1.0 if k == n else min(1.0, middle + half))


def mean_interval(values: Sequence[float], level: float = 0.95) -> Interval | None:
    """Return Student's t interval of a mean; None for fewer than two values, which say nothing about their spread."""
    n = len(values)
    if n < 2:
        return None
    mean = fmean(values)
    variance = math.fsum((v - mean) ** 2 for v in values) / (n - 1)
    half = t_quantile(0.5 + level / 2, n - 1) * math.sqrt(variance / n)
    return mean - half, mean + half


def median_interval(values: Sequence[float], level: float = 0.95) -> Interval | None:
    """Return the order-statistic interval of a median, for any distribution; None where no two values reach `level`.

    The ends are the k-th smallest and the k-th largest value for the greatest k with P(Binomial(n, 1/2) < k) at most
    (1 - level) / 2; at 95 % six values are the fewest that have one.
    """
    ordered, n = sorted(values), len(values)
    low, high = 0, n // 2
    while low < high:  # invariant: `low` reaches the level, `high + 1` does not
        k = (low + high + 1) // 2
        low, high = (k, high) if 1 - binomial_tail(k, n) <= (1 - level) / 2 else (low, k - 1)
    return (ordered[low - 1], ordered[n - low]) if low else None


@lru_cache(maxsize=4096)
def normal_quantile(p: float) -> float:
    """Return the standard normal quantile of `p` in (0, 1)."""
    return _NORMAL.inv_cdf(p)


def t_cdf(t: float, df: float) -> float:
    """Return P(T <= t) for Student's t with `df` degrees of freedom."""
    tail = incomplete_beta(df / 2, 0.5, df / (df + t * t)) / 2
    return 1 - tail if t > 0 else tail


@lru_cache(maxsize=4096)
def t_quantile(p: float, df: float) -> float:
    """Return Student's t quantile of `p` in (0, 1); the normal one where `df` is infinite. Exact to 1e-8 or better."""
    if not 0 < p < 1 or df <= 0:
        raise ValueError(f"expected 0 < p < 1 and df > 0, got p={p}, df={df}")
    if math.isinf(df):
        return normal_quantile(p)
    if p < 0.5:
        return -t_quantile(1 - p, df)
    low, high = 0.0, max(1.0, normal_quantile(p)) if p > 0.5 else 1.0
    while t_cdf(high, df) < p:
        low, high = high, high * 2
    while high - low > 1e-13 * high:
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if t_cdf(middle, df) < p else (low, middle)
    return (low + high) / 2


def binomial_tail(k: int, n: int) -> float:
    """Return P(X >= k) for X ~ Binomial(n, 1/2), to full relative precision in the small tail."""
    if k <= 0:
        return 1.0
    return incomplete_beta(k, n - k + 1, 0.5) if k <= n else 0.0


def incomplete_beta(a: float, b: float, x: float) -> float:
    """Return the regularized incomplete beta function I_x(a, b), by Lentz's continued fraction (NR 6.4)."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    front = math.exp(log_front)
    if x < (a + 1) / (a + b + 2):
        return front * _beta_fraction(a, b, x) / a
    return 1 - front * _beta_fraction(b, a, 1 - x) / b


def _beta_fraction(a: float, b: float, x: float) -> float:
    """Evaluate the continued fraction of the incomplete beta function; it needs about sqrt(max(a, b)) steps."""
    c, d = 1.0, 1 / _away_from_zero(1 - (a + b) * x / (a + 1))
    value, step, m = d, 0.0, 1
    while abs(step - 1) > 1e-15 and m < 100_000:
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        d, c = 1 / _away_from_zero(1 + even * d), _away_from_zero(1 + even / c)
        value *= c * d
        d, c = 1 / _away_from_zero(1 + odd * d), _away_from_zero(1 + odd / c)
        step = c * d
        value *= step
        m += 1
    return value


def _away_from_zero(x: float) -> float:
    return x if abs(x) > _TINY else _TINY


def holm(p_values: Sequence[float]) -> list[float]:
    """Return Holm's adjusted p-values, in the order given: each is at most alpha where Holm rejects at alpha."""
    count, adjusted, running = len(p_values), [0.0] * len(p_values), 0.0
    for rank, i in enumerate(sorted(range(count), key=p_values.__getitem__)):
        running = max(running, min(1.0, (count - rank) * p_values[i]))
        adjusted[i] = running
    return adjusted


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Return Benjamini and Hochberg's adjusted p-values, in the order given: keep those at most q."""
    count, adjusted, running = len(p_values), [0.0] * len(p_values), 1.0
    for rank, i in enumerate(sorted(range(count), key=p_values.__getitem__, reverse=True)):
        running = min(running, count / (count - rank) * p_values[i])
        adjusted[i] = running
    return adjusted
