"""Evidence by hand: where an error comes from, which rows stand near it, what is missing, what was copied."""

from __future__ import annotations

import numpy as np
import pytest

from trainkit.curate.attribute import Item, attribute, gaps_of, items_of, lift, sources_of, verdict_of
from trainkit.curate.audit import audit
from trainkit.dataset import TrainRow


def item(name: str, question: str = "", answer: str = "", *tags: str, wrong: bool = False, given: str = "") -> Item:
    return Item(name, question, answer, given or question, frozenset(tags), wrong)


@pytest.mark.parametrize(
    ("tuned", "base", "training", "verdict"),
    [
        (0.20, 0.02, 0.15, "inherited"),
        (0.20, None, 0.15, "possibly inherited"),
        (0.20, 0.16, 0.15, "base model"),
        (0.20, 0.02, 0.01, "coverage or optimisation"),
        (0.20, 0.02, None, "not seen in rows"),
    ],
)
def test_where_an_error_comes_from_is_read_from_three_rates(tuned, base, training, verdict):
    assert verdict_of(tuned, base, training) == verdict


def test_odds_and_p_of_a_lift_worked_by_hand():
    """Two of six items fail; all 2 x 2 rows near them are defective, and none of the 4 x 2 others.

    Odds with half a row added: 4.5 x 8.5 / (0.5 x 0.5) = 153. Of the 15 pairs of items one is the failing pair: p is
    near 1/15.
    """
    failing = np.array([True, True, False, False, False, False])
    odds, p = lift(np.repeat(failing[:, None], 2, axis=1), failing)
    assert odds == pytest.approx(153.0)
    assert p == pytest.approx(1 / 15, abs=0.03)


def test_there_is_no_lift_where_all_items_fail():
    assert lift(np.ones((3, 2), dtype=bool), np.ones(3, dtype=bool)) == (None, None)


def test_defective_rows_near_failing_items_explain_them():
    loop = " Stir the green paint." * 8
    rows = [TrainRow("bad", "How is green paint made?", "Stir the green paint." + loop)]
    rows += [TrainRow(f"r{i}", f"Which bird is number {w}?", f"The bird called {w} sings.")
             for i, w in enumerate(["wren", "lark", "robin", "crow"] * 6)]  # fmt: skip
    items = [item("q0", "How is blue paint made?", "Stir the blue paint.", "repetition", wrong=True)]
    items += [item(f"q{i}", "Which bird is that lark?", "A lark.") for i in range(1, 12)]
    cause = attribute(rows, audit(rows), items, None).causes[0]
    assert (cause.category, cause.failing, cause.verdict) == ("repetition", 1, "possibly inherited")
    assert cause.rows == {"bad": ("q0",)}


@pytest.mark.parametrize(
    ("category", "training"), [("prompt_echo", 0.25), ("too_long", None), ("missing_fact", None), ("leak", 0.0)]
)
def test_rates_are_compared_where_rows_and_answers_are_judged_alike(category, training):
    question = "Which of the seven green birds of the northern forest sings at night in winter?"
    rows = [TrainRow("echo", question, question)]
    rows += [
        TrainRow(f"r{i}", f"Which one is a {w}?", f"The {w} sings.") for i, w in enumerate(["wren", "lark", "crow"])
    ]
    items = [item("q0", "Which?", "That.", category, wrong=True), item("q1", "Why?", "So.")]
    (cause,) = attribute(rows, audit(rows), items, None).causes
    assert (cause.category, cause.training) == (category, training)


def test_a_wrong_item_far_from_every_training_question_is_a_gap():
    rows = [TrainRow(f"r{i}", f"How do I paint a {w} wall?", "With a brush.")
            for i, w in enumerate(["red", "blue", "green", "white", "black"])]  # fmt: skip
    passing = [item(f"p{i}", f"How do I paint the {w} wall?") for i, w in enumerate(["red", "blue"] * 6)]
    far = [item("far", "Which violin sonata did Brahms publish first?", wrong=True)]
    near = [item("near", "How do I paint a red wall?", wrong=True)]
    (gap,) = gaps_of(rows, [*passing, *far, *near])
    assert gap.items == ("far",)
    assert set(gap.about.split(", ")) <= {"violin", "sonata", "brahms", "publish"}


def test_a_topic_with_next_to_no_rows_is_a_gap_of_all_its_wrong_items():
    rows = [
        TrainRow(f"{t}{i}", f"{t} {i}?", "So.", {"topic": t})
        for t in ("a", "b", "c")
        for i in range(8 if t < "c" else 1)
    ]
    items = [Item(f"q{i}", "Why?", "", "Why?", frozenset(), i < 3, "cabd"[i]) for i in range(4)]
    assert [(g.about, g.items, g.why) for g in gaps_of(rows, items)] == [
        ("c", ("q0",), "1 training rows have this topic, the median topic has 8"),
    ]


def test_gaps_need_passing_items_to_be_measured_against():
    rows = [TrainRow("r0", "How do I paint a wall?", "With a brush.")]
    assert gaps_of(rows, [item("q", "Which violin?", wrong=True)]) == ()


def test_eight_words_of_a_row_in_a_wrong_answer_make_it_a_source():
    rows = [TrainRow("r0", "Q?", "one two three four five six seven eight nine"), TrainRow("r1", "Q?", "one two three")]
    wrong = item("q", "What?", "Well, two three four five six seven eight nine it is", wrong=True)
    assert sources_of(rows, [wrong]) == {"r0": ("q",)}


@pytest.mark.parametrize(
    "other",
    [
        item("q", "What?", "one two three four five six seven it is", wrong=True),
        item("q", "What?", "one two three four five six seven eight nine"),
        item("q", "What?", "one two three four five six seven eight", wrong=True,
             given="one two three four five six seven eight"),
    ],
    ids=["seven words", "a right answer", "words of the question"],
)  # fmt: skip
def test_it_is_no_source_otherwise(other):
    assert sources_of([TrainRow("r0", "Q?", "one two three four five six seven eight nine")], [other]) == {}


def test_items_are_failing_where_any_trial_is_and_failed_requests_are_left_out(make_row, make_run):
    run = make_run([
        make_row("q0", value=1.0, tags=[("leak", "info", 1.0)]),
        make_row("q0", value=0.0, tags=[("repetition", "major", 1.0)], trial=1),
        make_row("q1", error="refused"),
    ])  # fmt: skip
    (found,) = items_of(run)
    assert (found.id, found.wrong, found.categories) == ("q0", True, frozenset({"repetition"}))
