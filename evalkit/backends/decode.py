"""Generate answers: prompts in tokens go in, answers come out as each one ends.

Models that take slots are decoded with continuous batching (`slots`), others one prompt at a time by `model.generate`.
Knows nothing of suites, chat templates, files or the command line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from evalkit.backends import families
from evalkit.backends.draw import TextOf
from evalkit.backends.lean import LeanStep
from evalkit.backends.linears import narrow_forwards
from evalkit.backends.slots import Engine, Row, SlotBatch
from evalkit.types import Finish, Sampling

Progress = Callable[[int, int], None]
"""Called after every forward pass with the prompts that are done and the tokens generated so far."""


@dataclass(frozen=True, slots=True)
class Completion:
    """One answer."""

    index: int
    """Place of its prompt in the call."""
    token_ids: tuple[int, ...] = ()
    """Generated tokens; neither the end token nor tokens that begin inside or after a stop text."""
    text: str = ""
    """The answer as text, cut to the character where a stop text begins."""
    finish: Finish = "stop"
    """`stop`: end token or stop text; `length`: budget or context limit; `error`: see `error`."""
    error: str | None = None
    """`nan_logits`, `prompt_too_long` or `empty_prompt`; None for an answer."""


class Decoder:
    """Decodes prompts on one language model; `fallback` says why it must use `model.generate`, or is None."""

    def __init__(
        self,
        model: Any,
        eos: Sequence[int],
        *,
        slots: int = 64,
        prefill_tokens: int = 1024,
        kv_bytes: int = 1 << 30,
        limit: int | None = None,
    ) -> None:
        self.slots, self.kv_bytes, self.token_bytes = slots, kv_bytes, 0
        self.limit = limit or families.context_limit(model.config)
        penalty = families.repetition_penalty(model)
        self.engine = Engine(model, frozenset(eos), penalty, prefill_tokens, narrow_forwards(model), LeanStep.of(model))
        blocked = families.block_reason(model) or families.generation_reason(model)
        self.fallback = blocked or self._check()
        if self.fallback and not blocked and self.engine.lean:
            self.engine = replace(self.engine, lean=None)
            self.fallback = self._check()

    def decode(
        self,
        prompts: Sequence[Sequence[int]],
        samplings: Sequence[Sampling],
        text_of: TextOf,
        progress: Progress | None = None,
    ) -> Iterator[Completion]:
        """Yield one completion a prompt, in the order in which they end; the order is the same for the same prompts."""
        rows: list[Row] = []
        for index, (prompt, sampling) in enumerate(zip(prompts, samplings, strict=True)):
            row = self._row(index, prompt, sampling)
            if isinstance(row, Completion):
                yield row
            else:
                rows.append(row)
        done, generated = len(prompts) - len(rows), 0
        for ended, tokens in self._alone(rows, text_of) if self.fallback else self._batched(rows, text_of):
            done, generated = done + len(ended), generated + tokens
            yield from (_completion(row) for row in ended)
            if progress:
                progress(done, generated)

    def _row(self, index: int, prompt: Sequence[int], sampling: Sampling) -> Row | Completion:
        """Return a row with its budget, or the completion of a prompt that cannot be asked."""
        if not prompt:
            return Completion(index, finish="error", error="empty_prompt")
        room = sampling.max_new_tokens if self.limit is None else self._room(prompt)
        if room <= 0 < sampling.max_new_tokens:
            return Completion(index, finish="error", error="prompt_too_long")
        budget = min(sampling.max_new_tokens, room)
        if budget <= 0:
            return Completion(index, finish="length")
        drawn = sampling.temperature > 0
        return Row(index, prompt, sampling, budget, torch.Generator().manual_seed(sampling.seed) if drawn else None)

    def _room(self, prompt: Sequence[int]) -> int:
        """Return how many tokens an answer may have within the context limit; an encoder's prompt leaves it whole."""
        assert self.limit is not None
        encoder = getattr(self.engine.model.config, "is_encoder_decoder", False)
        return self.limit if encoder and len(prompt) <= self.limit else self.limit - len(prompt)

    def _batched(self, rows: list[Row], text_of: TextOf) -> Iterator[tuple[list[Row], int]]:
        """Yield rows as they end, with the tokens generated since; longest first, so that slots fit ever better.

        All rows share one batch unless its slots would exceed `kv_bytes`; then rows of half the longest's length or
        less come in a later batch, with more slots.
        """
        rows = sorted(rows, key=lambda row: (-row.size, row.index))
        while rows:
            slots = max(1, min(self.slots, len(rows), self.kv_bytes // (self.token_bytes * rows[0].size)))
            kept = len(rows)
            if slots < min(self.slots, len(rows)):
                kept = sum(2 * row.size > rows[0].size for row in rows)
            batch, seen = SlotBatch(self.engine, rows[:kept], min(slots, kept)), 0
            for ended in batch.run(text_of):
                yield ended, batch.generated - seen
                seen = batch.generated
            rows = rows[kept:]

    def _alone(self, rows: list[Row], text_of: TextOf) -> Iterator[tuple[list[Row], int]]:
        """Yield rows as `model.generate` ends them, one at a time."""
        for row in rows:
            new, spoilt = self._generate(row)
            if spoilt:
                row.finish = "error"
            for token in [*new, *self.engine.eos][: len(new) + 1]:
                if row.finish is None:
                    row.take(token, self.engine.eos, text_of)
            yield [row], len(new)

    def _generate(self, row: Row) -> tuple[list[int], bool]:
        """Return what `model.generate` adds to a row's prompt, and whether a NaN among the logits ended it."""
        model, sampling = self.engine.model, row.sampling
        ids = torch.tensor([list(row.prompt)], device=model.device)
        settings: dict[str, Any] = {"do_sample": False}
        if sampling.temperature > 0:
            settings = {"do_sample": True, "temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 0}
        eos, watch = sorted(self.engine.eos) or None, _Watch()
        with torch.inference_mode(), torch.random.fork_rng():
            torch.manual_seed(sampling.seed)
            out = model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=row.budget,
                eos_token_id=eos,
                pad_token_id=eos[0] if eos else 0,
                logits_processor=[watch],
                stopping_criteria=[lambda ids, _: torch.full((len(ids),), watch.spoilt)],
                **settings,
            )
        encoder = getattr(model.config, "is_encoder_decoder", False)
        new: list[int] = out[0, 1 if encoder else len(row.prompt) :].tolist()
        return new[: len(new) - watch.spoilt], watch.spoilt

    def _check(self) -> str | None:
        """Compare two short prompts in slots with the plain forward pass; return why slots cannot be used, or None."""
        vocabulary = self.engine.model.get_input_embeddings().num_embeddings
        seed = [(7919 * i + 13) % vocabulary for i in range(10)]
        rows = [Row(i, prompt, Sampling(), 4) for i, prompt in enumerate((seed[:9], [*seed[:3], *seed[7:]]))]
        try:
            batch = SlotBatch(self.engine, rows, 2)
            batch.start()
            first = batch.admit(rows)
            worst = max(self._distance(row, got) for row, got in zip(rows, first, strict=True))
            for row in rows:
                row.tokens.append(seed[5])
            worst = max(worst, *(self._distance(row, got) for row, got in zip(rows, batch.step(), strict=True)))
        except (TypeError, ValueError, RuntimeError, AttributeError, IndexError, KeyError) as error:
            return f"slots fail: {type(error).__name__}: {error}".splitlines()[0]
        self.token_bytes = batch.cache.bytes_per_column()
        if worst > families.tolerance(self.engine.model) or worst != worst or not self.token_bytes:
            return f"slots differ from the plain forward pass by {worst:.1e} nats"
        return None

    def _distance(self, row: Row, got: Tensor) -> float:
        """Return the largest difference in log-probability between logits (V,) and the plain pass over the row."""
        with torch.inference_mode():
            ids = torch.tensor([[*row.prompt, *row.tokens]], device=self.engine.model.device)
            want = self.engine.model(input_ids=ids, use_cache=False).logits[0, -1].float()
        return float((want.log_softmax(-1) - got.log_softmax(-1)).abs().max())


class _Watch:
    """Sees the logits of `model.generate`, and whether one of them is no number."""

    spoilt = False

    def __call__(self, ids: Tensor, logits: Tensor) -> Tensor:
        """Return logits (1, V) that a token can be drawn from."""
        self.spoilt = self.spoilt or bool(logits.isnan().any())
        return torch.zeros_like(logits) if self.spoilt else logits


def _completion(row: Row) -> Completion:
    """Return an ended row as a completion."""
    assert row.finish is not None
    error = "nan_logits" if row.finish == "error" else None
    return Completion(row.index, tuple(row.tokens), row.text, row.finish, error)
