"""Which rows make a step, and how a step is cut into forward passes. Pure; nothing here knows tensors.

A step is `batch_size` rows in a seeded order; the passes change memory and speed, never the result, because the loss
of a step is the sum over all its supervised tokens divided by their number.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

LOOKAHEAD = 16
"""Steps whose rows are sorted together where padding costs: like lengths then share a step."""


def epoch_order(lengths: Sequence[int], seed: int, epoch: int, *, group: int = 0) -> list[int]:
    """Return the rows of an epoch in training order, the same for the same seed and epoch.

    With `group` (rows a step) rows of like length share a step: within windows of 16 steps rows are sorted by length,
    and the steps are shuffled again.
    """
    draw = random.Random(f"{seed}/{epoch}")
    order = list(range(len(lengths)))
    draw.shuffle(order)
    if group < 1:
        return order
    steps: list[list[int]] = []
    window = group * LOOKAHEAD
    for start in range(0, len(order), window):
        part = sorted(order[start : start + window], key=lambda i: (lengths[i], i))
        steps += [part[i : i + group] for i in range(0, len(part), group)]
    whole = [step for step in steps if len(step) == group]
    draw.shuffle(whole)
    return [i for step in (*whole, *(s for s in steps if len(s) < group)) for i in step]


def passes(lengths: Sequence[int], budget: int, *, padded: bool) -> list[list[int]]:
    """Cut rows into forward passes of at most `budget` tokens, the longest first; a longer row stands alone.

    A padded pass costs its longest row times its rows, a packed one the sum of its rows.
    """
    found: list[list[int]] = []
    cost = 0
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        cost += lengths[found[-1][0]] if padded and found else lengths[index]
        if not found or cost > budget:
            found.append([])
            cost = lengths[index]
        found[-1].append(index)
    return found
