"""Ask a fresh checkpoint a few of the rows it was trained on, greedily and through evalkit: do its answers end?"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from evalkit.models import load_backend
from evalkit.types import Request, Sampling
from trainkit.intake import Prepared

SLACK = 32
"""Tokens that an answer may have beyond the trained one's before it counts as not ended."""
LOW = 0.75
"""Share of ended answers below which a warning is due."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One row asked again."""

    id: str
    """The row's id."""
    question: str
    """What was asked."""
    wanted: str
    """The trained answer."""
    answer: str
    """The model's answer."""
    ended: bool
    """Whether it ended by itself."""

    @property
    def same(self) -> bool:
        """Say whether the answer is the trained one, and ended."""
        return self.ended and self.answer.strip() == self.wanted.strip()


@dataclass(frozen=True, slots=True)
class Probe:
    """Some training rows asked again."""

    answers: tuple[Answer, ...]
    """In the order of their file."""

    @property
    def ended(self) -> float:
        """Return the share of answers that ended by themselves."""
        return sum(a.ended for a in self.answers) / len(self.answers)

    @property
    def same(self) -> int:
        """Return how many answers are the trained ones."""
        return sum(a.same for a in self.answers)

    def line(self) -> str:
        """Return the finding on one line."""
        n = len(self.answers)
        ended = f"{round(self.ended * n)} of {n} greedy answers to training rows end by themselves"
        return f"{ended}, {self.same} are the trained ones" + (
            "; warning: the model has not learned to stop" if self.ended < LOW else ""
        )

    def record(self) -> dict[str, Any]:
        """Return what the checkpoint keeps."""
        return {"ended": self.ended, "same": self.same, "answers": [asdict(a) for a in self.answers]}


def probe(folder: str, prepared: Prepared, count: int) -> Probe | None:
    """Ask `count` training rows of the checkpoint in `folder`; None where none is asked."""
    rows = _chosen([row for row in prepared.train if not row.cut], count, prepared.settings.seed)
    if not rows:
        return None
    known = prepared.rows
    requests: Sequence[Request] = [
        replace(
            prepared.encoder.spec.request(row.id, known[row.id].input),
            sampling=Sampling(max_new_tokens=row.supervised + SLACK),
        )
        for row in rows
    ]
    backend = load_backend(folder, {})
    responses = [r for batch in backend.plan(requests) for r in backend.respond([requests[i] for i in batch])]
    return Probe(
        tuple(
            Answer(row.id, known[row.id].question, known[row.id].answer, response.text, response.finish == "stop")
            for row, response in zip(rows, responses, strict=True)
        )
    )


def _chosen(rows: Sequence[Any], count: int, seed: int) -> list[Any]:
    picked = random.Random(f"probe/{seed}").sample(range(len(rows)), min(count, len(rows)))
    return [rows[i] for i in sorted(picked)]
