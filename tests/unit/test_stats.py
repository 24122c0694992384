import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.paired import (
    cluster_error,
    design_effect,
    detectable_effect,
    items_needed,
    mcnemar_midp,
    sign_flip,
    tango_interval,
    tango_z,
)
from evalkit.stats import (
    benjamini_hochberg,
    binomial_tail,
    holm,
    mean_interval,
    median_interval,
    normal_quantile,
    t_quantile,
    wilson,
)

Z95 = normal_quantile(0.975)
COUNTS = st.integers(0, 60).flatmap(lambda b: st.tuples(st.just(b), st.integers(0, 60), st.integers(0, 200)))


@pytest.mark.parametrize(
    ("gains", "losses", "n", "low", "high"),
    [
        (1, 7, 21, -0.51723, -0.02600),
        (40, 20, 160, 0.03086, 0.21806),
        (0, 0, 100, -0.03699, 0.03699),
        (3, 9, 140, -0.09970, 0.00656),
        (25, 60, 1000, -0.05380, -0.01733),
    ],
)
def test_tango_gives_the_published_intervals(gains: int, losses: int, n: int, low: float, high: float) -> None:
    assert tango_interval(gains, losses, n, Z95) == pytest.approx((low, high), abs=5e-6)


@given(COUNTS)
def test_swapping_the_runs_mirrors_tango_exactly(counts: tuple[int, int, int]) -> None:
    gains, losses, same = counts
    n = gains + losses + same + 1
    low, high = tango_interval(gains, losses, n, Z95)
    assert tango_interval(losses, gains, n, Z95) == (-high, -low)
    assert -1 <= low <= (gains - losses) / n <= high <= 1


@given(COUNTS)
def test_the_score_statistic_at_the_end_of_the_interval_is_the_quantile(counts: tuple[int, int, int]) -> None:
    gains, losses, same = counts
    n = gains + losses + same + 1
    low, _ = tango_interval(gains, losses, n, Z95)
    if low > -0.999:
        assert tango_z(gains, losses, n, low) == pytest.approx(Z95, abs=1e-5)


@given(st.integers(0, 500), st.integers(0, 500))
def test_wilson_lies_in_0_1_around_the_share(k: int, more: int) -> None:
    low, high = wilson(k, k + more)
    assert 0 <= low <= high <= 1
    if k + more:
        assert low <= k / (k + more) <= high


def test_wilson_of_8_in_10_is_the_textbook_interval() -> None:
    assert wilson(8, 10) == pytest.approx((0.4901625, 0.9433178), abs=1e-6)
    assert wilson(0, 0) == (0.0, 1.0)
    with pytest.raises(ValueError, match="0 <= k <= n"):
        wilson(3, 2)


@pytest.mark.parametrize(
    ("p", "df", "t"),
    [(0.975, 1, 12.706204736), (0.975, 9, 2.262157163), (0.95, 139, 1.655889868), (0.95, 999, 1.646380345)],
)
def test_t_quantiles_are_those_of_the_tables(p: float, df: float, t: float) -> None:
    assert t_quantile(p, df) == pytest.approx(t, abs=1e-8)
    assert t_quantile(1 - p, df) == pytest.approx(-t, abs=1e-8)


def test_t_with_infinite_degrees_of_freedom_is_normal() -> None:
    assert t_quantile(0.975, math.inf) == normal_quantile(0.975)


def test_mean_interval_is_students() -> None:
    assert mean_interval([1, 2, 3, 4]) == pytest.approx((0.44573974, 4.55426026))
    assert mean_interval([1]) is None


def test_median_interval_needs_six_values_at_95_percent() -> None:
    assert median_interval([3, 1, 2, 5, 4]) is None
    assert median_interval([3, 1, 2, 5, 4, 6]) == (1, 6)
    assert median_interval(list(range(1, 101))) == (40, 61)


def test_binomial_tail_is_exact() -> None:
    assert binomial_tail(8, 10) == pytest.approx((45 + 10 + 1) / 1024)
    assert binomial_tail(0, 5) == 1.0
    assert binomial_tail(6, 5) == 0.0


def test_midp_of_9_losses_and_3_gains_is_worked_by_hand() -> None:
    more, equal = 66 + 12 + 1, 220  # of 4096: ways to lose 10, 11, 12 and 9 of 12 changes
    assert mcnemar_midp(3, 9) == pytest.approx((more + equal / 2) / 4096)


