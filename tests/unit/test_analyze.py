"""Metrics, categories, slices and lengths, with every value worked by hand."""

from __future__ import annotations

import pytest

from evalkit.analyze import (
    SLICE_MIN,
    Estimate,
    Lens,
    analyze,
    estimate_of,
    failed,
    length_ratio,
    lens_of,
    metric_of,
    summarize,
    tallied,
)
from evalkit.types import Example, Response, Row, Tag

LENS = Lens("match")


def rounded(estimate: Estimate | None, digits: int = 3) -> tuple[float, float, float]:
    assert estimate
    return round(estimate.value, digits), round(estimate.low, digits), round(estimate.high, digits)


def test_a_share_has_wilsons_interval():
    """8 of 10: centre (0.8 + z2/20) / (1 + z2/10) with z2 = 3.8415."""
    values = [(str(i), float(i < 8)) for i in range(10)]
    assert rounded(estimate_of(values)) == (0.8, 0.490, 0.943)


def test_a_mean_has_students_interval_cut_to_the_scale():
    """0.2, 0.4, 0.6: mean 0.4, s = 0.2, half = 4.3027 x 0.2 / sqrt(3) = 0.4968."""
    assert rounded(estimate_of([("a", 0.2), ("b", 0.4), ("c", 0.6)])) == (0.4, 0.0, 0.897)


def test_trials_of_one_item_count_once_by_their_mean():
    values = [("a", 1.0), ("a", 0.0), ("b", 1.0), ("b", 0.5), ("c", 0.5)]
    assert estimate_of(values) == estimate_of([("a", 0.5), ("b", 0.75), ("c", 0.5)])


def test_values_that_are_all_alike_still_have_a_width():
    assert rounded(estimate_of([("a", 0.5), ("b", 0.5)])) == (0.5, 0.095, 0.905)
    assert rounded(estimate_of([("a", 1.0)])) == (1.0, 0.207, 1.0)
    assert estimate_of([]) is None


def test_unscored_answers_are_counted_and_never_zero(make_row):
    metric = metric_of([make_row("a", value=1.0), make_row("b", value=None), make_row("c", value=0.0)], "match")
    assert metric.estimate
    assert (metric.estimate.value, metric.scored, metric.unscored) == (0.5, 2, 1)
    nothing = metric_of([make_row(value=None)], "match")
    assert (nothing.estimate, nothing.scored, nothing.unscored) == (None, 0, 1)


def test_failed_is_below_one_half_and_says_nothing_of_the_unscored(make_row):
    assert [failed(make_row(value=v), "match") for v in (0.0, 0.49, 0.5, 1.0, None)] == [
        True,
        True,
        False,
        False,
        False,
    ]
    assert not failed(make_row(value=0.0), "other")


@pytest.fixture
def rows(make_row):
    """Ten requests: one failed; of nine answers three repeat, one of them also too long, two are misspelt."""
    return [
        make_row("q0", tags=[("repetition", "critical", 1.0), ("too_long", "minor", 0.5)], value=0.0),
        make_row("q1", tags=[("repetition", "critical", 0.5)], value=0.0),
        make_row("q2", tags=[("repetition", "major", 1.0), ("repetition", "minor", 1.0)], value=1.0),
        make_row("q3", tags=[("misspelling", "minor", 0.5)], value=1.0),
        make_row("q4", tags=[("misspelling", "minor", 1.0), ("misspelling", "minor", 0.6)], value=None),
        make_row("q5", value=0.0),
        make_row("q6", value=0.0, tags=[("hint", "info", 1.0)]),
        make_row("q7", value=1.0),
        make_row("q8", value=1.0),
        make_row("q9", value=None, error="busy"),
    ]


def test_what_a_run_counts(rows):
    found = analyze(rows, LENS)
    assert (found.answers, found.items, found.errors, found.clean) == (9, 10, 1, 4)
    assert [metric.name for metric in found.metrics] == ["match"]
    assert (found.metrics[0].scored, found.metrics[0].unscored) == (8, 2)
    assert rounded(found.metrics[0].estimate)[0] == 0.5


def test_categories_are_ranked_by_what_they_cost(rows):
    """Repetition: (4 x 1 + 4 x 0.5 + 2 x 1) / 9 = 8 / 9; misspelling: (0.5 + 1) / 9; too_long: 0.5 / 9; hint: 0."""
    found = {category.name: category for category in analyze(rows, LENS).categories}
    assert list(found) == ["repetition", "misspelling", "too_long", "hint"]
    assert [round(c.priority, 2) for c in found.values()] == [88.89, 16.67, 5.56, 0.0]
    assert [c.answers for c in found.values()] == [3, 2, 1, 1]
    assert rounded(found["repetition"].rate) == (0.333, 0.121, 0.646)
    assert (found["repetition"].severity, found["misspelling"].severity) == ("critical", "minor")
    assert round(found["repetition"].confidence, 3) == 0.833  # (1 + 0.5 + 1) / 3
    assert found["misspelling"].confidence == 0.75  # the surest tag of an answer counts: (0.5 + 1) / 2
    assert [c.primary for c in found.values()] == [3, 2, 0, 1]


