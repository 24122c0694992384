"""Repetition: loops are found with their exact span, good text is left alone."""

from __future__ import annotations

import random
import re

import pytest

from evalkit.errors import SuiteError
from evalkit.taggers.repetition import Repetition, runs_to_end
from evalkit.types import Example, Response, Row

GOOD = (
    "The model reads each file once and keeps what it found in memory. When a user asks a question, it looks up the "
    "nearest rows, ranks them, and writes an answer with its sources. Errors are shown at the end, never in between. "
)
COLOURS = "red blue green small large open closed"
SENTENCE = "Every answer is stored with its score in one file. "


PARAGRAPH = (
    "The store holds one row for each answer, with its score, its tags, the seed it was drawn with, and the time "
    "that it took. Nothing is ever written twice: a row that is there already is read again, and a run that was "
    "stopped goes on where it ended, with the rows that are still to be done. "
)


def tags(text, target=(), finish="stop"):
    return list(Repetition()(Row(Example("1", "q", tuple(target)), Response(text, finish=finish))))


def test_good_text_has_no_tag():
    assert tags(GOOD) == []


def test_a_sentence_that_loops_to_the_end_is_critical():
    (tag,) = tags(GOOD + SENTENCE * 10)
    assert tag.severity == "critical"


def test_the_span_of_a_loop_shows_the_loop():
    text = GOOD + SENTENCE * 10
    (tag,) = tags(text)
    assert text[slice(*tag.span or (0,))] == (SENTENCE * 10).strip()


def test_the_reason_of_a_loop_gives_its_copies_and_share():
    (tag,) = tags("the cat " * 20)
    assert tag.why == "'the cat' 20.0 times in a row, 99 % of the answer, to its end"


def test_a_loop_in_the_middle_of_a_long_answer_is_not_critical():
    paragraphs = "\n\n".join(" ".join(random.Random(i).sample(GOOD.split(), 30)) for i in range(20))
    (tag,) = tags(paragraphs + " " + "ping pong " * 8 + paragraphs[::-1])
    assert tag.severity == "major"


@pytest.mark.parametrize(
    "tail",
    [
        SENTENCE * 4,
        "one two three four " * 10,
        "the " * 30,
        (GOOD[:120] + "\n\n") * 4,
        "\n".join(f"{i}. {SENTENCE}" for i in range(1, 16)),
        (SENTENCE * 9)[:-17],
        "모델은 파일을 읽고 모든 사용자에게 점수를 돌려줍니다. " * 10,
        "模型读取文件并返回答案。" * 10,
        "ha" * 60,
        "a" * 60,
    ],
    ids=["sentence", "phrase", "stutter", "paragraph", "counter", "cut", "korean", "chinese", "ha", "a"],
)
def test_a_loop_after_a_good_beginning_is_found(tail):
    assert tags(GOOD + tail)


def test_sentences_with_one_word_changed_are_found():
    text = " ".join(f"The door of the house is always {w}." for w in re.findall(r"\w+", COLOURS))
    (tag,) = tags(GOOD + text)
    assert "nearly repeat" in tag.why


def test_a_sentence_three_times_apart_is_tagged():
    parts = [" ".join(random.Random(i).sample(GOOD.split(), 25)) + "." for i in range(3)]
    text = " ".join(p + " " + SENTENCE for p in parts)
    assert any("3 times" in tag.why for tag in tags(text))


def test_a_list_of_different_items_is_no_loop():
    assert tags("\n".join(f"{i}. {w}" for i, w in enumerate(GOOD.split(), 1))) == []


def test_numbers_alone_are_no_loop():
    assert tags("1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20") == []


def test_a_table_is_no_loop():
    assert tags("| yes | no | yes |\n" * 3 + GOOD) == []


def test_code_that_repeats_and_ends_is_no_loop():
    assert tags("```\n" + "x = read(file)\n" * 6 + "```\n" + GOOD) == []


def test_code_that_loops_to_the_end_is_one():
    assert tags("```\n" + "x = read(file)\n" * 20)


def test_a_ruler_is_no_loop():
    assert tags(GOOD + "\n" + "-" * 80) == []


def test_a_loop_of_the_reference_is_not_the_models():
    song = "row row row your boat " * 6
    assert tags(song, target=[song]) == []


def test_a_loop_in_a_text_too_long_to_read_is_seen_at_its_end():
    text = " ".join(random.Random(1).choices(GOOD.split(), k=60_000)) + " " + SENTENCE * 20
    assert any(t.severity == "critical" and t.span[1] == len(text.rstrip()) for t in tags(text))


def test_whether_an_answer_ends_in_a_loop_is_known():
    assert runs_to_end(GOOD + SENTENCE * 9)
    assert not runs_to_end(GOOD)


@pytest.mark.parametrize("end", ["cut", "cu", "c"])
def test_a_loop_runs_to_the_end_where_its_last_word_is_cut(end):
    (tag,) = tags(GOOD + "the text is cut " * 8 + "the text is " + end)
    assert tag.why.endswith("to its end")


def test_a_loop_that_something_else_follows_does_not_run_to_the_end():
    (tag,) = tags(GOOD + "the text is cut " * 8 + "the text is over")
    assert not tag.why.endswith("to its end")


def test_nearly_repeated_sentences_run_to_the_end_where_the_last_is_cut():
    text = " ".join(f"The door of the house is always {w}." for w in re.findall(r"\w+", COLOURS))
    assert runs_to_end(GOOD + text + " The door of the hou")
    assert not runs_to_end(GOOD + text + " Nothing of it was ever seen.")


def test_a_run_of_characters_runs_to_the_end_where_the_last_copy_is_cut():
    assert runs_to_end("A good beginning. " + "abcdefg" * 20 + "abcde")


def test_a_long_unit_counts_from_its_second_copy_where_the_answer_was_cut():
    text = GOOD + PARAGRAPH + PARAGRAPH[:-30]
    (tag,) = tags(text, finish="length")
    assert (tag.severity, tag.span) == ("critical", (len(GOOD), len(text)))


def test_the_beginning_of_a_third_copy_makes_a_unit_of_24_tokens_a_loop():
    unit = PARAGRAPH[: PARAGRAPH.index(", and the time")] + " and so on and on. "  # 28 tokens
    assert [t.severity for t in tags(GOOD + unit * 2 + "The store holds one row fo", finish="length")] == ["critical"]
    assert tags(GOOD + unit * 2, finish="length") == []


def test_an_answer_that_was_not_cut_may_say_a_paragraph_twice():
    assert tags(GOOD + PARAGRAPH * 2) == []


def test_figures_of_the_same_form_are_no_second_copy():
    first, second = ("".join(f"{w}: {i},{i}47\n" for w in GOOD.split()[:14]) for i in (1, 2))
    assert tags("Player one.\n" + first + "Player one.\n" + second, finish="length") == []


def test_shares_out_of_order_are_refused():
    with pytest.raises(SuiteError, match="major_share"):
        Repetition(critical_share=0.1, major_share=0.5)


def test_settings_stand_in_the_repr():
    assert repr(Repetition()) == "Repetition(critical_share=0.3, major_share=0.15, major_copies=8)"
