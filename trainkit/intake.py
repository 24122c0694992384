"""Settings -> rows read, encoded and accounted for; no weight is loaded yet, so that what fails cheaply fails first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from evalkit.models import Checkpoint
from evalkit.registry import load
from trainkit import manifest
from trainkit.dataset import Reading, TrainRow, read_rows, split_rows
from trainkit.encode import Encoded, Encoder
from trainkit.errors import TrainError
from trainkit.ledger import Ledger
from trainkit.plan import Load, step_flops
from trainkit.settings import SftSettings
from trainkit.shapes import Shape
from trainkit.suites import prompt_of


@dataclass(frozen=True)
class Prepared:
    """Rows read and encoded; no weight is loaded yet."""

    settings: SftSettings
    """What was asked."""
    checkpoint: Checkpoint
    """The model to train."""
    tokenizer: Any
    """Its tokenizer."""
    encoder: Encoder
    """The prompt in its tokens."""
    train: tuple[Encoded, ...]
    """Rows to learn."""
    dev: tuple[Encoded, ...]
    """Rows of the evaluation loss."""
    rows: Mapping[str, TrainRow]
    """Row id -> row, of those to learn."""
    ledger: Ledger
    """What became of each row."""
    digests: Mapping[str, str]
    """sha256 of the data files, of the model, and of everything else that a resumed training must find unchanged."""


def prepare(settings: SftSettings) -> Prepared:
    """Read rows, prompt and tokenizer, and encode: what fails cheaply fails first."""
    reading = read_rows(settings.data, settings.input_key, settings.output_key, settings.bad_rows)
    dev_reading = _dev_reading(settings)
    spec = prompt_of(settings)
    weights = "trainkit.weights:"
    checkpoint: Checkpoint = load(f"{weights}find_base")(settings.model)
    tokenizer = load(f"{weights}read_tokenizer")(checkpoint)
    limit = load(f"{weights}limit_of")(load(f"{weights}read_config")(checkpoint), settings.max_tokens)
    ends = load(f"{weights}end_ids")(checkpoint, tokenizer)
    encoder = Encoder(spec, tokenizer, ends, limit, settings.over_long, settings.bad_rows)
    kept, aside = split_rows(reading.rows, settings.eval_share)
    ledger = Ledger(len(reading.rows) + len(reading.bad), dropped=dict(reading.bad), kept_aside=len(aside))
    train = encoder.encode_all(kept, ledger)
    dev = encoder.encode_all(dev_reading.rows if dev_reading else aside, Ledger())
    _refuse_empty(settings, train, dev, ledger)
    digests = manifest.digests(checkpoint, spec, reading, dev_reading)
    rows = {row.id: row for row in kept}
    return Prepared(settings, checkpoint, tokenizer, encoder, tuple(train), tuple(dev), rows, ledger, digests)


def _dev_reading(settings: SftSettings) -> Reading | None:
    if not settings.eval_data:
        return None
    return read_rows(settings.eval_data, settings.input_key, settings.output_key, settings.bad_rows)


def _refuse_empty(settings: SftSettings, train: Sequence[Encoded], dev: Sequence[Encoded], ledger: Ledger) -> None:
    if not sum(row.supervised for row in train):
        raise TrainError(f"{settings.data}: no token is left to learn: {ledger.line()}")
    if (settings.eval_data or settings.eval_share) and not dev:
        raise TrainError("no row is left for the evaluation loss; give more rows, or a larger eval_share")


def load_of(prepared: Prepared) -> Load:
    """Return what the plan needs to know of a prepared training."""
    s, rows = prepared.settings, prepared.train
    longest = max(len(row.ids) for row in rows)
    mean = sum(len(row.ids) for row in rows) / len(rows)
    share = sum(row.supervised for row in rows) / sum(len(row.ids) for row in rows)
    tokens = max(longest, min(s.batch_tokens, int(mean * s.batch_size)))
    return Load(
        s.lora,
        s.lora_rank,
        load("trainkit.weights:precision_of")(s.precision),
        optimizer=s.optimizer,
        tokens=tokens,
        supervised=share,
        checkpointing=s.gradient_checkpointing,
    )


def flops_of(prepared: Prepared, shape: Shape) -> tuple[float, float]:
    """Return the operations of a step per token and per supervised token."""
    bare = replace(load_of(prepared), supervised=0.0)
    return step_flops(shape, bare, 1), (4 if prepared.settings.lora else 6) * shape.head
