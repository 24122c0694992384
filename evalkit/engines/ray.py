"""The Ray edge: workers as actors that keep a model loaded, many answers scored and tagged by tasks. Ray Core alone."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Self

import ray
from ray.exceptions import RayError, RayTaskError

from evalkit.assess import CHUNK, MANY, Assessor
from evalkit.engines.cluster import connected
from evalkit.engines.dispatch import Dispatch, Done, Event, Lost, Ready
from evalkit.engines.shards import Shard
from evalkit.engines.worker import Reply, Work, Worker, unequal_copies
from evalkit.errors import EvalkitError, Stopped, one_line_of
from evalkit.settings import RunSettings
from evalkit.types import Answer, Row, Tick

_log = logging.getLogger(__name__)
SENT = 2
"""Chunks of answers that are sent out for each CPU."""


class RayEngine:
    """Answers on a Ray cluster, which is connected to when there is something to do."""

    def __init__(self, settings: RunSettings, work: Work, facts: Mapping[str, str]) -> None:
        """Keep what workers need, and what their answers must depend on."""
        self.settings, self.work, self.facts = settings, work, facts
        self.threads = int(facts.get("model.threads") or 1)
        self.needs = {"num_cpus": self.threads, "num_gpus": int(facts.get("model.device") == "cuda")}
        self._dispatch: Dispatch | None = None
        self._connection = ExitStack()
        self._is_connected = False

    def __enter__(self) -> Self:
        """Return the engine."""
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the cluster; one of our own ends."""
        self._connection.close()

    @property
    def remarks(self) -> Iterable[str]:
        """Return what workers and dispatcher remarked so far."""
        if self._dispatch is None:
            return ()
        requests = itertools.chain.from_iterable(self.work.suites)
        unequal = self._dispatch.unequal
        first = [next(itertools.islice(requests, index, None)).example_id for index in unequal[:1]]
        return [*self._dispatch.remarks, *map(unequal_copies, first)]

    def run(self, shards: Sequence[Shard], tick: Tick) -> Iterator[Reply]:
        """Yield the answers of each shard, in the order in which they come."""
        if not shards:
            return
        self._connect()
        crew = Actors(self.work, self.needs)
        self._dispatch = Dispatch(crew, self._workers(), self.facts)
        try:
            for reply in self._dispatch.run(shards):
                for _ in reply.indices:
                    tick()
                yield reply
        finally:
            crew.dismiss()

    def rows(self, assessor: Assessor, answers: Iterable[Answer]) -> Iterable[Row]:
        """Score and tag many answers on the CPUs of the cluster, in order; few of them here."""
        rest = iter(answers)
        few = list(itertools.islice(rest, MANY))
        whole = itertools.chain(few, rest)
        if not assessor.many(few):
            return assessor.rows(whole)
        self._connect()
        try:
            shared = ray.put(assessor)
        except TypeError as fault:
            _log.warning("scored and tagged here, since a scorer or tagger cannot be sent: %s", one_line_of(fault))
            return (assessor.row(*answer) for answer in whole)
        return self._assessed(shared, whole)

    def _assessed(self, shared: Any, answers: Iterator[Answer]) -> Iterator[Row]:
        """Yield rows in order; a chunk whose node is lost is sent again by Ray itself."""
        assess, sent = ray.remote(num_cpus=1)(_rows_of), deque[Any]()
        most = SENT * max(1, int(ray.cluster_resources().get("CPU", 1)))
        try:
            while chunk := list(itertools.islice(answers, CHUNK)):
                if len(sent) >= most:
                    yield from _got(sent.popleft())
                sent.append(assess.remote(shared, chunk))
            while sent:
                yield from _got(sent.popleft())
        except RayError as fault:
            raise Stopped(f"answers could not be scored on the cluster: {one_line_of(fault)}") from None

    def _connect(self) -> None:
        if not self._is_connected:
            cpus = (self.settings.workers or max(1, (os.cpu_count() or 1) // self.threads)) * self.threads
            self._connection.enter_context(connected(self.settings.ray_address, cpus))
            self._is_connected = True

    def _workers(self) -> int:
        """Return how many workers to hire: as told, or as many as the nodes that are there have room for."""
        room = sum(_room(node["Resources"], self.needs) for node in ray.nodes() if node["Alive"])
        if not (self.settings.workers or room):
            raise Stopped(
                f"no node of the Ray cluster has {_named(self.needs)}, as a worker needs; OMP_NUM_THREADS sets the CPUs"
            )
        return self.settings.workers or room


def _rows_of(assessor: Assessor, answers: Sequence[Answer]) -> list[Row]:
    """Score and tag a chunk, in a worker."""
    return list(assessor.rows(answers))


class Actors:
    """A crew of Ray actors, each with a model that stays loaded."""

    def __init__(self, work: Work, needs: Mapping[str, int]) -> None:
        """Send once what all workers need to know."""
        self._work = ray.put(work)
        self._class = ray.remote(Actor).options(**needs, max_restarts=0, scheduling_strategy="SPREAD")
        self._threads, self.needs = needs["num_cpus"], _named(needs)
        self._actors: dict[int, Any] = {}
        self._asked: dict[Any, tuple[int, int]] = {}
        self._numbers = itertools.count(1)

    def hire(self) -> int:
        """Start an actor wherever there is room for it."""
        number = next(self._numbers)
        self._actors[number] = self._class.remote(self._work, self._threads)
        self._asked[self._actors[number].facts.remote()] = number, 0
        return number

    def hand(self, worker: int, ticket: int, shard: Shard) -> None:
        """Send a shard to an actor, which answers one after the other."""
        self._asked[self._actors[worker].answer.remote(shard)] = worker, ticket

    def events(self, seconds: float) -> Sequence[Event]:
        """Return answers that came, then losses."""
        done, _ = ray.wait(list(self._asked), num_returns=1, timeout=seconds)
        if done:
            done, _ = ray.wait(list(self._asked), num_returns=len(self._asked), timeout=0)
        found: list[Event] = []
        lost: dict[int, Lost] = {}
        for ref in done:
            worker, ticket = self._asked.pop(ref)
            try:
                value = _got(ref)
                found.append(Done(worker, ticket, value) if ticket else Ready(worker, *value))
            except RayError as fault:
                lost[worker] = Lost(worker, _why(fault))
        for worker in lost:
            self._drop(worker)
        return [*found, *lost.values()]

    def dismiss(self) -> None:
        """End all actors, whatever they are doing."""
        for worker in list(self._actors):
            self._drop(worker)

    def _drop(self, worker: int) -> None:
        """End an actor that cannot be reached, or is not needed, and forget what it was asked."""
        with contextlib.suppress(RayError):
            ray.kill(self._actors.pop(worker))
        self._asked = {ref: asked for ref, asked in self._asked.items() if asked[0] != worker}


class Actor(Worker):
    """A worker with the driver's number of threads, set before anything that counts them loads."""

    def __init__(self, work: Work, threads: int) -> None:
        """Keep what there is to know."""
        os.environ["OMP_NUM_THREADS"] = str(threads)
        super().__init__(work)


def _got(ref: Any) -> Any:
    """Return a result; what the user can mend about a worker stops the run, which then goes on from there."""
    try:
        return ray.get(ref)
    except RayTaskError as fault:
        cause = fault.cause
        if isinstance(cause, EvalkitError):
            raise Stopped(f"a worker cannot go on: {cause}") from None
        raise RuntimeError(f"in a worker: {one_line_of(cause) if cause else one_line_of(fault)}") from fault


def _why(fault: RayError) -> str:
    """Return the last line of what Ray says, which is where it says why."""
    return str(fault).rstrip().rpartition("\n")[2].strip()[:160]


def _room(has: Mapping[str, float], needs: Mapping[str, int]) -> int:
    """Return how many workers a node has room for."""
    names = {"CPU": needs["num_cpus"], "GPU": needs["num_gpus"]}
    return min(int(has.get(name, 0) // count) for name, count in names.items() if count)


def _named(needs: Mapping[str, int]) -> str:
    return f"{needs['num_cpus']} CPU" + ("s" if needs["num_cpus"] > 1 else "") + (" and a GPU" * needs["num_gpus"])
