"""Faults 17-20, 26: answers that exist already are scored anew, and never by another question than they answer."""

from __future__ import annotations

import json

import pytest

from evalkit import flow
from evalkit.errors import RunError, SuiteError
from evalkit.record import read_manifest, read_run
from evalkit.score import Rescoring, score_answers, score_run
from evalkit.settings import RunSettings

CUT = {"finish": "length", "tokens": 1}
NO_TAGS = ("taggers=['none']",)


@pytest.fixture(autouse=True)
def no_power_cut(monkeypatch):
    monkeypatch.setattr("os.fsync", lambda handle: None)


@pytest.fixture
def scored(tmp_path, write_jsonl):
    """Score a file of answers and return the run."""

    def score(records, **how):
        path = write_jsonl(tmp_path / "answers.jsonl", records)
        how = {"overrides": NO_TAGS, **how}
        return read_run(score_answers(path, Rescoring(**how), tmp_path / "out"))

    return score


def test_answers_are_scored_by_their_own_targets(scored):
    run = scored(
        [
            {"id": "a", "question": "2+2?", "answer": "4", "target": "4", "meta": {"topic": "sums"}, **CUT},
            {"id": 0, "question": "", "answer": "x", "target": ["y", "z"]},
            {"id": "c", "question": "Why?", "answer": ""},
        ]
    )  # fmt: skip
    assert [row.example.id for row in run.rows] == ["a", "0", "c"]
    assert [row.score("exact").value for row in run.rows] == [1.0, 0.0, None]
    first = run.rows[0]
    assert (first.response.finish, first.response.tokens, first.example.meta) == ("length", 1, {"topic": "sums"})
    assert run.rows[1].example.input == ""
    assert run.suite == "answers"


def test_marks_blank_lines_and_line_ends_of_another_system_change_nothing(tmp_path):
    path = tmp_path / "answers.jsonl"
    lines = [b'{"id": "a", "question": "2+2?", "answer": "4", "target": "4"}', b"", b'{"answer": "x", "question": ""}']
    path.write_bytes(b"\xef\xbb\xbf\r\n" + b"\r\n".join(lines) + b"\r\n \r\n")
    run = read_run(score_answers(path, Rescoring(overrides=NO_TAGS), tmp_path / "windows"))
    path.write_bytes(b"\n".join(lines))
    plain = read_run(score_answers(path, Rescoring(overrides=NO_TAGS), tmp_path / "plain"))
    assert run.rows == plain.rows
    assert [row.example.input for row in run.rows] == ["2+2?", ""]
    assert run.manifest["identity"]["suite_digest"] == plain.manifest["identity"]["suite_digest"]
    assert run.manifest["identity"]["model.model_digest"] != plain.manifest["identity"]["model.model_digest"]


def test_an_answer_with_an_error_is_neither_right_nor_wrong(scored):
    run = scored(
        [{"id": "a", "error": "timeout"}, {"id": "b", "answer": "x", "finish": "error"}, {"id": "c", "answer": "y"}]
    )
    assert [row.response.error for row in run.rows] == ["timeout", "the answer is marked as an error", None]
    assert run.summary["errors"] == 2


@pytest.mark.parametrize(
    ("record", "fault"),
    [
        ({"question": "?"}, "expected 'answer' to be a text"),
        ({"answer": None}, "expected 'answer' to be a text"),
        ({"answer": 3}, "expected 'answer' to be a text"),
        ({"answer": "x", "question": 3}, "question is not a text"),
        ({"answer": "x", "anwser": "y"}, "unknown key 'anwser'; did you mean 'answer'?"),
        ({"answer": "x", "finish": "eos"}, "finish = 'eos': expected one of stop, length, error"),
        ({"answer": "x", "finish": []}, "finish = []: expected one of"),
        ({"answer": "x", "tokens": -1}, "tokens = -1: expected a whole number"),
        ({"answer": "x", "tokens": 1.5}, "tokens = 1.5: expected a whole number"),
        ({"answer": "x", "tokens": True}, "tokens = True: expected a whole number"),
        ({"answer": "x", "error": 5}, "expected 'error' to be a text"),
        ({"answer": "x", "target": {}}, "target is an object"),
        ({"answer": "x", "meta": []}, "meta is a list"),
        ({"answer": "x", "id": 1.5}, "id is a number"),
        ({"answer": "x", "id": ""}, "id is an empty text"),
    ],
    ids=lambda value: f"20/26: {value}" if isinstance(value, dict) else "",
)
def test_a_wrong_field_is_named_with_its_line(scored, record, fault):
    with pytest.raises(SuiteError) as caught:
        scored([{"id": "fine", "answer": "x"}, record])
    assert "answers.jsonl: line 2: " in str(caught.value)
    assert fault in str(caught.value)


