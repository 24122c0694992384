"""Three lines from rows to a comparison: `Runner("model").load_jsonl("rows.jsonl").train().evaluate()`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from evalkit.jsonl import dump
from evalkit.models import load_backend
from evalkit.registry import load
from evalkit.types import Sampling
from trainkit.checkpoint import write_text
from trainkit.dataset import TrainRow, read_rows
from trainkit.errors import TrainError
from trainkit.prepare import record_of, split
from trainkit.settings import SftSettings
from trainkit.sft import Outcome, sft
from trainkit.template import PromptSpec


class Runner:
    """A model, rows and a checkpoint, step by step."""

    def __init__(self, model: str, out: str | Path = "checkpoint") -> None:
        self.model = model
        self.out = Path(out)
        self.train_rows: list[TrainRow] = []
        self.test_rows: list[TrainRow] = []
        self.outcome: Outcome | None = None

    def load_jsonl(
        self,
        path: str | Path,
        input_key: str = "question",
        output_key: str = "answer",
        *,
        test_share: float = 0.1,
        seed: int = 123,
    ) -> Self:
        """Read rows and keep a share of them aside for `evaluate`."""
        rows = read_rows(path, input_key, output_key).rows
        self.train_rows, self.test_rows = split(rows, test_share, "seed", seed)
        if not self.train_rows:
            raise TrainError(f"{path}: no row is left to train on; a smaller test_share keeps some")
        return self

    def train(self, **settings: Any) -> Self:
        """Train on the rows; `settings` are those of `trainkit sft`."""
        if not self.train_rows:
            raise TrainError("no rows: call load_jsonl before train")
        rows = self.out.with_name(self.out.name + ".train.jsonl")
        rows.parent.mkdir(parents=True, exist_ok=True)
        write_text(rows, "".join(dump(record_of(row)) + "\n" for row in self.train_rows))
        self.outcome = sft(SftSettings.of({**settings, "model": self.model, "data": str(rows), "out": str(self.out)}))
        return self

    def evaluate(self, limit: int | None = 20, max_new_tokens: int = 128) -> Any:
        """Return a DataFrame of the rows kept aside: trained model's and base model's greedy answers side by side."""
        if self.outcome is None:
            raise TrainError("nothing is trained yet: call train before evaluate")
        rows = self.test_rows[:limit]
        if not rows:
            raise TrainError("no rows were kept aside; give load_jsonl a test_share above 0")
        prompt = self.outcome.manifest["prompt"]
        spec = PromptSpec(prompt["chat"], prompt["template"], prompt["system"], prompt["separator"])
        sampling = Sampling(max_new_tokens=max_new_tokens)
        trained, base = (_answers(m, rows, spec, sampling) for m in (str(self.outcome.folder), self.model))
        table = [
            {"question": row.question, "trained model": ours, "base model": theirs, "target": row.answer}
            for row, ours, theirs in zip(rows, trained, base, strict=True)
        ]
        return load("trainkit.frames:side_by_side")(table)


def _answers(model: str, rows: Sequence[TrainRow], spec: PromptSpec, sampling: Sampling) -> list[str]:
    requests = [replace(spec.request(row.id, row.input), sampling=sampling) for row in rows]
    backend = load_backend(model, {})
    return [r.text for batch in backend.plan(requests) for r in backend.respond([requests[i] for i in batch])]
