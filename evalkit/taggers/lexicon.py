"""Judge a word that no list of known misspellings holds: is it English, and if not, what was meant?

The dictionary is the frequency list that ships with symspellpy (82,765 words), read as text on first use, and
`terms.txt`, words of computing that it lacks. It knows nothing of sentences.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache, lru_cache
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType

from rapidfuzz import process
from rapidfuzz.distance import OSA

from evalkit.taggers.slips import FAIR, NONE, STRONG, slip
from evalkit.taggers.text import listed

_FREQUENCIES = "frequency_dictionary_en_82_765.txt"
_COMMON = 300_000  # occurrences in 1 T words from which a word may be what was meant by a likely slip
_FREQUENT = 2_500_000  # the same for a less likely slip
_HALF = 8_000_000  # the same for either half of a compound
_VERY_COMMON = 20_000_000  # the same for a correction two edits away

_WEIGHTS = {STRONG: 1.0, FAIR: 0.2, NONE: 0.02}

_PREFIXES = listed(
    "anti auto bi bio co counter cross crypto cyber de dis down electro geo hetero homo hyper in inter intra iso "
    "macro mega meta micro mid mini mis mono multi neuro non out over photo poly post pre pro pseudo quasi re "
    "self semi sub super tele thermo trans tri ultra un under uni up"
)
_SUFFIXES = (
    ("s", ("",)),
    ("es", ("", "e")),
    ("ies", ("y",)),
    ("ied", ("y",)),
    ("ier", ("y",)),
    ("iest", ("y",)),
    ("ily", ("y",)),
    ("iness", ("y",)),
    ("ed", ("", "e")),
    ("ing", ("", "e")),
    ("er", ("", "e")),
    ("ers", ("", "e")),
    ("or", ("", "e")),
    ("ors", ("", "e")),
    ("est", ("", "e")),
    ("ly", ("", "le")),
    ("ally", ("", "al")),
    ("ness", ("",)),
    ("less", ("",)),
    ("able", ("", "e")),
    ("ability", ("", "e", "able")),
    ("ible", ("", "e")),
    ("ise", ("", "e", "y")),
    ("ised", ("", "e", "y")),
    ("ises", ("", "e", "y")),
    ("ising", ("", "e", "y")),
    ("iser", ("", "e", "y")),
    ("ize", ("", "e", "y")),
    ("ized", ("", "e", "y")),
    ("izes", ("", "e", "y")),
    ("izing", ("", "e", "y")),
    ("izer", ("", "e", "y")),
    ("izers", ("", "e", "y")),
    ("isation", ("", "e", "y")),
    ("ization", ("", "e", "y")),
    ("izations", ("", "e", "y")),
    ("izable", ("", "e", "y")),
    ("ism", ("", "e", "y")),
    ("ist", ("", "e", "y")),
    ("ists", ("", "e", "y")),
    ("ity", ("", "e")),
    ("ities", ("", "e")),
    ("ic", ("", "e", "y")),
    ("ics", ("", "e", "y")),
    ("ical", ("", "y", "ic")),
    ("ation", ("", "e", "ate")),
    ("ations", ("", "e", "ate")),
    ("ion", ("", "e")),
    ("ions", ("", "e")),
    ("ive", ("", "e")),
    ("al", ("", "e")),
    ("ful", ("",)),
    ("ish", ("", "e")),
    ("like", ("",)),
    ("wise", ("",)),
    ("ward", ("",)),
    ("wards", ("",)),
    ("ship", ("",)),
    ("hood", ("",)),
    ("ian", ("", "y")),
)
_UK_US = (
    ("isation", "ization"),
    ("ise", "ize"),
    ("ising", "izing"),
    ("yse", "yze"),
    ("ysing", "yzing"),
    ("our", "or"),
    ("tre", "ter"),
    ("lled", "led"),
    ("lling", "ling"),
    ("ller", "ler"),
    ("ogue", "og"),
    ("aem", "em"),
    ("aes", "es"),
    ("oe", "e"),
    ("ae", "e"),
    ("ence", "ense"),
    ("pp", "p"),
    ("mme", "m"),
    ("dgement", "dgment"),
    ("lment", "llment"),
)
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_VOWELS = frozenset("aeiou")
_INFLECTED = ("ed", "ing", "ly", "ness")


@cache
def frequencies() -> Mapping[str, int]:
    """Return word -> occurrences; words of computing count as common. Empty where symspellpy is not installed."""
    spec = find_spec("symspellpy")
    counts: dict[str, int] = {}
    if spec is not None and spec.origin is not None:
        path = Path(spec.origin).with_name(_FREQUENCIES)
        if path.is_file():
            fields = path.read_text(encoding="utf-8-sig").split()
            counts = dict(zip(fields[::2], map(int, fields[1::2]), strict=False))
    for term in terms():
        counts.setdefault(term, _COMMON)
    return MappingProxyType(counts)


@cache
def _shelves() -> Mapping[tuple[str, int], Sequence[str]]:
    """Return (first letter, length) -> the common words, among which a correction is looked for."""
    shelves: dict[tuple[str, int], list[str]] = {}
    for word, count in frequencies().items():
        if count >= _COMMON and len(word) >= 3 and word.isalpha():
            shelves.setdefault((word[0], len(word)), []).append(word)
    return shelves


def _folded(word: str) -> Iterable[str]:
    """Yield the spellings of a word on the other side of the Atlantic."""
    for uk, us in _UK_US:
        if uk in word:
            yield word.replace(uk, us, 1)
        if us in word:
            yield word.replace(us, uk, 1)


def _plain(word: str) -> bool:
    counts = frequencies()
    return word in counts or any(other in counts for other in _folded(word))


def _stems(word: str) -> Iterable[str]:
    for suffix, endings in _SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= 3:
            stem = word[: -len(suffix)]
            doubled = stem + stem[-1] + suffix
            if doubled in frequencies() or (suffix[0] in _VOWELS and stem.endswith(_INFLECTED)):
                continue  # "programing", "fundeded"
            yield from (stem + ending for ending in endings)
            if len(stem) >= 4 and stem[-1] == stem[-2]:
                yield stem[:-1]


def _derived(word: str) -> bool:
    counts = frequencies()
    if any(counts.get(stem, 0) >= 200_000 or (len(stem) > 5 and stem in counts) for stem in _stems(word)):
        return True
    for prefix in _PREFIXES:
        rest = word[len(prefix) :]
        if word.startswith(prefix) and len(rest) >= 4:
            if counts.get(rest, 0) >= 200_000:
                return True
            if any(counts.get(stem, 0) >= 1_000_000 for stem in _stems(rest)):
                return True
    return False


def _compound(word: str) -> bool:
    counts = frequencies()
    for cut in range(3, len(word) - 2):
        rest = word[cut:]
        if counts.get(word[:cut], 0) >= _HALF and (
            counts.get(rest, 0) >= _HALF or (rest.endswith("s") and len(rest) > 4 and counts.get(rest[:-1], 0) >= _HALF)
        ):
            return True
    return False


@cache
def terms() -> frozenset[str]:
    """Return the words of `terms.txt`: right whatever a list of misspellings says."""
    return frozenset(files("evalkit.taggers").joinpath("terms.txt").read_text(encoding="utf-8").split())


@lru_cache(maxsize=100_000)
def is_word(word: str) -> bool:
    """Return whether a lower-case word is English: listed, spelled the other way, derived or put together."""
    return _plain(word) or _derived(word) or _compound(word)


@lru_cache(maxsize=100_000)
def correction(word: str) -> str | None:
    """Return the common word that an unknown word most likely stands for, or None where nothing is near enough."""
    counts = frequencies()
    for fixed in _at_once(word):
        if counts.get(fixed, 0) >= _COMMON and len(word) >= 6:
            return fixed
    limit = 1 if len(word) < 8 else 2
    best: tuple[float, float, str, int] = (99, 0, "", NONE)
    for length in range(len(word) - limit, len(word) + limit + 1):
        shelf = _shelves().get((word[0], length), ())
        for near, distance, _ in process.extract(word, shelf, scorer=OSA.distance, score_cutoff=limit, limit=None):
            if distance <= best[0]:
                likelihood = slip(word, near)
                best = min(best, (distance, -counts[near] * _WEIGHTS[likelihood], near, likelihood))
    _, _, near, likelihood = best
    return near if near and counts[near] >= _least(len(word), best[0], likelihood) else None


def _at_once(word: str) -> Iterable[str]:
    """Yield a word with its first letters swapped back, its first letter restored, or a doubled syllable taken out."""
    yield word[1] + word[0] + word[2:]
    if len(word) >= 8:
        yield from (letter + word for letter in _LETTERS)
    for at in range(1, len(word) - 3):
        if word[at : at + 2] == word[at + 2 : at + 4]:
            yield word[:at] + word[at + 2 :]


def _least(letters: int, distance: float, likelihood: int) -> float:
    """Return the occurrences that a word needs to be what was meant, by how it was missed."""
    if likelihood == NONE:
        return float("inf")
    if letters < 6 or (distance >= 2 and letters < 10):
        return _VERY_COMMON
    if distance >= 2 or (likelihood == FAIR and letters < 7):
        return _FREQUENT
    return _COMMON
