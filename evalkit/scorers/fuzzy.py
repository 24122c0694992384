"""The scorer `fuzzy`: how near do the letters of the answer come to the nearest target? Knows no meaning."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from rapidfuzz import fuzz

from evalkit.errors import SuiteError
from evalkit.scorers.normal import plain
from evalkit.types import Example, Response, Score

MAX_COMPARED = 2_000
"""Characters of answer and target that are compared; time grows with their product."""
MAX_TARGETS = 200
"""Targets that are compared, in their order of the alphabet."""

KINDS: Mapping[str, Callable[..., float]] = {
    "ratio": fuzz.ratio,
    "partial_ratio": fuzz.partial_ratio,
    "token_sort_ratio": fuzz.token_sort_ratio,
    "token_set_ratio": fuzz.token_set_ratio,
    "partial_token_sort_ratio": fuzz.partial_token_sort_ratio,
    "partial_token_set_ratio": fuzz.partial_token_set_ratio,
    "WRatio": fuzz.WRatio,
    "QRatio": fuzz.QRatio,
}
"""Ratios of rapidfuzz by their names there; each gives 0..100."""


@dataclass(frozen=True)
class Fuzzy:
    """Score the likeness of the answer and its nearest target, 0..1."""

    kind: str = "token_set_ratio"
    """The ratio of rapidfuzz, by its name there."""
    cutoff: float = 0.0
    """Likeness below which the score is 0, 0..1."""

    def __post_init__(self) -> None:
        """Refuse an unknown ratio or a cutoff outside 0..1."""
        if not isinstance(self.kind, str) or self.kind not in KINDS:
            raise SuiteError(
                f"scorer fuzzy: kind is {self.kind!r}, expected one of {', '.join(KINDS)}; "
                "change [scorer.fuzzy] in suite.toml"
            )
        if type(self.cutoff) not in (int, float) or not 0 <= self.cutoff <= 1:
            raise SuiteError(
                f"scorer fuzzy: cutoff is {self.cutoff!r}, expected a number from 0 to 1; "
                "change [scorer.fuzzy] in suite.toml"
            )

    def __call__(self, example: Example, response: Response) -> Score:
        """Judge one answer."""
        if response.error is not None:
            return Score("fuzzy", None, why="no answer: the request failed")
        if not example.target:
            return Score("fuzzy", None, why="no target to compare with")
        answer = plain(response.text)[:MAX_COMPARED]
        targets = sorted({plain(t)[:MAX_COMPARED] for t in example.target} - {""})[:MAX_TARGETS]
        if not answer or not targets:
            return Score("fuzzy", 0.0, why="nothing to compare" if answer else "empty answer")
        value, nearest = max((KINDS[self.kind](answer, t), t) for t in targets)
        likeness = min(value / 100, 1.0)
        shown = nearest if len(nearest) <= 60 else nearest[:59] + "…"
        return Score("fuzzy", likeness if likeness >= self.cutoff else 0.0, why=f'{likeness:.2f} like "{shown}"')
