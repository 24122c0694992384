"""The scorer `semantic`: how near does the meaning of the answer come to the nearest target, by a local model?

The whole answer is compared, and every part of it that is as long as the target: a right name in a long sentence is far
from the name alone. A cosine becomes a share: CURVES says how often people called such an answer right. Knows no facts:
vectors hardly tell one number from another, or a statement from its denial.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from typing import Any

from evalkit.errors import SuiteError
from evalkit.registry import load
from evalkit.scorers.normal import MAX_CHARS
from evalkit.types import Answer, Example, Response, Score

WINDOW = 256
"""Answers that are embedded with their targets at a time."""
CURVES: Mapping[str, tuple[float, float]] = {"aabb27ae1cde41d9": (-4.458, 9.931)}
"""Digest of an embedding model -> intercept and slope of the logistic curve from cosine to share of right answers.

The first is all-MiniLM-L6-v2; `python -m tests.benchmarks.semantic` fits it to what people say of answers to a half of
EVOUNA's questions from Natural Questions (Apache-2.0) and measures it on the other half."""

Pair = tuple[str, tuple[str, ...]]
"""An answer and its targets."""
Likeness = tuple[float, str, str, float]
"""Cosine of the nearest part with the nearest target, that part, that target, and the whole answer's cosine with it."""


@dataclass(frozen=True)
class Semantic:
    """Score how often people call an answer right that is as near to its nearest target, 0..1."""

    model: str = field(default="", repr=False)
    """Folder of a sentence-embedding model; empty: all-MiniLM-L6-v2, which `evalkit-llm[semantic]` brings."""
    digest: str = field(init=False)
    """What vectors depend on: 16 hex digits over the model's files and how it pools."""
    found: dict[Pair, Likeness] = field(default_factory=dict, init=False, repr=False, compare=False)
    """Likenesses that are known already."""

    def __post_init__(self) -> None:
        """Find the model, so that one that is missing is told before anything is answered."""
        if not isinstance(self.model, str):
            raise SuiteError(
                f"scorer semantic: model is {self.model!r}, expected the folder of a sentence-embedding model; "
                "change [scorer.semantic] in suite.toml"
            )
        object.__setattr__(self, "digest", self._model.digest)

    def prepare(self, answers: Sequence[Answer]) -> Semantic:
        """Return the scorer with the likeness of every answer known: embedding many texts at once is quicker."""
        ready, rest = replace(self), iter(answers)
        while window := list(islice(rest, WINDOW)):
            pairs = dict.fromkeys(_pair(example, response) for example, _, response in window if not response.error)
            ready.found.update(self._likenesses([pair for pair in pairs if all(pair)]))
        return ready

    def __call__(self, example: Example, response: Response) -> Score:
        """Judge one answer."""
        if response.error is not None:
            return Score("semantic", None, why="no answer: the request failed")
        answer, targets = pair = _pair(example, response)
        if not targets:
            return Score("semantic", None, why="no target to compare with")
        if not answer:
            return Score("semantic", 0.0, why="empty answer")
        cosine, part, nearest, whole = self.found.get(pair) or dict(self._likenesses([pair]))[pair]
        nearest = " ".join(nearest.split())
        shown = nearest if len(nearest) <= 60 else nearest[:59] + "…"
        rest = "" if part == answer else f"; the whole answer {whole:.4f}"
        curve = "" if self.digest in CURVES else "; no curve is known for this model"
        why = f'cosine {cosine:.4f} with "{shown}"{rest}{curve}'
        return Score("semantic", self._value(cosine), None if part == answer else part, why)

    @cached_property
    def _model(self) -> Any:
        return load("evalkit.backends.sentence:find_sentence_model")(self.model)

    @cached_property
    def _embed(self) -> Callable[[Sequence[str]], Any]:
        embedder: Callable[[Sequence[str]], Any] = load("evalkit.backends.embed:Embedder")(self._model)
        return embedder

    def _likenesses(self, pairs: Sequence[Pair]) -> Iterator[tuple[Pair, Likeness]]:
        """Yield each pair with the likeness of its nearest target; a text is embedded once."""
        texts = list(dict.fromkeys(text for answer, targets in pairs for text in (answer, *targets)))
        found = dict(zip(texts, self._embed(texts), strict=True)) if texts else {}
        for answer, targets in pairs:
            near = {target: found[answer].nearest_part(found[target]) for target in targets}
            best = max(near, key=lambda target: near[target][0])
            yield (answer, targets), (*near[best], best, found[answer].cosine(found[best]))

    def _value(self, cosine: float) -> float:
        """Return the share of right answers at a cosine; for a model without a curve, the cosine itself."""
        if self.digest not in CURVES:
            return round(min(max(cosine, 0.0), 1.0), 4)
        intercept, slope = CURVES[self.digest]
        return round(1 / (1 + math.exp(-intercept - slope * cosine)), 4)


def _pair(example: Example, response: Response) -> Pair:
    """Return what is read of an answer and of its targets; blank targets are none."""
    targets = (target.strip()[:MAX_CHARS] for target in example.target)
    return response.text.strip()[:MAX_CHARS], tuple(dict.fromkeys(target for target in targets if target))
