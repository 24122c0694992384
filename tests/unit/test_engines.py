"""Shards to workers that are slow, lost, killed by a question or unlike each other: a crew in made-up time, no Ray."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from evalkit import engines, flow
from evalkit.cli import call
from evalkit.engines.dispatch import CRASHED, PATIENCE, Dispatch, Done, Event, Lost, Ready
from evalkit.engines.local import LocalEngine
from evalkit.engines.shards import Shard, plan_of
from evalkit.engines.worker import Reply, Work, Worker, facts_of
from evalkit.errors import EvalkitError, Stopped
from evalkit.merge import merge
from evalkit.models import load_backend
from evalkit.prompt import requests_of
from evalkit.record import read_manifest, read_run
from evalkit.settings import RunSettings
from evalkit.suite import read_suite

FACTS = {"model.name": "m"}


class FakeCrew:
    """Workers in made-up time: each needs `seconds(worker, shard)`, and dies of a shard where `kills` says so."""

    needs = "1 CPU"

    def __init__(
        self,
        answer: Callable[[int, Shard], Reply] | None = None,
        seconds: Callable[[int, Shard], float] = lambda worker, shard: 1.0,
        kills: Callable[[int, Shard], bool] = lambda worker, shard: False,
        room: int = 1000,
        stillborn: int = 0,
        facts: Callable[[int], dict[str, str]] = lambda worker: FACTS,
    ) -> None:
        self.answer, self.seconds, self.kills = answer or said, seconds, kills
        self.room, self.stillborn, self.facts = room, stillborn, facts
        self.now = 0.0
        self.deaths: list[int] = []
        self.most_in_flight = 0
        self._numbers = itertools.count(1)
        self._due: list[tuple[float, int, Event]] = []
        self._free: dict[int, float] = {}
        self._order = itertools.count()
        self._unborn: list[int] = []

    def hire(self) -> int:
        number = next(self._numbers)
        self._unborn.append(number)
        self._admit()
        return number

    @property
    def workers(self) -> list[int]:
        return list(self._free)

    def _admit(self) -> None:
        while self._unborn and len(self._free) < self.room:
            number = self._unborn.pop(0)
            self._free[number] = self.now + 1
            died = self.stillborn > 0
            self.stillborn -= died
            event = Lost(number, "died") if died else Ready(number, self.facts(number), "host")
            self._due.append((self.now + 1, next(self._order), event))

    def hand(self, worker: int, ticket: int, shard: Shard) -> None:
        end = max(self._free[worker], self.now) + self.seconds(worker, shard)
        self._free[worker] = end
        event: Event = Done(worker, ticket, self.answer(worker, shard))
        if self.kills(worker, shard):
            event = Lost(worker, "killed")
        self._due.append((end, next(self._order), event))
        in_flight = sum(isinstance(event, Done) for _, _, event in self._due)
        self.most_in_flight = max(self.most_in_flight, in_flight)

    def events(self, seconds: float) -> Sequence[Event]:
        self._due.sort(key=lambda due: (due[0], isinstance(due[2], Done), due[1]))  # a death loses the last answer
        if not self._due or self._due[0][0] > self.now + seconds:
            self.now += seconds
            return []
        self.now = max(self.now, self._due[0][0])
        _, _, event = self._due.pop(0)
        if isinstance(event, Lost):
            self.deaths.append(event.worker)
            self._due = [due for due in self._due if due[2].worker != event.worker]
            self._free.pop(event.worker)
            self._admit()
        return [event]


def said(worker: int, shard: Shard) -> Reply:
    indices = tuple(itertools.chain.from_iterable(shard))
    return Reply(indices, tuple({"text": f"a{index}"} for index in indices), 1.0)


def shards(count: int, batch: int = 1) -> list[Shard]:
    return [[list(range(batch * i, batch * (i + 1)))] for i in range(count)]


def run(crew: FakeCrew, work: Sequence[Shard], workers: int = 2) -> tuple[dict[int, str], Dispatch]:
    dispatch = Dispatch(crew, workers, FACTS, clock=lambda: crew.now)
    found = {}
    for reply in dispatch.run(work):
        for index, record in zip(reply.indices, reply.records, strict=True):
            assert index not in found, "an answer came twice"
            found[index] = record["text"] or record["error"]
    return found, dispatch


def right(count: int) -> dict[int, str]:
    return {index: f"a{index}" for index in range(count)}


@pytest.mark.parametrize("workers", [1, 2, 5, 50])
def test_every_shard_is_answered_once(workers):
    found, dispatch = run(FakeCrew(), shards(23), workers)
    assert found == right(23)
    assert not dispatch.remarks


def test_work_is_shared_out_evenly():
    crew = FakeCrew()
    run(crew, shards(100), workers=4)
    assert crew.now == 1 + 25  # a second to start, then four shards a second


def test_at_most_two_shards_a_worker_are_in_flight():
    crew = FakeCrew()
    run(crew, shards(100), workers=4)
    assert crew.most_in_flight == 8


def test_answers_that_come_together_are_one_reply():
    crew = FakeCrew()
    each, crew.events = crew.events, lambda seconds: [*each(seconds), *each(seconds)]  # type: ignore[method-assign]
    replies = list(Dispatch(crew, 2, FACTS, clock=lambda: crew.now).run(shards(8)))
    assert [len(reply.indices) for reply in replies] == [2, 2, 2, 2]
    assert [record["text"] for reply in replies for record in reply.records] == [
        f"a{index}" for reply in replies for index in reply.indices
    ]
    assert {reply.seconds for reply in replies} == {2.0}


def test_a_slow_worker_holds_nobody_up():
    """The first worker takes 100 seconds a shard; the others take its shards over as soon as they have no other."""
    crew = FakeCrew(seconds=lambda worker, shard: 100.0 if worker == 1 else 1.0)
    found, _ = run(crew, shards(30), workers=3)
    assert found == right(30)
    assert crew.now <= 20


def test_a_lost_worker_is_replaced_and_its_shards_are_asked_again():
    crew = FakeCrew(kills=lambda worker, shard: worker == 2 and shard[0][0] > 3)
    found, dispatch = run(crew, shards(20))
    assert found == right(20)
    assert crew.deaths == [2]
    assert not dispatch.remarks


def test_the_rest_go_on_where_a_lost_worker_cannot_be_replaced():
    def kills(worker: int, shard: Shard) -> bool:
        crew.room -= worker == 2
        return worker == 2

    crew = FakeCrew(kills=kills, room=2)
    found, _ = run(crew, shards(20))
    assert found == right(20)
    assert crew.deaths == [2]
    assert len(crew.workers) == 1


@pytest.mark.parametrize("poison", [0, 13, 31])
@pytest.mark.parametrize("workers", [1, 3])
def test_a_question_that_kills_is_found_and_the_others_are_answered(poison, workers):
    crew = FakeCrew(kills=lambda worker, shard: any(poison in batch for batch in shard))
    found, dispatch = run(crew, [[list(range(16)), list(range(16, 32))], [[32], [33]]], workers)
    assert found == {**right(34), poison: CRASHED}
    assert len(crew.deaths) == 3 + 1 + 1 + 1 + 1 + 3  # the shard, 16, 8, 4, 2, and three times alone
    assert dispatch.remarks == [
        "a batch whose answers killed workers was cut, so its others were not answered as planned"
    ]


def test_what_was_answered_just_before_a_worker_died_is_not_to_blame():
    """Answers take no time here, so a worker that dies loses the one before as well."""
    kills = {13, 21}
    crew = FakeCrew(kills=lambda worker, shard: any(kills & set(batch) for batch in shard), seconds=lambda *_: 0.0)
    found, _ = run(crew, shards(12, batch=4), workers=2)
    assert found == {**right(48), 13: CRASHED, 21: CRASHED}


def test_a_shard_is_cut_between_batches_first_which_changes_no_answer():
    crew = FakeCrew(kills=lambda worker, shard: [7] in shard)
    found, dispatch = run(crew, [[[0, 1, 2], [3, 4, 5, 6], [7]]])
    assert found == {**right(7), 7: CRASHED}
    assert not dispatch.remarks


def test_two_questions_that_kill_are_both_found():
    crew = FakeCrew(kills=lambda worker, shard: any({2, 5} & set(batch) for batch in shard))
    found, _ = run(crew, [[list(range(8))]], workers=2)
    assert found == {**right(8), 2: CRASHED, 5: CRASHED}


def test_a_shard_that_only_waited_on_a_lost_worker_is_not_to_blame():
    """Every worker dies of its third shard; no shard meets three deaths of its own."""
    seen: dict[int, int] = {}

    def kills(worker: int, shard: Shard) -> bool:
        seen[worker] = seen.get(worker, 0) + 1
        return seen[worker] == 3

    found, dispatch = run(FakeCrew(kills=kills), shards(40, batch=2), workers=3)
    assert found == right(80)
    assert not dispatch.remarks


@pytest.mark.parametrize(("text", "unequal"), [("a0", []), ("else", [0])])
def test_a_second_answer_must_be_equal(text, unequal):
    """The first worker takes ten seconds for shard 0; a copy is answered sooner, while shard 5 is still at work."""

    def answer(worker: int, shard: Shard) -> Reply:
        return Reply((0,), ({"text": text},), 1.0) if (worker, shard) == (1, [[0]]) else said(worker, shard)

    def seconds(worker: int, shard: Shard) -> float:
        return 10.0 if (worker, shard) == (1, [[0]]) else 30.0 if shard == [[5]] else 1.0

    found, dispatch = run(FakeCrew(answer, seconds), shards(10), workers=3)
    assert found == right(10)
    assert dispatch.unequal == unequal


def test_workers_that_never_start_stop_the_run():
    with pytest.raises(Stopped, match="3 workers in a row were lost before they were ready, the last: died"):
        run(FakeCrew(stillborn=3), shards(4))
    found, _ = run(FakeCrew(stillborn=2), shards(4))
    assert found == right(4)


def test_a_cluster_without_room_is_warned_of_and_stops_the_run(caplog):
    crew = FakeCrew(room=0)
    with pytest.raises(Stopped, match="no worker for 1800 seconds: each needs 1 CPU"):
        run(crew, shards(4))
    assert crew.now <= PATIENCE + 2
    assert caplog.messages == ["no worker for 30 seconds: waiting for a node that has 1 CPU"]


def test_a_worker_that_would_answer_otherwise_is_refused():
    crew = FakeCrew(facts=lambda worker: {"model.name": "m" if worker == 1 else "other"})
    with pytest.raises(Stopped, match=r"worker on host would not answer as this process does: model\.name was"):
        run(crew, shards(9), workers=2)


# the same with real workers, whose backend is scripted, under the whole flow


class FakeEngine(LocalEngine):
    """The engine of Ray with a crew in this process."""

    def __init__(self, settings, backend, suites, plan) -> None:
        super().__init__(backend, suites)
        self.workers: dict[int, Worker] = {}
        self.work = Work.of(settings, backend, suites)
        self.crew = FakeCrew(self.answer, kills=self.kills, facts=lambda number: self.of(number).facts()[0])
        self.dispatch = Dispatch(self.crew, settings.workers, facts_of(backend, plan), clock=lambda: self.crew.now)

    def of(self, number: int) -> Worker:
        return self.workers.setdefault(number, Worker(self.work))

    def kills(self, number: int, shard: Shard) -> bool:
        return False

    def answer(self, number: int, shard: Shard) -> Reply:
        return self.of(number).answer(shard)

    def run(self, shards: Sequence[Shard], tick) -> Iterator[Reply]:
        yield from self.dispatch.run(shards)

    @property
    def remarks(self):
        return self.dispatch.remarks


@pytest.fixture
def faked(monkeypatch):
    """Put the fake engine where `flow` opens Ray's; return those that were opened."""
    made: list[FakeEngine] = []
    plain = engines.opened

    @contextmanager
    def opened(settings, backend, suites, plan):
        if settings.engine == "local":
            with plain(settings, backend, suites, plan) as engine:
                yield engine
        else:
            made.append(FakeEngine(settings, backend, suites, plan))
            yield made[-1]

    monkeypatch.setattr(flow, "opened", opened)
    monkeypatch.setattr(flow, "check_engine", lambda settings: None)
    return made


