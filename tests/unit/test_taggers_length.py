"""Length and truncation: against references in tokens, in words, or against the training answers."""

from __future__ import annotations

import pytest

from evalkit.errors import SuiteError
from evalkit.taggers.length import Length, measure
from evalkit.taggers.truncated import Truncated
from evalkit.types import Corpus, Example, Response, Row


def words(n):
    return " ".join(f"w{chr(97 + i % 26)}{chr(97 + i // 26 % 26)}" for i in range(n))


COLOURS = ("red", "blue", "green", "small", "large", "open", "closed")


def row(answer, *targets, **response):
    return Row(Example("1", "q", tuple(targets)), Response(answer, **response))


def categories(tagger, r):
    return [(t.category, t.severity) for t in tagger(r)]


def test_the_ratio_counts_five_more_on_both_sides():
    measured = measure(row("x", "y", tokens=115, target_tokens=(35,)))
    assert measured is not None
    assert measured.ratio == 3.0  # (115 + 5) / (35 + 5)


def test_tokens_are_used_where_both_are_known():
    measured = measure(row("x", "y", tokens=115, target_tokens=(35,)))
    assert measured is not None
    assert measured.unit == "tokens"


def test_words_are_used_where_the_targets_tokens_are_unknown():
    measured = measure(row("one two", "three", tokens=115))
    assert measured is not None
    assert (measured.answer, measured.reference, measured.unit) == (2, 1, "words")


def test_the_nearest_reference_counts():
    measured = measure(row(words(100), words(10), words(90)))
    assert measured is not None
    assert measured.reference == 90


def test_more_than_twice_as_long_is_too_long():
    assert categories(Length(), row("x", "y", tokens=101, target_tokens=(47,))) == [("too_long", "minor")]  # 106 / 52


def test_exactly_twice_as_long_is_not_too_long():
    assert categories(Length(), row("x", "y", tokens=115, target_tokens=(55,))) == []  # 120 / 60


def test_more_than_three_times_as_long_is_major():
    assert categories(Length(), row("x", "y", tokens=160, target_tokens=(45,))) == [("too_long", "major")]  # 165 / 50


def test_a_short_reference_does_not_make_every_answer_too_long():
    assert categories(Length(), row("x", "y", tokens=40, target_tokens=(1,))) == []


def test_less_than_a_third_is_too_short():
    assert categories(Length(), row("x", "y", tokens=10, target_tokens=(60,))) == [("too_short", "minor")]  # 15 / 65


@pytest.mark.parametrize("answer", ["The answer to it is:", "**The answer is:**\n", "답변："])
def test_a_lead_in_that_nothing_follows_is_major(answer):
    (tag,) = Length()(row(answer, "y", tokens=6, target_tokens=(60,)))
    assert (tag.category, tag.severity) == ("too_short", "major")
    assert tag.why == "6 tokens, the reference 60: 0.10 times as long, a lead-in that nothing follows"


def test_a_lead_in_that_something_follows_is_none():
    assert categories(Length(), row("It is: so.", "y", tokens=6, target_tokens=(60,))) == [("too_short", "minor")]


def test_an_empty_reference_divides_nothing():
    (tag,) = Length()(row("x", "", tokens=80, target_tokens=(0,)))
    assert "80.00 times as long" in tag.why


def test_an_answer_that_was_cut_off_is_not_too_short():
    assert categories(Length(), row("x", "y", tokens=10, target_tokens=(60,), finish="length")) == []


def test_the_reason_gives_the_numbers():
    (tag,) = Length()(row("x", "y", tokens=160, target_tokens=(45,)))
    assert tag.why == "160 tokens, the reference 45: 3.56 times as long"  # 160 / 45


def test_without_a_reference_nothing_is_known():
    assert categories(Length(), row(words(5000))) == []


def test_without_a_reference_the_training_answers_are_the_measure():
    tagger = Length().prepare(Corpus(training=tuple(words(n) for n in range(20, 60))))
    assert categories(tagger, row(words(200))) == [("too_long", "major")]


def test_few_training_answers_are_no_measure():
    tagger = Length().prepare(Corpus(training=(words(10),) * 5))
    assert categories(tagger, row(words(200))) == []


def test_the_bounds_are_printed():
    tagger = Length().prepare(Corpus(training=tuple(words(n) for n in range(101))))
    assert tagger.note.endswith("outside 5-95 words (5th and 95th percentile of 101 targets)")


def test_korean_lengths_are_counted_in_words():
    assert categories(Length(), row("모델은 파일을 읽고 " * 50, "모델은 파일을 읽습니다")) == [("too_long", "major")]


def test_a_ratio_of_one_is_refused():
    with pytest.raises(SuiteError, match=r"\[tagger\.length\] ratio = 1: expected a number above 1"):
        Length(ratio=1)


def test_a_major_ratio_below_the_ratio_is_refused():
    with pytest.raises(SuiteError, match="major_ratio"):
        Length(ratio=3.0, major_ratio=2.0)


def test_an_answer_that_ended_by_itself_is_not_truncated():
    assert categories(Truncated(), row("It ends in the middle of", "y")) == []


def test_a_cut_answer_of_the_right_length_asks_for_a_larger_budget():
    (tag,) = Truncated()(row("x", "y", finish="length", tokens=64, target_tokens=(80,)))
    assert tag.severity == "info"
    assert "raise max_new_tokens" in tag.why


def test_a_cut_answer_that_ran_on_is_the_models_fault():
    (tag,) = Truncated()(row("x", "y", finish="length", tokens=64, target_tokens=(10,)))
    assert tag.severity == "major"


def test_a_cut_answer_without_a_reference_is_minor():
    assert categories(Truncated(), row("some words", finish="length")) == [("truncated", "minor")]


def test_a_cut_answer_that_loops_is_repetition_and_not_truncated():
    assert categories(Truncated(), row("this is a loop of words and " * 20, "y", finish="length")) == []


def test_the_span_shows_where_it_stops():
    text = words(50)
    (tag,) = Truncated()(row(text, finish="length"))
    assert tag.span == (len(text) - 39, len(text))  # words of three letters: the 40th last character is a space


def test_the_span_of_a_cut_answer_begins_with_a_word():
    text = "It stops in the middle inside something extraordinarily long and wi"
    (tag,) = Truncated()(row(text, finish="length"))
    assert text[slice(*tag.span or (0,))] == "something extraordinarily long and wi"


@pytest.mark.parametrize(
    "tail",
    ["this is a loop of words and " * 20, "ha" * 30, "\n".join(f"Each of the doors here is {w}." for w in COLOURS)],
)
def test_a_cut_answer_that_repeats_itself_to_its_end_in_any_way_is_not_truncated(tail):
    assert categories(Truncated(), row(words(30) + ". " + tail, finish="length")) == []


def test_nothing_is_guessed_by_default():
    text = "It is so. It was so. " + words(30) + " and then the"
    assert categories(Truncated(), row(text)) == []


def test_a_guess_can_be_asked_for():
    text = "It is so. It was so. " + words(30) + " and then the"
    assert categories(Truncated(guess=True), row(text)) == [("truncated", "info")]


def test_nothing_is_guessed_where_tokens_are_known():
    text = "It is so. It was so. " + words(30) + " and then the"
    assert categories(Truncated(guess=True), row(text, tokens=40)) == []


def test_a_guess_that_is_no_bool_is_refused():
    with pytest.raises(SuiteError, match="guess"):
        Truncated(guess="yes")  # type: ignore[arg-type] # what a suite file may hold
