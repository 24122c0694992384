"""How many requests are sent at once, and how long to wait: more after answers, half after push-back. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random

BACKOFF, LONGEST_WAIT = 0.5, 60.0
"""Seconds before the second try, doubled for each later one; and the most that is ever waited."""


@dataclass
class Pace:
    """The pace of one endpoint; times are seconds of any clock that does not go back."""

    bound: int
    """Most requests in flight."""
    width: float = 0.0
    """Requests in flight that the endpoint bears, as far as is known; its whole part counts."""
    until: float = -math.inf
    """No request begins before."""
    answers: int = 0
    """Answers so far."""
    marked: float = -math.inf
    """When the last round of push-back began: what was sent before belongs to that round."""

    def __post_init__(self) -> None:
        """Begin as wide as allowed."""
        self.width = self.width or self.bound

    def answered(self) -> None:
        """Widen by one for each round of answers."""
        self.answers += 1
        self.width = min(self.bound, self.width + 1 / self.width)

    def pushed_back(self, began: float, now: float, wait: float) -> None:
        """Halve once for each round, however many of its requests are pushed back, and wait."""
        if began >= self.marked:
            self.width, self.marked = max(1.0, self.width / 2), now
        self.until = max(self.until, now + wait)


def wait_of(asked: float | None, tries: int, random: Random) -> float:
    """Return the seconds to wait after try number `tries`: as asked, else doubling, with up to a half taken off."""
    usual = BACKOFF * 2 ** (tries - 1) * (1 - random.random() / 2)
    return min(LONGEST_WAIT, usual if asked is None else asked)
