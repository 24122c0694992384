"""From logits to the next token, and from tokens to an answer that ends where a stop text begins.

Knows nothing of models, caches or batches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from evalkit.types import Sampling

TextOf = Callable[[list[int]], str]
"""Tokens to text, without special tokens."""

HEAD = 1024
"""Most probable tokens looked at before a full sort is paid for."""


def penalize(logits: Tensor, seen: Sequence[int], penalty: float) -> Tensor:
    """Return logits (V,) with every token in `seen` made less likely, as transformers' repetition penalty does."""
    index = torch.tensor(sorted(set(seen)), device=logits.device)
    picked = logits[index]
    changed = logits.clone()
    changed[index] = torch.where(picked < 0, picked * penalty, picked / penalty)
    return changed


def draw(logits: Tensor, sampling: Sampling, generator: torch.Generator) -> int:
    """Draw a token from logits (V,) in float32 at the sampling's temperature and top_p; one uniform number a call."""
    probs = torch.softmax(logits.float() / sampling.temperature, dim=-1).cpu()
    ids: Tensor | None = None
    if sampling.top_p < 1.0:
        probs, ids = _nucleus(probs, sampling.top_p)
    mass = probs.double().cumsum(0)
    point = torch.rand(1, generator=generator, dtype=torch.float64) * mass[-1]
    place = int(torch.searchsorted(mass, point, right=True).clamp(max=len(mass) - 1))
    return int(ids[place]) if ids is not None else place


def _nucleus(probs: Tensor, top_p: float) -> tuple[Tensor, Tensor]:
    """Return the fewest most probable tokens whose mass reaches `top_p`: probabilities and ids, (K,) each."""
    values, ids = probs.topk(min(HEAD, len(probs)))
    if float(values.sum()) < top_p:
        values, ids = probs.sort(descending=True)
    keep = values.cumsum(0) - values < top_p
    keep[0] = True
    return values[keep], ids[keep]


def cut_at_stop(tokens: Sequence[int], stop: Sequence[str], text_of: TextOf) -> tuple[list[int], str] | None:
    """Return the answer before the first stop text, as the tokens that begin before it and as text; None: no stop.

    A stop text of n bytes lies within the last n tokens, so only a tail is decoded until one is seen there.
    """
    reach = max((len(s.encode()) for s in stop), default=0) + 4
    tail = text_of(list(tokens[-reach:]))
    if not any(s and s in tail for s in stop):
        return None
    text = text_of(list(tokens))
    places = [place for s in stop if s and (place := text.find(s)) >= 0]
    if not places:
        return None
    first = max(0, len(tokens) - reach)
    kept = next(n for n in range(first, len(tokens) + 1) if len(text_of(list(tokens[:n]))) >= min(places))
    return list(tokens[:kept]), text[: min(places)]
