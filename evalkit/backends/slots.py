"""Continuous batching: rows sit in slots, leave when they end, and waiting rows take their place.

A row's columns are [shared prefix | gap | own prompt | answer]; the gap, masked, lets a block of prompts of unequal
length be prefilled at once. Rows that are active fill the slots [0, n), so every pass works on views. Knows nothing of
where prompts come from or what answers are for. The schedule depends on the rows alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from evalkit.backends.draw import TextOf, cut_at_stop, draw, penalize
from evalkit.backends.kv import SlotCache
from evalkit.backends.lean import LeanStep
from evalkit.backends.linears import Swap, swapped
from evalkit.types import Finish, Sampling


@dataclass(slots=True)
class Row:
    """One prompt on its way to an answer."""

    index: int
    """Place of the prompt in the call."""
    prompt: Sequence[int]
    """Tokens to continue; at least one."""
    sampling: Sampling
    """How to draw."""
    budget: int
    """Tokens that may be generated; at least one."""
    generator: torch.Generator | None = None
    """Source of the draws; None: greedy."""
    gap: int = 0
    """Unused columns between the shared prefix and the row's own tokens."""
    tokens: list[int] = field(default_factory=list)
    """Tokens generated so far."""
    text: str = ""
    """The answer, once it has ended."""
    finish: Finish | None = None
    """Why it ended; None while it runs."""

    @property
    def position(self) -> int:
        """Return the position of the newest token."""
        return len(self.prompt) + len(self.tokens) - 1

    @property
    def size(self) -> int:
        """Return the columns it may need, in tokens."""
        return len(self.prompt) + self.budget

    def take(self, token: int, eos: frozenset[int], text_of: TextOf) -> None:
        """Append a token, or end the row: end token, stop text, budget."""
        cut = None
        if token in eos:
            self.finish = "stop"
        else:
            self.tokens.append(token)
            cut = cut_at_stop(self.tokens, self.sampling.stop, text_of) if self.sampling.stop else None
            if cut is not None:
                self.finish = "stop"
            elif len(self.tokens) >= self.budget:
                self.finish = "length"
        if self.finish is not None:
            self.tokens, self.text = cut or (self.tokens, text_of(self.tokens))


