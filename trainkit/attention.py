"""Attention over rows that lie side by side without padding: each row attends to itself, by one causal kernel a row.

The dense way (`position_ids` alone) makes a T x T mask for the whole pass; this costs the sum of squares instead. It
takes the rows' bounds from `cu_seq_lens_q`, as flash attention's variable-length form does. `best_mode` says which way
a model can go, by trying it on the model itself.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.nn import functional
from transformers import AttentionInterface, AttentionMaskInterface

from evalkit.backends.families import block_reason, tolerance

ROWS = "trainkit_rows"
MODES = ("rows", "packed", "padded")
"""Row-wise causal kernels; one dense block mask (transformers' own packing); padding."""


def rows_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attend row by row; query (1, H, T, D), key and value (1, K, T, D), the result (1, T, H, D).

    Raises:
        ValueError: the call carries something that is not plain causal attention.
    """
    bounds = kwargs.get("cu_seq_lens_q")
    if bounds is None or attention_mask is not None or kwargs.get("softcap") or kwargs.get("sliding_window"):
        raise ValueError("row-wise attention takes plain causal attention with cu_seq_lens_q alone")
    sizes = torch.diff(bounds).tolist()
    parts = zip(*(torch.split(states, sizes, 2) for states in (query, key, value)), strict=True)
    done = [
        functional.scaled_dot_product_attention(
            q, k, v, dropout_p=dropout, scale=scaling, is_causal=True, enable_gqa=q.shape[1] != k.shape[1]
        )
        for q, k, v in parts
    ]
    return torch.cat(done, 2).transpose(1, 2).contiguous(), None


def _no_mask(*args: Any, **kwargs: Any) -> None:
    return None


AttentionInterface.register(ROWS, rows_attention)
AttentionMaskInterface.register(ROWS, _no_mask)


@contextlib.contextmanager
def attending(model: Any, mode: str) -> Iterator[None]:
    """Let the model attend in a mode, and as before afterwards."""
    config = model.config.get_text_config()
    before = config._attn_implementation
    if mode == "rows":
        model.set_attn_implementation(ROWS)
    try:
        yield
    finally:
        if mode == "rows":
            model.set_attn_implementation(before)


def packed_inputs(rows: Sequence[Sequence[int]], mode: str, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Return the model's inputs for rows side by side: positions restart at each row, and there is no mask."""
    lengths = [len(row) for row in rows]
    inputs: dict[str, Any] = {
        "input_ids": torch.tensor([[token for row in rows for token in row]], device=device),
        "position_ids": torch.tensor([[i for n in lengths for i in range(n)]], device=device),
    }
    if mode == "rows":
        bounds = torch.tensor([0, *lengths], dtype=torch.int32).cumsum(0, dtype=torch.int32)
        inputs |= {
            "cu_seq_lens_q": bounds,
            "cu_seq_lens_k": bounds,
            "max_length_q": max(lengths),
            "max_length_k": max(lengths),
        }
    return inputs


def best_mode(model: Any) -> str:
    """Return the first of MODES in which the model gives the logits that its rows have alone.

    Row-wise kernels are for CPUs, where a launch costs nothing beside the work.
    """
    if block_reason(model) is not None:
        return "padded"
    for mode in MODES[:-1]:
        if (mode == "packed" or model.device.type == "cpu") and _equal(model, mode):
            return mode
    return "padded"


@torch.no_grad()
def _equal(model: Any, mode: str) -> bool:
    size = model.config.get_text_config().vocab_size
    rows = [[(7 * i + 3) % size for i in range(n)] for n in (5, 9, 3)]
    training = model.training
    model.eval()
    try:
        alone = [model(input_ids=torch.tensor([row], device=model.device), use_cache=False).logits[0] for row in rows]
        with attending(model, mode):
            packed = model(**packed_inputs(rows, mode, model.device), use_cache=False).logits[0]
        return bool((torch.cat(alone) - packed).abs().max() <= tolerance(model))
    except (TypeError, ValueError, RuntimeError, KeyError, AttributeError):  # a model that does not take these inputs
        return False
    finally:
        model.train(training)
