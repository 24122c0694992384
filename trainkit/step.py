"""Encoded rows -> the summed loss of their supervised tokens; the head of the model runs on those positions alone."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from trainkit.attention import attending, packed_inputs
from trainkit.batches import passes
from trainkit.encode import Encoded


@dataclass(frozen=True)
class Stepper:
    """How one model computes the loss of some rows."""

    mode: str
    """`rows`, `packed` or `padded`: see `attention`."""
    budget: int
    """Most tokens of one forward pass."""
    pad: int
    """Id that fills padded places; its value is never seen."""
    sliced: bool
    """Whether the model computes logits for chosen positions alone."""

    @classmethod
    def of(cls, model: Any, mode: str, budget: int, pad: int) -> Stepper:
        """Build the stepper of a model, plain or wrapped by peft."""
        base = model.get_base_model() if hasattr(model, "get_base_model") else model
        return cls(mode, budget, pad, "logits_to_keep" in inspect.signature(base.forward).parameters)

    def cut(self, rows: Sequence[Encoded]) -> list[list[Encoded]]:
        """Cut rows into forward passes."""
        lengths = [len(row.ids) for row in rows]
        return [[rows[i] for i in part] for part in passes(lengths, self.budget, padded=self.mode == "padded")]

    def computed(self, rows: Sequence[Encoded]) -> int:
        """Return how many tokens the passes over these rows compute, padding included."""
        if self.mode != "padded":
            return sum(len(row.ids) for row in rows)
        return sum(len(part) * max(len(row.ids) for row in part) for part in self.cut(rows))

    def loss_sum(self, model: Any, rows: Sequence[Encoded]) -> torch.Tensor:
        """Return the summed cross entropy, in nats, of the supervised tokens of one pass; shape ()."""
        where, targets = _supervised(rows, padded=self.mode == "padded")
        kept = sorted({position for _, position in where})
        inputs = self._inputs(rows, model.device)
        if self.sliced:
            inputs["logits_to_keep"] = torch.tensor(kept, device=model.device)
        logits = model(**inputs, use_cache=False).logits
        column = {position: i for i, position in enumerate(kept)} if self.sliced else None
        if logits.shape[0] > 1 or column is None:
            b = torch.tensor([row for row, _ in where], device=model.device)
            p = torch.tensor([column[at] if column else at for _, at in where], device=model.device)
            chosen = logits[b, p]
        else:
            chosen = logits[0]
        return functional.cross_entropy(chosen.float(), torch.tensor(targets, device=model.device), reduction="sum")

    def _inputs(self, rows: Sequence[Encoded], device: torch.device) -> dict[str, Any]:
        if self.mode != "padded":
            return packed_inputs([row.ids for row in rows], self.mode, device)
        longest = max(len(row.ids) for row in rows)
        padded = [[*row.ids, *[self.pad] * (longest - len(row.ids))] for row in rows]
        mask = [[1] * len(row.ids) + [0] * (longest - len(row.ids)) for row in rows]
        return {
            "input_ids": torch.tensor(padded, device=device),
            "attention_mask": torch.tensor(mask, device=device),
        }

    def total(self, model: Any, rows: Sequence[Encoded]) -> tuple[float, int]:
        """Return (summed loss, supervised tokens) of many rows, without gradients."""
        training = model.training
        model.eval()
        try:
            with torch.no_grad(), attending(_plain(model), self.mode):
                return sum(float(self.loss_sum(model, part)) for part in self.cut(rows)), sum(
                    r.supervised for r in rows
                )
        finally:
            model.train(training)


def _plain(model: Any) -> Any:
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _supervised(rows: Sequence[Encoded], *, padded: bool) -> tuple[list[tuple[int, int]], list[int]]:
    """Return (row, position) of each logit that predicts a supervised token, and those tokens."""
    where: list[tuple[int, int]] = []
    targets: list[int] = []
    start = 0
    for number, row in enumerate(rows):
        offset, line = (0, number) if padded else (start, 0)
        where += [(line, offset + at - 1) for at in range(row.prompt, len(row.ids))]
        targets += row.ids[row.prompt :]
        start += len(row.ids)
    return where, targets
