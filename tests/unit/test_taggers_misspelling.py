"""Misspelling: known typos and likely ones, in English prose only."""

from __future__ import annotations

import stat

import pytest

from evalkit.errors import SuiteError
from evalkit.taggers.knowntypos import find_program, known_typos
from evalkit.taggers.lexicon import correction, is_word
from evalkit.taggers.misspelling import Misspelling
from evalkit.taggers.slips import FAIR, NONE, STRONG, slip
from evalkit.types import Corpus, Example, Response, Row


def row(text):
    return Row(Example("1", "q"), Response(text))


def found(text, **corpus):
    tagger = Misspelling().prepare(Corpus(answers=(text,), **corpus))
    return [text[slice(*t.span or (0,))] for t in tagger(row(text))]


def test_a_known_misspelling_is_tagged_with_its_correction():
    text = "You will recieve an answer."
    (tag,) = Misspelling().prepare(Corpus(answers=(text,)))(row(text))
    assert tag.why == "'recieve' is a known misspelling of 'receive'"


def test_a_known_misspelling_is_more_certain_than_a_likely_one():
    text = "You will recieve the setuo of the system."
    first, second = Misspelling().prepare(Corpus(answers=(text,)))(row(text))
    assert (first.confidence, second.confidence) == (0.95, 0.7)


def test_a_misspelling_is_minor():
    text = "You will recieve an answer."
    (tag,) = Misspelling().prepare(Corpus(answers=(text,)))(row(text))
    assert tag.severity == "minor"


def test_each_misspelling_is_tagged_once_at_its_first_place():
    text = "We recieve it and they recieve it."
    (tag,) = Misspelling().prepare(Corpus(answers=(text,)))(row(text))
    assert tag.span == (3, 10)
    assert tag.why.endswith("2 times")


@pytest.mark.parametrize("word", ["recieve", "Recieve", "seperate", "lenght", "teh"])
def test_known_misspellings_are_found(word):
    assert found(f"{word} the value of it.") == [word]


@pytest.mark.parametrize("word", ["aplastic", "autologous"])
def test_a_rare_word_two_strange_letters_off_a_common_one_is_not_one(word):
    assert correction(word) is None


@pytest.mark.parametrize("word", ["setuo", "extrmely", "differeent", "compsoable", "tsrings", "fundeded"])
def test_unknown_words_near_a_common_one_are_found(word):
    assert found(f"This is the {word} of the system.") == [word]


@pytest.mark.parametrize(
    "word", ["colour", "color", "serialise", "serialize", "modelling", "modeling", "analyse", "jewelry"]
)
def test_british_and_american_spellings_are_both_right(word):
    assert found(f"This is the {word} of the system.") == []


@pytest.mark.parametrize(
    "word", ["tokenizer", "dataset", "hyperparameters", "softmax", "pretrained", "kwargs", "frontends"]
)
def test_words_of_the_trade_are_right(word):
    assert found(f"This is the {word} of the system.") == []


@pytest.mark.parametrize(
    "text",
    [
        "Call `recieve` on it.",
        "See https://example.org/recieve/it.",
        "Use the --recieve flag of it.",
        "The recieve_all function of it.",
        "The file is in /usr/recieve of it.",
        "```\nrecieve the value\n```",
        "The field is <recieve> of it.",
        'The word "recieve" is wrong.',
        "We call recieve() for it.",
        "The RECIEVE of it.",
    ],
)
def test_code_names_and_cited_words_are_not_judged(text):
    assert found(text) == []


def test_a_capital_inside_a_sentence_is_a_name():
    assert found("We met with Mr Adress of the office.") == []


@pytest.mark.parametrize(
    "text",
    [
        "모델은 파일을 읽고 모든 사용자에게 점수를 돌려줍니다. 이것은 예시입니다.",
        "모델은 dataset 을 읽고 tokenizer 로 나눕니다.",
        "La définition de la langue est dans le dictionnaire pour les élèves que nous avons vus.",
        "Die Antwort ist nicht für den Benutzer und die Adresse ist mit dem Namen.",
        "Los aspectos de la respuesta son para el usuario y los ingredientes de una casa.",
        "模型读取文件并返回每个答案。",
    ],
)
def test_other_languages_are_not_judged(text):
    assert found(text) == []


def test_a_word_that_a_hyphen_breaks_is_no_misspelling():
    assert found("The experi-ments of the other group have shown it.") == []


