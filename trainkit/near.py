"""Near duplicates between two sets of texts, exactly and without comparing every pair. Pure.

Two sets of shingles with a Jaccard similarity of t share one of their rarest `|s| - ceil(t |s|) + 1` shingles (prefix
filtering; Chaudhuri et al. 2006), so that only texts which meet there are compared.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

NEAR = 0.8
"""Jaccard similarity from which two texts are near duplicates."""
WIDTH = 4
"""Characters of a shingle."""
_FIGURE = re.compile(r"\d+(?:[.,]\d+)*|(?<![^\W\d_])[-−+*/×÷^<>=](?=\s*\d)")


def near_pairs(left: Mapping[str, str], right: Mapping[str, str], near: float = NEAR) -> list[tuple[str, str, float]]:
    """Return (name in left, name in right, similarity) of every near duplicate, the most similar first."""
    ours, theirs = ({name: shingles(text) for name, text in side.items()} for side in (left, right))
    rarity = Counter(s for found in (*ours.values(), *theirs.values()) for s in found)
    index: Index = defaultdict(list)
    for name, found in theirs.items():
        _add(index, name, _prefix(found, rarity, near))
    pairs = [
        (name, other, similarity)
        for name, found in ours.items()
        for other, similarity in _alike(found, _prefix(found, rarity, near), index, theirs, near)
    ]
    return sorted(pairs, key=lambda pair: (-pair[2], pair[0], pair[1]))


def near_within(texts: Mapping[str, str], near: float = NEAR) -> list[tuple[str, str, float]]:
    """Return (earlier name, later name, similarity) of the near duplicates in one set, the most similar first."""
    sets = {name: shingles(text) for name, text in texts.items()}
    rarity = Counter(s for found in sets.values() for s in found)
    index: Index = defaultdict(list)
    pairs = []
    for name, found in sets.items():
        prefix = _prefix(found, rarity, near)
        pairs += [(other, name, similarity) for other, similarity in _alike(found, prefix, index, sets, near)]
        _add(index, name, prefix)
    return sorted(pairs, key=lambda pair: (-pair[2], pair[0], pair[1]))


Index = dict[str, list[tuple[str, int]]]
"""Shingle -> (text that has it among its rarest, its place there)."""


def _add(index: Index, name: str, prefix: Sequence[str]) -> None:
    for place, shingle in enumerate(prefix):
        index[shingle].append((name, place))


def _alike(
    found: frozenset[str], prefix: Sequence[str], index: Index, sets: Mapping[str, frozenset[str]], near: float
) -> Iterator[tuple[str, float]]:
    """Yield (name, similarity) of the indexed sets that are near one.

    Where two sets first meet bounds what they can still share (positional filtering; Xiao et al. 2008): most meet too
    late to be near, and are not compared.
    """
    size, met = len(found), set[str]()
    for place, shingle in enumerate(prefix):
        for name, there in index.get(shingle, ()):
            if name in met:
                continue
            met.add(name)
            other = sets[name]
            least = near / (1 + near) * (size + len(other)) - 1e-9
            if min(size - place, len(other) - there) < least:
                continue
            shared = len(found & other)
            if shared >= least:
                yield name, shared / (size + len(other) - shared)


def shingles(text: str) -> frozenset[str]:
    """Return the character shingles of a text, in lower case and without punctuation."""
    bare = " ".join(re.findall(r"\w+", text.lower()))
    return frozenset(bare[i : i + WIDTH] for i in range(max(1, len(bare) - WIDTH + 1)))


def figures(text: str) -> list[str]:
    """Return the numbers of a text and the signs before them, sorted: shingles hardly tell one number from another."""
    return sorted(_FIGURE.findall(text))


def _prefix(found: frozenset[str], rarity: Mapping[str, int], near: float) -> Sequence[str]:
    count = len(found) - math.ceil(near * len(found)) + 1
    return sorted(found, key=lambda s: (rarity[s], s))[:count]
