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


def tags(text, target=()):
    return list(Repetition()(Row(Example("1", "q", tuple(target)), Response(text))))


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


def test_shares_out_of_order_are_refused():
    with pytest.raises(SuiteError, match="major_share"):
        Repetition(critical_share=0.1, major_share=0.5)


def test_settings_stand_in_the_repr():
    assert repr(Repetition()) == "Repetition(critical_share=0.3, major_share=0.15, major_copies=8)"
