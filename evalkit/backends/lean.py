"""One decoding step of Llama-like models, hidden states in columns: (H, P), P the padded rows (see `linears`).

Products run as weight times columns, and what stands between them in place, so that a step costs a quarter less than
the model's own. Used only where the decoder's self-check finds the model's own numbers. Knows nothing of prompts or
answers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from evalkit.backends.kv import SlotCache, SlotLayer
from evalkit.backends.linears import padded

FAMILIES = frozenset({"llama", "mistral", "qwen2", "qwen3"})


@dataclass(frozen=True, slots=True)
class LeanStep:
    """The forward pass of one new token a row."""

    model: Any
    """A causal language model of one of `FAMILIES`, float32, on the CPU."""

    @classmethod
    def of(cls, model: Any) -> LeanStep | None:
        """Return the step of a model that may have one: SwiGLU, plain linear layers, no bias after attention."""
        config = model.config
        if config.model_type not in FAMILIES or getattr(config, "hidden_act", "") != "silu":
            return None
        if model.dtype != torch.float32 or model.device.type != "cpu" or type(model.lm_head) is not nn.Linear:
            return None
        if model.lm_head.bias is not None:
            return None
        for layer in model.model.layers:
            block, mlp = layer.self_attn, layer.mlp
            biased = (block.q_proj, block.k_proj, block.v_proj)
            plain = (block.o_proj, mlp.gate_proj, mlp.up_proj, mlp.down_proj)
            if any(type(linear) is not nn.Linear for linear in (*biased, *plain)):
                return None
            if any(linear.bias is not None for linear in plain):
                return None
        return cls(model)

    def __call__(self, ids: Tensor, positions: Tensor, mask: Tensor, cache: SlotCache) -> Tensor:
        """Return logits (B, V) for ids and positions (B, 1) under an additive mask (B, 1, L)."""
        core, layers, rows = self.model.model, list[Any](cache.layers), len(ids)
        x = torch.zeros(core.embed_tokens.embedding_dim, padded(rows))
        x[:, :rows] = core.embed_tokens(ids[:, 0]).t()
        cos, sin = (part[0].t() for part in core.rotary_emb(x, position_ids=positions.t()))
        turn = cos.contiguous(), torch.cat((-sin[: len(sin) // 2], sin[len(sin) // 2 :]))
        for layer, store in zip(core.layers, layers, strict=True):
            block, mlp = layer.self_attn, layer.mlp
            mixed = _attend(block, _norm(x, layer.input_layernorm), turn, mask, store)
            x.addmm_(block.o_proj.weight, mixed)
            y = _norm(x, layer.post_attention_layernorm)
            gate = functional.silu(torch.mm(mlp.gate_proj.weight, y), inplace=True)
            x.addmm_(mlp.down_proj.weight, gate.mul_(torch.mm(mlp.up_proj.weight, y)))
        return torch.mm(self.model.lm_head.weight, _norm(x, core.norm))[:, :rows].t()


def _attend(block: Any, x: Tensor, turn: tuple[Tensor, Tensor], mask: Tensor, store: SlotLayer) -> Tensor:
    """Return what attention reads for columns x (H, P), before the output projection: (heads * D, P)."""
    rows = len(mask)
    q, k, v = (_heads(linear, x, block.head_dim)[..., :rows] for linear in (block.q_proj, block.k_proj, block.v_proj))
    if hasattr(block, "q_norm"):
        q, k = _norm(q, block.q_norm), _norm(k, block.k_norm)
    keys, values = store.update(_rows(_rotate(k, *turn))[:, :, None], _rows(v)[:, :, None])
    groups, stop, size = keys.shape[1:]
    query = _rows(_rotate(q, *turn)).reshape(rows * groups, -1, size)
    weights = torch.bmm(query, keys.flatten(0, 1).transpose(1, 2)).view(rows, -1, stop)
    weights = weights.mul_(block.scaling).add_(mask).softmax(-1).view(rows * groups, -1, stop)
    mixed = torch.zeros(q.shape[0] * size, x.shape[1])
    mixed[:, :rows] = torch.bmm(weights, values.flatten(0, 1)).view(rows, -1).t()
    return mixed


def _heads(linear: nn.Linear, x: Tensor, size: int) -> Tensor:
    """Return heads (N, D, P) of x (H, P)."""
    out = torch.mm(linear.weight, x)
    if linear.bias is not None:
        out += linear.bias[:, None]
    return out.view(-1, size, x.shape[1])


def _rows(x: Tensor) -> Tensor:
    """Return heads (N, D, B) as (B, N, D)."""
    return x.permute(2, 0, 1)


def _norm(x: Tensor, norm: Any) -> Tensor:
    """Return the root-mean-square norm over the second last dimension, (…, H, P)."""
    scale = (x * x).mean(-2, keepdim=True).add_(norm.variance_epsilon).rsqrt_()
    return (x * scale).mul_(norm.weight[:, None])


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Return heads (N, D, B) turned by their positions' angles; cos and sin (D, B), sin with its sign for each half."""
    half = x.shape[1] // 2
    out = x * cos
    out[:, :half].addcmul_(x[:, half:], sin[:half])
    out[:, half:].addcmul_(x[:, :half], sin[half:])
    return out