def test_up_to_twenty_faults_are_listed_17(scored):
    with pytest.raises(SuiteError) as caught:
        scored([{"id": str(i)} for i in range(25)])
    assert str(caught.value).count("line ") == 20
    assert str(caught.value).endswith("; and 5 more")


def test_the_same_id_twice_names_both_lines_18(scored):
    with pytest.raises(SuiteError, match="line 3: id 'a' stands in line 1 already"):
        scored([{"id": "a", "answer": "x"}, {"id": "b", "answer": "x"}, {"id": "a", "answer": "y"}])


@pytest.mark.parametrize("content", [b"", b"\n\n"], ids=["19: empty", "19: blank lines"])
def test_a_file_without_answers_is_refused(tmp_path, content):
    (tmp_path / "answers.jsonl").write_bytes(content)
    with pytest.raises(SuiteError, match="no answer in it"):
        score_answers(tmp_path / "answers.jsonl", Rescoring(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_answers_take_the_order_and_targets_of_a_suite(scored, suite_at):
    suite = str(suite_at())
    run = scored([{"id": "q3", "question": "Question 3?", "answer": "a3"}, {"id": "q1", "answer": "x"}], suite=suite)
    assert [(row.example.id, row.scores[0].value) for row in run.rows] == [("q1", 0.0), ("q3", 1.0)]
    assert run.suite == "little"


def test_an_answer_to_another_question_is_refused(scored, suite_at):
    with pytest.raises(SuiteError, match=r"id 'q1' answers 'Question 2\?', but the suite asks 'Question 1\?'"):
        scored([{"id": "q1", "question": "Question 2?", "answer": "x"}], suite=str(suite_at()))


def test_an_answer_that_the_suite_does_not_ask_for_is_refused(scored, suite_at):
    with pytest.raises(SuiteError, match=r"suite 'little' has no example 'q11'; did you mean 'q1'\?"):
        scored([{"id": "q11", "answer": "x"}], suite=str(suite_at()))


@pytest.fixture
def run(suite_at, script, tmp_path):
    settings = RunSettings(model=script(), suites=(str(suite_at()),), limit=4)
    return flow.start(settings, out=tmp_path / "run")[0]


def test_a_run_is_scored_anew_without_its_model(run, tmp_path):
    again = read_run(score_run(run, Rescoring(overrides=("scorers=['fuzzy']",)), tmp_path / "again"))
    assert [score.name for score in again.rows[0].scores] == ["fuzzy"]
    assert again.manifest["identity"]["model.answers_of"] == "run"
    assert again.model == read_run(run).model


def test_scoring_without_a_change_gives_the_same_rows(run, tmp_path):
    score_run(run, Rescoring(), tmp_path / "again")
    assert (tmp_path / "again/rows.jsonl").read_bytes() == (run / "rows.jsonl").read_bytes()
    assert (tmp_path / "again/summary.json").read_bytes() == (run / "summary.json").read_bytes()
    same = ("suite_digest", "data_digest", "items", "scorers", "taggers")
    before, after = (read_manifest(p)["identity"] for p in (run, tmp_path / "again"))
    assert {k: before[k] for k in same} == {k: after[k] for k in same}


def test_a_run_whose_rows_stay_on_disk_is_scored_to_the_same_bytes(run, scored, tmp_path, monkeypatch):
    own = {"id": "a", "question": "2+2?", "answer": "4", "target": "4"}
    scored([own, {**own, "id": "b", "answer": "5"}])
    for name, given in (("suite", run), ("none", tmp_path / "out")):
        monkeypatch.setattr("evalkit.record.HELD", 20_000)
        score_run(given, Rescoring(), tmp_path / f"held-{name}")
        monkeypatch.setattr("evalkit.record.HELD", 1)
        score_run(given, Rescoring(), tmp_path / f"disk-{name}")
        held, disk = ((tmp_path / f"{how}-{name}/rows.jsonl").read_bytes() for how in ("held", "disk"))
        assert held == disk


def test_a_run_that_was_scored_anew_can_be_scored_anew(run, tmp_path, scored):
    score_run(run, Rescoring(overrides=("scorers=['fuzzy']",)), tmp_path / "second")
    score_run(tmp_path / "second", Rescoring(), tmp_path / "third")
    assert (tmp_path / "third/rows.jsonl").read_bytes() == (tmp_path / "second/rows.jsonl").read_bytes()


def test_answers_that_came_without_a_suite_can_be_scored_anew(scored, tmp_path):
    scored([{"id": "a", "question": "?", "answer": "x", "target": "x"}])
    again = read_run(score_run(tmp_path / "out", Rescoring(overrides=("scorers=['exact']",)), tmp_path / "again"))
    assert [(s.name, s.value) for s in again.rows[0].scores] == [("exact", 1.0)]


def test_words_and_training_rows_of_a_run_are_used_again(suite_at, script, tmp_path, write_jsonl):
    (tmp_path / "words").write_text("foo")
    write_jsonl(tmp_path / "train.jsonl", [{"answer": "a"}])
    settings = RunSettings(
        model=script(),
        suites=(str(suite_at()),),
        vocabulary=str(tmp_path / "words"),
        training=str(tmp_path / "train.jsonl"),
    )
    flow.start(settings, out=tmp_path / "run")
    score_run(tmp_path / "run", Rescoring(), tmp_path / "again")
    assert (
        read_manifest(tmp_path / "again")["identity"]["words"] == read_manifest(tmp_path / "run")["identity"]["words"]
    )
    assert read_manifest(tmp_path / "again")["settings"]["training"] == str(tmp_path / "train.jsonl")


def test_changed_targets_are_used_and_changed_questions_refused(run, suite_at, tmp_path, write_jsonl):
    examples = suite_at() / "examples.jsonl"
    rows = [{"id": f"q{i}", "input": f"Question {i}?", "target": "other"} for i in range(10)]
    write_jsonl(examples, rows)
    again = read_run(score_run(run, Rescoring(), tmp_path / "again"))
    assert [row.scores[0].value for row in again.rows] == [0.0] * 4
    write_jsonl(examples, [{**rows[0], "input": "Something else?"}, *rows[1:]])
    with pytest.raises(SuiteError, match=r"id 'q0' answers 'Question 0\?', but the suite asks 'Something else\?'"):
        score_run(run, Rescoring(), tmp_path / "third")
    write_jsonl(examples, rows[1:])
    with pytest.raises(SuiteError, match=r"suite 'little' has no example 'q0' \(1 missing\)"):
        score_run(run, Rescoring(), tmp_path / "third")


def test_a_scored_run_has_nothing_to_resume(scored, tmp_path):
    scored([{"id": "a", "answer": "x"}])
    with pytest.raises(RunError, match="its answers were scored, no model was asked"):
        flow.resume(tmp_path / "out")


def test_rows_hold_no_path_time_or_host(run):
    text = (run / "rows.jsonl").read_text() + (run / "summary.json").read_text()
    assert str(run.parent) not in text
    assert set(json.loads(text.splitlines()[0])) == {"example", "response", "scores", "tags", "trial", "primary"}
