"""Faults 18, 20, 26: records become examples, or every fault is named with its line."""

from __future__ import annotations

import pytest

from evalkit.errors import SuiteError
from evalkit.examples import example_of, examples_of, record_id
from evalkit.types import Message


def numbered(*records):
    return list(enumerate(records, 1))


def test_only_input_is_required():
    example = example_of({"input": "Why?"}, "line 1")
    assert (example.input, example.target, example.choices, example.meta) == ("Why?", (), (), {})
    assert example.id == record_id({"input": "Why?"})
    assert len(example.id) == 16


def test_an_id_is_kept_and_a_number_becomes_text():
    assert example_of({"id": "x", "input": "?"}, "").id == "x"
    assert example_of({"id": 0, "input": "?"}, "").id == "0"


def test_the_id_does_not_depend_on_the_order_of_keys_but_on_the_content():
    a = example_of({"input": "?", "target": "a"}, "").id
    assert a == example_of({"target": "a", "input": "?", "id": None}, "").id
    assert a != example_of({"input": "?", "target": "b"}, "").id


@pytest.mark.parametrize(
    ("target", "texts"),
    [("a", ("a",)), (["a", "b"], ("a", "b")), (None, ()), ([], ()), (12, ("12",)), ([1.5, True], ("1.5", "true"))],
)
def test_targets_are_read_as_texts(target, texts):
    assert example_of({"input": "?", "target": target}, "").target == texts


def test_a_chat_is_kept_turn_by_turn():
    turns = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]
    example = example_of({"input": turns}, "")
    assert example.input == (Message("system", "s"), Message("user", "u"))
    assert example.question == "u"


@pytest.mark.parametrize(
    ("record", "fault"),
    [
        ({}, "no 'input'"),
        ({"input": None}, "input is null, expected a text or a list of messages"),
        ({"input": 3}, "input is a number"),
        ({"input": " \n"}, "input is empty"),
        ({"input": []}, "input is a list"),
        ({"input": {}}, "input is an object"),
        ({"input": ["x"]}, "a message of input is not {'role': text, 'content': text}"),
        ({"input": [{"role": "user"}]}, "a message of input is not"),
        ({"input": [{"role": "user", "content": 1}]}, "a message of input is not"),
        ({"input": [{"role": "assistant", "content": "x"}]}, "the last message of input is of 'assistant'"),
        ({"input": "?", "target": {}}, "target is an object, expected a text or a list of texts"),
        ({"input": "?", "target": [None]}, "target is null"),
        ({"input": "?", "choices": [[]]}, "choices is a list"),
        ({"input": "?", "meta": "x"}, "meta is a text, expected an object"),
        ({"input": "?", "meta": []}, "meta is a list, expected an object"),
        ({"input": "?", "id": ""}, "id is an empty text"),
        ({"input": "?", "id": 1.5}, "id is a number"),
        ({"input": "?", "id": True}, "id is true or false"),
        ({"input": "?", "id": []}, "id is a list"),
        ({"input": "?", "inptu": 1}, "unknown key 'inptu'; did you mean 'input'?"),
        ({"input": "?", "answer": 1}, "unknown key 'answer'; known are choices, id, input, meta, target"),
    ],
    ids=lambda value: f"20/26: {value}" if isinstance(value, dict) else "",
)
def test_a_wrong_field_is_named(record, fault):
    with pytest.raises(SuiteError) as caught:
        examples_of(numbered(record), "f.jsonl")
    assert str(caught.value).startswith("f.jsonl: line 1: ")
    assert fault in str(caught.value)


def test_the_same_id_twice_names_both_lines_18():
    with pytest.raises(SuiteError, match="line 3: id '1' stands in line 1 already"):
        examples_of(numbered({"id": "1", "input": "a"}, {"id": "2", "input": "b"}, {"id": 1, "input": "c"}), "f")


def test_the_same_record_twice_without_id_names_both_lines_18():
    with pytest.raises(SuiteError, match=r"line 2: id '[0-9a-f]{16}' stands in line 1 already"):
        examples_of(numbered({"input": "a"}, {"input": "a"}), "f")


def test_twenty_faults_are_listed_and_the_rest_counted_17():
    with pytest.raises(SuiteError) as caught:
        examples_of(numbered(*[{"input": None}] * 33), "f")
    assert str(caught.value).count("line ") == 20
    assert str(caught.value).endswith("; and 13 more")
