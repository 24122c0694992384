"""Token trees: what paths share, how many tokens a tree has, and how its paths are laid out in one line.

Pure: no torch, no model. A line is a sequence of tokens in which each sees its ancestors only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True, slots=True)
class Pair:
    """A continuation to be scored after a context, in tokens."""

    context: tuple[int, ...]
    """Tokens that are given; at least one."""
    continuation: tuple[int, ...]
    """Tokens whose log-probability is asked."""

    @property
    def path(self) -> tuple[int, ...]:
        """Return the tokens that must be computed: all but the last, which is only read."""
        return (self.context + self.continuation)[:-1]


@dataclass(frozen=True, slots=True)
class Item:
    """Pairs that stay together in one line."""

    places: tuple[int, ...]
    """Places of the pairs in the planned sequence."""
    paths: tuple[tuple[int, ...], ...]
    """Their different paths, sorted."""
    stem: tuple[int, ...]
    """The beginning that all of them share and where nothing is read: what may go into a trunk."""
    size: int
    """Tokens of their tree."""

    @classmethod
    def of(cls, places: Sequence[int], pairs: Sequence[Pair]) -> Item:
        """Return the item of some of the pairs."""
        paths = tuple(sorted({pairs[place].path for place in places}))
        unread = min(len(pairs[place].context) - 1 for place in places)
        stem = paths[0][: min(shared(paths[0], paths[-1]), unread)]
        return cls(tuple(places), paths, stem, tree_size(paths))

    def split(self, pairs: Sequence[Pair], start: int, budget: int) -> Iterator[Item]:
        """Yield items whose trees have at most `budget` tokens after the first `start`, where single paths allow it."""
        held: list[int] = []
        for place in sorted(self.places, key=lambda place: pairs[place].path):
            if held and tree_size([pairs[p].path for p in (*held, place)]) - start > budget:
                yield Item.of(held, pairs)
                held = []
            held.append(place)
        yield Item.of(held, pairs)


@dataclass(frozen=True, slots=True)
class Line:
    """One row of a forward pass."""

    tokens: list[int]
    """(T,) tokens, every ancestor before its descendants."""
    depths: list[int]
    """(T,) position of each token in its path."""
    parents: list[int]
    """(T,) column of each token's parent; -1: the trunk, or nothing."""
    reads: list[tuple[int, ...]]
    """Per pair, the columns at which its continuation's tokens are predicted."""


def shared(a: Sequence[int], b: Sequence[int]) -> int:
    """Return the length of the common beginning of two sequences."""
    if a[: len(b)] == b[: len(a)]:
        return min(len(a), len(b))
    return next(i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y)


def tree_size(paths: Sequence[tuple[int, ...]]) -> int:
    """Return how many tokens paths have together when what they share is counted once."""
    ordered = sorted(paths)
    repeated = sum(shared(a, b) for a, b in pairwise(ordered))
    return sum(map(len, ordered)) - repeated


def lay_out(pairs: Sequence[Pair], start: int) -> Line:
    """Lay the paths of pairs out in one line, without the first `start` tokens that stand in the trunk."""
    line = Line([], [], [], [])
    columns: dict[tuple[int, int], int] = {}
    for pair in pairs:
        column, visited = -1, []
        for depth, token in enumerate(pair.path[start:], start):
            found = columns.setdefault((column, token), len(line.tokens))
            if found == len(line.tokens):
                line.tokens.append(token)
                line.depths.append(depth)
                line.parents.append(column)
            column = found
            visited.append(column)
        line.reads.append(tuple(visited[len(visited) - len(pair.continuation) :]))
    return line
