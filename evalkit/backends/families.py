"""Which architectures can take our masks and caches, read from a model's configuration.

Knows nothing of how answers are decoded or scored. What a configuration does not tell, a self-check on the model finds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LIMITS = ("n_positions", "max_position_embeddings", "n_ctx", "max_sequence_length", "seq_length", "max_seq_len")
FULL = {"full_attention", "attention"}
UNSUPPORTED_PROCESSORS: Mapping[str, tuple[object, ...]] = {
    "guidance_scale": (None, 1, 1.0),
    "sequence_bias": (None,),
    "encoder_repetition_penalty": (None, 1.0),
    "no_repeat_ngram_size": (None, 0),
    "encoder_no_repeat_ngram_size": (None, 0),
    "bad_words_ids": (None,),
    "min_length": (None, 0),
    "min_new_tokens": (None, 0),
    "num_beams": (None, 1),
    "forced_bos_token_id": (None,),
    "forced_eos_token_id": (None,),
    "exponential_decay_length_penalty": (None,),
    "suppress_tokens": (None, []),
    "begin_suppress_tokens": (None, []),
    "penalty_alpha": (None,),
    "watermarking_config": (None,),
}
"""Settings of a generation config that change greedy answers and that only `generate` honours, with neutral values."""


def context_limit(config: Any) -> int | None:
    """Return the longest sequence in tokens that a configuration allows, or None where it does not say."""
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    found = (getattr(text, name, None) for name in LIMITS)
    return next((int(value) for value in found if isinstance(value, int) and value > 0), None)


def block_reason(model: Any) -> str | None:
    """Return why a model cannot take a block mask and a cropped cache, or None where it may."""
    config = model.config.get_text_config()
    if getattr(model.config, "is_encoder_decoder", False):
        return "encoder-decoder"
    if getattr(model, "_is_stateful", False):
        return "state-space model"
    kinds = set(getattr(config, "layer_types", None) or ())
    if kinds - FULL:
        return f"layers of kind {', '.join(sorted(kinds - FULL))}"
    if getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True):
        return "sliding window"
    if "local" in (getattr(config, "attention_layers", None) or ()):
        return "local attention"
    if str(getattr(config, "_attn_implementation", "")) not in {"sdpa", "eager"}:
        return f"attention implementation {config._attn_implementation}"
    return None


def generation_reason(model: Any) -> str | None:
    """Return which setting of the model's generation config only `generate` honours, or None."""
    config = getattr(model, "generation_config", None)
    for name, neutral in UNSUPPORTED_PROCESSORS.items():
        value = getattr(config, name, None)
        if value not in neutral:
            return f"generation config asks for {name}={value}"
    return None


def repetition_penalty(model: Any) -> float:
    """Return the penalty that the model's generation config asks for; 1.0 is none."""
    return float(getattr(getattr(model, "generation_config", None), "repetition_penalty", None) or 1.0)


def tolerance(model: Any) -> float:
    """Return the largest difference in nats between two paths that counts as float noise at the model's dtype."""
    return 1e-3 if str(model.dtype) in {"torch.float32", "torch.float64"} else 5e-2
