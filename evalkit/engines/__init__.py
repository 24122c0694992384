"""Engines: where the shards of a batch plan are answered. None changes an answer, and none writes to a run folder.

An engine is opened for one run, and yields replies in whatever order they come; who asked puts them in order.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from evalkit.assess import Assessor
from evalkit.engines.cluster import secure
from evalkit.engines.local import LocalEngine
from evalkit.engines.shards import Batch, Shard
from evalkit.engines.worker import Reply, Work, facts_of
from evalkit.errors import EvalkitError
from evalkit.registry import load
from evalkit.settings import RunSettings
from evalkit.types import Answer, Backend, Request, Row, Tick


class Engine(Protocol):
    """A place where shards are answered, and many answers scored and tagged."""

    @property
    def remarks(self) -> Iterable[str]:
        """Say what was done otherwise than planned, and why: kept with the run."""

    def run(self, shards: Sequence[Shard], tick: Tick) -> Iterator[Reply]:
        """Yield replies until every shard is answered, in any order; `tick` is called for each answer."""

    def rows(self, assessor: Assessor, answers: Iterable[Answer]) -> Iterable[Row]:
        """Score and tag answers, in order."""


def check_engine(settings: RunSettings) -> None:
    """Refuse an engine that is not installed, before anything else is done."""
    if settings.engine == "ray" and importlib.util.find_spec("ray") is None:
        raise EvalkitError("--engine ray: Ray is not installed; `pip install 'evalkit-llm[ray]'` brings it")


@contextmanager
def opened(
    settings: RunSettings, backend: Backend, suites: Sequence[Sequence[Request]], plan: Sequence[Batch]
) -> Iterator[Engine]:
    """Open the engine that the settings name, for the requests of some suites, and close it whatever happens."""
    if settings.engine == "local":
        yield LocalEngine(backend, suites)
        return
    secure(settings.ray_address)  # before Ray loads
    work = Work.of(settings, backend, suites)
    with load("evalkit.engines.ray:RayEngine")(settings, work, facts_of(backend, plan)) as engine:
        yield engine
