"""Score planned pairs on a token tree: what paths share is computed once, and every pass is packed full.

The plan stands in `forest`. Numbers must be the field's: on the first batch some pairs are scored the plain way too,
and a model whose numbers differ is scored the plain way from then on. Knows nothing of suites, texts or files.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from evalkit.backends import families
from evalkit.backends.forest import Batch
from evalkit.backends.kv import SlotCache
from evalkit.backends.plain import ChoiceScore, PlainScorer, Read, collect, read
from evalkit.backends.rows import Line, Pair, lay_out

TRUNK_CHUNK = 2048
"""Tokens of a trunk computed in one pass."""
CHECKED = 4
"""Pairs at most that are scored both ways on the first batch."""
BUDGETS = (512, 1024, 2048)
"""Candidates for the tokens of one forward pass."""
CACHED = 64 * 2**20
"""Bytes of weights that a processor's cache may hold: fewer layers would look faster than the model is."""
PATIENCE = 1.5
"""Seconds of measuring after which no larger pass is tried."""


class TreeScorer:
    """Scores the batches of a plan; `fallback` says why they are scored the plain way, or is None."""

    def __init__(self, model: Any, budget: int) -> None:
        self.model, self.budget = model, budget
        self.plain = PlainScorer(model, budget)
        self.fallback = families.block_reason(model)
        self.checked = False
        self.trunks: list[tuple[tuple[int, ...], SlotCache]] = []
        self.work: tuple[object, SlotCache | None] = (None, None)

    def score(self, batch: Batch) -> list[ChoiceScore]:
        """Return a score per pair of a batch, in the batch's order, the same whatever was scored before."""
        if not self.fallback and not self.checked:
            self.checked = True
            scores = self._check(batch)
            if not self.fallback:
                return scores
        return self.plain.score(batch.pairs) if self.fallback else self._score(batch)

    def _check(self, batch: Batch) -> list[ChoiceScore]:
        """Return a batch's scores; score a few pairs the plain way too and say in `fallback` if the tree fails."""
        few = sorted(range(len(batch.pairs)), key=lambda i: (len(batch.pairs[i].path), i))[:CHECKED]
        while len(few) > 1 and sum(len(batch.pairs[i].path) for i in few) > self.budget:
            few.pop()
        try:
            ours = self._score(batch)
        except (TypeError, ValueError, RuntimeError, AttributeError, IndexError, KeyError) as error:
            self.fallback = f"tree fails: {type(error).__name__}: {error}".splitlines()[0]
            return []
        theirs = self.plain.score([batch.pairs[i] for i in few])
        worst = max((abs(ours[i].logprob - want.logprob) for i, want in zip(few, theirs, strict=True)), default=0.0)
        if worst > families.tolerance(self.model):
            self.fallback = f"tree differs from the plain forward pass by {worst:.1e} nats"
        return ours

    @torch.inference_mode()
    def _score(self, batch: Batch) -> list[ChoiceScore]:
        """Score a batch on its trunk, pass by pass."""
        start = sum(map(len, batch.trunk))
        scores: dict[int, ChoiceScore] = {}
        for block in batch.blocks:
            lines = [lay_out([batch.pairs[place] for place in line], start) for line in block]
            width = max(len(line.tokens) for line in lines)
            cache = self._cache(batch, start) if start or len(lines) * width > self.budget else None
            found = self._pass(block, lines, batch.pairs, start, cache)
            places = [place for line in block for place in line]
            scores.update(zip(places, collect([batch.pairs[place] for place in places], found), strict=True))
        self._mend(batch.pairs, scores)
        return [scores[place] for place in range(len(batch.pairs))]

    def _mend(self, pairs: Sequence[Pair], scores: dict[int, ChoiceScore]) -> None:
        """Score pairs that came out NaN the plain way: in a line, one path's NaN spreads to its neighbours."""
        spoilt = [place for place, score in scores.items() if score.logprob != score.logprob]
        if spoilt:
            self.trunks, self.work = [], (None, None)
            scores.update(zip(spoilt, self.plain.score([pairs[place] for place in spoilt]), strict=True))

    def _pass(
        self,
        block: Sequence[Sequence[int]],
        lines: list[Line],
        pairs: Sequence[Pair],
        start: int,
        cache: SlotCache | None,
    ) -> list[tuple[float, bool]]:
        """Run a block's lines, in chunks of columns where they exceed the budget; return its reads in order."""
        width = max(len(line.tokens) for line in lines)
        ids, positions = _padded(lines, width)
        sight = _sight(lines, width)
        reads: list[Read] = [
            (row, column, token)
            for row, (places, line) in enumerate(zip(block, lines, strict=True))
            for place, columns in zip(places, line.reads, strict=True)
            for column, token in zip(columns, pairs[place].continuation, strict=True)
        ]
        found: dict[int, tuple[float, bool]] = {}
        chunk = width if cache is None else max(1, self.budget // len(lines))
        for begin in range(0, width, chunk):
            end = min(begin + chunk, width)
            inputs = self._inputs(ids[:, begin:end], positions[:, begin:end], sight[:, begin:end, :end], start, cache)
            if cache is not None:
                cache.aim(slice(0, len(lines)), stop=start + end, start=start + begin)
            own = [number for number, (_, column, _) in enumerate(reads) if begin <= column < end]
            here = [(reads[n][0], reads[n][1] - begin, reads[n][2]) for n in own]
            found.update(zip(own, read(self.model, inputs, here), strict=True))
        return [found[number] for number in range(len(reads))]

    def _inputs(
        self, ids: Tensor, positions: Tensor, sight: Tensor, start: int, cache: SlotCache | None
    ) -> dict[str, Any]:
        """Return a pass's arguments: ids, positions (B, T), and what each sees of its line (B, T, L) as a mask."""
        rows, count, length = sight.shape
        device, dtype = self.model.device, self.model.dtype
        mask = torch.zeros(rows, 1, count, start + length, dtype=dtype, device=device)
        mask[..., start:].masked_fill_(~sight[:, None].to(device), torch.finfo(dtype).min)
        return {
            "input_ids": ids.to(device),
            "position_ids": positions.to(device),
            "attention_mask": mask,
            "past_key_values": cache,
            "use_cache": cache is not None,
        }

    def _cache(self, batch: Batch, start: int) -> SlotCache:
        """Return a cache for a batch's lines whose slots all begin with the batch's trunk."""
        key = (batch.trunk, batch.slots, batch.width)
        if self.work[0] != key or self.work[1] is None:
            self.work = (None, None)
            cache = SlotCache(batch.slots, start + batch.width)
            if start:
                cache.adopt(self._trunk(batch.trunk), start)
            self.work = (key, cache)
        assert self.work[1] is not None
        return self.work[1]

    def _trunk(self, segments: tuple[tuple[int, ...], ...]) -> SlotCache:
        """Return the cache of a trunk; what earlier trunks have in common with it is kept, the rest dropped."""
        while [held for held, _ in self.trunks] != list(segments[: len(self.trunks)]):
            self.trunks.pop()
        for segment in segments[len(self.trunks) :]:
            before = sum(len(held) for held, _ in self.trunks)
            cache = SlotCache(1, before + len(segment))
            if before:
                cache.adopt(self.trunks[-1][1], before)
            self._extend(cache, segment, before)
            self.trunks.append((segment, cache))
        return self.trunks[-1][1]

    def _extend(self, cache: SlotCache, segment: tuple[int, ...], before: int) -> None:
        """Compute a trunk's segment after the `before` tokens that its cache holds."""
        for begin in range(0, len(segment), TRUNK_CHUNK):
            part = segment[begin : begin + TRUNK_CHUNK]
            first, last = before + begin, before + begin + len(part)
            ids, positions = torch.tensor([part]), torch.arange(first, last)[None]
            cache.aim(slice(0, 1), stop=last, start=first)
            sight = torch.ones(1, len(part), len(part), dtype=torch.bool).tril()
            inputs = self._inputs(ids, positions, sight, first, cache)
            if not first:
                inputs["attention_mask"] = None
            self.model(**inputs, logits_to_keep=1)


def _padded(lines: list[Line], width: int) -> tuple[Tensor, Tensor]:
    """Return ids and positions (B, T) of lines, padded with 0."""
    ids = [line.tokens + [0] * (width - len(line.tokens)) for line in lines]
    depths = [line.depths + [0] * (width - len(line.depths)) for line in lines]
    return torch.tensor(ids), torch.tensor(depths)


def _sight(lines: list[Line], width: int) -> Tensor:
    """Return which tokens of its line each token sees, (B, T, T) bool: its ancestors and itself."""
    sight = torch.eye(width, dtype=torch.bool).repeat(len(lines), 1, 1)
    table = sight.numpy()
    for row, line in enumerate(lines):
        for column, parent in enumerate(line.parents):
            if parent >= 0:
                table[row, column] |= table[row, parent]
    return sight


def measure_budget(model: Any) -> int:
    """Return the fewest tokens a pass at which a model's first layers run within 3 % of their best speed.

    As many layers are timed as a processor's cache cannot hold, the candidates in turn, the better of two rounds;
    larger passes are left out once `PATIENCE` is over.
    """
    stack = max((m for m in model.modules() if isinstance(m, torch.nn.ModuleList)), key=len, default=None)
    layers = 1 + CACHED // max(1, sum(p.nbytes for p in stack[0].parameters())) if stack else 0
    if families.block_reason(model) or stack is None or len(stack) <= layers:
        return BUDGETS[1]
    speeds: dict[int, float] = {}
    begin = time.perf_counter()
    for budget in BUDGETS * 2:
        if not speeds or time.perf_counter() - begin < PATIENCE:
            speeds[budget] = max(speeds.get(budget, 0.0), _speed(model, stack[layers], budget))
    return min(budget for budget, speed in speeds.items() if speed >= 0.97 * max(speeds.values()))


class _Enough(Exception):
    """Raised to end a forward pass before the layer it is hooked to."""


def _speed(model: Any, layer: torch.nn.Module, budget: int) -> float:
    """Return the tokens per second of a pass of `budget` tokens, in lines of 128, up to a layer."""

    def stop(*_: object) -> None:
        raise _Enough

    ids = torch.zeros(budget // 128, 128, dtype=torch.long, device=model.device)
    handle = layer.register_forward_pre_hook(stop)
    begin = time.perf_counter()
    try:
        with contextlib.suppress(_Enough), torch.inference_mode():
            model(input_ids=ids, use_cache=False)
    finally:
        handle.remove()
    return budget / (time.perf_counter() - begin)
