"""Empty answers, leaked tokens and template strings, echoed prompts."""

from __future__ import annotations

import pytest

from evalkit.errors import SuiteError
from evalkit.taggers.empty import Empty
from evalkit.taggers.leak import Leak
from evalkit.types import Corpus, Example, Message, Response, Row


def row(answer, question="What is it?", *targets, **response):
    return Row(Example("1", question, tuple(targets)), Response(answer, **response))


def spans(answer, question="What is it?", *targets, template=""):
    tagger = Leak().prepare(Corpus(template=template))
    return [answer[slice(*t.span or (0,))] for t in tagger(row(answer, question, *targets))]


@pytest.mark.parametrize("text", ["", "  \n", "<|im_end|>", "</s></s>", "\u200b\u2060", ".", "\ufeff"])
def test_an_answer_that_says_nothing_is_empty(text):
    (tag,) = Empty()(row(text))
    assert (tag.category, tag.severity) == ("empty", "critical")


@pytest.mark.parametrize("text", ["0", "A", "+", "네", "🙂", "x <|im_end|>", "/\\_/\\ ( o.o ) /\\_/\\"])
def test_an_answer_that_says_something_is_not(text):
    assert list(Empty()(row(text))) == []


def test_an_empty_answer_that_was_wanted_is_not_an_error():
    assert list(Empty()(row("", "q", ""))) == []


def test_a_row_that_only_chose_is_not_empty():
    assert list(Empty()(row("", choice_logprobs=(-1.0, -2.0)))) == []


def test_a_failed_row_is_not_empty():
    assert list(Empty()(row("", error="timeout", finish="error"))) == []


@pytest.mark.parametrize(
    "token", ["<|im_end|>", "<|endoftext|>", "</s>", "[INST]", "<<SYS>>", "<end_of_turn>", "<eos>", "[SEP]"]
)
def test_a_special_token_leaks(token):
    assert spans(f"It is red. {token} And so on.") == [token]


def test_a_token_of_the_question_is_no_leak():
    assert spans("The token <|im_end|> ends a turn.", "What does <|im_end|> do?") == []


def test_a_token_of_the_reference_is_no_leak():
    assert spans("The token is </s>.", "Which token?", "It is </s>.") == []


@pytest.mark.parametrize("text", ["The token `</s>` ends it.", "```\nprint('</s>')\n```"])
def test_code_may_quote_a_token(text):
    assert spans(text) == []


def test_a_string_of_the_template_leaks():
    template = "### Question:\n{input}\n\n### Answer:"
    assert spans("It is red.\n\n### Answer:\nIt is blue.", template=template) == ["### Answer:"]


def test_a_string_of_the_template_that_the_question_holds_is_no_leak():
    template = "Explain in detail: {input}"
    assert spans("Explain in detail: is a phrase.", "What does 'Explain in detail:' mean?", template=template) == []


@pytest.mark.parametrize("marker", ["### Instruction:", "### Response:", "Human:", "Assistant:", "User:"])
def test_a_role_marker_at_a_lines_start_leaks(marker):
    assert spans(f"It is red.\n{marker} And more.") == [marker]


@pytest.mark.parametrize(
    "text",
    ["### Instructions:\n1. Mix it.", "The user: a person.", "Note: it is red.", "Ask the Assistant: she knows."],
)
def test_headings_and_plain_words_are_no_markers(text):
    assert spans(text) == []


def test_at_most_five_leaks_are_shown_and_all_are_counted():
    tags = list(Leak()(row("x </s> " * 9)))
    assert len(tags) == 5
    assert tags[0].why == "special token '</s>' (9 leaks in this answer)"


PROMPT = "Please write one short sentence about the colour of the sea in winter"


def test_an_answer_that_begins_with_the_prompt_is_an_echo():
    (tag,) = Leak()(row(PROMPT + ". The sea is grey.", PROMPT))
    assert (tag.category, tag.span) == ("prompt_echo", (0, len(PROMPT)))


def test_half_a_short_prompt_is_an_echo():
    (tag,) = Leak()(row("What is the capital of France in Europe", "What is the capital of France?"))
    assert tag.why == "the answer begins with the first 6 tokens of the prompt (86 % of it)"


def test_a_few_words_of_the_prompt_are_no_echo():
    assert list(Leak()(row("Please write to us.", PROMPT))) == []


def test_an_echo_that_the_reference_makes_too_is_right():
    assert list(Leak()(row(PROMPT + ", it is grey.", PROMPT, PROMPT + ", they say."))) == []


def test_the_last_turn_of_a_chat_is_what_is_echoed():
    chat = (Message("user", "Hello there, my friend."), Message("user", PROMPT))
    assert [t.category for t in Leak()(Row(Example("1", chat), Response(PROMPT)))] == ["prompt_echo"]


def test_korean_answers_have_neither():
    text = "모델은 파일을 읽고 점수를 돌려줍니다.\n\n1. 첫째\n2. 둘째"
    assert [*Empty()(row(text, "무엇입니까?")), *Leak()(row(text, "무엇입니까?"))] == []


def test_a_korean_echo_is_found():
    prompt = "바다의 겨울 색에 대하여 짧은 문장 하나를 한국어로 써 주세요"
    assert [t.category for t in Leak()(row(prompt, prompt))] == ["prompt_echo"]


ECHO = "The store returned no usable row for the ten oldest items."


def test_an_echo_that_is_all_of_the_answer_is_major():
    (tag,) = Leak()(row(ECHO, ECHO + " Are they lost?"))
    assert (tag.category, tag.severity) == ("prompt_echo", "major")


def test_an_echo_in_the_first_sentence_of_a_longer_answer_is_minor():
    (tag,) = Leak()(row(ECHO + " They are kept in the log and drawn again.", ECHO + " Are they lost?"))
    assert (tag.category, tag.severity) == ("prompt_echo", "minor")


def test_an_echo_of_more_than_one_sentence_is_major():
    (tag,) = Leak()(row(ECHO + " Are they lost? No, they are not.", ECHO + " Are they lost?"))
    assert tag.severity == "major"


def test_a_share_above_one_is_refused():
    with pytest.raises(SuiteError, match="echo_share"):
        Leak(echo_share=2)