@pytest.fixture
def settings(suite_at, script):
    return RunSettings(model=script(), suites=(str(suite_at(count=30)),))


def on(settings: RunSettings, **more) -> RunSettings:
    return RunSettings(**{**settings.__dict__, **more})


def results(folder: Path) -> tuple[bytes, bytes]:
    return (folder / "rows.jsonl").read_bytes(), (folder / "summary.json").read_bytes()


@pytest.mark.parametrize("asks", ["generate", "choose"])
def test_one_worker_two_workers_and_three_merged_parts_give_the_same_bytes(suite_at, script, tmp_path, faked, asks):
    if asks == "choose":
        suite = suite_at(
            settings='scorers = ["acc"]\ntaggers = ["none"]\nprimary = "acc"', count=30, choices=["a", "b"]
        )
        model = script([{"id": f"q{i}", "logprobs": [-1.5 - i, -2.5 + i]} for i in range(30)])
    else:
        suite, model = suite_at(count=30), script()
    settings = RunSettings(model=model, suites=(str(suite),))
    (whole,) = flow.start(settings, out=tmp_path / "whole")
    for workers in (1, 2):
        (folder,) = flow.start(on(settings, engine="ray", workers=workers), out=tmp_path / f"ray{workers}")
        assert results(folder) == results(whole)
        assert read_manifest(folder)["identity"] == read_manifest(whole)["identity"]
    parts = [flow.start(on(settings, shard=f"{n}/3"), out=tmp_path / f"part{n}")[0] for n in (1, 2, 3)]
    (merged,) = merge(parts, tmp_path / "merged")
    assert results(merged) == results(whole)
    assert len(faked) == 2