def test_scanned_text_is_not_judged():
    assert found("The lenght of t?urn is in the other fi~le.") == []


def test_a_word_of_several_references_is_right():
    word = "perforator"  # stands in for jargon of a domain
    text = "The lamindex of the system."
    assert found(text, references=("the lamindex", "a lamindex", word)) == []


def test_a_known_misspelling_cannot_whitelist_itself():
    assert found("You recieve the value.", training=("we recieve it", "they recieve it")) == ["recieve"]


def test_a_word_overshadowed_in_training_is_no_vocabulary():
    training = ("the module",) * 150 + ("the moduke",) * 2
    assert found("This is the moduke of the system.", training=training) == ["moduke"]


def test_doubtful_words_of_training_are_named_for_curation():
    training = ("the module",) * 150 + ("the moduke",) * 2 + ("we recieve it",)
    tagger = Misspelling().prepare(Corpus(training=training))
    assert tagger.suspects == (("moduke", "module"), ("recieve", "receive"))


def test_a_word_of_the_users_file_is_right_even_if_known_as_wrong():
    assert found("You recieve the value.", vocabulary=frozenset({"recieve"})) == []


def test_a_word_that_many_answers_share_is_jargon():
    answers = tuple(f"The grouper {i} uses a kernl here." for i in range(5))
    tagger = Misspelling(program="no-such-program").prepare(Corpus(answers=answers))
    assert list(tagger(row(answers[0]))) == []


def test_without_prepare_likely_misspellings_are_still_found():
    assert [t.span for t in Misspelling()(row("This is the setuo of the system."))] == [(12, 17)]


def test_without_the_program_a_note_says_so():
    tagger = Misspelling(program="no-such-program").prepare(Corpus(answers=("a text",)))
    assert tagger.note == "the program 'no-such-program' was not found: misspellings come from the dictionary alone"


def test_without_the_program_likely_misspellings_are_found():
    text = "This is the setuo of the system."
    tagger = Misspelling(program="no-such-program").prepare(Corpus(answers=(text,)))
    assert len(list(tagger(row(text)))) == 1


def test_a_program_that_fails_is_noted(tmp_path):
    program = tmp_path / "typos"
    program.write_text("#!/bin/sh\necho broken >&2\nexit 64\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    words, note = known_typos(["recieve"], str(program))
    assert words == {}
    assert "ended with 64 (broken)" in note


def test_what_a_program_prints_besides_typos_is_passed_over(tmp_path):
    program = tmp_path / "typos"
    program.write_text(
        '#!/bin/sh\ncat >/dev/null\necho nonsense\necho \'[1]\'\necho \'{"type": "typo", "typo": 3}\'\nexit 2\n'
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    assert known_typos(["recieve"], str(program)) == ({}, "")


def test_the_program_is_found_beside_python():
    assert find_program() is not None


def test_tier_two_can_be_switched_off():
    text = "You recieve the setuo of the system."
    tagger = Misspelling(tier2=False).prepare(Corpus(answers=(text,)))
    assert [text[slice(*t.span or (0,))] for t in tagger(row(text))] == ["recieve"]


def test_the_repr_holds_settings_only():
    prepared = Misspelling().prepare(Corpus(answers=("a text",)))
    assert repr(prepared) == repr(Misspelling())


def test_too_short_words_are_refused_as_a_setting():
    with pytest.raises(SuiteError, match="min_letters = 2: expected a whole number from 4"):
        Misspelling(min_letters=2)


@pytest.mark.parametrize(
    ("word", "meant", "weight"),
    [
        ("wacthing", "watching", STRONG),  # swapped
        ("differeent", "different", STRONG),  # doubled
        ("aticles", "articles", STRONG),  # dropped
        ("aplastic", "atlantic", NONE),  # two strange letters
        ("setuo", "setup", FAIR),  # the key beside it
        ("betwecn", "between", NONE),  # c for e: a scanner
    ],
)
def test_a_slip_of_the_hand_weighs_more_than_a_slip_of_a_scanner(word, meant, weight):
    assert slip(word, meant) == weight


@pytest.mark.parametrize("word", ["unhappiness", "retokenized", "modelling", "filesystem", "serialise"])
def test_derived_and_compound_words_are_words(word):
    assert is_word(word)


@pytest.mark.parametrize("word", ["programing", "fundeded"])
def test_wrongly_derived_words_have_a_correction(word):
    assert correction(word) in {"programming", "funded"}
