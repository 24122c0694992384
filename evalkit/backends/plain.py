"""The plain way to score pairs: padded batches sorted by length. The prefix tree is checked against it.

Works for every architecture; logits are computed only where a continuation is read. Knows nothing of plans or trees.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from evalkit.backends.rows import Pair

READS = 128
"""Positions whose log-softmax is computed at once: bounds the temporary (READS, V)."""
Read = tuple[int, int, int]
"""Row and column of a position in a forward pass, and the token whose log-probability is asked there."""


@dataclass(frozen=True, slots=True)
class ChoiceScore:
    """What a model says of one continuation."""

    logprob: float
    """Summed log-probability of its tokens, in nats; NaN where the model gives NaN."""
    greedy: bool
    """Whether greedy decoding would have written it."""
    tokens: int
    """Its length in tokens."""


@contextmanager
def reading(model: Any, rows: list[int], columns: list[int]) -> Iterator[None]:
    """Inside the block, let the LM head see only the hidden states (1, R, H) at these positions of (B, T, H)."""

    def pick(module: Any, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (args[0][rows, columns][None], *args[1:])

    handle = model.get_output_embeddings().register_forward_pre_hook(pick)
    try:
        yield
    finally:
        handle.remove()


def read(model: Any, inputs: dict[str, Any], reads: Sequence[Read]) -> list[tuple[float, bool]]:
    """Run a forward pass; return for each read the token's log-probability and whether it is the likeliest one."""
    places = {place: number for number, place in enumerate(dict.fromkeys((row, column) for row, column, _ in reads))}
    if not places:
        if inputs.get("past_key_values") is not None:
            model(**inputs, logits_to_keep=1)
        return []
    with reading(model, [row for row, _ in places], [column for _, column in places]):
        logits: Tensor = model(**inputs).logits[0]
    which = torch.tensor([places[row, column] for row, column, _ in reads], device=logits.device)
    target = torch.tensor([token for _, _, token in reads], device=logits.device)
    norms, best = _normalize(logits)
    logprobs = logits[which, target].float() - norms[which]
    return list(zip(logprobs.tolist(), (best[which] == target).tolist(), strict=True))


def _normalize(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return the float32 log of the softmax's denominator and the likeliest token, (R,) each, of logits (R, V)."""
    norms, best = [], []
    for part in torch.split(logits, READS):
        norms.append(part.float().logsumexp(-1))
        best.append(part.argmax(-1))
    return torch.cat(norms), torch.cat(best)


def collect(pairs: Sequence[Pair], found: Sequence[tuple[float, bool]]) -> list[ChoiceScore]:
    """Sum up the reads of pairs, which come pair by pair, token by token."""
    scores, rest = [], iter(found)
    for pair in pairs:
        own = [next(rest) for _ in pair.continuation]
        scores.append(ChoiceScore(sum(p for p, _ in own), all(greedy for _, greedy in own), len(own)))
    return scores


class PlainScorer:
    """Scores pairs on any language model, causal or encoder-decoder."""

    def __init__(self, model: Any, budget: int = 1024) -> None:
        self.model, self.budget = model, budget
        self.encoder = bool(getattr(model.config, "is_encoder_decoder", False))

    def score(self, pairs: Sequence[Pair]) -> list[ChoiceScore]:
        """Return a score per pair, in order; equal pairs are computed once."""
        ordered = sorted(dict.fromkeys(pairs), key=lambda pair: (-len(pair.path), pair.path))
        known: dict[Pair, ChoiceScore] = {}
        while ordered:
            count = max(1, self.budget // max(1, len(ordered[0].path)))
            batch, ordered = ordered[:count], ordered[count:]
            known.update(zip(batch, self._batch(batch), strict=True))
        return [known[pair] for pair in pairs]

    @torch.inference_mode()
    def _batch(self, pairs: list[Pair]) -> list[ChoiceScore]:
        """Score pairs in one pass; on the right, padding is not seen by what stands before it."""
        if self.encoder:
            inputs, first = self._encoder_inputs(pairs), [0] * len(pairs)
        else:
            inputs, first = {"input_ids": self._pad([p.path for p in pairs])[0]}, [len(p.context) - 1 for p in pairs]
        reads = [
            (row, start + offset, token)
            for row, (pair, start) in enumerate(zip(pairs, first, strict=True))
            for offset, token in enumerate(pair.continuation)
        ]
        return collect(pairs, read(self.model, {**inputs, "use_cache": False}, reads))

    def _encoder_inputs(self, pairs: list[Pair]) -> dict[str, Tensor]:
        """Return what an encoder-decoder model needs: the context encoded, the continuation shifted right."""
        ids, mask = self._pad([pair.context for pair in pairs])
        start = int(self.model.config.decoder_start_token_id)
        shifted, _ = self._pad([(start, *pair.continuation[:-1]) for pair in pairs])
        return {"input_ids": ids, "attention_mask": mask, "decoder_input_ids": shifted}

    def _pad(self, paths: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Return ids and mask (B, T), padded with 0 on the right."""
        longest = max(1, *map(len, paths))
        ids = [[*path, *[0] * (longest - len(path))] for path in paths]
        mask = [[1] * len(path) + [0] * (longest - len(path)) for path in paths]
        device = self.model.device
        return torch.tensor(ids, device=device), torch.tensor(mask, device=device)