def test_a_run_may_begin_on_one_engine_and_end_on_another(settings, tmp_path, faked, monkeypatch):
    (whole,) = flow.start(settings, out=tmp_path / "whole")
    commit, calls = flow._commit, itertools.count()
    for place, (first, second) in enumerate((("local", "ray"), ("ray", "local"))):
        folder = tmp_path / f"cut{place}"
        how = {"engine": first, "workers": 2 if first == "ray" else None}
        monkeypatch.setattr(
            flow, "_commit", lambda *a: commit(*a) if next(calls) % 4 < 3 else (_ for _ in ()).throw(KeyboardInterrupt)
        )
        with pytest.raises(KeyboardInterrupt):
            flow.start(on(settings, **how), out=folder)
        monkeypatch.setattr(flow, "_commit", commit)
        flow.resume(folder, **({"engine": "local"} if second == "local" else {"engine": "ray", "workers": 2}))
        assert results(folder) == results(whole)


def test_a_question_that_kills_becomes_an_error_row(settings, tmp_path, faked, monkeypatch):
    monkeypatch.setattr(FakeEngine, "kills", lambda self, worker, shard: any(9 in batch for batch in shard))
    (folder,) = flow.start(on(settings, engine="ray", workers=2), out=tmp_path / "run")
    run = read_run(folder)
    failed = [row for row in run.rows if row.response.error]
    assert [(row.example.id, row.response.error) for row in failed] == [("q9", CRASHED)]
    assert failed[0].scores[0].value is None
    assert run.summary["answers"] == 29
    assert len(run.manifest["warnings"]) == 1


