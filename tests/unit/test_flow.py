"""Faults 1-3, 13, 16, 29, 31: the whole flow with the scripted backend, stopped and resumed to the same bytes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

import evalkit
from evalkit import flow
from evalkit.backends.scripted import ScriptedBackend
from evalkit.errors import EvalkitError, IdentityError, ModelError, RunError, RunLocked, Stopped, SuiteError
from evalkit.folder import RunFolder, salvage
from evalkit.record import read_run
from evalkit.settings import RunSettings
from evalkit.types import Request, Response


class Flaky(ScriptedBackend):
    """Fails for the ids in `failing`, and stops with `stop` before the answer number `after`."""

    failing: frozenset[str] = frozenset()
    stop: BaseException | None = None
    after = -1
    asked: list[str]

    def respond(self, requests: Sequence[Request], *tick) -> Iterator[Response]:
        for request, response in zip(requests, super().respond(requests), strict=True):
            if self.stop and len(self.asked) == self.after:
                raise self.stop
            self.asked.append(request.example_id)
            yield Response(finish="error", error="busy") if request.example_id in self.failing else response


@pytest.fixture(autouse=True)
def no_power_cut(monkeypatch):
    """Leave out the waiting for the disk, which only a power cut needs."""
    monkeypatch.setattr("os.fsync", lambda handle: None)
    monkeypatch.setattr("os.fdatasync", lambda handle: None)


@pytest.fixture
def flaky(script, monkeypatch):
    """Put a backend that fails and stops on demand where `load_backend` finds it."""
    backend = Flaky(script().partition(":")[2])
    backend.asked = []
    monkeypatch.setattr(flow, "load_backend", lambda model, options: backend)
    return backend


@pytest.fixture
def settings(suite_at, script):
    return RunSettings(model=script(), suites=(str(suite_at()),))


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def results(folder: Path) -> tuple[bytes, bytes]:
    return (folder / "rows.jsonl").read_bytes(), (folder / "summary.json").read_bytes()


def test_a_run_keeps_answers_scores_and_figures(settings, tmp_path):
    (folder,) = flow.start(settings, out=tmp_path / "run")
    run = read_run(folder)
    assert [row.example.id for row in run.rows] == [f"q{i}" for i in range(10)]
    assert all(row.response.text == row.example.target[0] and row.scores[0].value == 1.0 for row in run.rows)
    assert run.rows[0].response.sent == "user: Question 0?"
    assert run.summary["answers"] == 10
    assert run.summary["metrics"][0]["estimate"]["value"] == 1.0
    assert (folder / "telemetry.jsonl").read_text().count("\n") == 3  # batches of 4, 4 and 2


def test_run_is_one_call_from_python(suite_at, script, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = evalkit.run(script(), str(suite_at()), limit=2)
    assert len(run.rows) == 2
    assert (tmp_path / "runs" / run.id / "rows.jsonl").is_file()


@pytest.mark.parametrize("after", [0, 1, 4, 6, 9])
@pytest.mark.parametrize("stop", [KeyboardInterrupt(), Stopped("disk full"), RuntimeError("crash")], ids=repr)
def test_a_run_stopped_anywhere_and_resumed_has_the_same_bytes_1_3(settings, tmp_path, flaky, after, stop):
    (whole,) = flow.start(settings, out=tmp_path / "whole")
    flaky.stop, flaky.after, flaky.asked = stop, after, []
    with pytest.raises(type(stop)):
        flow.start(settings, out=tmp_path / "cut")
    flaky.stop, flaky.asked = None, []
    assert flow.resume(tmp_path / "cut") == [tmp_path / "cut"]
    assert results(tmp_path / "cut") == results(whole)
    assert len(flaky.asked) == 10 - after // 4 * 4  # whole batches of four are kept


def test_a_run_stopped_twice_and_torn_has_the_same_bytes_2(settings, tmp_path, flaky):
    (whole,) = flow.start(settings, out=tmp_path / "whole")
    flaky.stop, flaky.after, flaky.asked = KeyboardInterrupt(), 5, []
    with pytest.raises(KeyboardInterrupt):
        flow.start(settings, out=tmp_path / "cut")
    journal = tmp_path / "cut/journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-30])
    flaky.asked, flaky.after = [], 7
    with pytest.raises(KeyboardInterrupt):
        flow.resume(tmp_path / "cut")
    flaky.stop = None
    flow.resume(tmp_path / "cut")
    assert results(tmp_path / "cut") == results(whole)
    lines = [json.loads(line)["r"]["id"] for line in journal.read_bytes().splitlines()]
    assert sorted(lines) == sorted(f"q{i}" for i in range(10))  # an answer that is kept is not written again


def test_a_run_killed_while_its_rows_are_written_is_resumed_1(settings, tmp_path, monkeypatch):
    (whole,) = flow.start(settings, out=tmp_path / "whole")
    monkeypatch.setattr(RunFolder, "update", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        flow.start(settings, out=tmp_path / "cut")
    monkeypatch.undo()
    with pytest.raises(RunError, match="not finished"):
        read_run(tmp_path / "cut")
    flow.resume(tmp_path / "cut")
    assert results(tmp_path / "cut") == results(whole)


def test_a_finished_run_is_resumed_without_a_question_and_mended(settings, tmp_path, flaky):
    (folder,) = flow.start(settings, out=tmp_path / "run")
    before, flaky.asked = results(folder), []
    (folder / "rows.jsonl").write_bytes(b"damaged")
    flow.resume(folder)
    assert flaky.asked == []
    assert results(folder) == before
    assert read_run(folder).summary


def test_a_failed_request_is_a_third_state(settings, tmp_path, flaky):
    flaky.failing = frozenset({"q1", "q5"})
    (folder,) = flow.start(settings, out=tmp_path / "run")
    run = read_run(folder)
    failed = [row for row in run.rows if row.response.error]
    assert [row.example.id for row in failed] == ["q1", "q5"]
    assert all(row.scores[0].value is None and not row.tags for row in failed)
    assert (run.summary["answers"], run.summary["errors"], run.summary["items"]) == (8, 2, 10)
    assert run.summary["metrics"][0] == {
        "name": "exact",
        "estimate": run.summary["metrics"][0]["estimate"],
        "scored": 8,
        "unscored": 2,
    }
    assert run.summary["metrics"][0]["estimate"]["value"] == 1.0


def test_resume_asks_failed_requests_again_only_when_told(settings, tmp_path, flaky):
    (whole,) = flow.start(settings, out=tmp_path / "whole")
    flaky.failing = frozenset({"q1", "q9"})
    (folder,) = flow.start(settings, out=tmp_path / "run")
    flaky.failing, flaky.asked = frozenset(), []
    flow.resume(folder)
    assert flaky.asked == []
    flow.resume(folder, retry_errors=True)
    assert flaky.asked == ["q0", "q1", "q2", "q3", "q8", "q9"]  # whole batches
    assert results(folder) == results(whole)


def test_an_answer_that_is_kept_is_not_lost_to_a_retry_of_its_batch(settings, tmp_path, flaky):
    flaky.failing = frozenset({"q1"})
    (folder,) = flow.start(settings, out=tmp_path / "run")
    flaky.failing = frozenset({"q0", "q2"})
    flow.resume(folder, retry_errors=True)
    assert [row.example.id for row in read_run(folder).rows if row.response.error] == []


def test_a_retry_that_is_stopped_leaves_an_unfinished_run(settings, tmp_path, flaky):
    flaky.failing = frozenset({"q1"})
    (folder,) = flow.start(settings, out=tmp_path / "run")
    flaky.stop, flaky.after, flaky.asked = KeyboardInterrupt(), 0, []
    with pytest.raises(KeyboardInterrupt):
        flow.resume(folder, retry_errors=True)
    with pytest.raises(RunError, match="not finished"):
        read_run(folder)


def test_several_suites_get_a_folder_each_and_are_resumed_one_by_one(suite_at, script, tmp_path, flaky):
    settings = RunSettings(model=script(), suites=(str(suite_at("one", count=6)), str(suite_at("two", count=5))))
    folders = flow.start(settings, out=tmp_path / "whole")
    assert folders == [tmp_path / "whole/one", tmp_path / "whole/two"]
    flaky.stop, flaky.after, flaky.asked = KeyboardInterrupt(), 7, []
    with pytest.raises(KeyboardInterrupt):
        flow.start(settings, out=tmp_path / "cut")
    flaky.stop = None
    for name in ("one", "two"):
        flow.resume(tmp_path / "cut" / name)
        assert results(tmp_path / "cut" / name) == results(tmp_path / "whole" / name)


def test_two_suites_of_one_name_are_refused_before_anything_is_asked(suite_at, script, tmp_path, flaky):
    one = suite_at("one")
    other = tmp_path / "other" / "one"
    other.parent.mkdir()
    one.rename(other)
    settings = RunSettings(model=script(), suites=(str(suite_at("one")), str(other)))
    with pytest.raises(SuiteError, match="two suites are called 'one'"):
        flow.start(settings, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda suite: append((suite / "examples.jsonl"), '{"input": "New?"}\n'), "data_digest was"),
        (lambda suite: append((suite / "suite.toml"), 'system = "Be brief."\n'), "template was"),
        (lambda suite: append((suite / "suite.toml"), "[generation]\nseed = 1\n"), "generation was"),
        (lambda suite: append((suite / "suite.toml"), "[scorer.exact]\nnormalize = false\n"), "scorers was"),
        (lambda suite: append((suite.parents[1] / "script.jsonl"), '{"id": "new"}\n'), "model.model_digest was"),
    ],
    ids=["13: a row", "13: the template", "13: the seed", "13: a scorer", "13: the model"],
)
def test_what_changed_between_start_and_resume_is_named(suite_at, script, tmp_path, change, field):
    suite = suite_at()
    flow.start(RunSettings(model=script(), suites=(str(suite),)), out=tmp_path / "run")
    change(suite)
    with pytest.raises(IdentityError, match=f"cannot be resumed, it depends on what has changed: .*{field}"):
        flow.resume(tmp_path / "run")


def test_a_changed_package_is_named_13(settings, tmp_path, monkeypatch):
    from evalkit import identity

    flow.start(settings, out=tmp_path / "run")
    monkeypatch.setattr(identity, "version", lambda name: "9.9")
    with pytest.raises(IdentityError, match=r"version\.torch was .*, is 9\.9"):
        flow.resume(tmp_path / "run")


def test_a_failed_resume_gives_the_lock_back(settings, tmp_path, script):
    flow.start(settings, out=tmp_path / "run")
    script([{"id": "q0", "answer": "else"}])
    for _ in range(2):
        with pytest.raises(IdentityError):
            flow.resume(tmp_path / "run")


def test_a_run_is_locked_while_it_is_asked_9(settings, tmp_path, flaky):
    def meanwhile(done: int, total: int) -> None:
        with pytest.raises(RunLocked):
            flow.resume(tmp_path / "run")

    original = flaky.respond
    flaky.respond = lambda requests, tick: (tick() or response for response in original(requests))
    flow.start(settings, out=tmp_path / "run", progress=meanwhile)


def test_progress_counts_what_is_left(settings, tmp_path):
    seen: list[tuple[int, int]] = []
    flow.start(settings, out=tmp_path / "run", progress=lambda done, total: seen.append((done, total)))
    assert seen == [(i, 10) for i in range(1, 11)]


def test_keep_prefix_goes_on_from_the_good_lines_in_a_new_run_11(settings, tmp_path, flaky):
    (whole,) = flow.start(settings, out=tmp_path / "run")
    journal = whole / "journal.jsonl"
    damaged = journal.read_bytes().replace(b'"a5"', b'"b5"')
    journal.write_bytes(damaged)
    with pytest.raises(RunError, match="line 6 is corrupt"):
        flow.resume(whole)
    flaky.asked = []
    (new,) = flow.resume(salvage(whole))
    assert flaky.asked == ["q4", "q5", "q6", "q7", "q8", "q9"]
    assert results(new) == results(whole)
    assert journal.read_bytes() == damaged


def test_an_unknown_kind_of_request_fails_before_the_run_begins(settings, tmp_path, flaky):
    flaky.kinds = frozenset({"choose"})
    with pytest.raises(ModelError, match="cannot generate answers, as suite 'little' asks"):
        flow.start(settings, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_backend_that_answers_too_few_stops_and_commits_nothing(settings, tmp_path, flaky):
    flaky.respond = lambda requests, tick: iter([Response()])
    with pytest.raises(ValueError, match="shorter"):
        flow.start(settings, out=tmp_path / "run")
    assert (tmp_path / "run/journal.jsonl").read_bytes() == b""


def test_trials_are_kept_together_and_seeded_apart(suite_at, script, tmp_path, flaky):
    suite = suite_at(
        settings='trials = 3\nscorers = ["exact"]\ntaggers = ["none"]\n[generation]\ntemperature = 1.0', count=2
    )
    (folder,) = flow.start(RunSettings(model=script(), suites=(str(suite),)), out=tmp_path / "run")
    assert [(row.example.id, row.trial) for row in read_run(folder).rows] == [
        (f"q{i}", t) for i in (0, 1) for t in (0, 1, 2)
    ]
    assert read_run(folder).summary["items"] == 2


@pytest.mark.parametrize(
    ("answer", "finish"),
    [("", "stop"), ("", "length"), ("x " * 100, "length")],
    ids=["29: nothing", "29: cut", "30: cut"],
)
def test_an_empty_or_cut_answer_is_an_answer(suite_at, script, tmp_path, answer, finish):
    model = script([{"id": "q0", "answer": answer, "finish": finish}])
    (folder,) = flow.start(RunSettings(model=model, suites=(str(suite_at(count=1)),)), out=tmp_path / "run")
    (row,) = read_run(folder).rows
    assert (row.response.text, row.response.finish, row.response.error) == (answer, finish, None)
    assert row.scores[0].value == 0.0


def test_replay_answers_as_the_earlier_run_did(settings, suite_at, tmp_path):
    (first,) = flow.start(settings, out=tmp_path / "first")
    suite = suite_at("again", settings='scorers = ["fuzzy"]\ntaggers = ["none"]\nprimary = "fuzzy"')
    (second,) = flow.start(RunSettings(model=f"replay:{first}", suites=(str(suite),)), out=tmp_path / "second")
    assert [r.response for r in read_run(second).rows] == [r.response for r in read_run(first).rows]


def test_replay_serves_no_answer_to_another_question(settings, suite_at, tmp_path, write_jsonl):
    (first,) = flow.start(settings, out=tmp_path / "first")
    suite = suite_at("again")
    write_jsonl(
        suite / "examples.jsonl",
        [{"id": "q0", "input": "Another?"}, {"id": "q1", "input": "Question 1?"}, {"input": "New?"}],
    )
    (second,) = flow.start(RunSettings(model=f"replay:{first}", suites=(str(suite),)), out=tmp_path / "second")
    errors = [row.response.error for row in read_run(second).rows]
    assert errors[0] == "the replayed run asked this example with another prompt"
    assert errors[1] is None
    assert str(errors[2]).startswith("the replayed run has no answer for id ")


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"suites": ()}, "no suite: give --suite"),
        ({"suites": ("a", "a")}, "a suite is given twice"),
        ({"max_errors": -1}, "--max-errors -1: expected a count"),
        ({"max_errors": float("nan")}, "--max-errors nan: expected a count"),
        ({"max_errors": float("inf")}, "--max-errors inf: expected a count"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(given, fault):
    with pytest.raises(EvalkitError, match=fault):
        RunSettings(**{"model": "m", "suites": ("s",), **given})


def test_settings_survive_the_manifest_and_another_folder(suite_at, script, tmp_path, monkeypatch):
    suite_at()
    script()
    monkeypatch.chdir(tmp_path / "suites")
    settings = RunSettings(
        model="scripted:../script.jsonl", suites=("little", "smoke"), overrides=("version=1",), limit=3
    )
    record = settings.record()
    assert record["model"] == f"scripted:{tmp_path}/script.jsonl"
    assert record["suites"] == [f"{tmp_path}/suites/little", "smoke"]
    assert RunSettings.of(json.loads(json.dumps(record))).record() == record
    assert RunSettings.of({**record, "a field of a later version": 1}).limit == 3


def test_a_run_asked_otherwise_than_its_checkpoint_was_trained_warns_and_keeps_the_warning(
    settings, flaky, tmp_path, caplog
):
    flaky.trained_prompt = {"chat": False, "system": "", "template": "{input}!", "hash": "0123", "chat_template": "x"}
    (folder,) = flow.start(settings, out=tmp_path / "run")
    (warning,) = read_run(folder).manifest["warnings"]
    assert warning.startswith("trained with another prompt than suite little asks with; to ask as trained: --set")
    assert f"{settings.model}: {warning}" in caplog.messages
