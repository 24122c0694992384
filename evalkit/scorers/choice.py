"""Multiple choice by log-probability: is the likeliest choice an accepted one?

As in lm-evaluation-harness: `acc` takes the highest summed log-probability, `acc_norm` divides it by the choice's
length in characters first, so that long choices are not at a disadvantage; the first of equals wins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from evalkit.types import Example, Response, Score


@dataclass(frozen=True)
class Acc:
    """1 where the choice with the highest log-probability is accepted."""

    kind: ClassVar[Literal["choose"]] = "choose"

    def __call__(self, example: Example, response: Response) -> Score:
        """Score one answer."""
        return _scored("acc", example, response, [1.0] * len(example.choices))


@dataclass(frozen=True)
class AccNorm:
    """1 where the choice with the highest log-probability per character is accepted."""

    kind: ClassVar[Literal["choose"]] = "choose"

    def __call__(self, example: Example, response: Response) -> Score:
        """Score one answer."""
        return _scored("acc_norm", example, response, [float(len(choice)) or 1.0 for choice in example.choices])


def _scored(name: str, example: Example, response: Response, lengths: Sequence[float]) -> Score:
    if response.error:
        return Score(name, None, why="the request failed")
    if not example.target:
        return Score(name, None, why="no accepted answer is known")
    if not example.choices or len(response.choice_logprobs) != len(example.choices):
        return Score(
            name, None, why=f"{len(response.choice_logprobs)} log-probabilities for {len(example.choices)} choices"
        )
    values = [logprob / length for logprob, length in zip(response.choice_logprobs, lengths, strict=True)]
    chosen = example.choices[max(range(len(values)), key=values.__getitem__)]
    return Score(name, float(chosen in example.target), answer=chosen)
