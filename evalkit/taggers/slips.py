"""Weigh how a word may have become another by a slip of the hand or of memory, against letters a scanner confuses.

Pure arithmetic on two words; it knows no dictionary.
"""

from __future__ import annotations

from itertools import pairwise

from rapidfuzz.distance import Levenshtein

_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_NEIGHBOURS = frozenset(
    frozenset(pair)
    for row, below in zip(_ROWS, (*_ROWS[1:], ""), strict=True)
    for pair in [
        *pairwise(row),
        *zip(row, below, strict=False),
        *zip(row[1:], below, strict=False),
    ]
)
_SOUNDS = frozenset(
    frozenset(pair)
    for pair in ("ae", "ei", "ai", "iy", "ao", "ou", "eu", "cs", "ck", "sz", "mn", "dt", "bp", "vw", "gj", "gk")
)
_LOOK_ALIKE = frozenset(
    frozenset(p) for p in ("ce", "eo", "co", "il", "lt", "it", "nu", "hb", "ft", "fs", "rt", "ij", "ao", "vy")
)
_VOWELS = frozenset("aeiouy")

STRONG, FAIR, NONE = 2, 1, 0


def slip(word: str, meant: str) -> int:
    """Return STRONG, FAIR or NONE: how likely `word` is a slip for `meant`, which is one or two edits away."""
    ops = _edits(meant, word)
    if len(ops) == 2 and _swapped(word, meant):
        return STRONG
    if not ops or len(ops) > 2:
        return _swap_and(word, meant)
    kinds = [_one(kind, meant, word, at, to) for kind, at, to in ops]
    if len(kinds) == 1:
        return kinds[0]
    strange = all(kind == "replace" and not _close(meant[at], word[to]) for kind, at, to in ops)
    return FAIR if all(kinds) and not strange else _swap_and(word, meant)


def _edits(meant: str, word: str) -> list[tuple[str, int, int]]:
    return [(op.tag, op.src_pos, op.dest_pos) for op in Levenshtein.editops(meant, word)]


def _swap_and(word: str, meant: str) -> int:
    """Weigh two letters swapped and one more edit: what the other edit weighs, but no more than FAIR."""
    for at in range(1, len(word) - 1):
        ops = _edits(meant, word[:at] + word[at + 1] + word[at] + word[at + 2 :])
        if len(ops) == 1:
            kind, of, to = ops[0]
            return min(FAIR, _one(kind, meant, word, of, to))
    return NONE


def _swapped(word: str, meant: str) -> bool:
    if len(word) != len(meant):
        return False
    odd = [i for i, (a, b) in enumerate(zip(word, meant, strict=True)) if a != b]
    return len(odd) == 2 and odd[1] == odd[0] + 1 and word[odd[0]] == meant[odd[1]] and word[odd[1]] == meant[odd[0]]


def _one(kind: str, meant: str, word: str, at: int, to: int) -> int:
    if kind == "insert":
        return _inserted(word, to)
    if kind == "delete":
        return _dropped(meant, at)
    return _replaced(meant, word, at, to)


def _inserted(word: str, to: int) -> int:
    letter = word[to]
    near = word[max(0, to - 2) : to] + word[to + 1 : to + 3]
    beside = word[max(0, to - 1) : to] + word[to + 1 : to + 2]
    if letter in near:
        return STRONG
    if any(frozenset((letter, other)) in _NEIGHBOURS for other in beside):
        return FAIR if to == len(word) - 1 else STRONG
    if to == len(word) - 1 and letter == "m":
        return FAIR  # the key beside the comma
    if letter in word[max(0, to - 3) : to] + word[to + 1 : to + 4]:
        return FAIR
    return FAIR if letter in _VOWELS and to < len(word) - 1 else NONE


def _dropped(meant: str, at: int) -> int:
    letter = meant[at]
    if letter in meant[max(0, at - 1) : at] + meant[at + 1 : at + 2]:
        return STRONG
    if at == len(meant) - 1:
        return NONE
    return STRONG if len(meant) >= 6 else FAIR


def _close(letter: str, other: str) -> bool:
    """Return whether two letters are neighbours on the keyboard or sound alike."""
    pair = frozenset((letter, other))
    return pair in _NEIGHBOURS or pair in _SOUNDS


def _replaced(meant: str, word: str, at: int, to: int) -> int:
    pair = frozenset((meant[at], word[to]))
    last = at == len(meant) - 1
    if pair in _NEIGHBOURS:
        return FAIR
    if last:
        return NONE
    return FAIR if pair in _SOUNDS or (len(meant) >= 8 and pair not in _LOOK_ALIKE) else NONE
