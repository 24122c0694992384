"""Faults 40-42: what a judge is asked, how its reply is read, what counts as no verdict, and what a run keeps of it."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit import brief, court, flow
from evalkit.backends import cut
from evalkit.backends.scripted import ScriptedBackend
from evalkit.brief import judgement_of, prompt_digest, request_of_case
from evalkit.cli import call
from evalkit.compare import compare_runs
from evalkit.court import read_judgements
from evalkit.errors import ModelError, NotComparable, RunError, Stopped, SuiteError
from evalkit.journal import Journal
from evalkit.merge import merge
from evalkit.record import read_run, salvage
from evalkit.scorers.judge import VERDICTS, Case, Judge
from evalkit.settings import RunSettings
from evalkit.types import Example, Request, Response, Row

ATTACKS = json.loads((Path(__file__).parent / "attacks.json").read_text(encoding="utf-8"))
EXAMPLE = Example("q", "Which port?", ("5432",))
WRONG = Response("It is port 80.")
CASE = Case("correct", "Which port?", ("5432",), ("It is port 80.",))
RUBRIC = Judge("rubric", criteria=("Names the port.",))


def token_of(prompt: str) -> str:
    found = re.search(r'"id": the text "([0-9a-f]{16})"', prompt)
    assert found
    return found[1]


def reply(verdict: object, prompt: str, reason: object = "So it is.") -> str:
    return json.dumps({"id": token_of(prompt), "reason": reason, "verdict": verdict})


def judged(row: Row) -> Any:
    return row.score("judge")


def prompt_of(request: Request) -> str:
    return request.messages[0].content


class Writer:
    """A judge behind an endpoint: `say` writes its reply to a prompt."""

    kinds = frozenset({"generate"})
    who = "writer"

    def __init__(self, say) -> None:
        self.say, self.identity = say, {"backend": "fake", "model_digest": self.who}
        self.asked: list[Request] = []

    def plan(self, requests: Sequence[Request]) -> Sequence[Sequence[int]]:
        return cut(len(requests), 2)

    def respond(self, requests: Sequence[Request], tick=lambda: None) -> Iterator[Response]:
        for request in requests:
            self.asked.append(request)
            tick()
            said = self.say(prompt_of(request))
            yield said if isinstance(said, Response) else Response(said)


class Weigher(Writer):
    """A local judge: `say` gives the probability of each verdict."""

    kinds = frozenset({"choose", "generate"})
    who = "weigher"

    def respond(self, requests: Sequence[Request], tick=lambda: None) -> Iterator[Response]:
        for request in requests:
            self.asked.append(request)
            shares = self.say(prompt_of(request))
            yield Response(choice_logprobs=tuple(math.log(shares[choice]) for choice in request.choices))


def asked_of(judge: Judge, backend, answers, others=None):
    """Ask a backend about answers and return digest -> what it said."""
    cases = court.cases_of(judge, answers, others or {})
    found = court._ask(court.Court(backend), judge, cases, set(cases), None)
    return {case.digest: said for batch in found for case, said in batch}


def score_by(judge: Judge, backend, answer: Response = WRONG, others=None, example: Example = EXAMPLE):
    """Judge one answer with a backend and return its score."""
    return judge.heard(asked_of(judge, backend, [(example, 0, answer)], others), others)(example, answer)


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


# ---- in a run


@pytest.fixture
def judge(monkeypatch):
    """Put a judge where `--judge` finds it: it calls right what says `right`."""
    backend = Weigher(lambda p: {"yes": 0.9, "no": 0.1} if "right" in p else {"yes": 0.2, "no": 0.8})
    monkeypatch.setattr(court, "load_backend", lambda model, options: backend)
    return backend


@pytest.fixture
def answers(script):
    """Return a model of which 7 of 10 answers are wrong by every rule, 3 of them `right` to the judge."""
    wrong = ["pear right", "plum right", "fig right", "lime", "date", "kiwi", "nut"]
    said = ["a0", *wrong, "a8", "a9"]
    return script([{"id": f"q{n}", "answer": text} for n, text in enumerate(said)])


@pytest.fixture
def settings(suite_at, answers):
    return RunSettings(model=answers, suites=(str(suite_at()),), judge="any", overrides=('taggers=["none"]',))


def content(folder: Path) -> tuple[bytes, bytes]:
    return (folder / "rows.jsonl").read_bytes(), (folder / "summary.json").read_bytes()


def test_a_run_with_a_judge_has_its_score_and_says_who_judged(judge, settings, tmp_path):
    (folder,) = flow.start(settings, out=tmp_path / "run")
    run = read_run(folder)
    assert all(judged(row) for row in run.rows)
    identity = run.manifest["identity"]
    assert len(identity["judge"]) == 16
    assert identity["judge_prompt"] == prompt_digest()
    assert identity["judge.model_digest"] == "weigher"
    assert {line.by for line in read_judgements(folder)} == {court.by_of(identity, Judge())}


@pytest.mark.parametrize("after", range(1, 7))
def test_a_run_stopped_while_it_was_judged_asks_only_for_the_rest(judge, settings, tmp_path, after):
    (whole,) = flow.start(settings, out=tmp_path / "whole")
    total = len(judge.asked)
    assert total == 7
    judge.asked.clear()
    say = judge.say

    def stops(prompt):
        if len(judge.asked) > after:
            raise KeyboardInterrupt
        return say(prompt)

    judge.say = stops
    with pytest.raises(KeyboardInterrupt):
        flow.start(settings, out=tmp_path / "cut")
    kept = len(read_judgements(tmp_path / "cut"))
    assert kept == after // 2 * 2  # batches of two
    judge.asked.clear()
    judge.say = say
    flow.resume(tmp_path / "cut")
    assert len(judge.asked) == total - kept
    assert content(tmp_path / "cut") == content(whole)


def test_parts_are_judged_when_they_are_put_together(judge, settings, tmp_path):
    (whole,) = flow.start(settings, out=tmp_path / "whole")
    judge.asked.clear()
    parts = []
    for number in (1, 2):
        parts += flow.start(replace(settings, shard=f"{number}/2"), out=tmp_path / f"part{number}")
    assert judge.asked == []
    (merged,) = merge(parts, tmp_path / "merged")
    assert len(judge.asked) == 7
    assert content(merged) == content(whole)


def test_a_judge_that_refuses_stops_the_run_and_keeps_the_answers(judge, settings, tmp_path):
    def refuses(prompt):
        raise ModelError("401: no key")

    say, judge.say = judge.say, refuses
    with pytest.raises(Stopped, match="the judge cannot be asked: 401: no key; the answers are kept"):
        flow.start(settings, out=tmp_path / "run")
    judge.say = say
    assert len(read_run(flow.resume(tmp_path / "run")[0]).rows) == 10


@pytest.fixture
def shaky(monkeypatch):
    """Put a judge that writes its replies where `--judge` finds it; it fails for what holds `plum`."""
    backend = Writer(lambda p: Response(finish="error", error="503") if "plum" in p else reply("no", p))
    monkeypatch.setattr(court, "load_backend", lambda model, options: backend)
    return backend


def test_a_judgement_that_failed_is_unscored_and_asked_for_again_alone(shaky, settings, tmp_path):
    (folder,) = flow.start(settings, out=tmp_path / "run")
    whys = {judged(row).why for row in read_run(folder).rows if judged(row).value is None}
    assert whys == {"not judged: 503"}
    lines = (folder / "judgements.jsonl").read_bytes()
    shaky.asked.clear()
    shaky.say = lambda p: reply("yes", p)
    flow.resume(folder)
    assert shaky.asked == []
    flow.resume(folder, retry_errors=True)
    assert len(shaky.asked) == 1
    scores = [judged(row) for row in read_run(folder).rows]
    assert [score.value for score in scores] == [1, 0, 1, 0, 0, 0, 0, 0, 1, 1]
    assert (folder / "judgements.jsonl").read_bytes().startswith(lines)
    assert len(read_judgements(folder)) == 7


def test_a_judge_that_fails_stops_a_pipeline_as_failed_requests_do(shaky, settings, tmp_path, capsys):
    model, suite = settings.model, settings.suites[0]
    run = ["run", "--model", model, "--suite", suite, "--taggers", "none", "--judge", "any"]
    assert call([*run, "--out", str(tmp_path / "run")]) == 4
    assert "1 of 10 requests failed (--max-errors 0), the first: 503" in capsys.readouterr().err
    assert call([*run, "--max-errors", "1", "--out", str(tmp_path / "borne")]) == 0
    capsys.readouterr()
    again = ["score", str(tmp_path / "run"), "--judge", "any", "--out", str(tmp_path / "again")]
    assert call(again) == 4
    assert "1 requests to the judge failed, the first: 503; `evalkit score" in capsys.readouterr().err
    note = read_run(tmp_path / "again").summary["notes"][0]
    assert note.startswith("judge: 7 cases asked, 0 unparsed, 1 failed; their answers are left out of the mean")


def test_a_judge_that_is_the_model_under_test_is_told(settings, tmp_path, monkeypatch):
    monkeypatch.setattr(court, "load_backend", lambda model, options: ScriptedBackend(settings.model.partition(":")[2]))
    (folder,) = flow.start(settings, out=tmp_path / "run")
    assert any("judge is the model under test" in w for w in read_run(folder).manifest["warnings"])


def test_another_model_is_no_warning(judge, settings, tmp_path):
    (folder,) = flow.start(settings, out=tmp_path / "run")
    assert "warnings" not in read_run(folder).manifest


def test_a_suite_that_asks_for_a_judge_needs_one(settings):
    with pytest.raises(SuiteError, match="is scored by a judge: give --judge MODEL"):
        flow.start(replace(settings, judge=None, overrides=('scorers=["judge"]',)))


def test_runs_of_different_judges_are_not_compared(judge, settings, tmp_path):
    runs = []
    for name in ("a", "b"):
        judge.identity = {"backend": "fake", "model_digest": name}
        runs.append(read_run(flow.start(settings, out=tmp_path / name)[0]))
    with pytest.raises(NotComparable, match="the judge"):
        compare_runs(runs[0], runs[1])


def test_scoring_anew_keeps_what_the_judge_said_and_asks_nobody(judge, settings, tmp_path, monkeypatch):
    (folder,) = flow.start(settings, out=tmp_path / "run")
    monkeypatch.setattr(court, "load_backend", None)
    run, before = read_run(folder), folder
    for name in ("second", "third"):
        assert call(["score", str(before), "--out", str(tmp_path / name)]) == 0
        before = tmp_path / name
        again = read_run(before)
        assert [judged(row) for row in again.rows] == [judged(row) for row in run.rows]
        assert read_judgements(before) == read_judgements(folder)
        compare_runs(run, again)


def test_what_was_said_under_other_settings_is_asked_for_again(judge, settings, tmp_path):
    (folder,) = flow.start(settings, out=tmp_path / "run")
    judge.asked.clear()
    short = ["--judge", "any", "--set", "scorer.judge.max_chars=100"]
    assert call(["score", str(folder), *short, "--out", str(tmp_path / "short")]) == 0
    assert len(judge.asked) == 7


def test_kept_answers_are_judged_without_their_model(judge, settings, tmp_path, capsys):
    (folder,) = flow.start(replace(settings, judge=None), out=tmp_path / "run")
    assert call(["score", str(folder), "--judge", "any", "--judge-when", "always", "--out", str(tmp_path / "new")]) == 0
    assert "judge" in capsys.readouterr().out
    assert {judged(row).value for row in read_run(tmp_path / "new").rows} <= {0.0, 0.2, 0.9}
    assert call(["score", str(tmp_path / "new"), "--judge", "any", "--out", str(tmp_path / "third")]) == 0
    asked = len(judge.asked)
    assert call(["score", str(tmp_path / "third"), "--judge", "any", "--out", str(tmp_path / "fourth")]) == 0
    assert len(judge.asked) == asked  # the same judge has said it all before
    assert len(read_judgements(tmp_path / "fourth")) == len(read_judgements(tmp_path / "third"))


@pytest.fixture
def pair(judge, settings, suite_at, script, tmp_path):
    """Return two runs of one suite whose answers differ, and a judge that prefers what says `right`."""
    judge.say = lambda p: {"A": 0.9, "B": 0.1} if "right" in p.split("answer B")[0] else {"A": 0.2, "B": 0.8}
    other = script([{"id": f"q{n}", "answer": f"other {n}"} for n in range(10)], "other.jsonl")
    own = replace(settings, judge=None)
    (one,) = flow.start(own, out=tmp_path / "one")
    (two,) = flow.start(replace(own, model=other), out=tmp_path / "two")
    return one, two


PAIRWISE = ("--set", "scorer.judge.mode=pairwise", "--judge", "any")


def test_a_pair_is_held_against_the_other_run(judge, pair, tmp_path):
    one, two = pair
    assert call(["score", str(one), *PAIRWISE, "--against", str(two), "--out", str(tmp_path / "pairs")]) == 0
    run = read_run(tmp_path / "pairs")
    won = {row.example.id for row in run.rows if judged(row).value == 1.0}
    assert won == {"q1", "q2", "q3"}  # those that say `right`, in both orders
    assert {judged(row).value for row in run.rows} == {1.0, 0.5}
    assert run.manifest["identity"]["judge_against"] == read_run(two).manifest["made"]
    assert len(judge.asked) == 20
    assert [(line.order, line.repeat) for line in read_judgements(tmp_path / "pairs")[:2]] == [(0, 0), (1, 0)]


def test_a_pairwise_run_is_scored_anew_in_the_same_and_in_another_mode(judge, pair, tmp_path):
    one, two = pair
    assert call(["score", str(one), *PAIRWISE, "--against", str(two), "--out", str(tmp_path / "pairs")]) == 0
    again = ["score", str(tmp_path / "pairs"), "--judge", "any"]
    asked = len(judge.asked)
    assert call([*again, "--out", str(tmp_path / "same")]) == 0
    assert len(judge.asked) == asked
    judge.say = lambda p: {"yes": 0.9, "no": 0.1}
    assert call([*again, "--set", "scorer.judge.mode=correct", "--out", str(tmp_path / "correct")]) == 0
    assert read_run(tmp_path / "correct").manifest["settings"]["against"] is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (PAIRWISE, "the judge's mode pairwise needs --against RUN2, the run to hold it against"),
        (("--judge", "any", "--against", "RUN"), "--against RUN2 goes with --set scorer.judge.mode=pairwise; the mode"),
        (("--against", "RUN"), "--against RUN2 goes with --judge MODEL"),
        ((*PAIRWISE, "--against", "OTHER"), "is another question there; give a run of the same suite"),
    ],
)
def test_what_cannot_be_held_against_each_other_is_refused(
    pair, suite_at, script, tmp_path, capsys, write_jsonl, options, message
):
    one, _ = pair
    folder = suite_at("elsewhere")
    write_jsonl(folder / "examples.jsonl", [{"id": "q0", "input": "What else?", "target": "a0"}])
    (other,) = flow.start(RunSettings(model=script(name="else.jsonl"), suites=(str(folder),)), out=tmp_path / "else")
    given = [{"RUN": str(one), "OTHER": str(other)}.get(option, option) for option in options]
    assert call(["score", str(one), *given, "--out", str(tmp_path / "new")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_a_judge_that_cannot_judge_is_refused_before_anything_is_asked(shaky, settings, tmp_path):
    weighed = replace(settings, overrides=('scorer.judge.verdict_by="probabilities"',))
    with pytest.raises(SuiteError, match="verdict_by = 'probabilities', but this judge cannot choose answers"):
        flow.start(weighed, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_damaged_judgement_is_refused(tmp_path, judge, settings):
    (folder,) = flow.start(settings, out=tmp_path / "run")
    path = folder / "judgements.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0].replace(b"yes", b"no!").replace(b'"no"', b'"on"'), *lines[1:]]))
    with pytest.raises(RunError, match="line 1 is corrupt"):
        read_judgements(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"probabilities": [0.5]},
        {"probabilities": [0.9, 0.9]},
        {"probabilities": ["a", "b"]},
        {"probabilities": [True, False]},
        {"verdict": "maybe"},
        {"verdict": ["yes"]},
        {"tries": "1"},
        {"reason": None},
    ],
)
def test_what_no_judge_can_have_said_is_refused(judge, settings, tmp_path, change):
    (folder,) = flow.start(settings, out=tmp_path / "run")
    record = asdict(read_judgements(folder)[0])
    record["judgement"] |= change
    journal = Journal(folder / "judgements.jsonl", 0, kind="judgement")
    os.truncate(folder / "judgements.jsonl", 0)
    journal.append([record])
    journal.close()
    with pytest.raises(RunError, match="a line is no judgement"):
        read_judgements(folder)


def test_what_was_said_goes_with_answers_that_were_saved_from_a_corrupt_journal(judge, settings, tmp_path):
    (folder,) = flow.start(settings, out=tmp_path / "run")
    path = folder / "journal.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:8], b"{}\n", *lines[9:]]))
    judge.asked.clear()
    flow.resume(salvage(folder))
    assert judge.asked == []
