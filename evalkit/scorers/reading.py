"""An answer or a target as it is read for matching: words, stems, numbers, dates. Knows no rule of what is right."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cached_property
from itertools import pairwise

from rapidfuzz import process
from rapidfuzz.distance import OSA

from evalkit.scorers.normal import ARTICLES, fold, words
from evalkit.scorers.numbers import Date, cited_year, dates, is_numeral, rounds_to, spell_numbers, spell_out_years

_FUNCTION_WORDS = (
    "a an the of in on at to for from by with and or as is was are were be been it its their his her that this which "
    "who also into about during after before between when where what than then there they he she do does did has have "
    "had i you we our your my me will would can could may should if so but such because"
)
FUNCTION_WORDS = frozenset(_FUNCTION_WORDS.split())
"""Words that say little of what a text is about; negations and `all`, `only` are not among them."""

LETTERS_FOR_A_SLIP = 6
"""A word of so many letters may differ in one: changed, left out, added or swapped with the next."""
MIN_LETTERS = 4
"""Shorter words must be equal."""
MAX_JOINED = 100
"""Longest target, in letters, that is looked for without spaces."""
MAX_CONTEXTS = 50
CONTEXT_CHARS = 40
MAX_WORDS_IN_ACRONYM = 5

_ENDINGS = ("ing", "ed", "es", "s", "ly")
# Korean writes particles and the copula onto the noun: 서울은, 서울에서는, 서울입니다
_PARTICLES = (
    "(?:입니다|이었습니다|였습니다|이에요|예요|이라고|라고|이라는|라는|이란|이며|이고|이다|였다|이었다|에서|에게|에는|에|께서|부터|까지|"
    "으로|로|은|는|이|가|을|를|의|와|과|도|만|나|이나|랑|이랑|처럼|보다|마다|요|다|하고|뿐)"
)
_HANGUL = re.compile("[\uac00-\ud7a3]")
_NO_SPACES = re.compile("[\u3040-\u30ff\u3400-\u9fff]")  # Chinese and Japanese do not put spaces between words


def stem(word: str) -> str:
    """Return `word` without its plural, participle or adverb ending, as far as spelling shows it."""
    if len(word) > MIN_LETTERS and word.endswith("ies"):
        return word[:-3] + "y"
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word[: -len(ending)]
            break
    return word.rstrip("e") if len(word) > MIN_LETTERS else word


class Reading:
    """One text, read once: its words in order and the indices by which other words are looked up."""

    def __init__(self, text: str) -> None:
        spelled = spell_numbers(words(spell_out_years(fold(text))))
        self.words: list[str] = [w for w in spelled if w not in ARTICLES] or spelled
        self.set = frozenset(self.words)
        self._known: dict[str, bool] = {}

    @cached_property
    def line(self) -> str:
        """The words with one space between and around them."""
        return f" {' '.join(self.words)} "

    @cached_property
    def joined(self) -> str:
        """The words without spaces."""
        return "".join(self.words)

    @cached_property
    def numbers(self) -> frozenset[str]:
        """Every numeral, in the one spelling of `numbers`."""
        found = {w for w in self.set if is_numeral(w)}
        return frozenset(found | {year for w in found if (year := cited_year(w))})

    @cached_property
    def dates(self) -> list[Date]:
        """Every date that names a month."""
        return dates(self.words)

    @cached_property
    def stems(self) -> frozenset[str]:
        """The stems of all words."""
        return frozenset(stem(w) for w in self.set)

    @cached_property
    def _vocabulary(self) -> dict[str, list[str]]:
        """Words of MIN_LETTERS letters or more, by their first letter."""
        found: dict[str, list[str]] = {}
        for word in sorted(self.set - self.numbers):
            if len(word) >= MIN_LETTERS:
                found.setdefault(word[0], []).append(word)
        return found

    @cached_property
    def initials(self) -> frozenset[str]:
        """The first letters of two to five words next to each other."""
        letters = "".join(w[0] for w in self.words)
        spans = range(2, MAX_WORDS_IN_ACRONYM + 1)
        return frozenset(letters[i : i + n] for n in spans for i in range(len(letters) - n + 1))

    def holds(self, other: Reading) -> bool:
        """Tell whether all words of `other` stand here next to each other, in order."""
        return other.line in self.line or self._holds_agglutinated(other)

    def _holds_agglutinated(self, other: Reading) -> bool:
        phrase = other.line.strip()
        if _HANGUL.match(phrase[-1:]):
            return re.search(rf"(?<= ){re.escape(phrase)}{_PARTICLES}{{1,3}} ", self.line) is not None
        return _NO_SPACES.search(phrase) is not None and other.joined in self.joined

    def holds_joined(self, other: Reading) -> bool:
        """Tell whether the letters of `other` stand here from the start of a word on, whatever the spaces.

        They must end where a word does too, unless `other` is long enough to be glued to what follows.
        """
        if other.joined[-1].isdigit() or len(other.joined) > MAX_JOINED:
            return False
        if other.joined not in self.joined:
            return False
        glued = len(other.words) > 1 or len(other.joined) >= 10
        return re.search(" " + " ?".join(other.joined) + ("" if glued else " "), self.line) is not None

    def contexts(self, other: Reading) -> list[tuple[list[str], str]]:
        """Return, for each place where `other` stands, the two words before it and the one after it."""
        found: list[tuple[list[str], str]] = []
        at = self.line.find(other.line)
        while at >= 0 and len(found) < MAX_CONTEXTS:
            after = self.line[at + len(other.line) :][:CONTEXT_CHARS].split(" ", 1)[0]
            found.append((self.line[max(0, at - CONTEXT_CHARS) : at].split()[-2:], after))
            at = self.line.find(other.line, at + 1)
        return found

    def has(self, word: str) -> bool:
        """Tell whether `word` stands here: equal, inflected, spelled a little differently, or as an acronym."""
        if word not in self._known:
            self._known[word] = word in self.set or self._has_form_of(word)
        return self._known[word]

    def has_unit(self, unit: str) -> bool:
        """Tell whether a word behind a number abbreviates `unit` or is abbreviated by it: `km`, `kilometers`."""
        behind = {after for number, after in pairwise(self.words) if is_numeral(number)}
        return any(_abbreviates(unit, w) or _abbreviates(w, unit) for w in behind)

    def _has_form_of(self, word: str) -> bool:
        if is_numeral(word):
            return word in self.numbers or any(rounds_to(word, n) for n in self.numbers)
        if len(word) < MIN_LETTERS:
            return False
        return stem(word) in self.stems or self._has_like(word)

    def _has_like(self, word: str) -> bool:
        known = self._vocabulary.get(word[0], [])
        if _HANGUL.search(word):
            return any(re.fullmatch(re.escape(word) + _PARTICLES + "{1,3}", w) for w in known)
        if len(word) >= LETTERS_FOR_A_SLIP and process.extractOne(word, known, scorer=OSA.distance, score_cutoff=1):
            return True
        return any(_same_root(word, w) for w in known if w.startswith(word[:MIN_LETTERS]))


def _abbreviates(short: str, long: str) -> bool:
    """Tell whether `short` is up to three letters of `long`, in order and from its first on."""
    letters = iter(long)
    return len(short) <= 3 and short[0] == long[0] and len(short) < len(long) and all(c in letters for c in short)


def _same_root(one: str, other: str) -> bool:
    """Tell whether two words begin alike for most of their length: `america`, `americans`."""
    shared = next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return shared >= 5 and shared >= 0.75 * max(len(one), len(other))


def informative(words_: Iterable[str], question: Reading) -> list[str]:
    """Return the words that are neither function words nor, in any form, in the question."""
    return [w for w in words_ if w not in FUNCTION_WORDS and w not in question.set and stem(w) not in question.stems]
