"""What an engine costs for each shard, and what follows for many workers; writes a Markdown page.

    python -m tests.benchmarks.scale -o reports/benchmarks/scale.md

Workers that sleep instead of computing need no core, so that eight of them fit on any machine: they measure driver and
engine alone, and check the formula where it can be checked.
"""

from __future__ import annotations

import itertools
import math
import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from evalkit.engines import opened
from evalkit.engines.cluster import connected
from evalkit.engines.dispatch import Dispatch, Done, Event, Ready
from evalkit.engines.shards import MOST, SHARES, Shard, plan_of, shards_of
from evalkit.engines.worker import Reply
from evalkit.folder import RunFolder
from evalkit.jsonl import dump
from evalkit.models import load_backend
from evalkit.report.markdown import grid
from evalkit.settings import RunSettings
from evalkit.types import Request, no_tick
from tests.benchmarks.speed import processor, write_page

REQUESTS = MOST * SHARES
"""The least that is cut into shards of full size."""
WIDTHS = (8, 64, 512)
TOGETHER = 16
"""Shards that are kept together where the driver is the limit."""
JOBS = ((10_000, 0.25, 128), (10_000, 0.25, MOST), (100_000, 0.25, 128), (100_000, 0.02, MOST))
"""Questions, seconds of one worker for each, and questions in a shard: 128 answers of 128 tokens are planned together,
or as many as --batch-tokens allows."""
ANSWER = {"text": "An answer of usual length, of a dozen words or some more of them.", "finish": "stop", "error": None}


@dataclass(frozen=True)
class Measured:
    """One run on Ray."""

    start: float
    """Seconds until the first worker was at work."""
    wall: float
    """Seconds from then until the last answer."""
    busy: float
    """Seconds of work, of all workers together."""
    steady: float
    """Share of the middle half of the run, by answers, in which workers were at work: all are there, none is done."""
    shards: int


@dataclass(frozen=True)
class Costs:
    """Seconds of the driver for each shard, which nothing else can overlap."""

    ray: float
    """Sending a shard and getting its answers."""
    commit: float
    """Keeping them: a line an answer, one sync; several shards together, as they come where the driver is the limit."""
    books: dict[int, float]
    """Workers -> keeping account of them."""
    waits: dict[int, float]
    """Workers -> asking Ray which of their shards are done."""

    def of(self, workers: int) -> float:
        """Return all of it."""
        return self.ray + self.commit + self.books[workers] + self.waits[workers]


class Instant:
    """A crew that answers at once: what is left is the dispatcher's own work."""

    needs = "nothing"

    def __init__(self) -> None:
        self.numbers = itertools.count(1)
        self.due: list[Event] = []

    def hire(self) -> int:
        number = next(self.numbers)
        self.due.append(Ready(number, {}, ""))
        return number

    def hand(self, worker: int, ticket: int, shard: Shard) -> None:
        self.due.append(Done(worker, ticket, Reply(tuple(shard[0]), (ANSWER,), 0.0)))

    def events(self, seconds: float) -> Sequence[Event]:
        return [self.due.pop(0)]


def books(workers: int, shards: int = 4096) -> float:
    """Return the seconds for each shard of the dispatcher alone."""
    dispatch = Dispatch(Instant(), workers, {})
    began = time.perf_counter()
    for _ in dispatch.run([[[index]] for index in range(shards)]):
        pass
    return (time.perf_counter() - began) / shards


def commit(folder: Path, repeats: int, together: int) -> float:
    """Return the median seconds that keeping the answers of one shard takes, where several are kept together."""
    identity = {"suite": "s", "primary": "p", "split": "dev"}
    with RunFolder.create(folder, {"identity": identity, "settings": {"model": "m", "max_errors": 0}}) as run:
        seconds = []
        for number in range(repeats):
            records = [{"id": f"q{number}-{i}", "trial": 0, "response": ANSWER} for i in range(MOST * together)]
            began = time.perf_counter()
            run.append(records)
            seconds.append((time.perf_counter() - began) / together)
    return statistics.median(seconds)


def on_ray(folder: Path, workers: int, delay: float) -> Measured:
    """Answer on Ray by workers that sleep for each question; the cluster is one of our own."""
    requests = [Request(f"q{i}", prompt=f"Question {i}?") for i in range(REQUESTS)]
    script = folder / f"{delay}.jsonl"
    rows = ({"id": r.example_id, "answer": ANSWER["text"], "delay": delay} for r in requests)
    script.write_text("".join(dump(row) + "\n" for row in rows))
    settings = RunSettings(f"scripted:{script}", ("none",), engine="ray", workers=workers)
    backend = load_backend(settings.model, settings.options())
    plan = plan_of([requests], backend)
    shards = shards_of(plan)
    with opened(settings, backend, [requests], plan) as engine:
        began = time.perf_counter()
        replies = engine.run(shards, no_tick)
        came = [(time.perf_counter() - began, reply) for reply in replies]
    start = came[0][0] - came[0][1].seconds
    busy = sum(reply.seconds for _, reply in came)
    return Measured(start, came[-1][0] - start, busy, steady(came, workers), len(shards))


def steady(came: Sequence[tuple[float, Reply]], workers: int) -> float:
    """Return the share of the time between the first and the last quarter of replies in which workers were at work."""
    first, last = len(came) // 4, 3 * len(came) // 4
    return sum(reply.seconds for _, reply in came[first + 1 : last + 1]) / workers / (came[last][0] - came[first][0])


def waits(workers: Sequence[int]) -> Iterator[float]:
    """Yield the seconds of asking Ray about two shards of each of so many workers, twice, as the engine does."""
    import ray

    with connected(None, 1):
        yield from [_wait(ray, 2 * count) for count in workers]


