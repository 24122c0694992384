"""The gate's error rates and power over simulated pairs of runs: the table of the design, a test a row.

2,000 gates a cell from fixed seeds, so a 5 % target may read up to 6.5 %, three standard errors.
"""

import random
import time
from collections import Counter
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
import pytest
from numpy.typing import NDArray

from evalkit.gate import MetricPair, decide

pytestmark = pytest.mark.benchmark
GATES = 2000
SLACK = 3 * (0.05 * 0.95 / GATES) ** 0.5
Ints = NDArray[np.int_]


def pair_of(
    change: Ints, rng: np.random.Generator, margin: float, name: str = "m", clusters: Sequence[int] | None = None
) -> MetricPair:
    """Return binary scores that change as `change` (n,) says: 1 gained, -1 lost, 0 as before."""
    same = (rng.random(change.size) < 0.5).astype(float)
    base = np.where(change == 1, 0.0, np.where(change == -1, 1.0, same))
    return MetricPair("s", name, base.tolist(), (base + change).tolist(), margin, clusters)


def flips(u: NDArray[np.float64], rate: float, drop: float) -> Ints:
    """Return changes (n,) of uniform draws: `rate` of the items flip evenly, `drop` more are lost."""
    return np.select([u < rate / 2, u > 1 - rate / 2 - drop], [1, -1], 0)


def rates(
    n: int, metrics: int, rate: float, *, drop: float = 0.0, margin: float = 3.0, rho: float = 0.0, seed: int = 1
) -> dict[str, float]:
    """Return the share of each verdict over gates of which the first metric drops."""
    rng, found = np.random.default_rng(seed), Counter[str]()
    for _ in range(GATES):
        shared = rng.random(n)
        pairs = []
        for i in range(metrics):
            u = np.where(rng.random(n) < rho, shared, rng.random(n)) if rho else rng.random(n)
            pairs.append(pair_of(flips(u, rate, drop if i == 0 else 0.0), rng, margin, f"m{i}"))
        found[decide(pairs).verdict] += 1
    return {v: found[v] / GATES for v in ("PASS", "FAIL", "INCONCLUSIVE", "ERROR")}


@pytest.mark.parametrize("rho", [0.0, 0.6])
@pytest.mark.parametrize("rate", [0.02, 0.05, 0.10, 0.15])
@pytest.mark.parametrize("n", [100, 300, 1000])
def test_row_1_the_same_model_fails_in_at_most_5_percent(n: int, rate: float, rho: float) -> None:
    assert rates(n, 8, rate, rho=rho)["FAIL"] <= 0.05 + SLACK


@pytest.mark.parametrize(("rate", "power"), [(0.05, 0.98), (0.10, 0.90), (0.15, 0.80)])
def test_row_2_a_drop_of_5_points_is_found_in_1000_items(rate: float, power: float) -> None:
    assert rates(1000, 8, rate, drop=0.05)["FAIL"] >= power


def test_row_3_a_drop_of_10_points_is_found_in_300_items() -> None:
    assert rates(300, 8, 0.10, drop=0.10, margin=5.0)["FAIL"] >= 0.88


@pytest.mark.parametrize("margin", [3.0, 5.0])
def test_row_4_a_drop_of_10_points_is_found_in_140_items(margin: float) -> None:
    found = rates(140, 3, 0.10, drop=0.10, margin=margin)
    assert found["FAIL"] >= 0.62
    assert found["PASS"] <= 0.05


@pytest.mark.parametrize("margin", [2.0, 3.0, 5.0])
@pytest.mark.parametrize("rate", [0.005, 0.02, 0.05, 0.10, 0.15])
@pytest.mark.parametrize("n", [50, 100, 140, 300, 1000])
def test_row_5_a_true_drop_of_the_margin_passes_in_at_most_5_percent(n: int, rate: float, margin: float) -> None:
    limit = 0.06 if n == 50 else 0.05
    assert rates(n, 1, rate, drop=margin / 100, margin=margin)["PASS"] <= limit + SLACK


@pytest.mark.parametrize(("n", "margin"), [(100, 2.0), (10, 3.0), (10, 10.0), (10, 20.0)])
def test_row_6_zero_flips_certify_nothing(n: int, margin: float) -> None:
    assert decide([pair_of(np.zeros(n, dtype=int), np.random.default_rng(0), margin)]).verdict == "INCONCLUSIVE"


def clustered(groups: int, size: int, rate: float, drop: float, rng: np.random.Generator) -> Ints:
    """Return changes (groups * size,) whose latent normal values have an intra-cluster correlation of 0.3."""
    latent = 0.3**0.5 * rng.normal(size=(groups, 1)) + 0.7**0.5 * rng.normal(size=(groups, size))
    low, high = (NormalDist().inv_cdf(p) for p in (rate / 2, 1 - rate / 2 - drop))
    return np.select([latent < low, latent > high], [1, -1], 0).ravel()


def cluster_rates(groups: int, size: int, rate: float, drop: float, margin: float) -> dict[str, float]:
    rng, found = np.random.default_rng(7), Counter[str]()
    labels = np.repeat(np.arange(groups), size).tolist()
    for _ in range(GATES):
        found[decide([pair_of(clustered(groups, size, rate, drop, rng), rng, margin, "m", labels)]).verdict] += 1
    return {v: found[v] / GATES for v in ("PASS", "FAIL")}


@pytest.mark.parametrize("rate", [0.05, 0.10, 0.15])
@pytest.mark.parametrize(("groups", "size"), [(20, 50), (57, 18), (10, 100)])
def test_row_7_clusters_do_not_raise_the_error_rates(groups: int, size: int, rate: float) -> None:
    assert cluster_rates(groups, size, rate, 0.0, 3.0)["FAIL"] <= 0.05 + SLACK
    for margin in (3.0, 5.0):
        assert cluster_rates(groups, size, rate, margin / 100, margin)["PASS"] <= 0.07 + SLACK


