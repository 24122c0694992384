import random
from collections.abc import Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from evalkit.errors import EvalkitError
from evalkit.gate import MetricPair, decide, default_margin
from evalkit.verdict import Check, Verdict


def pair(gains: int, losses: int, n: int, margin: float | None = 3.0, metric: str = "acc") -> MetricPair:
    same = n - gains - losses
    base = [0.0] * gains + [1.0] * losses + [float(i % 2) for i in range(same)]
    cand = [1.0] * gains + [0.0] * losses + [float(i % 2) for i in range(same)]
    return MetricPair("s", metric, base, cand, margin)


def check(given_pair: MetricPair) -> Check:
    (found,) = decide([given_pair]).checks
    return found


def numbers(c: Check) -> tuple[object, ...]:
    return c.verdict, c.lower, c.upper, c.ci95, c.p, c.p_adj, c.mde, c.n_needed, c.baseline, c.candidate


def test_a_small_change_of_a_thousand_items_passes() -> None:
    c = check(pair(38, 41, 1000))
    assert c.verdict == "PASS"
    assert (c.broken, c.fixed, c.n, c.clusters) == (41, 38, 1000, 1000)
    assert c.change == pytest.approx(-0.3)
    assert c.lower == pytest.approx(-1.78, abs=0.05)
    assert c.method == "Tango; mid-p McNemar"


def test_a_real_drop_fails() -> None:
    verdict = decide([pair(22, 76, 1000)])
    assert verdict.verdict == "FAIL"
    assert verdict.exit_code == 1
    assert verdict.checks[0].p_adj is not None
    assert verdict.checks[0].p_adj < 1e-7


def test_few_items_are_inconclusive_and_say_what_would_do() -> None:
    c = check(pair(3, 6, 140))
    assert c.verdict == "INCONCLUSIVE"
    assert c.n_needed is not None
    assert c.n_needed > 140
    assert c.mde is not None
    assert 4 < c.mde < 12


def test_pass_is_looked_at_before_fail() -> None:
    c = check(pair(100, 200, 20_000))
    assert c.verdict == "PASS"
    assert c.p_adj is not None
    assert c.p_adj < 0.05
    assert c.reason == "a drop is shown, but a smaller one than the margin"


@pytest.mark.parametrize(("n", "margin"), [(100, 2.0), (10, 1.0), (10, 5.0), (10, 20.0)])
def test_zero_flips_of_few_items_certify_nothing(n: int, margin: float) -> None:
    assert decide([pair(0, 0, n, margin)]).verdict == "INCONCLUSIVE"


def test_a_gate_that_checks_nothing_is_an_error() -> None:
    assert decide([]).verdict == "ERROR"
    watched = MetricPair("s", "m", [1.0] * 500, [1.0] * 500, 3.0, role="watch")
    assert decide([watched]).verdict == "ERROR"
    assert decide([MetricPair("s", "m", [], [], 3.0)]).verdict == "ERROR"


@pytest.mark.parametrize("side", ["candidate", "baseline"])
def test_more_than_one_percent_missing_is_an_error(side: str) -> None:
    whole: Sequence[float | None] = [1.0] * 95 + [0.0] * 5
    holes: Sequence[float | None] = [1.0] * 95 + [None] * 5
    given_pair = (
        MetricPair("s", "m", whole, holes, 5.0) if side == "candidate" else MetricPair("s", "m", holes, whole, 5.0)
    )
    c = check(given_pair)
    assert c.verdict == "ERROR"
    assert c.reason == f"5 of 100 {side} items missing (5.0 %, limit 1 %)"


def test_a_missing_candidate_item_counts_as_wrong_and_is_named() -> None:
    c = check(MetricPair("s", "m", [1.0] * 100, [1.0] * 99 + [None], 10.0))
    assert (c.broken, c.reason) == (1, "1 candidate item missing, counted as wrong")


def test_a_missing_baseline_item_is_no_gain() -> None:
    c = check(MetricPair("s", "m", [None] + [1.0] * 99, [1.0] * 100, 10.0))
    assert (c.fixed, c.broken) == (0, 0)


def test_trials_that_were_lost_count_as_missing() -> None:
    assert check(MetricPair("s", "m", [1.0] * 100, [1.0] * 100, lost_trials=(0.0, 1.5))).verdict == "ERROR"