def _rest() -> None:
    time.sleep(60)


def _wait(ray: Any, count: int) -> float:
    """Return the median seconds of asking about so many tasks that are not done."""
    refs = [ray.remote(_rest).remote() for _ in range(count)]
    seconds = []
    for _ in range(50):
        began = time.perf_counter()
        ray.wait(list(refs), num_returns=1, timeout=0)
        ray.wait(list(refs), num_returns=len(refs), timeout=0)
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def predicted(job: tuple[int, float, int], workers: int, start: float, driver: float) -> tuple[float, float]:
    """Return (seconds of the run, efficiency) by the formula of the page."""
    questions, seconds, size = job
    shards = math.ceil(questions / size)
    wall = start + max(math.ceil(shards / workers) * size * seconds, shards * driver)
    return wall, questions * seconds / workers / wall


PAGE = """\
# Scale

Written by `python -m tests.benchmarks.scale -o reports/benchmarks/scale.md` on {processor}, {cores} cores;
others worked on the machine too (load average {load} in the end). Medians of {repeats} runs of {requests:,}
questions in {shards} shards of {most}.

## What a shard costs the driver

{costs}

With {most} questions in a shard a driver can take {rate:,.0f} answers a second from 512 workers, whatever they
compute. A worker has its next shard before it ends one, so that it does not wait for the driver. Until the
first worker is at work a cluster of our own takes {start:.1f} s; loading a model comes on top.

## Measured

Workers that sleep {delay:.0f} ms for each question: efficiency is the time that they were at work, of all the
time from the first worker's start to the last answer. Workers start one after the other on {cores} cores, which
a short run feels; the last column is the same of the middle half of the answers, where all are there.

{measured}

## Predicted

With *n* questions, *t* seconds of one worker for each, *W* workers, shards of *s* questions, *d(W)* seconds of
the driver for each shard and *L* seconds until workers are at work:

```
S = ceil(n / s)
T(W) = L + max( ceil(S / W) * s * t,  S * d(W) )
E(W) = (n * t / W) / T(W)
```

*L* is taken as {load_time:.0f} s: Ray's start, and a model that loads in as much. Scoring and tagging come
after that, in chunks on all CPUs, and are not part of *T*. What lowers *E* at many workers is first that there
are fewer shards than workers, or a last round in which some have nothing to do, and then *L*; the driver is the
limit only where *s t / W < d(W)*. Answers of 128 tokens are planned in batches of 128, `--batch-tokens 256` in
batches of {most}: that is another plan, so it must be chosen before a run begins.

{predicted}
"""


def page(costs: Costs, alone: float, runs: dict[int, list[Measured]], delay: float, repeats: int) -> str:
    """Return the page."""
    start = statistics.median(run.start for found in runs.values() for run in found)
    load_time = float(math.ceil(2 * start))
    parts = [
        ("send and receive (Ray)", costs.ray),
        (f"keep {MOST} answers, one sync", alone),
        (f"the same of {TOGETHER} shards at once", costs.commit),
    ]
    parts += [(f"account of {w} workers", costs.books[w]) for w in WIDTHS]
    parts += [(f"ask Ray about {2 * w:,} shards in flight", costs.waits[w]) for w in WIDTHS]
    parts += [(f"**together at {w} workers**", costs.of(w)) for w in WIDTHS]
    measured = []
    for workers, found in runs.items():
        (run,) = sorted(found, key=lambda run: run.wall)[len(found) // 2 : len(found) // 2 + 1]
        row = (run.wall, 100 * run.busy / workers / run.wall, 100 * statistics.median(r.steady for r in found))
        measured.append((str(workers), *(f"{value:.1f}" for value in row)))
    jobs = [
        (f"{job[0]:,}", f"{job[1]:g}", str(job[2]), str(w), f"{wall:,.0f}", f"{100 * share:.1f}")
        for job in JOBS
        for w in WIDTHS
        for wall, share in [predicted(job, w, load_time, costs.of(w))]
    ]
    return PAGE.format(
        processor=processor(), cores=os.cpu_count(), load=f"{os.getloadavg()[0]:.1f}", repeats=repeats,
        most=MOST, requests=REQUESTS, shards=SHARES, delay=1000 * delay,
        start=start, load_time=load_time, rate=MOST / costs.of(512),
        costs="\n".join(grid(("part", "ms"), [(name, f"{1000 * s:.2f}") for name, s in parts])),
        measured="\n".join(grid(("workers", "seconds", "efficiency %", "in the middle half %"), measured)),
        predicted="\n".join(grid(("n", "t", "s", "W", "T", "E %"), jobs)),
    )  # fmt: skip


@click.command()
@click.option("--repeats", default=3)
@click.option("--delay", default=0.005, help="Seconds that a worker sleeps for each question.")
@click.option("-o", "--output", type=click.Path(path_type=Path))
def main(repeats: int, delay: float, output: Path | None) -> None:
    """Measure and write the page."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        asking = dict(zip(WIDTHS, waits(WIDTHS), strict=True))
        empty = [on_ray(folder, 1, 0.0) for _ in range(repeats)]
        runs = {w: [on_ray(folder, w, delay) for _ in range(repeats)] for w in (2, 8)}
        costs = Costs(
            ray=statistics.median((run.wall - run.busy) / run.shards for run in empty),
            commit=commit(folder / "together", 50, TOGETHER),
            books={w: statistics.median(books(w) for _ in range(repeats)) for w in WIDTHS},
            waits=asking,
        )
        alone = commit(folder / "alone", 200, 1)
    write_page(page(costs, alone, runs, delay, repeats), output)


if __name__ == "__main__":
    main()