@pytest.mark.parametrize("trials", [5, 10])
@pytest.mark.parametrize("n", [50, 200])
def test_row_8_two_equal_retrains_with_several_trials_fail_in_at_most_5_percent(n: int, trials: int) -> None:
    rng, found = np.random.default_rng(3), Counter[str]()
    for _ in range(GATES):
        pairs = []
        for i in range(3):
            skill = rng.beta(0.7, 0.7, size=n)
            run = [np.clip(skill + rng.normal(0, 0.1, size=n), 0, 1) for _ in range(2)]
            base, cand = (rng.binomial(trials, p) / trials for p in run)
            pairs.append(MetricPair("s", f"m{i}", base.tolist(), cand.tolist(), 3.0))
        found[decide(pairs).verdict] += 1
    assert found["FAIL"] / GATES <= 0.05 + SLACK


@pytest.mark.parametrize(("rate", "share"), [(0.10, 0.65), (0.05, 0.95)])
def test_row_9_the_same_model_passes(rate: float, share: float) -> None:
    assert rates(1000, 3, rate)["PASS"] >= share


@pytest.mark.parametrize("metrics", [1, 8])
@pytest.mark.parametrize("rate", [0.05, 0.10, 0.15])
@pytest.mark.parametrize("n", [300, 1000])
def test_row_10_the_printed_detectable_effect_is_the_simulated_one(n: int, rate: float, metrics: int) -> None:
    changes = np.zeros(n, dtype=int)
    changes[: round(rate * n / 2)], changes[-round(rate * n / 2) :] = 1, -1
    rng = np.random.default_rng(0)
    quiet = [pair_of(changes, rng, 0.1, f"m{i}") for i in range(metrics)]
    printed = decide(quiet).checks[0].mde
    assert printed is not None
    assert power(n, rate, metrics, 0.9 * printed) < 0.8 < power(n, rate, metrics, 1.1 * printed)


def power(n: int, rate: float, metrics: int, drop: float) -> float:
    """Return how often a drop in points FAILs among metrics that do not change; a margin of 0.1 lets nothing pass."""
    return rates(n, metrics, rate, drop=drop / 100, margin=0.1)["FAIL"]


@pytest.mark.parametrize("kind", ["binary", "graded", "clustered"])
def test_row_11_order_and_side_change_nothing(kind: str) -> None:
    rng = np.random.default_rng(5)
    n = 400
    base, cand = rng.random(n), rng.random(n)
    if kind != "graded":
        base, cand = np.round(base), np.round(cand)
    labels = (np.arange(n) % 20).tolist() if kind == "clustered" else None
    first = decide([MetricPair("s", "m", base.tolist(), cand.tolist(), 3.0, labels)]).checks[0]
    order = list(range(n))
    random.Random(1).shuffle(order)
    moved = None if labels is None else [labels[i] for i in order]
    assert decide([MetricPair("s", "m", base[order].tolist(), cand[order].tolist(), 3.0, moved)]).checks[0] == first
    swapped = decide([MetricPair("s", "m", cand.tolist(), base.tolist(), 3.0, labels)]).checks[0]
    assert first.ci95 is not None
    assert swapped.ci95 == pytest.approx((-first.ci95[1], -first.ci95[0]), abs=1e-9)


def test_row_12_a_candidate_without_its_worst_items_is_an_error() -> None:
    base = [1.0] * 950 + [0.0] * 50
    assert decide([MetricPair("s", "m", base, [1.0] * 950 + [None] * 50, 3.0)]).verdict == "ERROR"


def test_row_13_five_small_losses_fail_against_the_anchor() -> None:
    rng, n, failed, rolling = np.random.default_rng(11), 1000, 0, 0
    for _ in range(GATES // 4):
        anchor = (rng.random(n) < 0.6).astype(int)
        state, fell = anchor, False
        for _ in range(5):
            after = step(state, rng)
            pair = MetricPair("s", "m", state.tolist(), after.tolist(), 3.0)
            pinned = MetricPair("s", "m", anchor.tolist(), after.tolist(), 3.0, against="anchor")
            checks = decide([pair, pinned]).checks
            fell |= checks[0].verdict == "FAIL"
            state = after
        failed += checks[1].verdict == "FAIL"
        rolling += not fell
    assert failed / (GATES // 4) >= 0.90
    assert rolling / (GATES // 4) > 0.5  # without the anchor most chains would go through


def step(state: Ints, rng: np.random.Generator) -> Ints:
    """Return the scores (n,) of a retrained model that loses one point: 2 % of the items flip besides."""
    u = rng.random(state.size)
    wrong, right = state == 0, state == 1
    gains, losses = 0.01 / max(wrong.mean(), 1e-9), 0.02 / max(right.mean(), 1e-9)
    return np.where(wrong & (u < gains), 1, np.where(right & (u < losses), 0, state))


@pytest.mark.parametrize("kind", ["binary", "graded", "clustered"])
def test_a_hundred_thousand_items_take_less_than_a_second(kind: str) -> None:
    rng, n = np.random.default_rng(0), 100_000
    base, cand = rng.random(n), rng.random(n)
    if kind != "graded":
        base, cand = np.round(base), np.round(cand)
    labels = [f"c{i // 50}" for i in range(n)] if kind == "clustered" else None
    pair = MetricPair("s", "m", base.tolist(), cand.tolist(), 3.0, labels)
    start = time.perf_counter()
    decide([pair])
    assert time.perf_counter() - start < 1