def test_scores_outside_0_1_are_an_error() -> None:
    assert check(MetricPair("s", "m", [1.0, 4.0], [1.0, float("inf")])).reason == "2 scores are not numbers in 0..1"


def test_an_error_does_not_hide_a_fail() -> None:
    broken = MetricPair("s", "other", [1.0] * 100, [None] * 100)
    assert decide([broken, pair(0, 60, 1000)]).verdict == "FAIL"
    assert decide([broken, pair(0, 0, 1000)]).verdict == "ERROR"


def test_less_is_better_for_an_error_rate() -> None:
    worse = MetricPair("s", "tag:x", [0.0] * 1000, [1.0] * 50 + [0.0] * 950, 1.0, direction="down")
    c = check(worse)
    assert (c.verdict, c.change, c.broken) == ("FAIL", -5.0, 50)


def test_a_watched_metric_never_changes_the_verdict() -> None:
    base, cand = [1.0] * 1000, [0.0] * 500 + [1.0] * 500
    verdict = decide([pair(0, 0, 1000), MetricPair("s", "w", base, cand, role="watch")])
    assert verdict.verdict == "PASS"
    assert verdict.watched[0].verdict == "FAIL"


def test_holm_counts_gating_metrics_alone() -> None:
    fell = pair(10, 24, 500, 1.0)
    alone = decide([fell]).checks[0]
    quiet = [pair(5, 5, 500, 1.0, f"m{i}") for i in range(3)]
    among = decide([fell, *quiet]).checks[0]
    assert alone.p == among.p
    assert among.p_adj == pytest.approx(4 * (alone.p_adj or 0))
    watched = decide([fell, MetricPair("s", "w", [1.0] * 9, [1.0] * 9, role="watch")]).checks[0]
    assert watched.p_adj == alone.p_adj


def test_fewer_than_ten_clusters_never_pass() -> None:
    base = [float(i % 2) for i in range(900)]
    nine = MetricPair("s", "m", base, base, 5.0, clusters=[i % 9 for i in range(900)])
    ten = MetricPair("s", "m", base, base, 5.0, clusters=[i % 10 for i in range(900)])
    assert (check(nine).verdict, check(nine).reason) == ("INCONCLUSIVE", "9 clusters, at least 10 are needed to pass")
    assert check(ten).verdict == "PASS"


def test_one_cluster_has_no_interval() -> None:
    c = check(MetricPair("s", "m", [0.0, 1.0] * 50, [1.0, 0.0] * 50, 5.0, clusters=["a"] * 100))
    assert (c.verdict, c.ci95, c.n_needed) == ("INCONCLUSIVE", (-100.0, 100.0), None)


def test_an_item_without_a_label_is_a_cluster_of_its_own() -> None:
    assert check(MetricPair("s", "m", [1.0] * 30, [1.0] * 30, clusters=["a"] * 10 + [None] * 20)).clusters == 21


def test_clusters_of_one_item_change_little() -> None:
    alone = pair(20, 30, 1000)
    grouped = MetricPair("s", "acc", alone.baseline, alone.candidate, 3.0, clusters=list(range(1000)))
    a, b = check(alone), check(grouped)
    assert a.lower == pytest.approx(b.lower, rel=0.05)
    assert a.p == pytest.approx(b.p, abs=0.03)


def test_few_graded_changes_count_as_full_flips() -> None:
    base = [0.5] * 1000
    c = check(MetricPair("s", "f1", base, [0.4] * 3 + base[3:], 3.0))
    assert c.method == "Tango, changed items as full flips; sign flip"
    assert c.lower == pytest.approx(check(pair(0, 3, 1000)).lower)
    assert c.change == pytest.approx(-0.03)


def test_graded_scores_are_judged_by_a_robust_t_interval() -> None:
    rng = random.Random(1)
    base = [rng.random() for _ in range(400)]
    c = check(MetricPair("s", "f1", base, [max(0.0, b - 0.1 * rng.random()) for b in base], 3.0))
    assert (c.verdict, c.method) == ("FAIL", "CR1 t(399); sign flip")


