"""Shards to workers that may be slow, lost, or killed by a question. Knows no Ray, and nothing of what is asked.

A worker that is lost gives its shards back. A shard that was at work while three workers were lost is cut in halves,
until the one question that kills them stands alone; its answer is then the error `crashed`. When nothing waits any
more, a worker without work gets a second copy of the shard that takes longest: the first answer counts, and a second
that comes in time must be equal.
"""

from __future__ import annotations

import logging
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from evalkit.codec import response_record
from evalkit.engines.shards import Shard, halves
from evalkit.engines.worker import Reply, joined
from evalkit.errors import Stopped
from evalkit.folder import differences
from evalkit.types import Response

_log = logging.getLogger(__name__)
STRIKES = 3
"""Workers lost over a shard before it is cut, or over one question before it is given up; and workers in a row that are
lost before they are ready, before the run stops."""
AHEAD = 2
"""Shards that a worker has at a time, so that it need not wait for the next."""
SLOW = 2.0
"""Times the median after which a shard at work is given to a second worker that has nothing to do."""
POLL, ALARM, PATIENCE = 1.0, 30.0, 1800.0
"""Seconds that are waited at a time; without any worker before a warning; and before the run stops."""
CRASHED = f"crashed: {STRIKES} workers were lost while they answered this question alone"


@dataclass(frozen=True)
class Ready:
    """A worker can take shards."""

    worker: int
    facts: Mapping[str, str]
    """What its answers depend on."""
    host: str


@dataclass(frozen=True)
class Done:
    """A worker answered a shard."""

    worker: int
    ticket: int
    reply: Reply


@dataclass(frozen=True)
class Lost:
    """A worker is no more, whatever the cause."""

    worker: int
    why: str


Event = Ready | Done | Lost


class Crew(Protocol):
    """Workers somewhere. Each answers what it is handed one after the other."""

    @property
    def needs(self) -> str:
        """Say what a worker needs."""

    def hire(self) -> int:
        """Ask for one more worker; `Ready` says when it is there, which may be never."""

    def hand(self, worker: int, ticket: int, shard: Shard) -> None:
        """Give a worker a shard; the ticket comes back with the answer."""

    def events(self, seconds: float) -> Sequence[Event]:
        """Return what happened, as soon as anything did, or nothing after some seconds.

        Raises what a worker raised that any other would raise too.
        """


@dataclass(eq=False)
class Task:
    """A shard on its way to its answers."""

    shard: Shard
    strikes: int = 0
    """Workers that were lost while they worked on it."""
    suspect: bool = False
    """Whether it is a half of a shard that killed."""
    holders: set[int] = field(default_factory=set)
    """Workers that have it now."""
    since: float = 0.0
    """When it was handed out last."""
    reply: Reply | None = None
    """The first answer."""

    @property
    def alone(self) -> bool:
        """Say whether it may be what kills: no worker has it together with another, which would be blamed for it."""
        return bool(self.strikes) or self.suspect


@dataclass
class Hand:
    """A worker as the dispatcher sees it."""

    ready: bool = False
    held: dict[int, Task] = field(default_factory=dict)
    """Ticket -> task, in the order in which they are answered."""

    def takes(self, task: Task) -> bool:
        """Say whether the worker may have one more task to wait for it."""
        return len(self.held) < AHEAD and not any(one.alone for one in (task, *self.held.values()))