def test_the_ceiling_is_what_the_metric_would_gain_over_its_scored_answers(rows):
    """Two of eight scored answers are wrong and repeat: 4 right of 8 would be 6 of 8, 25 points."""
    found = {category.name: category for category in analyze(rows, LENS).categories}
    assert found["repetition"].ceiling == 25.0
    assert found["too_long"].ceiling == 12.5
    assert found["misspelling"].ceiling == 0.0


def test_frequency_alone_may_rank_otherwise(rows):
    assert analyze(rows, LENS).by_count == ("repetition", "misspelling", "hint", "too_long")


def test_a_cost_given_by_the_user_ranks_anew(rows):
    found = analyze(rows, Lens("match", {"misspelling": 50, "repetition": 0}))
    assert [category.name for category in found.categories] == ["misspelling", "too_long", "repetition", "hint"]
    assert found.categories[0].priority == pytest.approx(100 * 50 * 1.5 / 9)


def test_wrong_answers_that_no_error_explains_are_listed(rows):
    assert [row.example.id for row in analyze(rows, LENS).unclassified] == ["q5", "q6"]


def test_a_category_that_flags_references_as_often_is_noisy(rows):
    found = analyze(rows, Lens("match", {}, {"repetition": 0.3, "misspelling": 0.01}, {"hint": 0.5}))
    categories = {category.name: category for category in found.categories}
    assert [name for name, category in categories.items() if category.noisy] == ["repetition"]
    assert categories["too_long"].references == 0.0
    assert (categories["hint"].training, categories["repetition"].training) == (0.5, 0.0)
    assert analyze(rows, LENS).categories[0].references is None


def test_slices_have_enough_answers_and_the_worst_comes_first(make_row):
    rows = [make_row(f"a{i}", value=1.0, meta={"topic": "easy", "n": i, "x": 1.5}) for i in range(SLICE_MIN)]
    rows += [
        make_row(f"b{i}", value=0.0, meta={"topic": "hard"}, tags=[("empty", "major", 1.0)]) for i in range(SLICE_MIN)
    ]
    rows += [make_row(f"c{i}", value=None, meta={"topic": "new"}) for i in range(SLICE_MIN)]
    rows += [make_row("d", meta={"topic": "rare"})]
    found = analyze(rows, LENS).slices
    assert [(s.key, s.value, s.items, s.worst) for s in found] == [
        ("topic", "hard", 10, "empty"),
        ("topic", "easy", 10, ""),
        ("topic", "new", 10, ""),
    ]
    assert found[2].estimate is None


def test_a_value_that_all_answers_share_is_no_slice(make_row):
    assert analyze([make_row(f"q{i}", meta={"k": "v"}) for i in range(20)], LENS).slices == ()


@pytest.mark.parametrize(
    ("response", "target", "ratio"),
    [
        (Response("x", tokens=25, target_tokens=(10,)), ("r",), 2.0),  # 30 / 15
        (Response("x", tokens=5, target_tokens=(5, 100)), ("r", "s"), 1.0),  # the nearest reference
        (Response("one two three", tokens=None), ("one",), 8 / 6),  # words where tokens are not known
        (Response("one two three", tokens=99), ("one",), 8 / 6),
        (Response("x"), (), None),
        (Response("x", choice_logprobs=(-1.0,)), ("r",), None),
    ],
)
def test_length_is_measured_against_the_nearest_reference(response, target, ratio):
    assert length_ratio(Row(Example("a", "?", target), response)) == ratio


def test_the_median_of_few_lengths_has_their_range(make_row):
    rows = [Row(Example(str(n), "?", ("r",)), Response("x", tokens=n, target_tokens=(5,))) for n in (5, 15, 35)]
    assert analyze(rows, LENS).length_ratio == Estimate(2.0, 1.0, 4.0)
    assert analyze([make_row(target=())], LENS).length_ratio is None


def test_an_empty_run_and_a_run_of_errors_are_analysed_without_nan_19(make_row):
    for rows in ([], [make_row(error="busy", value=None)]):
        summary = summarize(tallied(rows, LENS), LENS)
        assert summary["answers"] == 0
        assert "nan" not in str(summary).lower()


def test_the_lens_of_a_run_keeps_its_rates(make_run, make_row):
    run = make_run([make_row()], rates={"references": {"empty": 0.1}, "training": None})
    assert lens_of(run, {"empty": 3}) == Lens("match", {"empty": 3}, {"empty": 0.1}, None)


def test_the_order_of_rows_changes_nothing(rows):
    forward, back = analyze(rows, LENS), analyze(rows[::-1], LENS)
    assert [(c.name, c.priority) for c in forward.categories] == [(c.name, c.priority) for c in back.categories]
    assert forward.metrics == back.metrics


def test_the_gravest_tag_of_an_answer_is_the_surest_of_its_severity(make_row):
    tags = [Tag("a", "major", "w", None, 0.2), Tag("a", "major", "w", None, 0.9), Tag("a", "minor", "w", None, 1.0)]
    assert analyze([make_row(tags=tags)], LENS).categories[0].priority == pytest.approx(180)
