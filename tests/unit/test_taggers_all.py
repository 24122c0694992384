"""What holds for every tagger: registered, pure, total, exact spans, silent on Korean, fast on long answers."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.registry import BUILT_IN, lookup
from evalkit.taggers import DEFAULT, PRECEDENCE, primary_of
from evalkit.types import Corpus, Example, Response, Row, Tag

CORPUS = Corpus(
    answers=("The model reads a file.", "모델은 파일을 읽습니다."),
    references=("It reads the file.",),
    prompts=("What does it read?",),
    training=tuple(
        f"The model {i} reads a file and returns an answer with its score for every user." for i in range(25)
    ),
    vocabulary=frozenset({"lamini"}),
    template="### Question:\n{input}\n### Answer:",
)
KOREAN = (
    "모델은 먼저 파일을 읽고, 각 답변의 점수를 계산한 뒤 사용자에게 돌려줍니다.\n\n"
    "1. `load_model` 함수로 모델을 불러옵니다.\n"
    "2. 데이터를 나누어 학습과 평가에 사용합니다.\n"
    "3. 결과는 https://example.org 에서 볼 수 있습니다.\n\n"
    "더 궁금한 점이 있으면 언제든지 물어보세요!"
)


def prepared(name):
    tagger = lookup("taggers", name)()
    return tagger.prepare(CORPUS) if hasattr(tagger, "prepare") else tagger


READY = {name: prepared(name) for name in DEFAULT}


def test_every_built_in_tagger_is_in_the_default():
    assert set(DEFAULT) == set(BUILT_IN["taggers"])


def test_every_built_in_tagger_can_be_built_without_settings():
    assert all(repr(lookup("taggers", name)()) for name in BUILT_IN["taggers"])


def test_categories_stand_once_in_the_precedence():
    flat = [c for group in PRECEDENCE for c in group]
    assert len(flat) == len(set(flat))


def tag(category):
    return Tag(category, "minor", "why")


def test_an_answer_without_tags_has_no_primary_category():
    assert primary_of([]) is None


@pytest.mark.parametrize(
    ("categories", "primary"),
    [
        (("misspelling", "empty"), "empty"),
        (("repetition", "leak"), "leak"),
        (("truncated", "repetition"), "repetition"),
        (("language", "truncated"), "truncated"),
        (("refusal", "language"), "language"),
        (("format", "refusal"), "refusal"),
        (("missing_facts", "format"), "format"),
        (("too_long", "low_overlap"), "low_overlap"),
        (("misspelling", "too_short"), "too_short"),
        (("mine", "misspelling"), "misspelling"),
        (("mine",), "mine"),
    ],
)
def test_the_primary_category_follows_the_precedence(categories, primary):
    assert primary_of([tag(c) for c in categories]) == primary


@pytest.mark.parametrize("name", DEFAULT)
def test_a_good_korean_answer_has_no_tag(name):
    row = Row(Example("1", "모델은 `load_model` 로 무엇을 합니까? https://example.org", (KOREAN,)), Response(KOREAN))
    assert list(READY[name](row)) == []


@pytest.mark.parametrize("name", DEFAULT)
def test_a_failed_row_has_no_tag(name):
    row = Row(Example("1", "q", ("t",)), Response("recieve " * 50, finish="error", error="timeout"))
    assert list(READY[name](row)) == []


@pytest.mark.parametrize("name", DEFAULT)
def test_a_row_that_only_chose_has_no_tag(name):
    row = Row(Example("1", "q", ("t",), ("t", "u")), Response("", choice_logprobs=(-1.0, -2.0)))
    assert list(READY[name](row)) == []


@pytest.mark.parametrize("name", DEFAULT)
def test_preparing_changes_neither_settings_nor_repr(name):
    plain = lookup("taggers", name)()
    assert (plain, repr(plain)) == (READY[name], repr(READY[name]))


@pytest.mark.parametrize("name", DEFAULT)
def test_an_empty_corpus_is_enough(name):
    tagger = lookup("taggers", name)()
    ready = tagger.prepare(Corpus()) if hasattr(tagger, "prepare") else tagger
    list(ready(Row(Example("1", "What is it?"), Response("It is the answer of the model."))))


PIECES = st.lists(
    st.one_of(
        st.text(alphabet=st.characters(), max_size=30),
        st.sampled_from(
            [
                "```",
                "`x",
                "| a | b |\n",
                "$",
                "\\a{",
                "<|im_end|>",
                "### Question:",
                "recieve ",
                "the same words again ",
                "İ",
            ]
        ),
    ),
    max_size=30,
)


@settings(max_examples=60, deadline=None, database=None)
@given(PIECES, st.text(alphabet=st.characters(), max_size=60), st.sampled_from(["stop", "length"]))
def test_any_text_gives_tags_with_spans_inside_it_twice_the_same(parts, target, finish):
    text = "".join(parts)
    row = Row(Example("1", target, (target,)), Response(text, finish=finish))
    for tagger in READY.values():
        tags = list(tagger(row))
        assert tags == list(tagger(row))
        for t in tags:
            assert t.severity in ("info", "minor", "major", "critical")
            assert 0 <= t.confidence <= 1
            assert "\n" not in t.why
            assert t.span is None or 0 <= t.span[0] < t.span[1] <= len(text)


@pytest.mark.parametrize("unit", ["word ", "x", "```\n", "[[", "| a | b |\n", "a_", "\\a{", "<", "1,000 ", "모델은 "])
def test_ten_million_characters_take_all_taggers_less_than_two_seconds(unit):
    text = unit * (10_000_000 // len(unit))
    row = Row(Example("1", "What is it?", ("It is a word.",)), Response(text))
    start = time.process_time()
    for tagger in READY.values():
        list(tagger(row))
    assert time.process_time() - start < 2
