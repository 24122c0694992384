"""The plan of the tree scorer: which pair stands in which row of which forward pass. Pure: no torch, no model.

Paths that share a long beginning get a trunk, computed once and kept; trunks nest. What hangs on a trunk is packed into
lines of like width, several lines a pass, because attention within a line is quadratic. The plan follows from the pairs
and the budget alone, never from what has been answered.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from evalkit.backends.rows import Item, Pair, shared, tree_size

SHORTEST_TRUNK = 64
"""Tokens below which a common beginning is repeated in every line rather than cached."""
LONE_TRUNK = 512
"""Tokens from which a beginning that only one group uses is still computed apart, causally, without a mask."""
NARROWEST = 128
"""Width in tokens up to which small groups are put side by side in one line."""
STEP, WIDEST = 16, 320
"""Widths in tokens that are tried for a pass: steps, and where to end."""
SQUARE = 1600
"""Width in tokens at which attention within a line takes as long as the rest (measured, 135M, 2 cores)."""
REACH = 8
"""Budgets of tokens that all lines of a pass may see, trunk included: what bounds the cache."""


@dataclass(frozen=True)
class Batch:
    """Pairs that are answered together: the unit of journal and resume."""

    indices: tuple[int, ...]
    """Places of its pairs in the planned sequence."""
    pairs: tuple[Pair, ...]
    """The pairs themselves, in the same order."""
    trunk: tuple[tuple[int, ...], ...]
    """Segments of the cached path from the root, each computed on top of the one before."""
    blocks: tuple[tuple[tuple[int, ...], ...], ...]
    """Forward passes; each a tuple of lines; a line is places in `pairs`."""
    slots: int
    """Lines of the widest pass on this trunk."""
    width: int
    """Tokens of the longest line on this trunk."""


@dataclass(frozen=True)
class TreePlan:
    """All batches, in the order of execution."""

    budget: int
    """Tokens of one forward pass."""
    batches: tuple[Batch, ...]
    """The batches; each can be executed on its own."""

    @cached_property
    def digest(self) -> str:
        """Return the sha256 of everything that decides in which composition a pair is computed."""
        hasher = hashlib.sha256(str(self.budget).encode())
        for batch in self.batches:
            parts = [batch.indices, [(p.context, p.continuation) for p in batch.pairs], batch.trunk, batch.blocks]
            hasher.update(json.dumps([*parts, batch.slots, batch.width]).encode())
        return hasher.hexdigest()


def plan_pairs(
    pairs: Sequence[tuple[Sequence[int], Sequence[int]]], budget: int, groups: Sequence[object] | None = None
) -> TreePlan:
    """Plan (context, continuation) pairs; pairs of one group, by default of one context, come in the same batch."""
    planned = [Pair(tuple(context), tuple(continuation)) for context, continuation in pairs]
    labels = [pair.context for pair in planned] if groups is None else groups
    members: dict[object, list[int]] = {}
    for index, label in enumerate(labels):
        members.setdefault(label, []).append(index)
    items = sorted((Item.of(places, planned) for places in members.values()), key=lambda item: item.paths)
    planner = _Planner(planned, budget)
    return TreePlan(budget, tuple(planner.grow(items, ())) if items else ())


@dataclass(frozen=True, slots=True)
class _Planner:
    """The pairs and the budget that every step needs."""

    pairs: list[Pair]
    budget: int

    def grow(self, items: list[Item], trunk: tuple[tuple[int, ...], ...]) -> Iterator[Batch]:
        """Yield the batches of items that stand on a trunk: those directly on it, then those on longer ones."""
        start = sum(map(len, trunk))
        leaves, trunks = self._families(items, start)
        yield from self._batches(leaves, trunk, start)
        for family, depth in trunks:
            segment = family[0].stem[start:depth]
            longer = (*trunk, segment) if segment else trunk
            if len(family) > 1:
                yield from self.grow(family, longer)
            else:
                yield self._lone(family[0], longer, depth)

    def _families(self, items: list[Item], start: int) -> tuple[list[Item], list[tuple[list[Item], int]]]:
        """Divide sorted items into those that go on the trunk and families worth a longer one, with its length."""
        leaves: list[Item] = []
        trunks: list[tuple[list[Item], int]] = []
        stack = [items]
        while stack:
            family = stack.pop()
            if len(family) == 1:
                (item,) = family
                alone = item.size - start > self.budget or len(item.stem) - start >= LONE_TRUNK
                (trunks.append((family, len(item.stem))) if alone else leaves.append(item))
                continue
            common = [shared(a.stem, b.stem) for a, b in pairwise(family)]
            depth = max(start, min(common))
            gain = depth - start
            if gain >= SHORTEST_TRUNK and 2 * gain * (len(family) - 1) >= self.budget:
                trunks.append((family, depth))
            elif self._one_line(family, start, depth):
                leaves.append(Item.of([place for item in family for place in item.places], self.pairs))
            else:
                stack += reversed(_divide(family, common, min(common)))
        return leaves, trunks

    def _one_line(self, family: list[Item], start: int, depth: int) -> bool:
        """Return whether items that share something long are best put side by side in one line."""
        worth = depth - start >= SHORTEST_TRUNK // 4
        return worth and tree_size([path for item in family for path in item.paths]) - start <= NARROWEST

    def _batches(self, items: list[Item], trunk: tuple[tuple[int, ...], ...], start: int) -> list[Batch]:
        """Return one batch per pass over items that stand on a trunk."""
        blocks = self._pack(items, start)
        return [self._batch(trunk, [block], *_shape(blocks, start)) for block in blocks]

    def _lone(self, item: Item, trunk: tuple[tuple[int, ...], ...], start: int) -> Batch:
        """Return the one batch of an item with a trunk of its own, cut into as many passes as it needs."""
        blocks = self._pack(list(item.split(self.pairs, start, self.budget)), start)
        return self._batch(trunk, blocks, *_shape(blocks, start))

    def _batch(
        self, trunk: tuple[tuple[int, ...], ...], blocks: list[list[list[Item]]], slots: int, width: int
    ) -> Batch:
        """Return a batch whose lines name places in its own pairs."""
        lines = [[[place for item in line for place in item.places] for line in block] for block in blocks]
        indices = sorted(place for block in lines for line in block for place in line)
        own = {place: number for number, place in enumerate(indices)}
        numbered = tuple(tuple(tuple(own[place] for place in line) for line in block) for block in lines)
        return Batch(tuple(indices), tuple(self.pairs[i] for i in indices), trunk, numbered, slots, width)

    def _pack(self, items: list[Item], start: int) -> list[list[list[Item]]]:
        """Pack items into passes, each of the width that costs least for the tokens it computes."""
        rest = sorted(items, key=lambda item: item.size)
        blocks: list[list[list[Item]]] = []
        while rest:
            least = rest[-1].size - start
            widths = [least, *range(-(-least // STEP) * STEP, WIDEST + 1, STEP)]
            tried = (self._block(list(rest), start, width) for width in widths)
            block = min(tried, key=lambda block: _cost(block, start))
            blocks.append(block)
            used = {id(item) for line in block for item in line}
            rest = [item for item in rest if id(item) not in used]
        return blocks

    def _block(self, rest: list[Item], start: int, width: int) -> list[list[Item]]:
        """Take from sorted items the lines of one pass: largest first, each filled up with what fits best."""
        count = max(1, min(self.budget // max(1, width), REACH * self.budget // (start + width)))
        block: list[list[Item]] = []
        while rest and len(block) < count:
            line, room = [], width
            while rest and (fit := bisect_right(rest, room + start, key=lambda item: item.size)):
                line.append(rest.pop(fit - 1))
                room -= line[-1].size - start
            block.append(line)
        return block


def _cost(block: list[list[Item]], start: int) -> float:
    """Return what a pass costs per token that it computes: its padding and its attention."""
    sizes = [sum(item.size - start for item in line) for line in block]
    return len(sizes) * max(sizes) / max(1, sum(sizes)) * (1 + max(sizes) / SQUARE)


def _divide(family: list[Item], common: list[int], least: int) -> list[list[Item]]:
    """Cut sorted items where neighbours share least; `common` is what each shares with the next."""
    cuts = [0, *(i + 1 for i, length in enumerate(common) if length == least), len(family)]
    return [family[a:b] for a, b in pairwise(cuts)]


def _shape(blocks: list[list[list[Item]]], start: int) -> tuple[int, int]:
    """Return the lines of the widest pass and the tokens of the longest line."""
    slots = max(len(block) for block in blocks) if blocks else 0
    return slots, max((sum(i.size - start for i in line) for block in blocks for line in block), default=0)
