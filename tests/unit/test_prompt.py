"""An example becomes a request: template, solved examples, chat turns, seeds."""

from __future__ import annotations

from dataclasses import replace

import pytest

from evalkit.prompt import messages_of, prompt_of, request_of, requests_of, template_hash, unlike_trained
from evalkit.types import Example, Message, Sampling, Suite

PLAIN = Suite("s", (Example("a", "Why?", ("So.",)),), chat=False, template="Q: {input}\nA:")
EXAMPLE = PLAIN.examples[0]
CHAT = replace(PLAIN, chat=True)
SHOTS = (Example("s1", "One?", ("1", "one")), Example("s2", "Unsolved?"), Example("s3", "Three?", ("3",)))


def test_a_plain_prompt_is_the_template_with_the_question():
    assert prompt_of(PLAIN, PLAIN.examples[0]) == "Q: Why?\nA:"


def test_braces_in_a_question_are_text():
    assert prompt_of(PLAIN, Example("a", "{input} {0} {x!r}")) == "Q: {input} {0} {x!r}\nA:"


def test_system_and_solved_examples_come_first_and_unsolved_ones_not_at_all():
    suite = replace(PLAIN, fewshot=SHOTS, system="Be brief.")
    assert prompt_of(suite, suite.examples[0]) == "Be brief.\n\nQ: One?\nA: 1\n\nQ: Three?\nA: 3\n\nQ: Why?\nA:"


def test_a_chat_has_system_solved_turns_and_the_question():
    suite = replace(CHAT, fewshot=SHOTS[:2], system="Be brief.")
    assert messages_of(suite, suite.examples[0]) == (
        Message("system", "Be brief."),
        Message("user", "One?"),
        Message("assistant", "1"),
        Message("user", "Why?"),
    )


def test_the_turns_of_an_example_are_kept():
    turns = (Message("user", "Hi"), Message("assistant", "Hello"), Message("user", "Why?"))
    assert messages_of(CHAT, Example("a", turns)) == turns


def test_a_request_is_either_a_chat_or_a_prompt():
    chat, plain = request_of(CHAT, CHAT.examples[0]), request_of(PLAIN, PLAIN.examples[0])
    assert (chat.prompt, len(chat.messages)) == ("", 1)
    assert (plain.prompt, plain.messages) == ("Q: Why?\nA:", ())
    assert chat.target == plain.target == ("So.",)


def test_choices_are_sent_only_when_they_are_to_be_scored():
    example = Example("a", "Why?", choices=("x", "y"))
    assert request_of(PLAIN, example).choices == ()
    assert request_of(PLAIN, example, kind="choose").choices == (" x", " y")
    assert request_of(CHAT, example, kind="choose").choices == ("x", "y")


def test_requests_go_example_by_example_with_the_trials_together():
    suite = replace(
        PLAIN, examples=(Example("a", "?"), Example("b", "?")), trials=2, generation=Sampling(temperature=1)
    )
    assert [(r.example_id, r.trial) for r in requests_of(suite)] == [("a", 0), ("a", 1), ("b", 0), ("b", 1)]


def test_sampled_trials_have_seeds_fixed_by_id_and_trial_alone():
    suite = replace(PLAIN, generation=Sampling(temperature=1.0, seed=5))
    seeds = [request_of(suite, Example(i, "?"), trial).sampling.seed for i in ("a", "b") for trial in (0, 1)]
    assert len(set(seeds)) == 4
    assert request_of(suite, Example("b", "another"), 1).sampling.seed == seeds[3]
    assert (
        request_of(replace(suite, generation=Sampling(temperature=1.0, seed=6)), Example("a", "?")).sampling.seed
        != seeds[0]
    )


def test_greedy_requests_keep_the_seed_of_the_suite():
    assert request_of(PLAIN, PLAIN.examples[0], 0).sampling.seed == 0


def test_the_template_hash_is_equal_for_suites_that_ask_alike():
    assert template_hash(PLAIN) == template_hash(replace(PLAIN, name="other", scorers=("fuzzy",)))
    assert template_hash(CHAT) == template_hash(replace(CHAT, template="unused {input}"))
    different = [
        PLAIN,
        CHAT,
        replace(PLAIN, template="{input}"),
        replace(PLAIN, system="s"),
        replace(PLAIN, fewshot=SHOTS),
    ]
    assert len({template_hash(suite) for suite in different}) == 5


def test_own_requests_of_a_suite_come_first():
    own = request_of(PLAIN, PLAIN.examples[0])
    assert list(requests_of(replace(PLAIN, requests=(own, own)))) == [own, own]


def trained(suite, **changed):
    """Return what trainkit.json would say of a checkpoint trained with a suite's prompt."""
    record = {name: getattr(suite, name) for name in ("chat", "template", "system")}
    return record | {"hash": template_hash(suite), "chat_template": "f00d"} | changed


@pytest.mark.parametrize("chat", [True, False])
def test_a_checkpoint_asked_as_it_was_trained_or_that_says_nothing_gives_no_warning(chat):
    suite = Suite("s", (EXAMPLE,), chat=chat)
    assert unlike_trained(suite, trained(suite), {"chat_template": "f00d"}) == ""
    assert unlike_trained(suite, {}, {}) == ""


def test_another_prompt_than_the_trained_one_is_named_with_what_to_set():
    plain, chat = Suite("s", (EXAMPLE,), chat=False, template="Q: {input}\nA:"), Suite("s", (EXAMPLE,), chat=True)
    start = "trained with another prompt than suite s asks with; to ask as trained: "
    assert unlike_trained(plain, trained(chat), {}) == start + "--set chat=true"
    assert unlike_trained(chat, trained(plain), {}) == start + """--set chat=false --set 'template="Q: {input}\\nA:"'"""


def test_another_chat_template_is_told_where_the_suite_asks_by_chat():
    suite = Suite("s", (EXAMPLE,), chat=True)
    assert "its chat template" in unlike_trained(suite, trained(suite), {"chat_template": "beef"})


def test_solved_examples_that_training_did_not_show_are_told():
    suite = Suite("s", (EXAMPLE,), chat=True, fewshot=(EXAMPLE,))
    assert "no solved examples" in unlike_trained(suite, trained(replace(suite, fewshot=())), {"chat_template": "f00d"})