@given(st.integers(0, 3000), st.integers(0, 3000))
def test_midp_lies_in_0_1_and_both_directions_add_to_one(gains: int, losses: int) -> None:
    p = mcnemar_midp(gains, losses)
    assert 0 < p <= 1
    assert p + mcnemar_midp(losses, gains) == pytest.approx(1)


def test_midp_of_a_hundred_thousand_losses_is_still_positive() -> None:
    assert 0 < mcnemar_midp(0, 100_000) < 1e-300


def test_sign_flip_tries_all_flips_of_few_clusters() -> None:
    assert sign_flip(np.array([-1.0, -2.0, -3.0])) == 1 / 8
    assert sign_flip(np.array([1.0, -2.0])) == 0.5
    assert sign_flip(np.zeros(50)) == 1.0


@given(st.lists(st.floats(-5, 5, allow_nan=False), min_size=1, max_size=40), st.randoms(use_true_random=False))
@settings(max_examples=50)
def test_sign_flip_does_not_depend_on_the_order(values: list[float], shuffler: random.Random) -> None:
    shuffled = values.copy()
    shuffler.shuffle(shuffled)
    p = sign_flip(np.array(values))
    assert 0 < p <= 1
    assert sign_flip(np.array(shuffled)) == p


def test_drawn_sign_flips_agree_with_the_normal_limit() -> None:
    changes = np.random.default_rng(0).normal(-0.1, 1, size=400)
    z = changes.sum() / math.sqrt((changes**2).sum())
    assert sign_flip(changes) == pytest.approx(0.5 * math.erfc(-z / math.sqrt(2)), abs=0.01)


def test_cluster_error_of_clusters_of_one_is_the_usual_standard_error() -> None:
    values = np.array([0.0, 1.0, 1.0, 0.0, 1.0])
    assert cluster_error(values, np.ones(5)) == pytest.approx(values.std(ddof=1) / math.sqrt(5))


def test_design_effect_of_wholly_dependent_items_is_about_the_cluster_size() -> None:
    assert design_effect(np.array([10.0, -10.0] * 10), np.full(20, 10.0), 100, 100) == pytest.approx(10 * 20 / 19)
    assert design_effect(np.zeros(20), np.full(20, 10.0), 0, 0) == 1.0


def test_holm_and_benjamini_hochberg_are_worked_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert benjamini_hochberg([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.02, 0.04, 0.04, 0.02])
    assert holm([]) == []


@given(st.lists(st.floats(1e-9, 1), min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_adjusted_p_values_move_with_their_metrics(p_values: list[float], shuffler: random.Random) -> None:
    order = list(range(len(p_values)))
    shuffler.shuffle(order)
    for adjust in (holm, benjamini_hochberg):
        adjusted = adjust(p_values)
        assert all(p <= a <= 1 for p, a in zip(p_values, adjusted, strict=True))
        assert adjust([p_values[i] for i in order]) == [adjusted[i] for i in order]


def test_detectable_effect_falls_with_items_and_rises_with_noise() -> None:
    assert detectable_effect(1000, 0.1, 0.05) < detectable_effect(300, 0.1, 0.05) < detectable_effect(300, 0.2, 0.05)


def test_detectable_effect_satisfies_its_equation() -> None:
    n, f, alpha = 1000, 0.1, 0.05 / 8
    d = detectable_effect(n, f, alpha)
    right = normal_quantile(1 - alpha) * math.sqrt(f + d) + normal_quantile(0.8) * math.sqrt(f + d - d * d)
    assert d * math.sqrt(n) == pytest.approx(right)


def test_items_needed_without_flips_is_where_zero_flips_pass() -> None:
    n = items_needed(0.02, 0.0, 0.05)
    z = normal_quantile(0.95)
    assert n == 133
    assert tango_interval(0, 0, n, z)[0] > -0.02 >= tango_interval(0, 0, n - 1, z)[0]


def test_items_needed_gives_80_percent_power() -> None:
    rng, n, passed = random.Random(1), items_needed(0.03, 0.1, 0.05), 0
    for _ in range(600):
        changes = [rng.random() for _ in range(n)]
        gains, losses = sum(c < 0.05 for c in changes), sum(c > 0.95 for c in changes)
        passed += tango_z(gains, losses, n, -0.03) > normal_quantile(0.95)
    assert 0.75 < passed / 600 < 0.85
