"""The local engine: batch after batch in this process, on the model that made the plan."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator, Sequence

from evalkit.assess import Assessor
from evalkit.engines.shards import Shard
from evalkit.engines.worker import Reply, answered
from evalkit.types import Answer, Backend, Request, Row, Tick


class LocalEngine:
    """Answers in this process; every batch is a reply, so that a killed process loses no more than one."""

    def __init__(self, backend: Backend, suites: Sequence[Sequence[Request]]) -> None:
        """Take the model and the requests of all suites."""
        self.backend = backend
        self.requests = list(itertools.chain.from_iterable(suites))

    @property
    def remarks(self) -> Iterable[str]:
        """Return the backend's."""
        return tuple(getattr(self.backend, "remarks", ()))

    def run(self, shards: Sequence[Shard], tick: Tick) -> Iterator[Reply]:
        """Yield the answers of each batch, in the order of the plan."""
        for batch in itertools.chain.from_iterable(shards):
            began = time.monotonic()
            records = answered(self.backend, [self.requests[index] for index in batch], tick)
            yield Reply(tuple(batch), tuple(records), time.monotonic() - began)

    def rows(self, assessor: Assessor, answers: Iterable[Answer]) -> Iterable[Row]:
        """Score and tag on the cores of this machine."""
        return assessor.rows(answers)
