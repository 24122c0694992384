"""Facts that nothing supports, and facts of the reference that are missing."""

from __future__ import annotations

import pytest

from evalkit.errors import SuiteError
from evalkit.taggers.facts import claims, plain_number
from evalkit.taggers.missing_facts import MissingFacts
from evalkit.taggers.unsupported import Unsupported
from evalkit.types import Corpus, Example, Response, Row, Score


def row(answer, *targets, question="How?", scores=()):
    return Row(Example("1", question, tuple(targets)), Response(answer), scores=tuple(scores))


def unsupported(answer, *targets, question="How?", **corpus):
    tagger = Unsupported().prepare(Corpus(**corpus)) if corpus else Unsupported()
    return [answer[slice(*t.span or (0,))] for t in tagger(row(answer, *targets, question=question))]


@pytest.mark.parametrize(
    "fact", ["https://lamini.org/docs", "v2.1", "1.2.3", "--max-tokens", "load_model", "torch.save("]
)
def test_a_claim_that_stands_nowhere_is_unsupported(fact):
    expected = fact.rstrip("(")
    assert unsupported(f"Use {fact}) for it.", "Use the tool.") == [expected]


@pytest.mark.parametrize("fact", ["https://lamini.org/docs", "1.2.3", "--max-tokens", "load_model"])
def test_a_claim_of_the_reference_is_supported(fact):
    assert unsupported(f"Use {fact} for it.", f"You need {fact} here.") == []


def test_a_claim_of_the_question_is_supported():
    assert unsupported("Use load_model for it.", "x", question="What is load_model?") == []


def test_a_claim_of_the_training_data_is_supported():
    assert unsupported("Use load_model for it.", "x", training=("call load_model first",)) == []


def test_a_claim_of_another_reference_is_supported():
    assert unsupported("Use load_model for it.", "x", references=("call load_model first",)) == []


def test_where_nothing_could_support_a_claim_nothing_is_said():
    assert unsupported("Use load_model for it.") == []


def test_code_blocks_are_not_looked_at():
    assert unsupported("Do this:\n```py\nmy_value = 1\n```\nand print my_value.", "x") == []


def test_a_link_is_the_same_with_and_without_its_scheme():
    assert unsupported("See http://www.lamini.org/docs/.", "See https://lamini.org/docs") == []


def test_prices_and_dates_are_no_versions():
    assert unsupported("It costs $1.50 or 2.5 on 12.5 days.", "x") == []


def test_at_most_five_are_tagged_and_the_rest_is_counted():
    tags = list(Unsupported()(row(" ".join(f"name_{c}x" for c in "abcdefgh"), "x")))
    assert len(tags) == 5
    assert tags[-1].why.endswith("(and 3 more)")


def test_identifiers_can_be_left_out():
    assert list(Unsupported(identifiers=False)(row("Use load_model for it.", "x"))) == []


def test_claims_have_exact_places():
    text = "See https://a.org/b. Use --flag-x with 1.2.3 and do_it."
    assert all(text[f.start : f.start + len(f.text)] == f.text for f in claims(text))


@pytest.mark.parametrize(
    ("given", "plain"), [("1,250.50", "1250.5"), ("007", "7"), ("2.0", "2"), ("−3", "-3"), ("0.10", "0.1")]
)
def test_numbers_have_one_plain_form(given, plain):
    assert plain_number(given) == plain


def missing(answer, *targets, scores=()):
    return [(t.severity, t.why) for t in MissingFacts()(row(answer, *targets, scores=scores))]


def test_a_number_of_the_reference_that_is_missing_is_named():
    assert missing("It has some.", "It has 42 of them.") == [
        ("major", "1 of 1 key facts of the reference are missing: number '42'")
    ]


@pytest.mark.parametrize(
    ("answer", "target"), [("1250 in all", "1,250"), ("three of them", "3 of them"), ("It is 2", "2.0")]
)
def test_a_number_in_another_notation_is_there(answer, target):
    assert missing(answer, target) == []


def test_one_of_three_missing_is_minor():
    assert [s for s, _ in missing("Use load_model with 3.", "Use load_model with 3 and save_all.")] == ["minor"]


def test_a_quoted_string_is_a_fact():
    assert missing("Press it.", 'Press "Save as".') == [
        ("major", "1 of 1 key facts of the reference are missing: quote 'Save as'")
    ]


def test_one_full_reference_is_enough():
    assert missing("It has 3.", "It has 4.", "It has 3.") == []


def test_a_reference_without_facts_asks_for_none():
    assert missing("Anything.", "Just words.") == []


def test_an_answer_scored_right_lacks_nothing():
    assert missing("It is so.", "It has 42.", scores=[Score("match", 1.0)]) == []


def test_korean_answers_are_compared_as_they_stand():
    assert missing("모두 42 개입니다.", "42 개입니다.") == []
    assert unsupported("모델은 파일을 읽습니다.", "파일을 읽습니다.") == []


def test_a_share_of_zero_is_refused():
    with pytest.raises(SuiteError, match="major_share"):
        MissingFacts(major_share=0)


def test_no_tags_at_all_are_refused_as_a_setting():
    with pytest.raises(SuiteError, match="most"):
        Unsupported(most=0)
