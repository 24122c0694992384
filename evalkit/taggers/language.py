"""Find answers in another language than the reference, or, without one, than the question.

By script; between languages in Latin letters by function words, from 20 words on. Code, links and mark-up do not count.
Without a reference, a question that speaks of languages or of translating is not judged.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from evalkit.taggers.text import asked, mask_prose, number, percent, pieces, require, silent, whole, words
from evalkit.types import Row, Tag

_SCRIPTS = {
    "Hangul": r"[\u1100-\u11ff\u3130-\u318f\uac00-\ud7a3]",
    "Kana": r"[\u3040-\u30ff\u31f0-\u31ff]",
    "Han": r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]",
    "Cyrillic": r"[\u0400-\u052f]",
    "Greek": r"[\u0370-\u03ff\u1f00-\u1fff]",
    "Arabic": r"[\u0600-\u06ff\u0750-\u077f]",
    "Hebrew": r"[\u0590-\u05ff]",
    "Devanagari": r"[\u0900-\u097f]",
    "Thai": r"[\u0e00-\u0e7f]",
    "Latin": r"[A-Za-z\u00c0-\u024f\u1e00-\u1eff]",
}
_LETTERS = {name: re.compile(pattern) for name, pattern in _SCRIPTS.items()}
_WORD = re.compile(r"[^\W\d_]+")
_STOP = {
    "English": "the of and to in is that it for as was with be by on not this are have from or which you were a an i "
    "do if can will they we my your he she his her at but there when what how all their has had would should could",
    "French": "le la les des et un une est dans pour que qui sur avec pas au du ne se il elle nous vous sont ce",
    "German": "der das und ist nicht ein eine mit von den dem zu auf für im sich auch als wie sie wir werden ich",
    "Spanish": "el los las una por con para del es en lo su que se como más pero al un de la este esta muy",
    "Italian": "il che di non sono della nel è un una con le si da gli anche come più questo dei alla del",
    "Portuguese": "os um uma não em na com para que se da por é mais mas ao dos o de seu como são",
    "Dutch": "het een van niet voor zijn met te de en dat op aan ook er maar bij door naar wordt",
    "Swedish": "och att det som är på en av för med den till inte har ett om var kan eller",
    "Polish": "w się nie jest że z jak po ale od przez dla są czy tak oraz być przy",
    "Indonesian": "yang dan di untuk dengan dari ini itu pada adalah tidak dalam akan ke atau juga oleh dapat",
    "Vietnamese": "là của và có không cho được các một những trong với để này người khi đã từ",
    "Turkish": "ve bir bu için ile da çok daha olarak olan gibi kadar ama ne",
}
_WORDS = {name: frozenset(words.split()) for name, words in _STOP.items()}
_ABOUT = re.compile(
    r"translat|languages?\b|\b(?:english|french|german|spanish|italian|portuguese|dutch|swedish|polish|korean|japanese|chinese|"
    r"mandarin|russian|arabic|hindi|turkish|vietnamese|indonesian|latin|greek|hebrew|thai)\b|번역|영어|한국어|일본어|중국어|翻訳|翻译",
    re.I,
)


@lru_cache(maxsize=64)
def script_of(text: str) -> tuple[str, float, int]:
    """Return the script of most letters, its share of all letters, and how many letters there are."""
    text = mask_prose(text)
    if text.isascii():
        letters = sum(map(len, _WORD.findall(text)))
        return ("Latin", 1.0, letters) if letters else ("", 0.0, 0)
    counts = Counter({name: len(p.findall(text)) for name, p in _LETTERS.items()})
    if counts["Kana"] and counts["Kana"] + counts["Han"] >= counts["Hangul"]:
        counts["Kana"] += counts.pop("Han")
    total = sum(counts.values())
    name, most = max(counts.items(), key=lambda item: item[1])
    return (name, most / total, total) if total else ("", 0.0, 0)


@lru_cache(maxsize=64)
def tongue_of(text: str) -> tuple[str, int, int]:
    """Return the language of a text in Latin letters, how many of its words speak for it, and how many for English."""
    said = [w.lower() for w in _WORD.findall(mask_prose(text))]
    ours = sum(w in _WORDS["English"] for w in said)
    if not said or ours >= 0.25 * len(said):
        return ("English" if said else ""), ours, ours
    hits = {name: sum(w in words for w in said) for name, words in _WORDS.items()}
    name, most = max(hits.items(), key=lambda item: item[1])
    distinct = len(_WORDS[name].intersection(said))
    return (name if most >= 0.12 * len(said) and distinct >= 4 else ""), most, ours


def _plainly_english(text: str) -> bool:
    """Return whether a quarter of all words, code and links included, are English function words: the quick way out."""
    said = words(text)
    return len([w for w in said if w in _WORDS["English"]]) >= 0.25 * len(said) > 0


@dataclass(frozen=True)
class Language:
    """Tag answers in the wrong script or, among Latin letters, in the wrong language."""

    min_letters: int = 20
    """Fewer letters than these are not judged."""
    min_words: int = 20
    """Fewer words than these are not judged within Latin letters."""
    share: float = 0.6
    """Share of its letters that a script needs to be an answer's script."""

    def __post_init__(self) -> None:
        """Refuse settings that make no sense."""
        require(whole(self.min_letters, 1), "language", "min_letters", self.min_letters, "a whole number from 1")
        require(whole(self.min_words, 1), "language", "min_words", self.min_words, "a whole number from 1")
        require(number(self.share) and 0.5 <= self.share <= 1, "language", "share", self.share, "a share from 0.5 to 1")

    def __call__(self, row: Row) -> Iterable[Tag]:
        """Yield at most one tag; the whole answer is meant."""
        if silent(row):
            return
        models = row.example.target or (asked(row),)
        if _plainly_english(row.response.text) and all(map(_plainly_english, models)):
            return
        yield from self._judged(row, models)

    def _judged(self, row: Row, models: tuple[str, ...]) -> Iterable[Tag]:
        asked_for = "the reference" if row.example.target else "the question"
        if not row.example.target and _ABOUT.search(models[0][:20_000]):
            return
        text = " ".join(p.text[:10_000] for p in pieces(row.response.text))
        script, share, letters = script_of(text)
        if letters < self.min_letters or share < self.share:
            return
        wanted = [script_of(m[:20_000]) for m in models]
        if any(not n or (n, s) == (script, s) or s < 0.8 for n, s, _ in wanted):
            if script == "Latin":
                yield from self._latin(text, models, asked_for)
            return
        why = f"{percent(share)} of {letters} letters are {script}, {asked_for} is {wanted[0][0]}"
        yield Tag("language", "major", why, None, 0.95)

    def _latin(self, text: str, models: Iterable[str], asked_for: str) -> Iterable[Tag]:
        mine, hits, _ = tongue_of(text)
        words = len(_WORD.findall(text))
        if not mine or words < self.min_words:
            return
        theirs = [tongue_of(m[:20_000]) for m in models]
        if all(name and name != mine and count >= 3 and hits >= 2 * _count(text, name) for name, count, _ in theirs):
            why = f"{hits} of {words} words are function words of {mine}, {asked_for} is {theirs[0][0]}"
            yield Tag("language", "major", why, None, 0.85)


def _count(text: str, name: str) -> int:
    return sum(w.lower() in _WORDS[name] for w in _WORD.findall(text))
