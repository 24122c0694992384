"""Near duplicates between two sets of texts, exactly and without comparing every pair. Pure.

Two sets of shingles with a Jaccard similarity of t share one of their rarest `|s| - ceil(t |s|) + 1` shingles (prefix
filtering; Chaudhuri et al. 2006), so that only texts which meet there are compared.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

NEAR = 0.8
"""Jaccard similarity from which two texts are near duplicates."""
WIDTH = 4
"""Characters of a shingle."""


def near_pairs(left: Mapping[str, str], right: Mapping[str, str], near: float = NEAR) -> list[tuple[str, str, float]]:
    """Return (name in left, name in right, similarity) of every near duplicate, the most similar first."""
    ours = {name: shingles(text) for name, text in left.items()}
    theirs = {name: shingles(text) for name, text in right.items()}
    rarity = Counter(s for found in (*ours.values(), *theirs.values()) for s in found)
    index: dict[str, list[str]] = defaultdict(list)
    for name, found in theirs.items():
        for shingle in _prefix(found, rarity, near):
            index[shingle].append(name)
    pairs = []
    for name, found in ours.items():
        for other in {n for shingle in _prefix(found, rarity, near) for n in index.get(shingle, ())}:
            similarity = len(found & theirs[other]) / len(found | theirs[other])
            if similarity >= near:
                pairs.append((name, other, similarity))
    return sorted(pairs, key=lambda pair: (-pair[2], pair[0], pair[1]))


def shingles(text: str) -> frozenset[str]:
    """Return the character shingles of a text, in lower case and without punctuation."""
    bare = " ".join(re.findall(r"\w+", text.lower()))
    return frozenset(bare[i : i + WIDTH] for i in range(max(1, len(bare) - WIDTH + 1)))


def _prefix(found: frozenset[str], rarity: Mapping[str, int], near: float) -> Sequence[str]:
    count = len(found) - math.ceil(near * len(found)) + 1
    return sorted(found, key=lambda s: (rarity[s], s))[:count]
