"""Find answers that have less to do with their question than answers to other questions have.

Lexical: words weighted by how rare they are in the run. The bound is a low percentile of answers paired with questions
they do not belong to, so a tag says "less related than chance", not "off by a shade"; most off-topic answers pass.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from evalkit.taggers.text import asked, number, require, silent, whole, with_state, words
from evalkit.types import Corpus, Row, Tag

_PAIRS = 2000
_SAMPLE = 500
_LEAST = 30
_TELLING = 8  # distinct words of a question that must go unmentioned where nothing is calibrated


@dataclass(frozen=True)
class OffTopic:
    """Tag answers whose likeness to question and reference lies below that of shuffled pairs."""

    percentile: float = 10.0
    """Percentile of the likeness of shuffled pairs that is the bound; a higher one finds more and errs more."""
    min_words: int = 20
    """Answers of fewer distinct words are not judged, nor are those that are mostly digits."""
    weights: Mapping[str, float] = field(
        default_factory=lambda: MappingProxyType({}), init=False, repr=False, compare=False
    )
    """After prepare: word, cut after six letters -> weight."""
    bound: float = field(default=0.0, init=False, repr=False, compare=False)
    """After prepare: the likeness below which an answer is tagged; 0 where it could not be calibrated."""

    def __post_init__(self) -> None:
        """Refuse settings that make no sense."""
        fits = number(self.percentile) and 0 < self.percentile <= 50
        require(fits, "off_topic", "percentile", self.percentile, "a number above 0, up to 50")
        require(whole(self.min_words, 1), "off_topic", "min_words", self.min_words, "a whole number from 1")

    def prepare(self, corpus: Corpus) -> OffTopic:
        """Return a tagger that knows the likeness of answers to questions they do not belong to."""
        answers = [a for a in _sample(corpus.answers) if _telling(a) >= self.min_words]
        prompts = [p for p in _sample(corpus.prompts) if p.strip()]
        if min(len(answers), len(prompts)) < _LEAST:
            return with_state(self)
        bags = [_bag(t) for t in (*answers, *prompts)]
        seen = Counter(w for bag in bags for w in bag)
        weights = MappingProxyType({w: math.log(1 + len(bags) / n) for w, n in seen.items()})
        theirs, ours = bags[len(answers) :], bags[: len(answers)]
        likeness = sorted(
            _likeness(ours[i % len(ours)], theirs[(i * 7 + 1 + i // len(ours)) % len(theirs)], weights)
            for i in range(_PAIRS)
        )
        return with_state(self, weights=weights, bound=likeness[int(self.percentile / 100 * (_PAIRS - 1))])

    def __call__(self, row: Row) -> Iterable[Tag]:
        """Yield at most one tag."""
        if silent(row) or _telling(row.response.text) < self.min_words:
            return
        said = len(words(row.response.text))
        mine = _bag(row.response.text)
        bags = [_bag(t) for t in (asked(row), *row.example.target[:20])]
        given = max(_likeness(mine, bag, self.weights) for bag in bags)
        if given < self.bound:
            why = f"likeness to question and reference {given:.3f}; "
            why += f"{self.percentile:g} % of shuffled pairs lie below {self.bound:.3f}"
            yield Tag("off_topic", "minor", why, None, 0.5)
        elif not self.weights and given == 0 and said >= 2 * self.min_words and len(bags[0]) >= _TELLING:
            yield Tag("off_topic", "minor", f"none of {said} words stands in the question or a reference", None, 0.4)


def _sample(texts: Sequence[str]) -> Sequence[str]:
    return texts[:: max(1, len(texts) // _SAMPLE)][:_SAMPLE]


def _telling(text: str) -> int:
    """Return the number of distinct words, digits aside; 0 for a text that is mostly digits."""
    said = words(text)
    spelled = [w for w in said if not w[0].isdigit()]
    return len(set(spelled)) if 2 * len(spelled) >= len(said) else 0


def _bag(text: str) -> frozenset[str]:
    """Return the words of a text, cut after six letters so that most endings do not matter."""
    return frozenset({w[:6] for w in words(text)})


def _likeness(answer: frozenset[str], other: frozenset[str], weights: Mapping[str, float]) -> float:
    """Return the weight of common words as a share of the weight of the other text's words."""
    total = sum(weights.get(w, 1.0) for w in other)
    return sum(weights.get(w, 1.0) for w in answer & other) / total if total else 1.0