def test_margins_follow_kind_and_number_of_items() -> None:
    assert [default_margin("binary", n) for n in (1000, 999, 300, 299)] == [3.0, 5.0, 5.0, 10.0]
    assert default_margin("graded", 10) == 3.0
    assert default_margin("judge", 10) == pytest.approx(3.75)
    assert check(pair(0, 0, 300, None)).margin == 5.0


@pytest.mark.parametrize(
    "pairs",
    [
        [pair(0, 0, 10), pair(0, 0, 10)],
        [MetricPair("s", "m", [1.0], [1.0, 0.0])],
        [MetricPair("s", "m", [1.0], [1.0], clusters=["a", "b"])],
        [pair(0, 0, 10, 0.0)],
        [pair(0, 0, 10, 101.0)],
    ],
)
def test_contradictions_are_refused(pairs: list[MetricPair]) -> None:
    with pytest.raises(EvalkitError):
        decide(pairs)


def test_alpha_and_adjustment_must_make_sense() -> None:
    for alpha in (0.0, 0.7):
        with pytest.raises(EvalkitError, match="alpha"):
            decide([pair(0, 0, 10)], alpha)
    with pytest.raises(EvalkitError, match="adjust"):
        decide([pair(0, 0, 10)], adjust="bonferoni")


BITS = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=80)
GRADES = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=40)


def made(pairs: Sequence[tuple[float, float]], clustered: bool) -> MetricPair:
    labels = [i % 12 for i in range(len(pairs))] if clustered else None
    return MetricPair("s", "m", [float(b) for b, _ in pairs], [float(c) for _, c in pairs], 5.0, labels)


@given(BITS | GRADES, st.booleans(), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_the_order_of_items_changes_nothing(
    pairs: list[tuple[float, float]], clustered: bool, shuffler: random.Random
) -> None:
    before = made(pairs, clustered)
    order = list(range(len(pairs)))
    shuffler.shuffle(order)
    labels = None if before.clusters is None else [before.clusters[i] for i in order]
    base, cand = [before.baseline[i] for i in order], [before.candidate[i] for i in order]
    assert numbers(check(MetricPair("s", "m", base, cand, 5.0, labels))) == numbers(check(before))


@given(BITS | GRADES, st.booleans())
@settings(max_examples=60, deadline=None)
def test_swapping_the_runs_mirrors_the_interval(pairs: list[tuple[float, float]], clustered: bool) -> None:
    a, b = check(made(pairs, clustered)), check(made([(c, b) for b, c in pairs], clustered))
    assert a.ci95 is not None
    assert b.ci95 is not None
    assert b.ci95 == pytest.approx((-a.ci95[1], -a.ci95[0]), abs=1e-9)
    assert (a.broken, a.fixed) == (b.fixed, b.broken)


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=6), st.randoms(use_true_random=False)
)
@settings(max_examples=40, deadline=None)
def test_the_order_of_metrics_changes_nothing(counts: list[tuple[int, int]], shuffler: random.Random) -> None:
    pairs = [pair(b, c, 60, metric=f"m{i}") for i, (b, c) in enumerate(counts)]
    shuffled = pairs.copy()
    shuffler.shuffle(shuffled)

    def by_name(verdict: Verdict) -> dict[str, Check]:
        return {c.metric: c for c in verdict.checks}

    assert by_name(decide(pairs)) == by_name(decide(shuffled))
    assert decide(pairs).verdict == decide(shuffled).verdict


def test_a_few_small_losses_are_not_said_to_be_larger_than_they_are() -> None:
    c = check(made([(0.25, 0.0)] * 5, False))
    assert c.change == -25.0
    assert c.upper == pytest.approx(0.25 * -29.7767, abs=1e-3)  # Tango of five full flips, at their size


@given(BITS | GRADES, st.booleans())
@example([(0.25, 0.0)] * 5, False)
@settings(max_examples=60, deadline=None)
def test_bounds_enclose_the_change_and_p_lies_in_0_1(pairs: list[tuple[float, float]], clustered: bool) -> None:
    c = check(made(pairs, clustered))
    assert c.ci95 is not None
    assert c.lower is not None
    assert c.upper is not None
    assert c.change is not None
    assert c.p is not None
    assert -100 <= c.ci95[0] <= c.lower <= c.change + 1e-9
    assert c.change - 1e-9 <= c.upper <= c.ci95[1] <= 100
    assert 0 < c.p <= 1
