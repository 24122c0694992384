"""Find answers that repeat a training answer word for word, though it answers another question.

By runs of eight words. It does not see training answers that were learned and reworded, and without training data in
`prepare` it sees nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from evalkit.taggers.text import WORD, clip, lowered, number, percent, pieces, require, silent, whole, with_state, words
from evalkit.types import Corpus, Row, Tag

_GRAM = 8
_MOST_GRAMS = 1_000_000


@dataclass(frozen=True)
class Copied:
    """Tag answers of which a good part stands in one training answer that is not like the reference."""

    share: float = 0.5
    """Share of the answer's words that must stand in runs of eight that the training answer has too."""
    min_words: int = 16
    """And at least this many of them."""
    grams: Mapping[int, int] = field(
        default_factory=lambda: MappingProxyType({}), init=False, repr=False, compare=False
    )
    """After prepare: hash of eight words -> number of the training answer that holds them first."""
    training: tuple[str, ...] = field(default=(), init=False, repr=False, compare=False)
    """After prepare: the training answers."""

    def __post_init__(self) -> None:
        """Refuse settings that make no sense."""
        require(number(self.share) and 0 < self.share <= 1, "copied", "share", self.share, "a share above 0, up to 1")
        require(whole(self.min_words, _GRAM), "copied", "min_words", self.min_words, f"a whole number from {_GRAM}")

    def prepare(self, corpus: Corpus) -> Copied:
        """Return a tagger that has indexed the training answers; very large sets are indexed at wider steps."""
        total = sum(map(len, corpus.training)) // 6
        step = max(4, -(-total // _MOST_GRAMS))
        grams: dict[int, int] = {}
        for at, text in enumerate(corpus.training):
            said = words(text)
            for i in range(0, len(said) - _GRAM + 1, step):
                grams.setdefault(hash(said[i : i + _GRAM]), at)
        return with_state(self, grams=MappingProxyType(grams), training=corpus.training)

    def __call__(self, row: Row) -> Iterable[Tag]:
        """Yield at most one tag, on the longest copied run."""
        if silent(row) or not self.grams:
            return
        said = words(row.response.text)
        places = [self.grams.get(hash(said[i : i + _GRAM]), -1) for i in range(len(said) - _GRAM + 1)]
        for source, _ in Counter(p for p in places if p >= 0).most_common(3):
            copied = _runs(said, words(self.training[source]))
            count = sum(end - start for start, end in copied)
            if (
                count >= self.min_words
                and count >= self.share * len(said)
                and not _expected(row, self.training[source])
            ):
                yield self._tag(row, source, copied, count / len(said))
                return

    def _tag(self, row: Row, source: int, copied: list[tuple[int, int]], share: float) -> Tag:
        start, end = max(copied, key=lambda run: run[1] - run[0])
        places = [
            (m.start() + p.start, m.end() + p.start)
            for p in pieces(row.response.text)
            for m in WORD.finditer(lowered(p.text))
        ]
        why = f"{end - start} words in a row stand in training answer {source} ({clip(self.training[source], 40)!r}), "
        why += f"{percent(share)} of the answer in all"
        return Tag("copied", "minor", why, (places[start][0], places[end - 1][1]), 0.8)


def _runs(said: tuple[str, ...], source: tuple[str, ...]) -> list[tuple[int, int]]:
    """Return [start, end) in words of the stretches that are covered by runs of eight words of the source."""
    known = {source[i : i + _GRAM] for i in range(len(source) - _GRAM + 1)}
    runs: list[tuple[int, int]] = []
    for i in range(len(said) - _GRAM + 1):
        if said[i : i + _GRAM] in known:
            if runs and i <= runs[-1][1]:
                runs[-1] = (runs[-1][0], i + _GRAM)
            else:
                runs.append((i, i + _GRAM))
    return runs


def _expected(row: Row, source: str) -> bool:
    """Return whether a reference says the same as the training answer: then it was learned for this question."""
    return any(_half(words(t), words(source)) for t in row.example.target)


def _half(target: tuple[str, ...], source: tuple[str, ...]) -> bool:
    mine, theirs = set(target), set(source)
    return len(mine & theirs) >= 0.6 * min(len(mine), len(theirs)) if mine and theirs else False
