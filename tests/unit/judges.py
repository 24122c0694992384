"""Judges that stand in for a model, and what they are asked."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from typing import Any

from evalkit import court
from evalkit.backends import cut
from evalkit.scorers.judge import Case, Judge
from evalkit.types import Example, Request, Response, Row

EXAMPLE = Example("q", "Which port?", ("5432",))
WRONG = Response("It is port 80.")
CASE = Case("correct", "Which port?", ("5432",), ("It is port 80.",))
RUBRIC = Judge("rubric", criteria=("Names the port.",))


def token_of(prompt: str) -> str:
    found = re.search(r'"id": the text "([0-9a-f]{16})"', prompt)
    assert found
    return found[1]


def reply(verdict: object, prompt: str, reason: object = "So it is.") -> str:
    return json.dumps({"id": token_of(prompt), "reason": reason, "verdict": verdict})


def judged(row: Row) -> Any:
    return row.score("judge")


def prompt_of(request: Request) -> str:
    return request.messages[0].content


class Writer:
    """A judge behind an endpoint: `say` writes its reply to a prompt."""

    kinds = frozenset({"generate"})
    who = "writer"

    def __init__(self, say) -> None:
        self.say, self.identity = say, {"backend": "fake", "model_digest": self.who}
        self.asked: list[Request] = []

    def plan(self, requests: Sequence[Request]) -> Sequence[Sequence[int]]:
        return cut(len(requests), 2)

    def respond(self, requests: Sequence[Request], tick=lambda: None) -> Iterator[Response]:
        for request in requests:
            self.asked.append(request)
            tick()
            said = self.say(prompt_of(request))
            yield said if isinstance(said, Response) else Response(said)


class Weigher(Writer):
    """A local judge: `say` gives the probability of each verdict."""

    kinds = frozenset({"choose", "generate"})
    who = "weigher"

    def respond(self, requests: Sequence[Request], tick=lambda: None) -> Iterator[Response]:
        for request in requests:
            self.asked.append(request)
            shares = self.say(prompt_of(request))
            yield Response(choice_logprobs=tuple(math.log(shares[choice]) for choice in request.choices))


def asked_of(judge: Judge, backend, answers, others=None):
    """Ask a backend about answers and return digest -> what it said."""
    cases = court.cases_of(judge, answers, others or {})
    found = court._ask(court.Court(backend), judge, cases, set(cases), None)
    return {case.digest: said for batch in found for case, said in batch}


def score_by(judge: Judge, backend, answer: Response = WRONG, others=None, example: Example = EXAMPLE):
    """Judge one answer with a backend and return its score."""
    return judge.heard(asked_of(judge, backend, [(example, 0, answer)], others), others)(example, answer)
