"""Low overlap with the reference, off topic, copied from training."""

from __future__ import annotations

import pytest

from evalkit.errors import SuiteError
from evalkit.taggers.copied import Copied
from evalkit.taggers.low_overlap import LowOverlap, content
from evalkit.taggers.off_topic import OffTopic
from evalkit.types import Corpus, Example, Response, Row, Score

TRAINING = (
    "The install command downloads the package, checks its signature, and puts every file where the system expects it.",
    "A cluster starts when its first node is up, and each further node asks the first one for the list of members.",
)


def row(answer, *targets, question="How does it work?", scores=()):
    return Row(Example("1", question, tuple(targets)), Response(answer), scores=tuple(scores))


def test_an_answer_without_the_references_words_has_low_overlap():
    (tag,) = LowOverlap()(row("Bananas are yellow.", "The cluster starts with one node."))
    assert tag.why == "shares 0 of 4 content words with the nearest reference (0 %)"


def test_an_answer_with_the_references_words_has_not():
    assert list(LowOverlap()(row("One node starts clusters.", "The cluster starts with one node."))) == []


def test_an_answer_with_next_to_nothing_of_the_reference_is_major():
    (tag,) = LowOverlap()(row("Bananas are yellow.", "The cluster starts with one node."))
    assert tag.severity == "major"


def test_an_answer_with_something_of_the_reference_is_minor():
    (tag,) = LowOverlap()(row("Bananas cluster.", "Clusters start nodes, copy files, join members, write logs."))
    assert (tag.severity, tag.why) == ("minor", "shares 1 of 9 content words with the nearest reference (11 %)")


@pytest.mark.parametrize("word", ["use", "used", "using", "uses"])
def test_the_endings_of_short_words_do_not_matter(word):
    assert content(word) == content("use")


def test_a_user_is_no_use():
    assert content("user") != content("use")


def test_endings_do_not_matter():
    assert content("starting clusters") == content("started cluster")


def test_the_nearest_reference_counts_for_overlap():
    assert list(LowOverlap()(row("Bananas are yellow.", "The cluster starts.", "bananas are yellow"))) == []


def test_without_a_reference_there_is_no_overlap_to_miss():
    assert list(LowOverlap()(row("Bananas are yellow."))) == []


def test_an_answer_scored_right_has_no_low_overlap():
    assert list(LowOverlap()(row("Bananas.", "Cluster nodes start.", scores=[Score("match", 1.0)]))) == []


def test_korean_overlap_is_counted_in_words():
    assert list(LowOverlap()(row("모델은 파일을 읽습니다", "모델은 파일을 씁니다"))) == []


TOPICS = [f"{a}{b}" for a in ("alpha", "bravo", "delta", "gamma", "sigma", "omega") for b in "bcdfghjklm"]
PROMPTS = tuple(f"Please explain what the {t} is and how to use the {t} for a small team of users." for t in TOPICS)
ANSWERS = tuple(
    f"The {t} is a tool of the team. You can use the {t} for many small things, and it is easy to explain what it does "
    f"and how it works for all of the users."
    for t in TOPICS
)
ALIEN = (
    "bananas grow near warm rivers under tall green trees where monkeys often eat them before dawn while birds "
    "sing loudly above"
)


def test_an_answer_less_like_its_question_than_chance_is_off_topic():
    tagger = OffTopic().prepare(Corpus(answers=ANSWERS, prompts=PROMPTS))
    assert [t.category for t in tagger(row(ALIEN, question=PROMPTS[0]))] == ["off_topic"]


def test_an_answer_to_its_question_is_on_topic():
    tagger = OffTopic().prepare(Corpus(answers=ANSWERS, prompts=PROMPTS))
    assert [t for a, p in zip(ANSWERS, PROMPTS, strict=True) for t in tagger(row(a, question=p))] == []


def test_a_short_answer_is_not_judged():
    tagger = OffTopic().prepare(Corpus(answers=ANSWERS, prompts=PROMPTS))
    assert list(tagger(row("Bananas.", question=PROMPTS[0]))) == []


@pytest.mark.parametrize("text", ["bananas grow near warm rivers " * 12, "12 apples 7.5 88 9e3 " * 12])
def test_an_answer_of_few_distinct_words_or_of_digits_is_not_judged(text):
    tagger = OffTopic().prepare(Corpus(answers=ANSWERS, prompts=PROMPTS))
    assert list(tagger(row(text, question=PROMPTS[0]))) == []


def test_many_words_among_more_digits_are_not_judged():
    tagger = OffTopic().prepare(Corpus(answers=ANSWERS, prompts=PROMPTS))
    assert list(tagger(row(ALIEN + " 7" * 60, question=PROMPTS[0]))) == []


def test_few_answers_calibrate_nothing():
    tagger = OffTopic().prepare(Corpus(answers=ANSWERS[:5], prompts=PROMPTS[:5]))
    assert tagger.bound == 0


def test_without_prepare_only_an_answer_that_shares_no_word_is_tagged():
    assert [t.category for t in OffTopic()(row(ALIEN + " " + ALIEN, question=PROMPTS[0]))] == ["off_topic"]
    assert list(OffTopic()(row(ANSWERS[1] * 3, question=PROMPTS[0]))) == []


def test_a_korean_answer_to_a_korean_question_is_on_topic():
    text = "모델은 파일을 읽고 점수를 계산합니다. " * 12
    assert list(OffTopic()(row(text, question="모델은 파일로 무엇을 계산합니까?"))) == []


def copied(answer, *targets):
    return list(Copied().prepare(Corpus(training=TRAINING))(row(answer, *targets)))


def test_an_answer_copied_from_another_rows_training_answer_is_found():
    (tag,) = copied(TRAINING[1], "Run the install command.")
    assert tag.why.startswith("22 words in a row stand in training answer 1 ('A cluster starts")


def test_the_span_shows_the_copied_words():
    answer = "Well then: " + TRAINING[1]
    (tag,) = copied(answer, "Run the install command.")
    assert answer[slice(*tag.span or (0,))] == TRAINING[1].rstrip(".")


def test_an_answer_learned_for_this_question_is_right():
    assert (
        copied(TRAINING[1], "A cluster starts when its first node is up, and each node asks it for the members.") == []
    )


def test_an_answer_in_its_own_words_is_right():
    assert copied("Nodes join a cluster one after the other and learn of each other from the first.", "x") == []


def test_a_small_part_that_is_copied_is_right():
    own = (
        "Many things can be said about this, and most of them are of no use to anybody who wants to get work done. " * 3
    )
    assert copied(own + " ".join(TRAINING[1].split()[:10]), "x") == []


def test_without_training_answers_nothing_is_copied():
    assert list(Copied()(row(TRAINING[1]))) == []


def test_korean_copies_are_found():
    korean = (
        "모델은 파일을 한 번 읽고 다음 질문에 쓸 수 있도록 모든 내용을 기억에 저장한 뒤에 "
        "점수를 계산하여 사용자에게 돌려줍니다"
    )
    tagger = Copied().prepare(Corpus(training=(korean,)))
    assert [t.category for t in tagger(row(korean, "다른 답변"))] == ["copied"]


@pytest.mark.parametrize(
    ("tagger", "settings"),
    [
        (LowOverlap, {"recall": 0}),
        (OffTopic, {"percentile": 99}),
        (Copied, {"min_words": 3}),
        (Copied, {"share": "half"}),
    ],
)
def test_settings_that_make_no_sense_are_refused(tagger, settings):
    with pytest.raises(SuiteError, match=next(iter(settings))):
        tagger(**settings)
