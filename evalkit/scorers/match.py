"""The scorer `match`: does a short or sentence-long answer say one of the accepted targets, as a person would judge it?

Rules, the surest first; the first that holds for any target gives the reason. "Informative" words are those that are
neither function words nor in the question; a word is "there" in any inflection, a near spelling or as an acronym.

 1. A target `yes`, `no`, `true`, `false` or of one letter is right only as the answer's verdict.
 2. All words are equal; or the target stands in the answer, word by word, not negated and not one of an "or" list; or
    it stands there without spaces, from LETTERS_WITHOUT_SPACES letters on.
 3. A target that is one date is said by a date that agrees in every part that both name, and by nothing else.
 4. The informative numbers of a target are all there, and half of the words that go with them (a reference answer is
    judged by rule 5 as well); without them it is not said.
 5. Informative words are there in any order: all of them, or the share that their number needs (`_share_needed`). Of a
    name, the last word must be there and a word that begins like the first one.
 6. A short answer holds nothing informative but words of the target; or it is the target's acronym.

A long list of aliases speaks for itself: one word of two is enough only where there are up to FEW_TARGETS targets.
Knows nothing of the world: no synonyms, translations or units, nor which town lies in which country.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from evalkit.errors import SuiteError
from evalkit.scorers.normal import MAX_CHARS, plain
from evalkit.scorers.numbers import is_numeral
from evalkit.scorers.reading import FUNCTION_WORDS, Reading, informative
from evalkit.types import Example, Response, Score

FEW_TARGETS = 4
"""Up to so many different targets, a description may be said in part."""
SHORT = 4
"""An answer of up to so many informative words is short."""
LETTERS_WITHOUT_SPACES = 6
"""Shorter targets must stand in the answer as words of their own."""
MAX_INFORMATIVE = 300
"""Informative words of a target that are looked up, from its start."""
DIGITS_OF_A_RARE_NUMBER = 4
"""A number of so many digits, zeros at its ends not counted, is not there by chance, whatever unit stands behind it."""
WORDS_OF_A_DATE = 6
"""`Wednesday, 5 September 1666` is still a date; a longer target is a sentence that holds one."""
WORDS_OF_AN_OFFER = 12
"""In an answer of up to so many words, a target next to an `or` is one of three or more choices, not the answer."""
OFFER_CHARS = 200
LONG = 6
"""A target of so many informative words is a reference answer, not a fact."""

_NOTHING = Reading("")
_VERDICTS = {"yes": True, "true": True, "correct": True, "no": False, "false": False, "incorrect": False}
_NEGATIONS = frozenset({"not", "never", "no", "neither", "nor", "isnt", "wasnt", "arent", "werent", "cannot", "cant"})
_NEGATIONS |= {"dont", "doesnt", "didnt", "without"}
_TITLE_WORDS = (
    "sir dr mr mrs ms jr sr saint st king queen prince princess president lord lady professor prof captain general rev"
)
_TITLES = frozenset(_TITLE_WORDS.split())


Reason = tuple[int, str]
"""Rank of a rule, the surest first, and how it is told."""


@dataclass(frozen=True)
class Match:
    """Score 1 where the answer says an accepted target, else 0; `why` names the rule and the target."""

    max_chars: int = MAX_CHARS
    """Characters of the answer that are read, 1 to MAX_CHARS."""

    def __post_init__(self) -> None:
        """Refuse a length that cannot be read."""
        if type(self.max_chars) is not int or not 1 <= self.max_chars <= MAX_CHARS:
            raise SuiteError(
                f"scorer match: max_chars is {self.max_chars!r}, expected a whole number from 1 to {MAX_CHARS}; "
                "change [scorer.match] in suite.toml"
            )

    def __call__(self, example: Example, response: Response) -> Score:
        """Judge one answer."""
        if response.error is not None:
            return Score("match", None, why="no answer: the request failed")
        if not example.target:
            return Score("match", None, why="no target to compare with")
        text = response.text[: self.max_chars].strip()
        if not text:
            return Score("match", 0.0, why="empty answer")
        targets = {t: Reading(t) for t in sorted(set(example.target))}
        different = len({t.line for t in targets.values()})
        judge = _Judge(text, Reading(text), Reading(example.question), different)
        found = sorted(r for raw, t in targets.items() for r in judge.reasons(raw, t))
        if not found:
            return Score("match", 0.0, why="no accepted target found in the answer")
        return Score("match", 1.0, why=found[0][1])


@dataclass(frozen=True)
class _Judge:
    """One answer to one question; judges target by target."""

    text: str
    answer: Reading
    question: Reading
    targets: int

    @cached_property
    def _offers(self) -> bool:
        """Whether the answer is short and offers three or more choices."""
        choices = self.answer.words.count("or") + self.text[:OFFER_CHARS].count(",") + 1
        return choices > 2 and len(self.answer.words) <= WORDS_OF_AN_OFFER

    @cached_property
    def _informative(self) -> list[str]:
        """What the answer says beyond the question."""
        return informative(self.answer.words, self.question)

    def reasons(self, raw: str, target: Reading) -> Iterator[tuple[int, str]]:
        """Yield (rank, reason) of the first rule by which `raw` is said; nothing where it is not."""
        if plain(raw) == self._plain != "":
            reason: Reason | None = (0, "equals")
        elif _is_letter(raw):
            reason = _says_letter(raw.strip(), self.text)
        elif not target.words:
            reason = (1, "contains") if raw.strip() and raw.strip() in self.text else None
        elif len(target.words) == 1 and target.words[0] in _VERDICTS:
            reason = (0, "says") if _verdict(self.answer.words) is _VERDICTS[target.words[0]] else None
        else:
            reason = None if self._hedged(target) else self._said(raw, target)
        if reason is not None:
            yield reason[0], f'{reason[1]} "{_shown(target.line.strip() or raw.strip())}"'

    @cached_property
    def _plain(self) -> str:
        return plain(self.text)

    def _said(self, raw: str, target: Reading) -> Reason | None:
        said = self._literally(target) or self._dated(target) or self._freely(raw, target)
        return said or self._abbreviated(raw, target)

    def _literally(self, target: Reading) -> Reason | None:
        if target.words == self.answer.words:
            return 0, "equals"
        if _is_date(target) and target.dates[0].day:
            return None
        if self.answer.holds(target):
            return 1, "contains"
        if len(target.joined) >= LETTERS_WITHOUT_SPACES and self.answer.holds_joined(target):
            return 2, "contains, but for spaces,"
        return None

    def _hedged(self, target: Reading) -> bool:
        """Tell whether the target stands here only negated, or as one of the choices that a short answer offers."""
        contexts = self.answer.contexts(target)
        offers = self._offers and "or" not in target.set | self.question.set
        bad = [bool(_NEGATIONS & {*before}) or (offers and "or" in {*before[-1:], after}) for before, after in contexts]
        return bool(bad) and all(bad)

    def _dated(self, target: Reading) -> Reason | None:
        if not _is_date(target):
            return None
        date = target.dates[0]
        agreements = [date.agreement(d) for d in self.answer.dates]
        if max(agreements, default=0) >= (1 if date.year is None and date.day is None else 2):
            return 3, "gives the date"
        same_year = [n for n, d in zip(agreements, self.answer.dates, strict=True) if d.year == date.year]
        if date.year is not None and str(date.year) in self.answer.numbers and -1 not in same_year:
            return 4, "gives the year of"
        return None

    def _freely(self, raw: str, target: Reading) -> Reason | None:
        """Judge by the informative words, in any order."""
        if _is_date(target) and (target.dates[0].year or target.dates[0].day):
            return None
        info = informative(target.words, self.question) or informative(target.words, _NOTHING) or target.words
        info = info[:MAX_INFORMATIVE]
        there = [w for w in info if self.answer.has(w)]
        numbers = [w for w in info if is_numeral(w)]
        if not {*numbers} <= {*there} or (len(info) >= LONG and _opposed(target, self.answer)):
            return None
        if numbers and len(info) < LONG:
            return (5, "gives the number of") if self._counts_alike(info, numbers) else None
        return self._by_words(raw, info, there) or (self._by_little(target) if len(info) < LONG else None)

    def _counts_alike(self, info: list[str], numbers: list[str]) -> bool:
        """Tell whether half of the words that go with the numbers are there; a long number needs no company."""
        if any(len(n.strip("-0.")) >= DIGITS_OF_A_RARE_NUMBER for n in numbers):
            return True
        others = [w for w in info if not is_numeral(w)]
        return 2 * sum(self.answer.has(w) or self.answer.has_unit(w) for w in others) >= len(others)

    def _by_words(self, raw: str, info: list[str], there: list[str]) -> Reason | None:
        core = [w for w in info if w not in _TITLES] or info
        there = [w for w in there if w in core]
        if len(there) == len(core):
            return 6, "has all words of"
        if len(there) >= len(core) * _share_needed(len(core)):
            return 7, f"has {len(there)} of {len(core)} words of"
        if _is_name(raw, core):
            return (8, "names") if self._names(core) else None
        if len(core) <= 3 and self._in_part(core, there):
            return 9, f"has {len(there)} of {len(core)} words of"
        return None

    def _in_part(self, core: list[str], there: list[str]) -> bool:
        """Tell whether a description is said by one of its two words: by the longer one, if the answer is short."""
        if self.targets > FEW_TARGETS or not there:
            return False
        short = len(self._informative) <= SHORT
        return len("".join(there)) > len("".join(core)) * (0.5 if short else 0.33)

    def _names(self, core: list[str]) -> bool:
        """Tell whether the last name is there together with a word that begins like the first."""
        first, last = core[0], core[-1]
        alike = any(w != last and (w[:3] == first[:3] or w == first[0]) for w in self.answer.words if len(w) != 2)
        return alike and len(last) > 2 and self.answer.has(last)

    def _by_little(self, target: Reading) -> Reason | None:
        said = self._informative
        if 0 < len(said) <= SHORT and all(map(target.has, said)):
            return 10, "says nothing but words of"
        return None

    def _abbreviated(self, raw: str, target: Reading) -> Reason | None:
        """Find the acronym of a target, or the words of a target that is one; both are written in capitals."""
        letters = [w[0].upper() for w in target.words if w not in FUNCTION_WORDS]
        acronym = rf"(?<!\w){'[.]? ?'.join(letters)}(?!\w)"
        if 2 <= len(letters) <= 5 and "".join(letters).isalpha() and re.search(acronym, self.text):
            return 11, "has the acronym of"
        plain = raw.replace(".", "").strip()
        if 2 <= len(plain) <= 5 and plain.isalpha() and plain.isupper() and plain.lower() in self.answer.initials:
            return 11, "spells out"
        return None


def _is_date(target: Reading) -> bool:
    """Tell whether a target is a date and little else, not a sentence that holds one."""
    return len(target.dates) == 1 and len(target.words) <= WORDS_OF_A_DATE


def _share_needed(words: int) -> float:
    """Return the share of informative words that says a target of so many: all of two, 0.6 of three, 0.7 of LONG."""
    if words < 3:
        return 1.0
    return 0.6 if words < LONG else 0.7


def _is_name(raw: str, core: list[str]) -> bool:
    """Tell whether a target is written like a name: two or more words, each with a capital."""
    return len(core) >= 2 and all(w[0].isupper() for w in raw.split() if w.lower() not in FUNCTION_WORDS)


def _opposed(target: Reading, answer: Reading) -> bool:
    """Tell whether a reference answer says yes and the answer no, or only one of them, alike in length, says not."""
    verdicts = [_VERDICTS.get(r.words[0]) for r in (target, answer) if r.words]
    if None not in verdicts and len({*verdicts}) == 2:
        return True
    alike = len(answer.words) <= 2 * len(target.words)
    return alike and bool(_NEGATIONS & target.set) != bool(_NEGATIONS & answer.set)


def _verdict(words: list[str]) -> bool | None:
    """Return the yes (True) or no (False) of an answer: its first word, its last, or what `is` calls true or false."""
    for at, word in enumerate(words):
        before = words[at - 1] if at else ""
        given = at in (0, len(words) - 1) or before == "answer" or words[max(0, at - 2) : at] == ["answer", "is"]
        if word in _VERDICTS and (given or (len(word) > 3 and before in {"is", "not"})):
            return _VERDICTS[word] is not (before == "not")
    return None


def _is_letter(raw: str) -> bool:
    return len(raw.strip()) == 1 and raw.strip().isascii() and raw.strip().isalpha()


def _says_letter(letter: str, text: str) -> Reason | None:
    """Find a one-letter answer: first or last, in brackets, after `answer is`; `A`, `I` are words elsewhere."""
    places = [rf"^\W*{letter}\s*[).:,]", rf"\({letter}\)", rf"\b{letter}\W*$"]
    places.append(rf"\b(?:answer|option|choice)(?: is)?:? \(?{letter}\b")
    if letter not in "aAI":
        places.append(rf"\b{letter}\b")
    return (1, "says") if re.search("|".join(places), text) else None


def _shown(text: str) -> str:
    return text if len(text) <= 60 else text[:59] + "…"
