"""Faults 40 and 42: what a run keeps of its judge, and when nobody is asked again."""

from __future__ import annotations

import os
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from evalkit import court, flow
from evalkit.backends.scripted import ScriptedBackend
from evalkit.brief import prompt_digest
from evalkit.cli import call
from evalkit.compare import compare_runs
from evalkit.court import read_judgements
from evalkit.errors import ModelError, NotComparable, RunError, Stopped, SuiteError
from evalkit.folder import salvage
from evalkit.journal import Journal
from evalkit.merge import merge
from evalkit.record import read_run
from evalkit.scorers.judge import Judge
from evalkit.settings import RunSettings
from evalkit.types import Response
from tests.unit.judges import Weigher, Writer, judged, reply


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