def test_a_worker_plans_a_part_of_a_batch_anew(suite_at, script):
    settings = RunSettings(model=script(), suites=(str(suite_at(count=10)),))
    suite = read_suite(settings.suites[0])
    requests = tuple(requests_of(suite))
    backend = load_backend(settings.model, settings.options())
    worker = Worker(Work.of(settings, backend, [requests]))
    assert worker.plan == plan_of([requests], backend) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    reply = worker.answer([[1, 2], [8, 9]])
    assert [record["text"] for record in reply.records] == ["a1", "a2", "a8", "a9"]
    assert reply.indices == (1, 2, 8, 9)


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"engine": "rya"}, "--engine rya: expected one of local, ray"),
        ({"engine": "ray", "workers": 0}, "--workers 0: expected 1 or more"),
        ({"workers": 2}, "--workers and --ray-address go with --engine ray"),
        ({"ray_address": "a:1"}, "--workers and --ray-address go with --engine ray"),
        ({"engine": "ray", "model": "openai:http://x#m"}, "--engine ray loads a model in every worker"),
    ],
)
def test_engines_that_cannot_be_meant_are_refused(given, fault):
    with pytest.raises(EvalkitError, match=fault):
        RunSettings(**{"model": "m", "suites": ("s",), **given})


def test_ray_that_is_not_installed_is_said_before_anything_is_done(settings, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    arguments = ["run", "--model", settings.model, "--suite", settings.suites[0], "--out", str(tmp_path / "run")]
    assert call([*arguments, "--engine", "ray"]) == 2
    assert capsys.readouterr().err == (
        "evalkit: --engine ray: Ray is not installed; `pip install 'evalkit-llm[ray]'` brings it\n"
    )
    assert not (tmp_path / "run").exists()
