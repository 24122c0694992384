"""Tiny random checkpoints with a byte tokenizer, and the real model: made once per session."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from evalkit.catalogue import fetched
from tests.conftest import jsonl
from trainkit.cli import call

TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


SHAPE = {
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.4,
}
"""What makes it tiny."""


def byte_tokenizer(*, chat: bool = True) -> PreTrainedTokenizerFast:
    """Return a tokenizer of 256 bytes and an end token."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {char: number for number, char in enumerate(alphabet)} | {"<|end|>": len(alphabet)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>", pad_token="<|end|>")
    if chat:
        fast.chat_template = TEMPLATE
    return fast


def save_tiny_llama(folder: Path, *, seed: int = 0, chat: bool = True, positions: int = 512, **more: Any) -> Path:
    """Save a random Llama of two layers, reproducible by its seed; `more` changes its config."""
    torch.manual_seed(seed)
    tokenizer = byte_tokenizer(chat=chat)
    config = LlamaConfig(
        vocab_size=257,
        max_position_embeddings=positions,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
        **{**SHAPE, **more},
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random Llama with a chat template."""
    return save_tiny_llama(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def real_model() -> Path:
    """The folder of SmolLM2-135M-Instruct; tests that want it are skipped where it was not fetched."""
    folder = fetched("smollm2-135m-instruct")
    if folder is None:
        pytest.skip("the model is not on this machine: `evalkit models fetch smollm2-135m-instruct`")
    return folder


@pytest.fixture(scope="session")
def mirror() -> Path:
    """The folder of benchmark data; tests that want it are skipped where EVALKIT_DATA_DIR is not set."""
    folder = os.environ.get("EVALKIT_DATA_DIR")
    if not folder:
        pytest.skip("no benchmark data: set EVALKIT_DATA_DIR to a mirror of hub data sets")
    return Path(folder)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Ten rows of questions and answers of different lengths."""
    return jsonl(
        tmp_path / "rows.jsonl",
        [{"id": f"r{i}", "question": f"Q{'x' * (3 * i)}?", "answer": f"A{i}" * (1 + i % 4)} for i in range(10)],
    )


def outcome(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Run trainkit in this process and return its code and what it printed to both streams."""
    capsys.readouterr()
    code = call([str(a) for a in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err
