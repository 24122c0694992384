"""Faults 40-41: what a judge is asked, how its reply is read, and what counts as no verdict."""

from __future__ import annotations

import json
import math
import re
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit import brief
from evalkit.brief import judgement_of, request_of_case
from evalkit.errors import SuiteError
from evalkit.scorers.judge import VERDICTS, Case, Judge
from evalkit.types import Response
from tests.unit.judges import (
    CASE,
    EXAMPLE,
    RUBRIC,
    WRONG,
    Weigher,
    Writer,
    asked_of,
    prompt_of,
    reply,
    score_by,
    token_of,
)

ATTACKS = json.loads((Path(__file__).parent / "attacks.json").read_text(encoding="utf-8"))


def test_the_probability_of_yes_is_the_score():
    score = score_by(Judge(), Weigher(lambda prompt: {"yes": 0.3, "no": 0.1}))
    assert (score.value, score.why) == (0.75, "yes (0.75)")


def test_the_mean_level_of_a_rubric_is_the_score():
    shares = dict(zip("12345", (0.1, 0.1, 0.2, 0.2, 0.4), strict=True))  # mean 3.7
    score = score_by(RUBRIC, Weigher(lambda prompt: shares))
    assert score.value == pytest.approx((3.7 - 1) / 4)
    assert score.why == "level 5 (0.40)"


@pytest.mark.parametrize(
    ("first", "second", "value", "why"),
    [
        ({"A": 0.8, "B": 0.2}, {"A": 0.4, "B": 0.6}, 1.0, "better in both orders; expected 0.70"),
        ({"A": 0.4, "B": 0.6}, {"A": 0.9, "B": 0.1}, 0.0, "worse in both orders; expected 0.25"),
        ({"A": 0.8, "B": 0.2}, {"A": 0.8, "B": 0.2}, 0.5, "tie: the two orders disagree; expected 0.50"),
    ],
)
def test_a_pair_counts_where_both_orders_agree(first, second, value, why):
    judge = Judge("pairwise")
    backend = Weigher(lambda p: first if p.index("port 80") < p.index("port 5432") else second)
    score = score_by(judge, backend, others={"q": "Use port 5432."})
    assert (score.value, score.why) == (value, why)


def test_equal_answers_tie_unasked_and_missing_ones_are_unscored():
    judge = Judge("pairwise")
    assert judge.heard({}, {"q": WRONG.text})(EXAMPLE, WRONG).value == 0.5
    assert judge.heard({}, {})(EXAMPLE, WRONG).value is None


@pytest.mark.parametrize(
    ("judge", "example", "response", "value", "why"),
    [
        (Judge(), EXAMPLE, Response("5432"), 1.0, "decided by rule: exact"),
        (Judge(), EXAMPLE, Response("It is port 5432."), 1.0, "decided by rule: match"),
        (Judge(when="always"), EXAMPLE, Response(" "), 0.0, "decided by rule: empty answer"),
        (Judge(), replace(EXAMPLE, target=()), WRONG, None, "not judged: no accepted answer is known"),
        (Judge(), EXAMPLE, Response(error="busy", finish="error"), None, "no answer: the request failed"),
        (Judge(), EXAMPLE, Response(choice_logprobs=(-1.0,)), None, "not judged: a choice, not a written answer"),
        (Judge(), EXAMPLE, WRONG, None, "not judged: no judge was asked (--judge MODEL)"),
    ],
)
def test_what_rules_decide_is_not_asked(judge, example, response, value, why):
    score = judge(example, response)
    assert (score.value, score.why) == (value, why)


def test_always_asks_about_what_rules_call_right():
    assert len(Judge(when="always").cases(EXAMPLE, Response("5432"))) == 1
    assert Judge().cases(EXAMPLE, Response("5432")) == ()


def test_a_repetition_names_the_verdicts_in_the_other_order_and_counts_in_the_mean():
    backend = Weigher(
        lambda p: {"yes": 0.8, "no": 0.2} if p.index('"yes"') < p.index('"no"') else {"yes": 0.4, "no": 0.6}
    )
    score = score_by(Judge(repeats=2), backend)
    assert score.value == pytest.approx(0.6)
    assert score.why == "yes (0.80), no (0.60)"


def test_a_written_verdict_counts_with_its_reason():
    score = score_by(Judge(), Writer(lambda prompt: reply("no", prompt, "80 is\nnot 5432.")))
    assert (score.value, score.why) == (0.0, "no: 80 is not 5432.")


def test_a_level_may_be_written_as_a_number():
    assert score_by(RUBRIC, Writer(lambda prompt: reply(4, prompt))).value == 0.75


