"""A backend that answers from an earlier run: to ask again with another suite's settings costs no model time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from evalkit.backends import cut
from evalkit.errors import ModelError
from evalkit.record import read_run
from evalkit.types import Request, Response, Row, Tick, no_tick

BATCH = 256


class ReplayBackend:
    """Answers with what a finished run kept for the same example id, trial and prompt."""

    kinds = frozenset({"generate", "choose"})

    def __init__(self, where: str) -> None:
        """Read the run folder `where`."""
        if not where:
            raise ModelError("replay: expected the run to replay, for instance replay:runs/20261124T080000-ab12cd")
        self._kept = {(row.example.id, row.trial): row for row in read_run(where).rows}
        self._digest = hashlib.sha256((Path(where) / "rows.jsonl").read_bytes()).hexdigest()

    @property
    def identity(self) -> Mapping[str, str]:
        """Name the replayed rows by their content."""
        return {"backend": "replay", "model_digest": self._digest}

    def plan(self, requests: Sequence[Request]) -> Sequence[Sequence[int]]:
        """Cut into batches of 256."""
        return cut(len(requests), BATCH)

    def respond(self, requests: Sequence[Request], tick: Tick = no_tick) -> Iterator[Response]:
        """Yield the kept answer; a request that the run does not hold, or asked otherwise, is an error."""
        for request in requests:
            tick()
            kept = self._kept.get((request.example_id, request.trial))
            if kept is None:
                yield Response(finish="error", error=f"the replayed run has no answer for id {request.example_id!r}")
            elif not _asked_alike(request, kept):
                yield Response(finish="error", error="the replayed run asked this example with another prompt")
            else:
                yield kept.response


def _asked_alike(request: Request, kept: Row) -> bool:
    """Say whether a kept answer was given to this request: the same prompt or last turn, and the same choices."""
    if request.kind == "choose" and len(kept.response.choice_logprobs) != len(request.choices):
        return False
    if request.messages:
        return request.messages[-1].content == kept.example.question
    return not kept.response.sent or kept.response.sent.endswith(request.prompt)
