"""Refusals and answers in another language."""

from __future__ import annotations

import pytest

from evalkit.errors import SuiteError
from evalkit.taggers.language import Language
from evalkit.taggers.refusal import Refusal
from evalkit.types import Example, Response, Row

ENGLISH = (
    "The model reads each file once and keeps what it found in the memory of the machine, so that it can be used for "
    "the next question of the user."
)
FRENCH = (
    "Le modèle lit les fichiers une fois et garde dans la mémoire ce qui est utile pour la question que nous avons "
    "posée, avec des réponses qui ne sont pas longues."
)
SPANISH = (
    "El modelo lee los archivos una vez y guarda en la memoria lo que es necesario para la pregunta del usuario, con "
    "una respuesta que no es larga como las otras."
)
KOREAN = "모델은 파일을 한 번 읽고 다음 질문에 쓸 수 있도록 기억에 저장합니다. 이것은 예시 문장입니다."


def row(answer, question="What does the model do with the file?", *targets):
    return Row(Example("1", question, tuple(targets)), Response(answer))


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't help with that.",
        "I cannot assist with this request.",
        "As an AI language model, I do not have access to that.",
        "Sorry, no.",
        "Unfortunately, I am unable to answer this.",
        "I don't know the answer.",
        "I’m afraid I can’t do that.",
        "I'm sorry for any confusion, but as a helper with words, I don't have the capability to give medical advice.",
        "While I know much, I'm not equipped to handle such a model.",
        "죄송하지만 그 질문에는 답변할 수 없습니다.",
        "죄송합니다. 도와드릴 수 없습니다.",
    ],
)
def test_an_answer_that_declines_is_a_refusal(text):
    assert [(t.category, t.severity) for t in Refusal()(row(text))] == [("refusal", "major")]


@pytest.mark.parametrize(
    "text",
    [
        ENGLISH,
        KOREAN,
        "You cannot open the file twice.",
        "The model can't help overfitting here.",
        "If you are unable to log in, reset it.",
        "I'm sorry for your loss. Here is a poem.",
    ],
)
def test_an_answer_that_answers_is_none(text):
    assert list(Refusal()(row(text))) == []


def test_a_refusal_that_the_reference_makes_too_is_right():
    assert list(Refusal()(row("I cannot answer that.", "q", "I'm sorry, but I can't help with that."))) == []


def test_an_answer_that_goes_on_is_minor():
    (tag,) = Refusal()(row("I cannot access the file. " + ENGLISH * 6))
    assert (tag.severity, tag.why.endswith("then goes on")) == ("minor", True)


def test_a_refusal_far_into_the_answer_is_none():
    assert list(Refusal()(row(ENGLISH * 3 + " I cannot answer that."))) == []


def test_the_span_shows_the_refusing_words():
    text = "Well. I cannot answer that."
    (tag,) = Refusal()(row(text))
    assert text[slice(*tag.span or (0,))] == "I cannot answer"


def test_an_answer_in_another_script_is_the_wrong_language():
    (tag,) = Language()(row(KOREAN))
    assert tag.why == "100 % of 38 letters are Hangul, the question is Latin"


def test_an_english_answer_to_a_korean_question_is_the_wrong_language():
    assert [t.category for t in Language()(row(ENGLISH, "모델은 파일로 무엇을 합니까?"))] == ["language"]


@pytest.mark.parametrize("text", [FRENCH, SPANISH])
def test_another_language_in_the_same_script_is_found_by_function_words(text):
    assert [t.category for t in Language()(row(text, "q", ENGLISH))] == ["language"]


@pytest.mark.parametrize("text", [ENGLISH, FRENCH, SPANISH, KOREAN])
def test_the_language_of_the_reference_is_right(text):
    assert list(Language()(row(text, "q", text))) == []


def test_the_reference_counts_more_than_the_question():
    assert list(Language()(row(KOREAN, "Say it.", KOREAN))) == []


def test_a_question_about_translating_is_not_judged():
    assert list(Language()(row(KOREAN, "Translate the sentence of the user into Korean."))) == []


def test_a_short_answer_is_not_judged():
    assert list(Language()(row("김치입니다"))) == []


def test_code_has_no_language():
    code = "```python\n" + "def f(x, y): return x + y\n" * 10 + "```"
    assert list(Language()(row(code, "파이썬으로 더하기 함수를 써 주세요"))) == []


def test_korean_with_english_terms_is_korean():
    text = "transformers 라이브러리는 tokenizer 와 model 을 불러와서 답변을 생성하고 점수를 계산하는 데에 사용됩니다."
    assert list(Language()(row(text, "무엇에 사용됩니까?"))) == []


def test_a_share_of_zero_is_refused():
    with pytest.raises(SuiteError, match="share"):
        Language(share=0)


def test_a_reach_of_zero_is_refused():
    with pytest.raises(SuiteError, match="reach"):
        Refusal(reach=0)
