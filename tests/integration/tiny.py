"""Tiny random models of each family, shared by the tests of the decoder and of the tree scorer."""

from collections.abc import Callable
from typing import Any

import torch
import transformers

WORDS = 97
EOS = 1
_SMALL: dict[str, Any] = {"vocab_size": WORDS, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
_IDS: dict[str, Any] = {"bos_token_id": 0, "eos_token_id": EOS, "pad_token_id": 2, "max_position_embeddings": 128}
_GROUPED: dict[str, Any] = {**_SMALL, **_IDS, "intermediate_size": 48, "num_key_value_heads": 2}

CONFIGS: dict[str, Callable[[], Any]] = {
    "llama": lambda: transformers.LlamaConfig(**_GROUPED),
    "qwen2": lambda: transformers.Qwen2Config(**_GROUPED),
    "qwen3": lambda: transformers.Qwen3Config(**_GROUPED, head_dim=8),
    "gpt_neox": lambda: transformers.GPTNeoXConfig(**_SMALL, **_IDS, intermediate_size=48),
    "gpt2": lambda: transformers.GPT2Config(
        vocab_size=WORDS, n_embd=32, n_layer=2, n_head=4, n_positions=128, bos_token_id=0, eos_token_id=EOS
    ),
    "gemma": lambda: transformers.GemmaConfig(**_GROUPED, head_dim=16),
    "phi": lambda: transformers.PhiConfig(**_SMALL, **_IDS, intermediate_size=48),
}
SLIDING: dict[str, Callable[[], Any]] = {
    "mistral": lambda: transformers.MistralConfig(**_GROUPED, sliding_window=8),
    "gemma2": lambda: transformers.Gemma2Config(**_GROUPED, head_dim=16, sliding_window=8),
}


def causal(config):
    """Return a random float32 model, its weights large enough that its answers differ from prompt to prompt."""
    torch.manual_seed(7)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim > 1 and "norm" not in name:
                weight.mul_(8.0)
    return model


def t5():
    """Return a random encoder-decoder model."""
    torch.manual_seed(7)
    small = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4}
    ids = {"decoder_start_token_id": 2, "eos_token_id": EOS, "pad_token_id": 2}
    config: Any = transformers.T5Config(**{"vocab_size": WORDS, **small, **ids})  # type: ignore[arg-type] # one dict
    return transformers.T5ForConditionalGeneration(config).eval()


def prompts(count, seed=0, prefix=6, longest=20):
    """Return prompts of unequal length that share a prefix."""
    generator = torch.Generator().manual_seed(seed)

    def draw(n):
        return torch.randint(3, WORDS, (n,), generator=generator).tolist()

    shared = draw(prefix)
    return [shared + draw(1 + (5 * i) % longest) for i in range(count)]
