"""Facts that nothing supports, and facts of the reference that are missing."""

from __future__ import annotations

import pytest

from evalkit.errors import SuiteError
from evalkit.taggers.facts import claims, key_facts, merged, plain_number
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


def test_a_name_of_pythons_own_library_needs_no_support():
    found = unsupported("Call json.load() and then wonder.load_all().", "By a call.")
    assert [text.rstrip("(") for text in found] == ["wonder.load_all"]


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


def test_the_span_is_the_first_place_of_a_claim():
    (tag,) = Unsupported()(row("Call set_depth first, then set_depth again.", "x"))
    assert tag.span == (5, 14)


@pytest.mark.parametrize("text", ["Written by [author_name].", "Put <your_key> there.", "Hello {user_name}!"])
def test_a_placeholder_in_brackets_is_no_claim(text):
    assert unsupported(text, "x") == []


@pytest.mark.parametrize("text", ["See [load_model](#x).", "It is list[load_model]."])
def test_a_link_and_an_index_are_no_placeholders(text):
    assert unsupported(text, "x") == ["load_model"]


def test_the_reason_speaks_of_training_answers_only_where_there_are_some():
    (tag,) = Unsupported()(row("Use load_model.", "x"))
    assert tag.why == "identifier 'load_model' stands in no prompt or reference"
    (tag,) = Unsupported().prepare(Corpus(training=("y",)))(row("Use load_model.", "x"))
    assert tag.why == "identifier 'load_model' stands in no prompt, reference or training answer"


def missing(answer, *targets, question="How?", scores=()):
    return [(t.severity, t.why) for t in MissingFacts()(row(answer, *targets, question=question, scores=scores))]


def stated(target):
    return [(f.kind, f.text) for f in merged(key_facts(target))]


def test_a_number_of_the_reference_that_is_missing_is_named():
    assert missing("It has some.", "It has 42 of them.") == [
        ("major", "1 of 1 key facts of the reference are missing: number '42'")
    ]


@pytest.mark.parametrize(
    ("answer", "target"), [("1250 in all", "1,250"), ("three of them", "3 of them"), ("It is 2", "2.0")]
)
def test_a_number_in_another_notation_is_there(answer, target):
    assert missing(answer, target) == []


def test_a_fact_that_the_question_gives_is_asked_of_no_answer():
    assert missing("Too many requests.", "The code 429 means too many.", question="Why do I get 429?") == []


def test_the_facts_of_the_question_do_not_count_as_present_either():
    (tag,) = missing("It is 12.", "Of 12 items 7 are kept.", question="Of 12 items, how many are kept?")
    assert tag[1] == "1 of 1 key facts of the reference are missing: number '7'"


def test_a_link_is_one_fact():
    assert stated("Read https://a.org/2/b_c#d-9 first.") == [("URL", "https://a.org/2/b_c#d-9")]


def test_a_number_in_a_link_of_the_answer_is_not_said():
    assert missing("See https://a.org/42.", "It has 42.")


@pytest.mark.parametrize("name", ["UTF-8/16", "Llama-2", "area/51"])
def test_digits_joined_to_a_word_are_no_numbers(name):
    assert stated(f"Save it as {name} now.") == []


@pytest.mark.parametrize(("text", "number"), [("a range of 3-5", "3"), ("a 30-day trial", "30"), ("it is -4", "-4")])
def test_digits_that_begin_are_numbers(text, number):
    assert ("number", number) in stated(text)


@pytest.mark.parametrize("name", ["core.build.steps", "make_rows.py", "core.build.Step", "site.build"])
def test_a_dotted_name_is_an_identifier(name):
    assert stated(f"It is in {name}.") == [("identifier", name)]


@pytest.mark.parametrize("text", ["i.e. this", "It ends.The next begins", "at 9 a.m. or so"])
def test_abbreviations_and_ends_of_sentences_are_no_dotted_names(text):
    assert [f for f in stated(text) if f[0] == "identifier"] == []


@pytest.mark.parametrize(
    ("target", "facts"),
    [
        ("Run make_rows, it is in make_rows.py.", [("identifier", "make_rows.py")]),
        ("Call `make_rows()`; make_rows waits.", [("identifier", "make_rows")]),
        ('Choose "Step 3" there.', [("quote", "Step 3")]),
        ("It gives `75` of them.", [("number", "75")]),
    ],
)
def test_facts_within_one_another_are_one(target, facts):
    assert stated(target) == facts


def test_one_missing_fact_of_a_longer_reference_is_minor():
    target = "The service keeps every result for 42 days and then removes it from all of its stores."
    assert [s for s, _ in missing("It keeps them for a while.", target)] == ["minor"]


def test_two_missing_facts_are_major():
    target = "The service keeps every result for 42 days and then moves it to 7 stores that are kept for good."
    assert [s for s, _ in missing("It keeps them for a while.", target)] == ["major"]


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
