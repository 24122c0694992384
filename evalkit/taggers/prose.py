"""Decide whether a doubtful word stands in English prose, where its spelling may be judged.

Code, names, other languages and text that came from a scanner are not judged: there a strange word is no misspelling.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from functools import lru_cache

from evalkit.taggers.lexicon import correction, frequencies, is_word
from evalkit.taggers.text import chunk_at, listed, mask_prose, sentence_at

RUN = re.compile(r"[^\W\d_]{4,40}|(?<![^\W\d_])(?:[Tt]eh|[Hh]te|[Aa]dn)(?![^\W\d_])")
"""A stretch of letters that is long enough to be judged, or one of three short words that are never right."""
_LETTERS = re.compile(r"[^\W\d_]+")
_CODE = re.compile(r"[\d_@\\=#~^|{}<>$%+]|::|\w\.\w|\w\(|^-|^/|/.*/|^\.")
_APOSTROPHE = re.compile(r"[^\W\d_]['’](?!s\b)[^\W\d_]|['’](?!s\b)[^\W\d_]$")
_CITED = re.compile(r"(?<!\w)[\"“”‘'][^\W\d_]+[,.]?[\"“”’']|in['’](?!\w)")
_SCAN = re.compile(
    r"[^\W\d_][?\\|~^;!][^\W\d_]|[^\W\d_]\)[^\W\d_]|[^\W\d_]\(['’\[\\]|[^\W\d_][!?,]-|(?<!\S)[?!~][a-z]|[a-z]\(:"
    r"|(?<![\w@./-])[a-z]{2,}[A-Z](?!\w)|(?<!\w)[a-z][A-Z](?![\w-])"
)
_HYPHENED = re.compile(r"(?<![\w-])([a-z]{2,20})-([a-z]{2,20})(?![\w-])")
_PREFIX = listed(
    "anti auto bi co counter cross de dis extra hyper in inter intra macro meta micro mid mini mis mono multi "
    "neo non off out over poly post pre pro pseudo quasi re self semi sub super trans tri ultra un under uni up "
    "vice well"
)
_ENGLISH = listed(
    "the of and to in a is that for it as was with be by on not he his but at are this have from or had an they "
    "which one you were all her she there would their we him been has when who will no more if out so up into "
    "them can only other its then two may these some could than our any do does how what where why your i my me "
    "us also such using don t s"
)
_FOREIGN = listed(
    "le la les des et un une est dans pour que qui sur avec pas au du ne se il elle der die das und ist nicht "
    "ein eine mit von den dem zu auf für im sich auch als wie el los las una por con para del es en y lo su al e "
    "che di per sono della nel os um uma não em na com het een van niet voor zijn met te och att det som är på "
    "ich sie wir nous vous je mi si più gli sin más pero como este esta"
) - {"met", "van", "die", "y", "e", "os", "per", "com"}


@lru_cache(maxsize=4096)
def english(sentence: str) -> bool:
    """Return whether a sentence reads as English, by function words of it and of other languages."""
    said = [w.lower() for w in _LETTERS.findall(sentence)]
    ours = sum(w in _ENGLISH for w in said)
    theirs = sum(w in _FOREIGN and w not in _ENGLISH for w in said)
    if theirs > ours and theirs >= 2:
        return False
    strange = sum(not w.isascii() for w in said)
    return (ours >= 0.1 * len(said) or len(said) < 8) and strange <= 0.3 * len(said)


@lru_cache(maxsize=4096)
def scanned(line: str) -> bool:
    """Return whether a line bears the marks of a scan: signs in words, words broken by hyphens ("experi-ments")."""
    return _SCAN.search(line) is not None or any(_broken(a, b) for a, b in _HYPHENED.findall(line))


def _broken(first: str, second: str) -> bool:
    counts = frequencies()
    if first + second not in counts or first in _PREFIX:
        return False
    return min(counts.get(first, 0), counts.get(second, 0)) < 4_000_000


@lru_cache(maxsize=4096)
def _strange_words(sentence: str) -> int:
    """Count the words in lower case of a sentence that are neither English nor near it."""
    said = {w for w in _LETTERS.findall(sentence) if len(w) >= 4 and w.islower() and w.isascii()}
    return sum(not is_word(w) and correction(w) is None for w in said)


def places(text: str, suspected: Collection[str], sure: Collection[str]) -> Iterator[tuple[int, int]]:
    """Yield where suspected words (in lower case) stand in prose; those in `sure` need less of their surroundings."""
    masked = mask_prose(text)
    for match in RUN.finditer(masked):
        word = match.group().lower()
        if word in suspected and _judged(masked, match.start(), match.end(), word in sure):
            yield match.span()


def _judged(text: str, start: int, end: int, sure: bool) -> bool:
    word = text[start:end]
    if not word[1:].islower():
        return False
    left, right = chunk_at(text, start, end)
    chunk = text[left:right].strip(".,;:!?()[]\"'“”‘’*…")
    chunk = chunk[1:-1] if chunk[:1] == chunk[-1:] == "_" else chunk
    around = text[max(0, start - 2) : end + 2]
    if text[end : end + 1] == "(" or _CODE.search(chunk):
        return False
    if _APOSTROPHE.search(around) or _CITED.search(around) or not _alone(chunk, word, sure):
        return False
    first, last = sentence_at(text, start)
    sentence = text[first:last]
    line = _line(text, start)
    if word[0].isupper() and not _no_name(word, sure, _opens(text, first, start), line):
        return False
    return english(sentence) and not scanned(line) and (sure or _strange_words(sentence) < 2)


def _line(text: str, at: int) -> str:
    low, high = max(0, at - 600), min(len(text), at + 600)
    first, last = text.rfind("\n", low, at), text.find("\n", at, high)
    return text[first + 1 if first >= 0 else low : last if last >= 0 else high]


def _no_name(word: str, sure: bool, opens: bool, line: str) -> bool:
    """Return whether a word with a capital is a word rather than a name."""
    meant = correction(word.lower()) or ""
    if sure:
        return len(word) >= 5 if opens else len(word) >= 8 and meant != ""
    common = len(word) >= 9 or frequencies().get(meant, 0) >= 20_000_000
    return common and (opens or (len(word) >= 7 and _title(line)))


def _title(line: str) -> bool:
    """Return whether a line is a heading, or has a capital at most of its longer words."""
    said = [w for w in _LETTERS.findall(line) if len(w) >= 4]
    return line.lstrip().startswith("#") or (len(said) >= 3 and sum(w[0].isupper() for w in said) > 0.8 * len(said))


def _opens(text: str, first: int, start: int) -> bool:
    """Return whether a capital stands at a sentence's beginning, not after an abbreviation or an initial."""
    if _LETTERS.search(text, first, start):
        return False
    before = text[max(0, first - 40) : first].rstrip(" \t")
    return (
        not before
        or before[-1] == "\n"
        or re.search(r"(?<!\w)[a-z]{2,}[\"'”’)\]]*[.!?…:][\"'”’)\]]*$", before) is not None
    )


def _alone(chunk: str, word: str, sure: bool) -> bool:
    """Return whether a word is more than a part of a word that hyphens break or join."""
    if "-" not in chunk:
        return True
    parts = [p for p in re.split(r"[^\w]+", chunk.lower()) if p]
    mine = parts.index(word.lower()) if word.lower() in parts else 0
    joined = ("".join(parts[a:b]) for a in range(mine + 1) for b in range(mine + 1, len(parts) + 1) if b - a > 1)
    if any(j in frequencies() or (not sure and is_word(j)) for j in joined if len(j) <= 40):
        return False
    return all(is_word(p) and len(p) > 1 for i, p in enumerate(parts) if i != mine)