class Dispatch:
    """Keeps workers busy until every shard is answered."""

    def __init__(
        self, crew: Crew, workers: int, facts: Mapping[str, str], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Take a crew, the most workers to hire, and what every worker's answers must depend on."""
        self.crew, self.workers, self.facts, self.clock = crew, workers, facts, clock
        self.remarks: list[str] = []
        self.unequal: list[int] = []
        """Requests whose second answer was not equal to the first."""
        self._waiting: deque[Task] = deque()
        self._hands: dict[int, Hand] = {}
        self._open = self._tickets = self._stillborn = 0
        self._times: list[float] = []
        self._manned, self._warned = clock(), False

    def run(self, shards: Sequence[Shard]) -> Iterator[Reply]:
        """Yield the answers of every shard, in the order in which they come.

        Raises:
            Stopped: no worker can be had, or one's answers would depend on something else than this process's.
        """
        self._waiting.extend(Task(shard) for shard in shards)
        self._open = len(shards)
        while self._open:
            self._staff()
            self._hand_out()
            events = self.crew.events(POLL)
            self._lose_patience()
            came = [reply for event in events if isinstance(event, Done) for reply in self._answered(event)]
            if came:  # what came together is kept together: a driver that falls behind catches up
                yield joined(came)
            for event in events:
                if isinstance(event, Ready):
                    self._welcome(event)
                elif isinstance(event, Lost):
                    yield from self._lost(event)

    def _staff(self) -> None:
        while len(self._hands) < min(self.workers, self._open):
            self._hands[self.crew.hire()] = Hand()

    def _hand_out(self) -> None:
        """Give every ready worker a shard, and a second to wait for it as long as there are enough for all."""
        ready = {number: hand for number, hand in self._hands.items() if hand.ready}
        for number, hand in ready.items():
            if self._waiting and not hand.held:
                self._hand(number, self._waiting.popleft())
        for number, hand in ready.items():
            if len(self._waiting) > len(ready) and hand.takes(self._waiting[0]):
                self._hand(number, self._waiting.popleft())
        for number, hand in ready.items():
            if not hand.held and (slow := self._straggler()):
                self._hand(number, slow)

    def _hand(self, worker: int, task: Task) -> None:
        self._tickets += 1
        self._hands[worker].held[self._tickets] = task
        task.holders.add(worker)
        task.since = self.clock()
        self.crew.hand(worker, self._tickets, task.shard)

    def _straggler(self) -> Task | None:
        """Return the task that has taken longest, where that is much longer than usual and nobody has a copy.

        What may have killed a worker is not given to a second one.
        """
        if not self._times:
            return None
        late = self.clock() - SLOW * statistics.median(self._times)
        held = [task for hand in self._hands.values() for task in hand.held.values() if task.since < late]
        alone = [t for t in held if t.reply is None and len(t.holders) == 1 and not t.alone]
        return min(alone, key=lambda task: task.since, default=None)

    def _welcome(self, event: Ready) -> None:
        if found := differences(self.facts, event.facts):
            raise Stopped(
                f"the worker on {event.host} would not answer as this process does: {found}; "
                "give every machine the same model, packages and threads"
            )
        self._hands[event.worker].ready, self._stillborn = True, 0

    def _answered(self, event: Done) -> Iterator[Reply]:
        task = self._hands[event.worker].held.pop(event.ticket)
        task.holders.discard(event.worker)
        if task.reply is None:
            task.reply = event.reply
            self._open -= 1
            self._times.append(self.clock() - task.since)
            self._remark(*event.reply.remarks)
            yield event.reply
        else:
            pairs = zip(task.reply.indices, task.reply.records, event.reply.records, strict=True)
            self.unequal += [index for index, first, second in pairs if first != second]

    def _lost(self, event: Lost) -> Iterator[Reply]:
        """Take back what a lost worker held; the first, which it was working on as far as is known, is blamed."""
        hand = self._hands.pop(event.worker)
        _log.warning("a worker was lost (%s); its questions are asked again", event.why)
        self._stillborn += not hand.ready
        if self._stillborn >= STRIKES:
            raise Stopped(f"{STRIKES} workers in a row were lost before they were ready, the last: {event.why}")
        held = list(hand.held.values())
        for task in held[:1]:
            task.strikes += 1
        for task in held[::-1]:
            task.holders.discard(event.worker)
            if task.reply is None and not task.holders:
                if task.strikes < STRIKES:
                    self._waiting.appendleft(task)
                else:
                    yield from self._cut(task)

    def _cut(self, task: Task) -> Iterator[Reply]:
        """Cut a shard that kills in halves, each of which is cut as soon as it kills again; give up a lone question."""
        parts = halves(task.shard)
        if len(parts) == 1:
            ((index,),) = task.shard
            self._open -= 1
            yield Reply((index,), (response_record(Response(finish="error", error=CRASHED)),), 0.0)
            return
        if len(task.shard) == 1:
            self._remark("a batch whose answers killed workers was cut, so its others were not answered as planned")
        self._open += len(parts) - 1
        self._waiting.extendleft(
            Task(part, 0 if sum(map(len, part)) == 1 else STRIKES - 1, suspect=True) for part in reversed(parts)
        )

    def _remark(self, *remarks: str) -> None:
        self.remarks += [remark for remark in remarks if remark not in self.remarks]

    def _lose_patience(self) -> None:
        """Warn, and later stop, where no worker is to be had."""
        now = self.clock()
        if any(hand.ready for hand in self._hands.values()):
            self._manned, self._warned = now, False
        if now - self._manned > PATIENCE:
            raise Stopped(f"no worker for {PATIENCE:.0f} seconds: each needs {self.crew.needs}")
        if now - self._manned > ALARM and not self._warned:
            self._warned = True
            _log.warning("no worker for %.0f seconds: waiting for a node that has %s", ALARM, self.crew.needs)
