"""Find misspelled English words in prose: known misspellings first, then unknown words close to a common one.

Real-word errors ("its" for "it's") are invisible to it. Words outside the lists are counted by nobody and are no error.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from types import MappingProxyType

from rapidfuzz.distance import OSA

from evalkit.taggers.knowntypos import known_typos
from evalkit.taggers.lexicon import correction, frequencies, is_word, terms
from evalkit.taggers.prose import RUN, places
from evalkit.taggers.slips import STRONG, slip
from evalkit.taggers.text import number, pieces, require, silent, whole, with_state
from evalkit.types import Corpus, Row, Tag

_PREFERRED_LEAST = 50  # times that a neighbour must be commoner to make a repeated word a suspect


@dataclass(frozen=True)
class Misspelling:
    """Tag misspelled words: known ones (tier 1, with their correction) and likely ones (tier 2)."""

    tier2: bool = True
    """Also tag unknown words that are close to a common one."""
    min_letters: int = 5
    """Shortest word of tier 2; tier 1 looks from 4 letters."""
    program: str = "typos"
    """The program that knows misspellings; a name or a path."""
    known_confidence: float = 0.95
    """Confidence of a tag of tier 1."""
    likely_confidence: float = 0.7
    """Confidence of a tag of tier 2."""
    table: Mapping[str, tuple[str, int]] = field(
        default_factory=lambda: MappingProxyType({}), init=False, repr=False, compare=False
    )
    """After prepare: each misspelled word of the run -> its correction and its tier."""
    judged: frozenset[str] = field(default=frozenset(), init=False, repr=False, compare=False)
    """After prepare: every word that was judged."""
    domain: frozenset[str] = field(default=frozenset(), init=False, repr=False, compare=False)
    """After prepare: words that references, training answers or the user make right."""
    suspects: tuple[tuple[str, str], ...] = field(default=(), init=False, repr=False, compare=False)
    """After prepare: words of references and training answers that look misspelled there, with what was meant."""
    note: str = field(default="", init=False, repr=False, compare=False)
    """After prepare: why tier 1 could not look, for the report; empty where it could."""

    def __post_init__(self) -> None:
        """Refuse settings that make no sense."""
        require(whole(self.min_letters, 4), "misspelling", "min_letters", self.min_letters, "a whole number from 4")
        for name in ("known_confidence", "likely_confidence"):
            value = getattr(self, name)
            require(number(value) and 0 <= value <= 1, "misspelling", name, value, "a number from 0 to 1")

    def prepare(self, corpus: Corpus) -> Misspelling:
        """Return a tagger that knows the misspelled words of the whole run; the program runs once, here."""
        answers = _frequency(corpus.answers)
        learned = _frequency(chain(corpus.references, corpus.training))
        candidates = {w for w in answers | learned if len(w) <= 40 and w.isascii()}
        known, note = known_typos(candidates, self.program)
        words = frozenset(corpus.vocabulary) | terms()
        repeated = {w for w, n in learned.items() if n >= 2 and w not in known}
        doubtful = dict(_overshadowed(repeated, learned))
        domain = frozenset(repeated - doubtful.keys()) | words
        table = {w: (c, 1) for w, c in known.items() if w not in words}
        if self.tier2:
            for word in candidates - known.keys() - domain:
                if (meant := self._likely(word)) and not _established(word, meant, answers):
                    table[word] = (meant, 2)
        suspects = sorted({**doubtful, **{w: c for w, c in known.items() if w in learned and w not in words}}.items())
        return with_state(
            self,
            table=MappingProxyType(table),
            judged=frozenset(candidates),
            domain=domain,
            suspects=tuple(suspects),
            note=note,
        )

    def _likely(self, word: str) -> str | None:
        if len(word) < self.min_letters or is_word(word):
            return None
        return correction(word)

    def _doubtful(self, text: str) -> dict[str, tuple[str, int]]:
        """Return the doubtful words of a text, in lower case, each with what was meant and the tier that says so."""
        said = frozenset(RUN.findall(text.lower()))
        verdicts = {w: self.table[w] for w in self.table.keys() & said}
        if self.tier2:
            for word in said - self.judged - self.domain:
                if word.isascii() and (meant := self._likely(word)):
                    verdicts[word] = (meant, 2)
        return verdicts

    def __call__(self, row: Row) -> Iterable[Tag]:
        """Yield a tag per distinct misspelled word, at its first place, with how often it stands in the answer."""
        if silent(row):
            return
        found: dict[str, list[tuple[int, int]]] = {}
        verdict: dict[str, tuple[str, int]] = {}
        for piece in pieces(row.response.text):
            verdicts = self._doubtful(piece.text)
            if verdicts:
                verdict |= verdicts
                sure = frozenset(w for w, (_, tier) in verdicts.items() if tier == 1)
                for start, end in places(piece.text, verdicts.keys(), sure):
                    found.setdefault(piece.text[start:end].lower(), []).append((start + piece.start, end + piece.start))
        for word, at in sorted(found.items(), key=lambda item: item[1][0]):
            meant, tier = verdict[word]
            why = _why(row.response.text[slice(*at[0])], meant, tier, len(at))
            yield Tag(
                "misspelling", "minor", why, at[0], self.known_confidence if tier == 1 else self.likely_confidence
            )


def _why(said: str, meant: str, tier: int, count: int) -> str:
    says = "is a known misspelling of" if tier == 1 else "is no known word, close to"
    why = f"{said!r} {says} {meant!r}"
    return f"{why}, {count} times" if count > 1 else why


def _frequency(texts: Iterable[str]) -> Counter[str]:
    """Return lower-case word -> number of texts that hold it; words that are only ever capitalised are left out."""
    counts: Counter[str] = Counter()
    for text in texts:
        found = {w for p in pieces(text) for w in RUN.findall(p.text)}
        counts.update({w.lower() for w in found if w[1:].islower()})
    return counts


def _established(word: str, meant: str, answers: Mapping[str, int]) -> bool:
    """Return whether a word stands in too many answers, against what it may have been meant for, to be a slip."""
    count = answers.get(word, 0)
    return count >= 3 and (answers.get(meant, 0) < 5 * count or slip(word, meant) != STRONG)


def _overshadowed(words: Iterable[str], counts: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    """Yield (word, neighbour) of words one edit from one that is 50 times commoner in the same texts."""
    common = sorted((w for w, n in counts.items() if n >= 2 * _PREFERRED_LEAST), key=lambda w: (-counts[w], w))
    if not common:
        return
    for word in sorted(words):
        if word in frequencies():
            continue
        for other in common:
            if counts[other] < _PREFERRED_LEAST * counts[word]:
                break
            if abs(len(other) - len(word)) <= 1 and OSA.distance(word, other, score_cutoff=1) == 1:
                yield word, other
                break
