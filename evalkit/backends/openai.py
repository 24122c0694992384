"""Models behind an OpenAI-compatible endpoint: many requests at once, each tried until its outcome is known.

What a reply means stands in `endpoint`, how fast to ask in `pace`, HTTP in `wire`.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from random import Random
from typing import Any

from evalkit.backends import cut
from evalkit.backends.endpoint import (
    LIMITS,
    Again,
    Answer,
    Refused,
    address_of,
    failed,
    outcome_of,
    payload_of,
    wants_other_limit,
)
from evalkit.backends.pace import Pace, wait_of
from evalkit.backends.secret import read_key
from evalkit.backends.wire import Unanswered, Wire
from evalkit.errors import ModelError, Stopped
from evalkit.types import Request, Response, Tick, no_tick

_log = logging.getLogger(__name__)
CONCURRENCY, SECONDS = 16, 600.0
"""Requests in flight and seconds of one request, where none are given."""
ROUNDS = 4
"""Requests of a batch for each one in flight: what a stopped run loses at most."""
SLOW_TRIES = 2
"""How often a request is sent in all whose time runs out."""


@dataclass
class Turn:
    """A request on its way to an outcome."""

    index: int
    request: Request
    tries: int = 0
    ready: float = 0.0
    began: float = 0.0
    answers: int = 0
    """Answers that the endpoint had given when this request was sent for the first time."""


class OpenAiBackend:
    """A model's name at a URL: chats go to `/chat/completions`, plain prompts to `/completions`."""

    kinds = frozenset({"generate"})

    def __init__(self, where: str, *, concurrency: int | None = None, timeout: float | None = None) -> None:
        """Parse `URL#MODEL` and read the key; nothing is sent.

        Raises:
            ModelError: malformed, or the key cannot be read.
        """
        self.address = address_of(where)
        self._key = read_key(self.address, os.environ)
        self.seconds = timeout or SECONDS
        self.pace = Pace(concurrency or CONCURRENCY)
        self._random = Random(0)
        self._served: dict[str, None] = {}
        self._batches = 0
        self._limit = LIMITS[0]

    @property
    def identity(self) -> Mapping[str, str]:
        """Name the endpoint and its model; which weights answer there cannot be known."""
        return {"backend": "openai", "endpoint": self.address.base, "name": self.address.name}

    @property
    def remarks(self) -> Sequence[str]:
        """Say where the endpoint calls its model otherwise than asked, or by several names in one run."""
        others = [name for name in self._served if name != self.address.name]
        return [f"the endpoint says that {' and '.join(map(repr, self._served))} answered"] if others else []

    def plan(self, requests: Sequence[Request]) -> Sequence[Sequence[int]]:
        """Cut into batches of four rounds."""
        return cut(len(requests), ROUNDS * self.pace.bound)

    def respond(self, requests: Sequence[Request], tick: Tick = no_tick) -> Iterator[Response]:
        """Answer one batch; `tick` is called as each answer comes, in whatever order.

        Raises:
            ModelError: the endpoint refuses what all requests have in common, and nothing was answered before.
            Stopped: it does so later, or answers nothing at all any more.
        """
        try:
            answers = _in_loop(self._answers(requests, tick))
        except Refused as fault:
            error = Stopped if self._batches else ModelError
            raise error(self._hidden(f"{self.address}: {fault}")) from None
        self._batches += 1
        yield from answers

    async def _answers(self, requests: Sequence[Request], tick: Tick) -> list[Response]:
        """Keep as many requests in flight as the pace allows, until each has its outcome."""
        loop = asyncio.get_running_loop()
        loop.set_default_executor(_Impatient())
        clock = loop.time
        waiting = [Turn(index, request) for index, request in enumerate(requests)]
        running: dict[asyncio.Task[Answer | Again], Turn] = {}
        answers: dict[int, Response] = {}
        async with Wire(self.address.base, self._key, self.seconds) as wire:
            try:
                while waiting or running:
                    for turn in self._due(waiting, len(running), clock()):
                        waiting.remove(turn)
                        turn.answers = turn.answers if turn.tries else self.pace.answers
                        turn.tries, turn.began = turn.tries + 1, clock()
                        running[asyncio.create_task(self._ask(wire, turn.request))] = turn
                    for task in await _ended(running, self._pause(waiting, len(running), clock())):
                        turn = running.pop(task)
                        response = self._settled(turn, task.result(), clock())
                        if response is None:
                            waiting.append(turn)
                        else:
                            answers[turn.index] = response
                            tick()
            finally:
                for task in running:
                    task.cancel()
                await asyncio.gather(*running, return_exceptions=True)
        return [answers[index] for index in range(len(requests))]

    def _room(self, running: int) -> int:
        return int(self.pace.width) - running

    def _due(self, waiting: Sequence[Turn], running: int, now: float) -> list[Turn]:
        """Return what is to be sent now, in the order of the requests."""
        if now < self.pace.until:
            return []
        ready = sorted((turn for turn in waiting if turn.ready <= now), key=lambda turn: turn.index)
        return ready[: max(0, self._room(running))]

    def _pause(self, waiting: Sequence[Turn], running: int, now: float) -> float | None:
        """Return the seconds until something may be sent; None where only the end of another makes room."""
        if not waiting or self._room(running) <= 0:
            return None
        return max(0.0, self.pace.until - now, min(turn.ready for turn in waiting) - now)

    async def _ask(self, wire: Wire, request: Request) -> Answer | Again:
        """Send one request once."""
        limit = self._limit
        try:
            reply = await wire.post(*payload_of(request, self.address.name, limit))
            if limit == LIMITS[0] and wants_other_limit(reply):
                self._limit = LIMITS[1]
                reply = await wire.post(*payload_of(request, self.address.name, self._limit))
        except Unanswered as fault:
            again = Again(f"the endpoint cannot be reached: {fault}", busy=True, stops=True)
            return replace(again, tries=SLOW_TRIES, reason=str(fault)) if fault.slow else again
        return outcome_of(reply, request, datetime.now(UTC))

    def _settled(self, turn: Turn, outcome: Answer | Again, now: float) -> Response | None:
        """Return the response of a turn that is over, or None where it is to be sent again.

        Raises:
            Stopped: the turn used up its tries, and since its first one nothing was answered.
        """
        if isinstance(outcome, Answer):
            self.pace.answered()
            if outcome.served:
                self._served[self._hidden(outcome.served)] = None
            return self._blotted(outcome.response)
        wait = wait_of(outcome.wait, turn.tries, self._random)
        turn.ready = now + wait
        if outcome.busy:
            self.pace.pushed_back(turn.began, now, wait)
        if turn.tries < outcome.tries:
            return None
        if outcome.stops and self.pace.answers == turn.answers:
            raise Stopped(self._hidden(f"{self.address}: {outcome.reason} ({turn.tries} tries)"))
        return self._blotted(failed(turn.request, f"{outcome.reason} ({turn.tries} tries)"))

    def _hidden(self, text: str) -> str:
        return self._key.out_of(text) if self._key else text

    def _blotted(self, response: Response) -> Response:
        """Return a response without the key, which a hostile endpoint may send back."""
        if self._key is None:
            return response
        error = response.error and self._hidden(response.error)
        return replace(response, text=self._key.out_of(response.text, answer=True), error=error)


class _Impatient(ThreadPoolExecutor):
    """Where the loop looks names up: it ends without waiting for a name server that does not answer."""

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let go of what is still looked up."""
        super().shutdown(wait=False, cancel_futures=True)


async def _ended(running: Mapping[asyncio.Task[Any], Turn], pause: float | None) -> set[asyncio.Task[Any]]:
    """Return the tasks that have ended as soon as one has, or none after a pause of seconds."""
    if not running:
        await asyncio.sleep(pause or 0.0)
        return set()
    done, _ = await asyncio.wait(running, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
    return done


def _in_loop(work: Coroutine[Any, Any, list[Response]]) -> list[Response]:
    """Run to the end, in a thread of its own where a loop runs already, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()
