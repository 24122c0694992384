"""Does a training fit? Bytes and seconds from public formulas, for weights, optimizer, activations, logits. Pure.

Bytes a parameter: 16 for full fine-tuning with AdamW in float32 (weight 4, gradient 4, two moments 8); 18 mixed (a
bfloat16 copy of the weights on top); 8 in pure bfloat16; LoRA 2 or 4 for the frozen weights and 16 for the adapter's.
Activations are what a Llama-like layer keeps for the backward pass, written out in `_layer`. Measured figures that
these are held against stand in docs/trainkit.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from trainkit.shapes import Shape

GIB = 2**30
TIGHT = 0.85
"""Share of a device from which a plan that fits is called tight: fragmentation and other processes need room."""
LOGIT_BYTES = 12
"""Bytes per supervised token and vocabulary entry: float32 logits, their log-softmax, its gradient."""
BYTES: Mapping[str, int] = {"float32": 16, "mixed": 18, "bfloat16": 8}
"""Bytes a trained parameter with AdamW."""
FROZEN: Mapping[str, int] = {"float32": 4, "mixed": 4, "bfloat16": 2}
"""Bytes a frozen parameter; the adapter itself is always kept in float32."""


@dataclass(frozen=True, slots=True)
class Device:
    """A place to train on."""

    name: str
    """How it is called."""
    memory: int
    """Bytes."""
    flops: Mapping[str, float]
    """Peak of matrix products by precision, FLOP/s; empty where it is not known."""
    utilization: tuple[float, float] = (0.25, 0.55)
    """Share of the peak that training loops reach, least and most: the range of the time."""
    overhead: int = GIB // 2
    """Bytes that libraries and context take before any weight."""


DEVICES: Mapping[str, Device] = {
    d.name: d
    for d in (
        Device("T4 16", 16 * GIB, {"float32": 8.1e12}),
        Device("V100 16", 16 * GIB, {"float32": 15.7e12}),
        Device("A100 80", 80 * GIB, {"float32": 19.5e12, "mixed": 312e12, "bfloat16": 312e12}),
    )
}
"""Peaks are NVIDIA's data sheets'; a T4 and a V100 have no bfloat16, so that training there is in float32."""


@dataclass(frozen=True, slots=True)
class Load:
    """What is trained, as far as memory sees it."""

    lora: bool = False
    """An adapter instead of all weights."""
    rank: int = 16
    """The adapter's rank."""
    precision: str = "float32"
    """`float32`, `mixed` (bfloat16 compute, float32 weights) or `bfloat16`."""
    optimizer: str = "adamw"
    """`adamw`, or `adafactor`, whose moments are a row and a column."""
    tokens: int = 1024
    """Tokens of one forward pass."""
    supervised: float = 0.6
    """Share of them that is learned."""
    checkpointing: bool = False
    """Keep layer inputs alone and compute the rest twice."""

    @property
    def words(self) -> str:
        """Return the load in words."""
        kind = f"LoRA r={self.rank}" if self.lora else f"full, {self.optimizer}"
        return f"{kind}, {self.precision}, {self.tokens} tokens a pass" + (
            ", gradient checkpointing" if self.checkpointing else ""
        )


@dataclass(frozen=True, slots=True)
class Estimate:
    """Bytes by what needs them."""

    weights: int
    """The weights themselves, with a low-precision copy where there is one."""
    gradients: int
    """A gradient for each trained parameter."""
    optimizer: int
    """Moments of each trained parameter."""
    activations: int
    """What the backward pass needs of one forward pass."""
    logits: int
    """Logits of the supervised tokens."""
    overhead: int
    """Libraries and context."""

    @property
    def states(self) -> int:
        """Return the bytes that do not depend on the tokens."""
        return self.weights + self.gradients + self.optimizer

    @property
    def total(self) -> int:
        """Return all bytes."""
        return self.states + self.activations + self.logits + self.overhead


def trained_parameters(shape: Shape, load: Load) -> int:
    """Return how many parameters get a gradient."""
    return shape.lora(load.rank) if load.lora else shape.parameters