@dataclass(frozen=True, slots=True)
class Engine:
    """A model and how it is called."""

    model: Any
    """A causal language model of transformers."""
    eos: frozenset[int]
    """Tokens that end an answer."""
    penalty: float = 1.0
    """Repetition penalty of the model's generation config."""
    prefill_tokens: int = 1024
    """Prompt tokens in one forward pass."""
    narrow: Swap = ()
    """Faster forwards of its linear layers for few tokens."""
    lean: LeanStep | None = None
    """A faster forward pass of one token a row, where the model has one."""

    def forward(self, ids: Tensor, positions: Tensor, allowed: Tensor, cache: SlotCache) -> Tensor:
        """Return the last position's logits (B, V), float32, for ids and positions (B, T) and a mask (B, 1, T, L)."""
        with torch.inference_mode(), swapped(self.narrow):
            out = self.model(
                input_ids=ids,
                position_ids=positions,
                attention_mask=_additive(allowed, self.model.dtype),
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
        logits: Tensor = out.logits[:, -1].float()
        return logits

    def step(self, ids: Tensor, positions: Tensor, allowed: Tensor, cache: SlotCache) -> Tensor:
        """Return `forward`'s logits (B, V) for one token a row, ids and positions (B, 1), allowed (B, L)."""
        if self.lean is None:
            return self.forward(ids, positions, allowed[:, None, None], cache)
        with torch.inference_mode():
            return self.lean(ids, positions, _additive(allowed[:, None], self.model.dtype), cache)

    def choose(self, row: Row, logits: Tensor, best: int) -> int:
        """Return the row's next token from logits (V,) whose largest is at `best`."""
        if self.penalty != 1.0:
            logits = penalize(logits, [*row.prompt, *row.tokens], self.penalty)
            best = int(logits.argmax())
        if row.generator is None:
            return best
        return draw(logits, row.sampling, row.generator)


class SlotBatch:
    """Rows and the slots they share."""

    def __init__(self, engine: Engine, rows: Sequence[Row], slots: int) -> None:
        self.engine, self.slots = engine, slots
        self.waiting, self.active = deque(rows), list[Row]()
        self.shared = _shared([row.prompt for row in rows])
        capacity = max(len(row.prompt) for row in rows) + max(row.budget for row in rows)
        self.cache = SlotCache(slots, capacity)
        self.generated = 0

    def run(self, text_of: TextOf) -> Iterator[list[Row]]:
        """Yield after each forward pass the rows that ended with it, often none."""
        self.start()
        few = max(1, self.slots // 16)
        while self.waiting or self.active:
            free = self.slots - len(self.active)
            if self.waiting and (free >= min(few, len(self.waiting)) or not self.active):
                fresh = self._block(free)
                self._accept(fresh, self.admit(fresh), text_of)
            else:
                self._accept(self.active, self.step(), text_of)
            yield self._retire()

    def start(self) -> None:
        """Compute the shared prefix once and copy it into every slot."""
        if self.shared:
            self._prefill([self.waiting[0]], 0, self.shared)
            self.cache.share(self.shared)

    def _block(self, free: int) -> list[Row]:
        """Take waiting rows that fit the free slots and one forward pass, at least one."""
        width = max(len(self.waiting[0].prompt) - self.shared, 1)
        count = max(1, min(free, self.engine.prefill_tokens // width, len(self.waiting)))
        return [self.waiting.popleft() for _ in range(count)]

    def admit(self, rows: list[Row]) -> Tensor:
        """Put rows into the next slots and compute their prompts; return each one's next logits (B, V)."""
        longest = max(len(row.prompt) for row in rows)
        for row in rows:
            row.gap = longest - len(row.prompt)
        logits = self._prefill(rows, self.shared, longest)
        self.active += rows
        return logits

    def _prefill(self, rows: list[Row], start: int, stop: int) -> Tensor:
        """Compute columns [start, stop) of rows in the slots after the active ones; return the last logits (B, V)."""
        device = self.engine.model.device
        ids = torch.tensor([[*[0] * row.gap, *row.prompt[start : stop - row.gap]] for row in rows], device=device)
        gaps = torch.tensor([row.gap for row in rows], device=device)[:, None, None, None]
        columns = torch.arange(stop, device=device)
        chunk = max(1, self.engine.prefill_tokens // len(rows))
        slots = slice(len(self.active), len(self.active) + len(rows))
        for begin in range(start, stop, chunk):
            end = min(begin + chunk, stop)
            query, keys = columns[begin:end, None], columns[:end]
            allowed = (keys <= query) & ((keys < start) | (keys >= start + gaps)) | (keys == query)
            positions = (columns[begin:end] - gaps[:, 0, 0]).clamp(min=0)
            self.cache.aim(slots, stop=end, start=begin)
            logits = self.engine.forward(ids[:, begin - start : end - start], positions, allowed, self.cache)
        return logits

    def step(self) -> Tensor:
        """Compute the newest token of every active row; return the next logits (B, V)."""
        device, rows = self.engine.model.device, self.active
        ids = torch.tensor([[row.tokens[-1]] for row in rows], device=device)
        positions = torch.tensor([[row.position] for row in rows], device=device)
        gaps = torch.tensor([[row.gap] for row in rows], device=device)
        columns = positions + gaps
        stop = max(row.position + row.gap for row in rows) + 1
        keys = torch.arange(stop, device=device)
        allowed = (keys <= columns) & ((keys < self.shared) | (keys >= self.shared + gaps))
        self.cache.aim(slice(0, len(rows)), stop=stop, columns=columns[:, 0])
        return self.engine.step(ids, positions, allowed, self.cache)

    def _accept(self, rows: list[Row], logits: Tensor, text_of: TextOf) -> None:
        """Give each row its next token from logits (B, V); a NaN among them, seen in the maximum, ends its row only."""
        values, best = (found.tolist() for found in logits.max(-1))
        if self.engine.penalty != 1.0 or any(row.generator for row in rows):
            logits = logits.contiguous()  # a lean step's lie in columns
        for row, scores, value, token in zip(rows, logits, values, best, strict=True):
            if value != value:
                row.finish = "error"
                continue
            before = len(row.tokens)
            row.take(self.engine.choose(row, scores, token), self.engine.eos, text_of)
            self.generated += max(len(row.tokens) - before, 0)

    def _retire(self) -> list[Row]:
        """Take out the rows that ended; the last active row moves into a slot that falls free."""
        ended = [row for row in self.active if row.finish is not None]
        for row in ended:
            slot, last = self.active.index(row), len(self.active) - 1
            if row.finish == "error":
                self.cache.clear(slot, self.shared)
            if slot != last:
                self.cache.move(last, slot, self.active[last].position + self.active[last].gap + 1)
                self.active[slot] = self.active[last]
            self.active.pop()
        return ended


def _additive(allowed: Tensor, dtype: torch.dtype) -> Tensor:
    """Return what is added to attention scores: 0 where a column may be read, the least number elsewhere."""
    return torch.zeros(allowed.shape, dtype=dtype, device=allowed.device).masked_fill_(~allowed, torch.finfo(dtype).min)


def _shared(prompts: Sequence[Sequence[int]]) -> int:
    """Return the length of the common prefix of several prompts that leaves each at least one token of its own."""
    if len(prompts) == 1:
        return 0
    first, last = min(map(list, prompts)), max(map(list, prompts))
    longest = min(map(len, prompts)) - 1
    return next((i for i in range(longest) if first[i] != last[i]), longest)
