"""The edge to transformers: a checkpoint on disk -> tokenizer, configuration and weights, ready for training."""

from __future__ import annotations

import json
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from evalkit.backends import weights
from evalkit.backends.families import context_limit
from evalkit.backends.quiet import quiet
from evalkit.errors import one_line_of
from evalkit.models import Checkpoint, find_checkpoint
from trainkit import manifest
from trainkit.errors import TrainError


def find_base(model: str) -> Checkpoint:
    """Return the checkpoint to train; an adapter is refused, since a second one would stand on nothing whole."""
    checkpoint = find_checkpoint(model)
    if checkpoint.adapter:
        raise TrainError(
            f"{model} is a LoRA adapter; merge it first (trainkit merge {model} --out DIR) and train the result"
        )
    return checkpoint


def read_tokenizer(checkpoint: Checkpoint) -> Any:
    """Return a checkpoint's tokenizer."""
    try:
        with quiet():
            return AutoTokenizer.from_pretrained(checkpoint.tokenizer, trust_remote_code=False)
    except Exception as fault:  # transformers raises many kinds for a broken folder
        raise TrainError(f"{checkpoint.name}: its tokenizer cannot be read: {one_line_of(fault)}") from None


def read_config(checkpoint: Checkpoint) -> Any:
    """Return a checkpoint's configuration; encoder-decoders are refused."""
    try:
        with quiet():
            config = AutoConfig.from_pretrained(checkpoint.folder, trust_remote_code=False)
    except Exception as fault:  # transformers raises many kinds for a broken folder
        raise TrainError(f"{checkpoint.name}: its config cannot be read: {one_line_of(fault)}") from None
    if getattr(config, "is_encoder_decoder", False):
        raise TrainError(f"{checkpoint.name} is an encoder-decoder; trainkit trains decoders (causal language models)")
    return config


def end_ids(checkpoint: Checkpoint, tokenizer: Any) -> tuple[int, ...]:
    """Return the ids that end an answer: the generation config's and the tokenizer's."""
    try:
        given = json.loads((checkpoint.folder / "generation_config.json").read_bytes()).get("eos_token_id")
    except (OSError, ValueError, AttributeError):
        given = None
    ids = given if isinstance(given, list) else [given]
    return tuple(sorted({i for i in (*ids, tokenizer.eos_token_id) if isinstance(i, int)}))


def limit_of(config: Any, asked: int | None) -> int | None:
    """Return the most tokens of a row: what was asked, within the model's positions."""
    known = context_limit(config)
    if asked and known and asked > known:
        raise TrainError(f"max_tokens = {asked}, but the model has {known} positions")
    return asked or known


def precision_of(asked: str) -> str:
    """Return `float32`, `mixed` or `bfloat16`; on processors without bfloat16 units that is 80 times slower."""
    if asked != "auto":
        return asked
    return "mixed" if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "float32"


def load_weights(checkpoint: Checkpoint, precision: str = "float32") -> Any:
    """Load the weights: in bfloat16 where all is, in float32 where they are trained so."""
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    return weights.load_weights(AutoModelForCausalLM, checkpoint.folder, dtype, checkpoint.name)


def free_memory() -> int:
    """Return the bytes that a training can have on the device it will run on; 0 where that is unknown."""
    return int(torch.cuda.mem_get_info()[0]) if torch.cuda.is_available() else manifest.free_memory()