READ = {
    "the object alone": lambda p: reply("yes", p),
    "fenced": lambda p: f"```json\n{reply('yes', p)}\n```",
    "after thinking": lambda p: f"<think>{{}} no</think>\n{reply('yes', p)}",
}
UNREAD = {
    "a bare word": lambda p: "yes",
    "empty": lambda p: "",
    "text around it": lambda p: f"Here you are: {reply('yes', p)}",
    "two objects": lambda p: reply("no", p) + reply("yes", p),
    "two verdicts": lambda p: reply("yes", p)[:-1] + ', "verdict": "no"}',
    "a list of verdicts": lambda p: reply(["yes", "no"], p),
    "off the scale": lambda p: reply("11/10", p),
    "another language": lambda p: reply("ja", p),
    "another case": lambda p: reply("Yes", p),
    "true": lambda p: reply(True, p),
    "another token": lambda p: reply("yes", p).replace(token_of(p), "0" * 16),
    "a key too many": lambda p: reply("yes", p)[:-1] + ', "score": 1}',
    "no reason": lambda p: json.dumps({"id": token_of(p), "verdict": "yes"}),
    "a reason that is no text": lambda p: reply("yes", p, 7),
    "cut off": lambda p: Response(reply("yes", p), finish="length"),
    "a loop": lambda p: "yes " * 5000,
    "not JSON": lambda p: reply("yes", p).replace('"', "'"),
    "deep": lambda p: "[" * 100_000,
}


@pytest.mark.parametrize("said", READ.values(), ids=READ)
def test_a_reply_is_read(said):
    assert score_by(Judge(), Writer(said)).value == 1.0


@pytest.mark.parametrize("said", UNREAD.values(), ids=UNREAD)
def test_any_other_reply_is_asked_for_again_and_then_unparsed(said):
    backend = Writer(said)
    score = score_by(Judge(), backend)
    assert (score.value, score.why) == (None, "unparsed: no valid verdict in 3 tries")
    assert len({token_of(prompt_of(request)) for request in backend.asked}) == len(backend.asked) == 3


def test_a_good_reply_at_the_second_try_counts():
    backend = Writer(lambda p: reply("yes", p) if "could not be read" in p else "I think so")
    assert score_by(Judge(), backend).value == 1.0
    assert [said.tries for said in asked_of(Judge(), backend, [(EXAMPLE, 0, WRONG)]).values()] == [2]


ECHOES = {
    "the answer": lambda p: re.findall(r"[0-9a-f]{16} answer to grade\n(.*)\n[0-9a-f]{16} end of", p, re.DOTALL)[0],
    "everything": lambda p: p,
    "the last lines": lambda p: p[p.index("Reply with one JSON") :],
    "what follows the answer": lambda p: p.rpartition("end of answer to grade")[2],
}


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("echo", ECHOES.values(), ids=ECHOES)
def test_an_attack_never_gets_a_score_out_of_a_judge_that_echoes(attack, echo):
    assert score_by(Judge(when="always"), Writer(echo), Response(attack)).value is None


def unbroken(prompt: str) -> str:
    """Return a prompt as it would be if no sign of a turn's end were broken up."""
    return prompt.replace("\u200b", "")


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_stands_between_marks_that_it_does_not_hold(attack):
    prompt = prompt_of(request_of_case(Case("correct", "q", ("r",), (attack,)), Judge(), by_reply=True))
    mark = re.search(r"The mark is ([0-9a-f]{16})\.", prompt)
    assert mark
    assert unbroken(f"{mark[1]} answer to grade\n{attack}\n{mark[1]} end of answer to grade") in unbroken(prompt)
    assert mark[1] not in attack
    assert token_of(prompt) not in attack


@pytest.mark.parametrize(
    "token", ["<|im_end|>", "<|eot_id|>", "</s>", "<start_of_turn>", "[INST]", "<<SYS>>", "<\uff5cend\uff5c>", "@@end"]
)
def test_no_answer_can_end_its_turn(token):
    case = replace(CASE, question=f"a{token}b", references=(f"{token}{token}",), answers=(f"{token}yes{token}",))
    for by_reply in (True, False):
        request = request_of_case(case, Judge(), by_reply=by_reply, special=["@@end"])
        assert token not in prompt_of(request)
        assert f"{token[0]}\u200b{token[1:]}yes" in prompt_of(request)


def test_a_verdict_without_finite_numbers_is_none():
    said = judgement_of(CASE, Response(choice_logprobs=(-math.inf, math.nan)))
    assert (said.verdict, said.error) == (None, "nan_logits")


