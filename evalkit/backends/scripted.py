"""A backend without a model: answers from a file, or made-up ones with known faults. For tests and first steps."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from evalkit.backends import cut, sent_of
from evalkit.errors import ModelError
from evalkit.jsonl import read_jsonl
from evalkit.types import Request, Response, Tick, no_tick

BATCH = 4


class ScriptedBackend:
    """Answers by the example's id from a JSONL file.

    A line is `{"id", "answer", "finish"?, "tokens"?, "error"?, "logprobs"?, "delay"?}`, the delay in seconds.
    Without a file every sixth answer is right; the others show an error each: verbose, looping, misspelt, empty, wrong.
    """

    kinds = frozenset({"generate", "choose"})

    def __init__(self, where: str = "") -> None:
        """Read the script at `where`; empty: make answers up."""
        self._script: dict[str, Mapping[str, Any]] = {}
        self._digest = ""
        if where:
            path = Path(where)
            rows = read_jsonl(path, ModelError)
            self._script = {str(row.get("id")): row for _, row in rows}
            self._digest = hashlib.sha256(path.read_bytes()).hexdigest()

    @property
    def identity(self) -> Mapping[str, str]:
        """Name the script by its content."""
        return {"backend": "scripted", "model_digest": self._digest}

    def plan(self, requests: Sequence[Request]) -> Sequence[Sequence[int]]:
        """Cut into batches of four."""
        return cut(len(requests), BATCH)

    def respond(self, requests: Sequence[Request], tick: Tick = no_tick) -> Iterator[Response]:
        """Yield the scripted answer of each request."""
        for request in requests:
            time.sleep(float(self._script.get(request.example_id, {}).get("delay") or 0))
            tick()
            yield self._scripted(request) if self._script else made_up(request)

    def _scripted(self, request: Request) -> Response:
        row = self._script.get(request.example_id)
        if row is None:
            return Response(finish="error", error=f"the script has no answer for id {request.example_id!r}")
        logprobs = tuple(row.get("logprobs") or ())
        return Response(
            text=str(row.get("answer") or ""),
            finish="error" if row.get("error") else row.get("finish", "stop"),
            sent=sent_of(request),
            choice_logprobs=logprobs,
            choice_greedy=tuple(logprob == max(logprobs) for logprob in logprobs),
            tokens=row.get("tokens"),
            error=row.get("error"),
        )


def made_up(request: Request) -> Response:
    """Return a made-up answer whose fault depends on the example's id alone."""
    if request.kind == "choose":
        places = range(len(request.choices))
        return Response(
            sent=sent_of(request),
            choice_logprobs=tuple(-1.0 - i for i in places),
            choice_greedy=tuple(i == 0 for i in places),
        )
    right = request.target[0] if request.target else "I do not know."
    faults = (
        right,
        f"{right} " + " ".join(f"Note {word} that there is more to say about this." for word in _FILLERS),
        f"{right} It is what it is, as far as we know today. " + "It is what it is, as far as we know today. " * 9,
        f"I beleive that the anser is definately {right}",
        "",
        "That depends on many things.",
    )
    text = faults[int(hashlib.sha256(request.example_id.encode()).hexdigest(), 16) % len(faults)]
    return Response(text=text, sent=sent_of(request))


_FILLERS = ("first", "also", "again", "finally", "here", "there", "once more", "in general", "in short", "at last")
