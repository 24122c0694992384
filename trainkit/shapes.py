"""The sizes of a model that decide memory and time, from its config and the headers of its weights."""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalkit.models import find_checkpoint
from trainkit.errors import TrainError


@dataclass(frozen=True, slots=True)
class Shape:
    """A decoder's sizes."""

    name: str
    """How it is called."""
    parameters: int
    """All parameters, a tied embedding counted once."""
    layers: int
    """Decoder layers."""
    hidden: int
    """Width of the residual stream."""
    inner: int
    """Width of the feed-forward part."""
    heads: int
    """Query heads times head size."""
    keys: int
    """Key (and value) heads times head size."""
    vocabulary: int
    """Rows of the embedding."""
    tied: bool = False
    """Whether the head is the embedding."""

    @property
    def head(self) -> int:
        """Return the parameters of the head."""
        return self.vocabulary * self.hidden

    @property
    def body(self) -> int:
        """Return the parameters of the layers: what every token is multiplied with."""
        return self.parameters - self.head * (1 if self.tied else 2)

    def lora(self, rank: int) -> int:
        """Return the parameters of an adapter of a rank on all linear layers."""
        attention = 2 * (self.hidden + self.heads) + 2 * (self.hidden + self.keys)
        return self.layers * rank * (attention + 3 * (self.hidden + self.inner))


NAMED: Mapping[str, Shape] = {
    shape.name: shape
    for shape in (
        Shape("135M", 134_515_008, 30, 576, 1536, 576, 192, 49_152, tied=True),  # SmolLM2-135M
        Shape("1B", 1_000_000_000, 22, 2048, 5632, 2048, 256, 32_000),  # TinyLlama's form, at 1.0e9 exactly
        Shape("7B", 7_000_000_000, 32, 4096, 11_008, 4096, 4096, 32_000),  # Llama 2's form, at 7.0e9 exactly
    )
}
"""Sizes to plan with when there is no checkpoint yet."""
_SIZE = re.compile(r"(\d+(?:\.\d+)?)([MB])")


def shape_of(model: str) -> Shape:
    """Return the shape of a checkpoint, of a named size, or of a number of parameters such as `3B`."""
    if model in NAMED:
        return NAMED[model]
    if (size := _SIZE.fullmatch(model)) and not Path(model).exists():
        return _scaled(model, float(size[1]) * (1e6 if size[2] == "M" else 1e9))
    folder = find_checkpoint(model).folder
    try:
        config = json.loads((folder / "config.json").read_bytes())
        return _of_config(model, config, sum(_sizes(folder)))
    except (KeyError, TypeError, ValueError, OSError, struct.error) as fault:
        raise TrainError(f"{folder}: its sizes cannot be read ({type(fault).__name__}: {fault})") from None


def _of_config(name: str, config: Mapping[str, Any], parameters: int) -> Shape:
    def first(*keys: str, default: int | None = None) -> int:
        found = next((int(config[k]) for k in keys if config.get(k)), default)
        if found is None:
            raise KeyError(keys[0])
        return found

    hidden = first("hidden_size", "n_embd", "d_model")
    count = first("num_attention_heads", "n_head", "num_heads")
    size = first("head_dim", default=hidden // count)
    return Shape(
        name, parameters, first("num_hidden_layers", "n_layer", "num_layers"), hidden,
        first("intermediate_size", "n_inner", "ffn_dim", default=4 * hidden), count * size,
        first("num_key_value_heads", default=count) * size, first("vocab_size"),
        tied=bool(config.get("tie_word_embeddings", "n_embd" in config)),
    )  # fmt: skip


def _sizes(folder: Path) -> list[int]:
    """Return the number of parameters of each safetensors file, from its header."""
    found = []
    for path in folder.glob("*.safetensors"):
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length))
        found.append(sum(math.prod(t["shape"]) for key, t in header.items() if key != "__metadata__"))
    return found


def _scaled(name: str, parameters: float) -> Shape:
    """Return a Llama-like shape of so many parameters: width and depth grow with their cube root."""
    base = NAMED["7B"] if parameters >= 3e9 else NAMED["1B"]
    factor = (parameters / base.parameters) ** (1 / 3)
    hidden = max(64, round(base.hidden * factor / 64) * 64)
    layers = max(2, round(base.layers * factor))
    inner, keys = round(base.inner * hidden / base.hidden), round(base.keys * hidden / base.hidden)
    return Shape(name, int(parameters), layers, hidden, inner, hidden, keys, base.vocabulary)
