"""A plan for several models and devices as rows of a table: what fits, how long, and what would fit instead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from evalkit.registry import load
from trainkit import manifest
from trainkit.config import setting
from trainkit.dataset import read_rows
from trainkit.errors import TrainError
from trainkit.plan import (
    BYTES,
    DEVICES,
    GIB,
    Device,
    Estimate,
    Load,
    cheaper,
    estimate,
    inference_bytes,
    seconds,
    verdict,
)
from trainkit.shapes import Shape, shape_of

HERE = "this machine"
ON_CPU = (0.6, 0.85)
"""Share of a processor's measured peak that our steps reach; measured: LoRA 0.67 to 0.74, full 0.63 to 0.85."""
CHARACTERS = 4.0
"""Characters a token, where no tokenizer is asked."""


@dataclass(frozen=True)
class PlanSettings:
    """The settings of one `trainkit plan`."""

    model: str = setting("135M,1B,7B", says="Checkpoints or sizes (135M, 3B, …), with commas.", metavar="M")
    lora: bool = setting(False, says="Train a LoRA adapter instead of all weights.")
    lora_rank: int = setting(16, says="Rank of the adapter.", metavar="N")
    precision: str = setting(
        "auto", says="Numbers that are trained; auto: as sft does on each device.", choices=("auto", *BYTES)
    )
    optimizer: str = setting("adamw", says="Optimizer.", choices=("adamw", "adafactor"))
    batch_tokens: int = setting(1024, says="Tokens of one forward pass.", metavar="N")
    supervised: float = setting(0.6, says="Share of the tokens that is learned.")
    gradient_checkpointing: bool = setting(False, says="Compute activations twice to keep fewer.")
    data: str | None = setting(None, says="Training rows, for the time; without: a million tokens.", metavar="FILE")
    epochs: float = setting(3.0, says="Passes over the rows, for the time.")
    calibrate: bool = setting(False, says="Measure one tiny step here: bytes kept, speed of this machine.")

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        facts = (
            (self.batch_tokens >= 1, f"batch_tokens = {self.batch_tokens}: expected 1 or more"),
            (self.lora_rank >= 1, f"lora_rank = {self.lora_rank}: expected 1 or more"),
            (0 < self.supervised <= 1, f"supervised = {self.supervised}: expected above 0, at most 1"),
            (self.epochs > 0, f"epochs = {self.epochs}: expected above 0"),
        )
        for holds, message in facts:
            if not holds:
                raise TrainError(message)

    @property
    def load(self) -> Load:
        """Return what is trained."""
        return Load(
            self.lora,
            self.lora_rank,
            self.precision,
            self.optimizer,
            self.batch_tokens,
            self.supervised,
            self.gradient_checkpointing,
        )


@dataclass(frozen=True, slots=True)
class Forecast:
    """One model on one device."""

    shape: Shape
    """The model."""
    device: Device
    """The device."""
    need: Estimate
    """Bytes by what needs them."""
    verdict: str
    """`fits`, `tight` or `does not fit`."""
    infers: str
    """The same for the weights alone in two bytes, as inference needs them."""
    seconds: tuple[float, float] | None
    """Time of the whole training; None where the device's speed is not known."""
    instead: Sequence[tuple[Load, int]]
    """Cheaper settings that fit, with their bytes."""


def forecast(settings: PlanSettings) -> list[Forecast]:
    """Return the forecast of every model on every device, this machine last."""
    tokens = tokens_of(settings.data) * settings.epochs if settings.data else 1e6
    found = []
    for name in (name.strip() for name in settings.model.split(",") if name.strip()):
        shape, here, kept = shape_of(name), _here(), None
        if settings.calibrate:
            measured = load("trainkit.measure:calibrate")(name, settings.load)
            here = replace(here, flops={"float32": measured.flops}, overhead=measured.overhead)
            kept = measured.kept
        found += [_one(shape, settings.load, device, tokens, kept) for device in (*DEVICES.values(), here)]
    return found


def tokens_of(path: str) -> float:
    """Return about how many tokens a file of rows has, chat marks included."""
    rows = read_rows(path, bad="drop").rows
    return sum((len(row.question) + len(row.answer)) / CHARACTERS + 32 for row in rows)


def _one(shape: Shape, given: Load, device: Device, tokens: float, kept: float | None) -> Forecast:
    if given.precision == "auto":
        given = replace(given, precision="mixed" if "mixed" in device.flops else "float32")
    need = estimate(shape, given, device.overhead)
    if kept is not None and given.precision == "float32":
        need = replace(need, activations=int(kept * given.tokens))
    said = verdict(need.total, device)
    instead = cheaper(shape, given, device) if said != "fits" else []
    return Forecast(
        shape, device, need, said, verdict(inference_bytes(shape), device),
        seconds(shape, given, tokens, device) if given.precision in device.flops else None,
        [(other, estimate(shape, other, device.overhead).total) for other in instead],
    )  # fmt: skip


def _here() -> Device:
    return Device(HERE, manifest.free_memory() or 8 * GIB, {}, utilization=ON_CPU)