def estimate(shape: Shape, load: Load, overhead: int = 0) -> Estimate:
    """Return the peak bytes of a training step."""
    trained = trained_parameters(shape, load)
    if load.lora:
        weights, gradients, moments = FROZEN[load.precision] * shape.parameters + 4 * trained, 4 * trained, 8 * trained
        weights += 2 * shape.parameters if load.precision == "mixed" else 0
    else:
        word = 2 if load.precision == "bfloat16" else 4
        weights = word * trained + (2 * trained if load.precision == "mixed" else 0)
        gradients, moments = word * trained, 2 * word * trained
    if load.optimizer == "adafactor":
        moments //= 100  # a row and a column of each matrix
    return Estimate(weights, gradients, moments, _activations(shape, load), _logits(shape, load), overhead)


def inference_bytes(shape: Shape, word: int = 2) -> int:
    """Return the bytes of the weights alone, as inference needs them."""
    return word * shape.parameters


def step_flops(shape: Shape, load: Load, tokens: float) -> float:
    """Return the operations of training on so many tokens: 6N (LoRA 4N) a token, the head on learned ones."""
    passes = (4 if load.lora else 6) + (2 if load.checkpointing else 0)
    return tokens * (passes * shape.body + (4 if load.lora else 6) * load.supervised * shape.head)


def seconds(shape: Shape, load: Load, tokens: float, device: Device) -> tuple[float, float]:
    """Return the shortest and longest time to expect for so many tokens."""
    work = step_flops(shape, load, tokens) / device.flops[load.precision]
    return work / device.utilization[1], work / device.utilization[0]


def verdict(need: int, device: Device) -> str:
    """Return `fits`, `tight` or `does not fit`."""
    return "fits" if need <= TIGHT * device.memory else "tight" if need <= device.memory else "does not fit"


def cheaper(shape: Shape, load: Load, device: Device, most: int = 3) -> list[Load]:
    """Return up to three settings that fit where this one does not, those that change least first."""
    full = [] if load.lora else [
        replace(load, checkpointing=True),
        replace(load, checkpointing=True, tokens=min(load.tokens, 512)),
        replace(load, optimizer="adafactor", checkpointing=True),
    ]  # fmt: skip
    small = replace(load, lora=True, optimizer="adamw")
    lean = [small, replace(small, checkpointing=True), replace(small, precision="bfloat16"),
            replace(small, precision="bfloat16", checkpointing=True, tokens=min(load.tokens, 512))]  # fmt: skip
    found: list[Load] = []
    for other in (*full, *lean):
        fits = verdict(estimate(shape, other, device.overhead).total, device) == "fits"
        if fits and other != load and other not in found:
            found.append(other)
    return found[:most]


def _activations(shape: Shape, load: Load) -> int:
    word = 4 if load.precision == "float32" else 2
    layer = _layer(shape, load)
    kept = shape.layers * (shape.hidden if load.checkpointing else layer) + (layer if load.checkpointing else 0)
    return int(load.tokens * word * (kept + 4 * shape.hidden))


def _layer(shape: Shape, load: Load) -> float:
    """Return the numbers that one layer keeps per token.

    Two norms keep their input, the normalized input and what the next product reads (the middle one not where the norm
    is frozen); attention keeps query, key, value and its result, the output product its input; the feed-forward part
    gate, its activation, up, and their product. An adapter keeps its narrow inside for seven products.
    """
    norms = (4 if load.lora else 6) * shape.hidden
    attention = 3 * shape.heads + 2 * shape.keys
    return norms + attention + 4 * shape.inner + (7 * load.rank if load.lora else 0)


def _logits(shape: Shape, load: Load) -> int:
    return int(load.tokens * load.supervised * shape.vocabulary * LOGIT_BYTES)


def total_tokens(lengths: Sequence[int], epochs: float) -> float:
    """Return the tokens of a whole training."""
    return sum(lengths) * epochs
