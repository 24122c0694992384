"""Format: the form that a suite asks for, or that an answer itself claims to have."""

from __future__ import annotations

import pytest

from evalkit.errors import SuiteError
from evalkit.taggers.format import Format
from evalkit.types import Example, Response, Row


def why(text, choices=(), finish="stop", **settings):
    row = Row(Example("1", "q", choices=tuple(choices)), Response(text, finish=finish))
    return [t.why for t in Format(**settings)(row)]


@pytest.mark.parametrize(
    "text", ["plain text", '```json\n{"a": 1}\n```', "```py\nx = {\n```", '```json\n{"a": ...}\n```']
)
def test_an_answer_that_keeps_its_own_claims_is_right(text):
    assert why(text) == []


def test_a_block_that_is_never_closed_is_shown():
    text = "Here:\n```py\nx = 1"
    (tag,) = Format()(Row(Example("1", "q"), Response(text)))
    assert tag.span is not None
    assert text[slice(*tag.span or (0,))] == "```py\nx = 1"


def test_a_block_that_the_token_limit_cut_is_no_format_error():
    assert why("Here:\n```py\nx = 1", finish="length") == []


def test_a_block_marked_json_must_parse():
    assert why('```json\n{"a": }\n```') == ["a block marked json is none: Expecting value: line 1 column 7 (char 6)"]


@pytest.mark.parametrize("text", ['{"a": [1, 2]}', " 3 ", '```json\n{"a": 1}\n```', "1" * 5000])
def test_json_is_json(text):
    assert why(text, kind="json") == []


@pytest.mark.parametrize("text", ["{'a': 1}", "Sure: {}", "NaN", "[" * 200_000, '{"a": 1} {}'])
def test_what_is_no_json_is_said(text):
    (reason,) = why(text, kind="json")
    assert reason.startswith("not one JSON value: ")


def test_json_above_the_limit_is_not_parsed():
    assert why("[1, 2, 3]", kind="json", most=5) == ["not one JSON value: 9 characters are more than 5"]


def test_one_closed_block_is_a_fence():
    assert why("Here:\n```\nx\n```", kind="fence") == []


def test_no_block_is_no_fence():
    assert why("x", kind="fence") == ["0 blocks of code, expected 1"]


@pytest.mark.parametrize("text", ["B", "b)", "(B) because", "The answer is B.", "Answer: B", "2", "red"])
def test_a_letter_of_a_choice_is_a_choice(text):
    assert why(text, choices=["blue", "red"], kind="choice") == []


@pytest.mark.parametrize("text", ["Because it is so", "C", "I think so", "Both"])
def test_what_names_no_choice_is_said(text):
    (reason,) = why(text, choices=["blue", "red"], kind="choice")
    assert reason.startswith("no letter of a choice (A-B)")


def test_a_pattern_must_be_found():
    assert why("answer 12", kind="regex", pattern=r"\d+") == []
    assert why("answer", kind="regex", pattern=r"\d+") == [r"nothing matches '\\d+'"]


def test_a_pattern_runs_in_linear_time():
    assert why("a" * 100_000 + "b", kind="regex", pattern=r"^(a+)+$") == ["nothing matches '^(a+)+$'"]


def test_a_broken_pattern_is_refused_with_its_fault():
    with pytest.raises(SuiteError, match=r"a valid RE2 pattern \(missing \)"):
        Format(kind="regex", pattern="(a")


def test_a_pattern_without_its_kind_is_refused():
    with pytest.raises(SuiteError, match="pattern"):
        Format(pattern="a")


def test_an_unknown_kind_is_refused():
    with pytest.raises(SuiteError, match="one of auto, json, fence, choice, regex"):
        Format(kind="xml")  # type: ignore[arg-type] # what a suite file may hold


def test_korean_json_is_json():
    assert why('{"이름": "모델"}', kind="json") == []


def test_korean_prose_is_right():
    assert why("모델은 파일을 읽습니다.") == []
