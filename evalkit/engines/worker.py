"""A worker: a model that stays loaded, shards in, records out. Pure but for the model; it writes nothing."""

from __future__ import annotations

import itertools
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from evalkit.codec import response_record
from evalkit.engines.shards import Batch, Shard, plan_of
from evalkit.identity import plan_hash, versions
from evalkit.models import load_backend
from evalkit.settings import RunSettings
from evalkit.types import Backend, Request, Tick, no_tick

Record = dict[str, Any]
"""A response as JSON record."""


@dataclass(frozen=True)
class Reply:
    """Answers that come together: to one batch, to one shard, or to several."""

    indices: tuple[int, ...]
    """Which of the requests they answer."""
    records: tuple[Record, ...]
    """An answer for each, in the same order."""
    seconds: float
    """How long workers took for them."""
    host: str = ""
    """The worker's machine; empty: the driver's own."""
    remarks: tuple[str, ...] = ()
    """What the worker's backend did otherwise than planned."""


def joined(replies: Sequence[Reply]) -> Reply:
    """Return several replies as one."""
    return Reply(
        indices=tuple(itertools.chain.from_iterable(reply.indices for reply in replies)),
        records=tuple(itertools.chain.from_iterable(reply.records for reply in replies)),
        seconds=sum(reply.seconds for reply in replies),
        host=", ".join(dict.fromkeys(reply.host for reply in replies)),
        remarks=tuple(dict.fromkeys(remark for reply in replies for remark in reply.remarks)),
    )


@dataclass(frozen=True)
class Work:
    """All that a worker knows of a run."""

    model: str
    """The model as the manifest names it; it must mean the same on the worker's machine."""
    options: Mapping[str, Any]
    """Options of the backend, with the token budget that the driver measured."""
    suites: tuple[tuple[Request, ...], ...]
    """The requests of each suite, of which the plan is made."""

    @classmethod
    def of(cls, settings: RunSettings, backend: Backend, suites: Sequence[Sequence[Request]]) -> Work:
        """Gather what workers need to plan and answer as this process would."""
        measured = backend.identity.get("batch_tokens")
        options = settings.options(int(measured) if measured else None)
        return cls(str(settings.record()["model"]), options, tuple(map(tuple, suites)))


def facts_of(backend: Backend, plan: Sequence[Batch]) -> dict[str, str]:
    """Return what must be equal in every worker, so that it does not matter which of them answers."""
    return {**{f"model.{k}": v for k, v in backend.identity.items()}, "plan": plan_hash(plan), **versions()}


def unequal_copies(first: str) -> str:
    """Say that answers were computed twice and not equally, the first of them to the example `first`."""
    return f"nondeterministic: copies of answers are not equal, the first to {first!r}; the first copy is kept"


def answered(backend: Backend, requests: Sequence[Request], tick: Tick = no_tick) -> list[Record]:
    """Answer one batch of the plan."""
    return [response_record(response) for response in backend.respond(requests, tick)]


class Worker:
    """Answers shards of one run; the model is loaded with the first."""

    def __init__(self, work: Work) -> None:
        """Keep what there is to know; nothing is loaded."""
        self.work = work
        self.requests = list(itertools.chain.from_iterable(work.suites))

    @cached_property
    def backend(self) -> Backend:
        """Open the model."""
        return load_backend(self.work.model, self.work.options)

    @cached_property
    def plan(self) -> list[Batch]:
        """Plan as the driver did; some backends remember it."""
        return plan_of(self.work.suites, self.backend)

    @cached_property
    def _known(self) -> set[tuple[int, ...]]:
        return set(map(tuple, self.plan))

    def facts(self) -> tuple[dict[str, str], str]:
        """Return what must be equal in every worker, and the name of this machine."""
        return facts_of(self.backend, self.plan), platform.node()

    def answer(self, shard: Shard) -> Reply:
        """Answer the batches of a shard, in order."""
        began = time.monotonic()
        records = [record for batch in shard for record in self._answered(batch)]
        return Reply(
            indices=tuple(itertools.chain.from_iterable(shard)),
            records=tuple(records),
            seconds=time.monotonic() - began,
            host=platform.node(),
            remarks=tuple(getattr(self.backend, "remarks", ())),
        )

    def _answered(self, batch: Batch) -> list[Record]:
        """Answer a batch of the plan, or a part of one, which is planned anew."""
        requests = [self.requests[index] for index in batch]
        if tuple(batch) in self._known:
            return answered(self.backend, requests)
        found: dict[int, Record] = {}
        for positions in self.backend.plan(requests):
            records = answered(self.backend, [requests[position] for position in positions])
            found.update(zip(positions, records, strict=True))
        return [found[position] for position in range(len(batch))]
