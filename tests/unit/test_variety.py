"""Near duplicates, distinct-n and rep-4, with values worked by hand."""

from __future__ import annotations

import random
import time

import pytest

from evalkit.variety import FEWEST_WORDS, HEAD, variety_of

WORDS = [f"w{i}" for i in range(400)]


def text(seed: int, count: int = 40) -> str:
    return " ".join(random.Random(seed).sample(WORDS, count))


def test_equal_answers_to_different_questions_are_near_duplicates():
    found = variety_of([("a", text(1)), ("b", text(2)), ("c", text(1)), ("d", text(1))])
    assert (found.near_duplicates, found.of, found.groups) == (3, 4, (("a", "c", "d"),))


def test_one_word_more_is_still_a_near_duplicate_and_half_another_answer_is_not():
    long = text(1, 80)
    assert variety_of([("a", long), ("b", f"{long} more")]).near_duplicates == 2
    assert variety_of([("a", long), ("b", f"{' '.join(long.split()[:40])} {text(2, 40)}")]).near_duplicates == 0


def test_trials_of_one_question_may_be_alike():
    assert variety_of([("a", text(1)), ("a", text(1))]).near_duplicates == 0


def test_short_answers_may_be_alike():
    short = " ".join(WORDS[: FEWEST_WORDS - 1])
    assert variety_of([("a", short), ("b", short)]).of == 0


def test_case_and_spaces_do_not_matter():
    assert variety_of([("a", text(1)), ("b", text(1).upper().replace(" ", "\n "))]).near_duplicates == 2


def test_at_most_five_groups_are_named_the_largest_first():
    pairs = [(f"{g}-{i}", text(g)) for g in range(7) for i in range(2 + (g == 3))]
    found = variety_of(pairs)
    assert found.near_duplicates == 15
    assert found.groups[0] == ("3-0", "3-1", "3-2")
    assert len(found.groups) == 5


def test_distinct_n_counts_different_words_and_pairs():
    """A b a b, c: 3 of 5 words differ; pairs ab ba ab: 2 of 3."""
    found = variety_of([("x", "a b a b"), ("y", "C")])
    assert (found.distinct_1, found.distinct_2) == (3 / 5, 2 / 3)


def test_rep_4_is_the_mean_share_of_repeated_4_grams():
    """A b c d a b c d e: 4-grams abcd bcda cdab dabc abcd bcde, one of six repeats; the other answer has none."""
    found = variety_of([("x", "a b c d a b c d e"), ("y", "a b c d"), ("z", "too short")])
    assert found.rep_4 == pytest.approx((1 / 6 + 0) / 2)


def test_only_the_head_of_an_answer_is_read():
    assert variety_of([("x", " ".join(["a b c"] * HEAD) + " never")]).distinct_1 == 3 / HEAD


def test_nothing_gives_no_figures():
    found = variety_of([("a", "")])
    assert (found.near_duplicates, found.of, found.distinct_1, found.distinct_2, found.rep_4) == (
        0,
        0,
        None,
        None,
        None,
    )


def test_time_grows_with_the_number_of_answers_30():
    """A 10 MB answer, and 3,000 answers that are all alike."""
    began = time.process_time()
    variety_of([("a", "word " * 2_000_000)])
    same = text(1)
    assert variety_of([(str(i), same) for i in range(3000)]).near_duplicates == 3000
    assert time.process_time() - began < 2
