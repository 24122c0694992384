"""The edge to torch: what a tiny forward pass really keeps, and how fast this machine multiplies."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from evalkit.backends.quiet import quiet
from evalkit.registry import load
from trainkit.attention import attending, best_mode
from trainkit.encode import Encoded
from trainkit.plan import Load
from trainkit.settings import SftSettings
from trainkit.step import Stepper
from trainkit.weights import find_base, load_weights

SIDE = 1024
"""Rows and columns of the matrices whose product is timed."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Measured on this machine."""

    kept: float
    """Bytes a token that the forward pass keeps for the backward pass, logits not counted."""
    overhead: int
    """Resident bytes of the process before any weight."""
    flops: float
    """FLOP/s of a float32 matrix product."""


def calibrate(model: str, given: Load, tokens: int = 128) -> Calibration:
    """Run one forward pass of `tokens` tokens and count what it keeps; no optimizer is made."""
    overhead = resident()
    plain = load_weights(find_base(model))
    mode = best_mode(plain)
    if given.checkpointing:
        plain.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    tuned: Any = plain
    if given.lora:
        settings = SftSettings("-", "-", "-", lora=True, lora_rank=given.rank)
        tuned = load("trainkit.lora:attach")(plain, settings, model)
    stepper = Stepper.of(tuned, mode, tokens, 0)
    rows = [Encoded("r", tuple((7 * i + 3) % 1000 for i in range(tokens)), tokens - 1)]
    tuned.train()
    with quiet(), attending(plain, mode):
        kept = kept_bytes(tuned, lambda: stepper.loss_sum(tuned, rows))
    return Calibration(kept / tokens, overhead, peak_flops())


def kept_bytes(model: Any, forward: Any) -> int:
    """Return the bytes of the storages that a forward pass saves for its backward pass, parameters not counted."""
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    seen: dict[int, tuple[int, Any]] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            seen[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = forward()
    del loss
    return sum(size for size, _ in seen.values())


def peak_flops(seconds: float = 0.4) -> float:
    """Return the FLOP/s of float32 matrix products on this machine's device, with the threads that torch has."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    a, b = torch.randn(SIDE, SIDE, device=device), torch.randn(SIDE, SIDE, device=device)
    best, end = 0.0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        began = time.perf_counter()
        (a @ b).sum().item()
        best = max(best, 2 * SIDE**3 / (time.perf_counter() - began))
    return best


def resident() -> int:
    """Return the resident bytes of this process."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    except OSError:
        return 0
    return pages * 4096
