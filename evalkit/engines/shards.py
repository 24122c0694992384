"""The batch plan and its slices: what is answered together, what is handed out together. Pure; knows no engine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from evalkit.types import Backend, Request

Batch = list[int]
"""Indices into the requests of all suites, one after the other."""
Shard = list[Batch]
"""Consecutive batches of the plan: what one worker is handed at a time."""
MOST, SHARES = 32, 256
"""Requests from which a shard is large enough, and shards that a smaller plan is rather cut into."""


def plan_of(suites: Sequence[Sequence[Request]], backend: Backend) -> list[Batch]:
    """Return the batches: choices of all suites share one plan, so that equal requests cost once; others do not."""
    groups: dict[str | int, list[tuple[int, Request]]] = {}
    starts = 0
    for number, requests in enumerate(suites):
        for index, request in enumerate(requests, starts):
            groups.setdefault("choose" if request.kind == "choose" else number, []).append((index, request))
        starts += len(requests)
    return [
        [group[position][0] for position in batch]
        for group in groups.values()
        for batch in backend.plan([request for _, request in group])
    ]


def shards_of(plan: Sequence[Batch]) -> list[Shard]:
    """Cut the plan into shards, by the plan alone: equal plans are cut equally, whoever answers them."""
    enough = max(1, min(MOST, sum(map(len, plan)) // SHARES))
    return list(_cut(plan, enough))


def _cut(plan: Sequence[Batch], enough: int) -> Iterator[Shard]:
    shard: Shard = []
    for batch in plan:
        shard.append(batch)
        if sum(map(len, shard)) >= enough:
            yield shard
            shard = []
    if shard:
        yield shard


def share_of(shards: Sequence[Shard], share: tuple[int, int]) -> list[Shard]:
    """Return every N-th shard from the K-th on, K from 1: neighbours, which cost alike, go to different machines."""
    number, count = share
    return list(shards[number - 1 :: count])


def halves(shard: Shard) -> list[Shard]:
    """Cut a shard in two, between batches where it has several, else inside its batch; a single request stays whole."""
    if len(shard) > 1:
        middle = len(shard) // 2
        return [shard[:middle], shard[middle:]]
    (batch,) = shard
    middle = len(batch) // 2
    return [[batch[:middle]], [batch[middle:]]] if middle else [shard]