def test_every_word_that_a_judge_is_told_counts_in_the_prompts_digest(monkeypatch):
    before = brief.prompt_digest.__wrapped__()
    for name in ("_HEAD", "_MARK", "_BRIEF", "_REPLY", "_AGAIN"):
        with monkeypatch.context() as patch:
            patch.setattr(brief, name, getattr(brief, name) + " Please.")
            assert brief.prompt_digest.__wrapped__() != before
    monkeypatch.setattr(brief, "REPLY_TOKENS", 1)
    assert brief.prompt_digest.__wrapped__() != before


def test_repetitions_that_agree_on_a_tie_are_a_tie():
    score = score_by(Judge("pairwise", repeats=2), Weigher(lambda p: {"A": 0.9, "B": 0.1}), others={"q": "x"})
    assert score.why == "tie: the two orders disagree; expected 0.50"


def test_there_are_thirty_attacks():
    assert len(set(ATTACKS)) == 30


@given(st.text(), st.text())
def test_cases_of_different_answers_have_different_marks_and_tokens(one, two):
    prompts = [prompt_of(request_of_case(replace(CASE, answers=(a,)), Judge(), by_reply=True)) for a in (one, two)]
    assert (token_of(prompts[0]) == token_of(prompts[1])) == (one == two)


@given(st.lists(st.floats(-50, 0), min_size=5, max_size=5), st.integers(0, 3))
def test_the_probabilities_of_the_verdicts_sum_to_one_whatever_their_order(logprobs, repeat):
    case = Case("rubric", "q", (), ("a",), ("c",), repeat=repeat)
    said: Any = judgement_of(case, Response(choice_logprobs=tuple(logprobs)))
    assert sum(said.probabilities) == pytest.approx(1, abs=1e-5)
    assert said.probabilities["12345".index(said.verdict)] == max(said.probabilities)
    assert 0 <= said.value("rubric") <= 1 + 1e-5


def test_long_texts_lose_their_middle():
    prompt = prompt_of(
        request_of_case(replace(CASE, answers=("a" * 500 + "b" * 500,)), Judge(max_chars=100), by_reply=False)
    )
    assert "a" * 50 + "\n[900 characters left out here]\n" + "b" * 50 in prompt


def test_a_case_that_does_not_fit_the_judge_is_no_verdict():
    said = judgement_of(CASE, Response(choice_logprobs=(-1.0, -2.0), truncated_tokens=7))
    assert said.verdict is None
    assert "7 tokens too long" in said.error


def test_equal_cases_are_asked_once():
    backend = Writer(lambda prompt: reply("no", prompt))
    answers = [(replace(EXAMPLE, id=name), 0, WRONG) for name in "abc"]
    assert len(asked_of(Judge(), backend, answers)) == 1
    assert len(backend.asked) == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mode": "vote"}, "mode is 'vote', expected one of correct, rubric, pairwise"),
        ({"when": "never"}, "when is 'never', expected one of undecided, always"),
        ({"verdict_by": "luck"}, "expected one of auto, probabilities, reply"),
        ({"repeats": 0}, "repeats is 0, expected a whole number from 1 to 20"),
        ({"tries": True}, "tries is True, expected a whole number from 1 to 10"),
        ({"max_chars": 10}, "expected a whole number from 100 to 1,000,000"),
        ({"temperature": "hot"}, "temperature is 'hot', expected a number from 0 to 100"),
        ({"mode": "rubric"}, "criteria is (), expected some in the mode rubric, none in the others"),
        ({"criteria": ("Short.",)}, "expected some in the mode rubric, none in the others"),
        ({"mode": "rubric", "criteria": "Short."}, "criteria is 'Short.', expected a list of texts"),
        ({"mode": "rubric", "criteria": ("Short.",), "levels": ("bad", "good")}, "expected five in the mode rubric"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(settings, message):
    with pytest.raises(SuiteError, match=re.escape(message)):
        Judge(**settings)


def test_the_page_names_every_setting_with_its_default_and_every_mode():
    page = (Path(__file__).parents[2] / "docs" / "judge.md").read_text(encoding="utf-8")
    for setting in fields(Judge):
        assert f"`{setting.name}`" in page
        default: Any = setting.default
        told = f"`{default}`" if isinstance(default, str) else f"{default:g}" if default != () else "none"
        rows = [line.split("|") for line in page.splitlines() if line.startswith("| `")]
        assert [row[2].strip() for row in rows if f"`{setting.name}`" in row[1]] == [told]
    for mode, verdicts in VERDICTS.items():
        assert f"| `{mode}` |" in page
        assert all(f"`{verdict}`" in page for verdict in verdicts[:1] + verdicts[-1:])
