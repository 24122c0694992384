"""Training against TRL's SFTTrainer: equal losses first, then CPU time per supervised token; writes a Markdown page.

    pip install --no-deps --target DIR trl==1.16.0
    PYTHONPATH=DIR python -m tests.benchmarks.train -o reports/benchmarks/train.md

TRL is needed by this benchmark alone. It gets the rows already in tokens, prompt masked as ours are, and no defaults
that cost it time: float32 (its bfloat16 is many times slower on CPUs without such units), no gradient checkpointing,
no truncation, no evaluation, no saving. It is timed with rows in our order and with its rows grouped by length, and
the faster counts. Its own packing needs a flash-attention kernel and is not to be had on a CPU.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import click

MODEL = "smollm2-135m-instruct"
SIDES = ("trainkit", "trl", "trl, grouped by length")
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Work:
    """One set of rows and how it is trained."""

    name: str
    lora: bool
    long: bool
    steps: int
    batch_size: int


WORKS = (
    Work("short Q/A rows, full", False, False, 20, 8),
    Work("short Q/A rows, LoRA", True, False, 20, 8),
    Work("long rows, full", False, True, 3, 4),
)


@dataclass(frozen=True)
class Trial:
    """One training by one side."""

    cpu: float
    """CPU seconds of all threads, weights already loaded."""
    wall: float
    losses: tuple[float, ...]
    tokens: int
    """Tokens that are no padding."""
    supervised: int
    digest: str
    """Of ids and labels in training order."""
    flop: float
    """6N (LoRA: 4N) per token of the body, and of the head per supervised token."""


def rows_of(work: Work, folder: Path) -> Path:
    """Write the rows of a work: questions and answers of docs_qa, or sections of the documentation."""
    file = folder / "rows.jsonl"
    if not work.long:
        lines = (ROOT / "suites" / "docs_qa" / "train.jsonl").read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines][: work.steps * work.batch_size]
    else:
        text = "\n".join(p.read_text(encoding="utf-8") for p in sorted((ROOT / "docs").glob("*.md")))
        parts = [text[i : i + 2400] for i in range(0, 2400 * work.steps * work.batch_size, 2400)]
        rows = [{"question": part[:400], "answer": part[400:]} for part in parts]
    file.write_text("".join(json.dumps({"question": r["question"], "answer": r["answer"]}) + "\n" for r in rows))
    return file


def settings_of(work: Work, folder: Path) -> Any:
    """Return our settings of a work."""
    from trainkit.settings import SftSettings

    return SftSettings.of(
        {
            "model": MODEL, "data": str(rows_of(work, folder)), "out": str(folder / "out"), "lora": work.lora,
            "max_steps": work.steps, "batch_size": work.batch_size, "warmup": 0, "learning_rate": 1e-4 if work.lora
            else 1e-5, "schedule": "constant", "save_steps": work.steps, "probe": 0, "precision": "float32",
        }
    )  # fmt: skip


def digest(ids: Sequence[Sequence[int]], labels: Sequence[Sequence[int]]) -> str:
    """Return a hash of rows and their labels in order."""
    import hashlib

    return hashlib.sha256(json.dumps([[*map(list, ids)], [*map(list, labels)]]).encode()).hexdigest()[:16]


def timed(work: Callable[[], Any]) -> tuple[float, float]:
    """Return (CPU seconds, seconds) of some work."""
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - cpu, time.perf_counter() - wall


def trial(work: Work, side: str) -> Trial:
    """Train once in this process."""
    from trainkit.batches import epoch_order
    from trainkit.intake import flops_of, prepare
    from trainkit.shapes import shape_of

    with tempfile.TemporaryDirectory() as name:
        settings = settings_of(work, Path(name))
        prepared = prepare(settings)
        order = epoch_order([len(row.ids) for row in prepared.train], settings.seed, 0)
        rows = [prepared.train[i] for i in order]
        body, head = flops_of(prepared, shape_of(MODEL))
        tokens, supervised = sum(len(r.ids) for r in rows), sum(r.supervised for r in rows)
        run = ours if side == "trainkit" else theirs
        cpu, wall, losses = run(work, prepared, rows, side.endswith("length"))
        flop = body * tokens + head * supervised
        return Trial(
            cpu, wall, losses, tokens, supervised, digest([r.ids for r in rows], [r.labels for r in rows]), flop
        )


def ours(work: Work, prepared: Any, rows: Any, grouped: bool) -> tuple[float, float, tuple[float, ...]]:
    """Train by trainkit: the whole of `Trainer.train`."""
    from trainkit import fit, trainer
    from trainkit.checkpoint import held
    from trainkit.shapes import shape_of

    spent: list[tuple[float, float]] = []
    train = trainer.SftTrainer.train

    def clocked(self: Any, **kwargs: Any) -> None:
        spent.append(timed(lambda: train(self, **kwargs)))

    with held(Path(prepared.settings.out), fresh=True), mock.patch.object(trainer.SftTrainer, "train", clocked):
        trained = fit.fit(prepared, shape_of(MODEL), None, None)
    return *spent[0], tuple(entry["loss"] for entry in trained.history if "loss" in entry)


def theirs(work: Work, prepared: Any, rows: Any, grouped: bool) -> tuple[float, float, tuple[float, ...]]:
    """Train by TRL on the same rows, labels, model and adapter, saving what ours saves: the last step."""
    import torch
    from datasets import Dataset
    from torch.utils.data import SequentialSampler
    from trl import SFTConfig, SFTTrainer  # type: ignore[import-not-found]  # the benchmark alone needs it

    from trainkit.lora import attach
    from trainkit.weights import load_weights

    class InOrder(SFTTrainer):  # type: ignore[misc]  # as above
        """Take the rows as they come, unless they are grouped by length."""

        def _get_train_sampler(self, *args: Any, **kwargs: Any) -> Any:
            return super()._get_train_sampler(*args, **kwargs) if grouped else SequentialSampler(self.train_dataset)

    torch.manual_seed(0)
    settings = prepared.settings
    model = load_weights(prepared.checkpoint, "float32")
    if work.lora:
        model = attach(model, settings, str(prepared.checkpoint.folder))
    config = SFTConfig(
        output_dir=str(Path(settings.out) / "trl"), max_steps=work.steps, per_device_train_batch_size=work.batch_size,
        learning_rate=settings.rate, lr_scheduler_type="constant", warmup_steps=0, optim="adamw_torch_fused",
        weight_decay=0.0, max_grad_norm=1.0, bf16=False, fp16=False, use_cpu=True, gradient_checkpointing=False,
        max_length=None, packing=False, completion_only_loss=True, logging_steps=1, report_to="none", seed=0,
        save_steps=work.steps, disable_tqdm=True, eos_token=None,
        **({"train_sampling_strategy": "group_by_length"} if grouped else {}),
    )  # fmt: skip
    columns = [{"input_ids": list(r.ids), "completion_mask": [0] * r.prompt + [1] * r.supervised} for r in rows]
    trainer = InOrder(
        model=model, args=config, train_dataset=Dataset.from_list(columns), processing_class=prepared.tokenizer
    )
    cpu, wall = timed(trainer.train)
    losses = tuple(entry["loss"] for entry in trainer.state.log_history if "loss" in entry)
    return cpu, wall, losses


def apart(work: Work, side: str) -> Trial:
    """Train once in a process of its own."""
    command = [sys.executable, "-m", "tests.benchmarks.train", "--trial", work.name, "--side", side]
    command += ["--steps", str(work.steps)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(command, text=True, capture_output=True, check=False, env=environment)
    if done.returncode:
        raise click.ClickException(f"{side}: {done.stderr[-2000:]}")
    found = json.loads(done.stdout.splitlines()[-1])
    return Trial(**{**found, "losses": tuple(found["losses"])})


def compared(work: Work, repeats: int) -> tuple[str, ...]:
    """Return the page's row of one work; both of TRL's orders run once, the faster in every repeat."""
    runs: dict[str, list[Trial]] = {side: [] for side in SIDES}

    def go(side: str) -> None:
        runs[side].append(apart(work, side))
        click.echo(f"{work.name}: {side}: {runs[side][-1].cpu:.1f} CPU s", err=True)

    for side in SIDES:
        go(side)
    best = min(SIDES[1:], key=lambda side: runs[side][0].cpu)
    for _ in range(repeats - 1):
        go(SIDES[0])
        go(best)
    mine, same = runs["trainkit"][0], runs["trl"][0]
    assert mine.digest == same.digest, "both sides must learn the same labels"
    gaps = [abs(a - b) for a, b in zip(mine.losses, same.losses, strict=True)]
    ratios = [a.cpu / b.cpu for a, b in zip(runs["trainkit"], runs[best], strict=True)]
    per = {side: 1e3 * statistics.median(t.cpu for t in runs[side]) / mine.supervised for side in SIDES}
    wall = statistics.median(a.wall / b.wall for a, b in zip(runs["trainkit"], runs[best], strict=True))
    speed = mine.flop / statistics.median(t.wall for t in runs["trainkit"])
    return (
        work.name,
        f"{work.steps} x {work.batch_size}",
        f"{mine.tokens:,} / {mine.supervised:,}",
        *(f"{per[side]:.1f}" for side in SIDES),
        f"**{statistics.median(ratios):.2f}** ({min(ratios):.2f}-{max(ratios):.2f})",
        f"{wall:.2f}",
        f"{gaps[0]:.1e}",
        f"{max(gaps):.1e}",
        f"{100 * speed / peak():.0f} %",
    )


def peak() -> float:
    """Return the machine's matmul peak in FLOP/s, measured in this process."""
    from tests.benchmarks.speed import matmul_peak

    return matmul_peak()


PAGE = """\
# Training against TRL

Written by `python -m tests.benchmarks.train -o reports/benchmarks/train.md` (TRL 1.16.0) on {processor}, {threads}
threads; SmolLM2-135M-Instruct, float32. Each training is a process of its own; CPU time of all threads from the start
of `Trainer.train` to its end, model loaded, rows in tokens; medians of {repeats} interleaved repeats. TRL trains once
in our order of rows and once grouped by length; the ratio is against the faster of the two, pair by pair, with least
and largest of the repeats. Load of the machine before the first training: {load:.1f}.

{table}

CPU ms: per supervised token. Step 1 and curve: the largest difference of the loss from TRL's, rows in the same order.
Peak: 6N operations per token (LoRA 4N; the head on supervised tokens alone) per second against the fastest float32
product of two 1536 x 1536 matrices.
"""
HEAD = ("rows", "steps x rows", "tokens / supervised", "trainkit, CPU ms", "TRL, CPU ms", "TRL grouped, CPU ms",
        "CPU ratio", "wall ratio", "step 1", "curve", "peak")  # fmt: skip


@click.command()
@click.option("--repeats", default=3)
@click.option("--only", default="", help="Works whose name holds this.")
@click.option("--steps", type=int, help="Steps of every work, for a quick look.")
@click.option("-o", "--output", type=click.Path(path_type=Path))
@click.option("--trial", "name", hidden=True)
@click.option("--side", hidden=True)
def main(repeats: int, only: str, steps: int | None, output: Path | None, name: str | None, side: str) -> None:
    """Measure all works and write the page."""
    works = [replace(work, steps=steps or work.steps) for work in WORKS]
    if name:
        found = trial(next(work for work in works if work.name == name), side)
        click.echo(json.dumps(asdict(found)))
        return
    import torch

    from evalkit.report.markdown import grid
    from tests.benchmarks.speed import processor, write_page

    load = os.getloadavg()[0]
    rows = [compared(work, repeats) for work in works if only in work.name]
    table = "\n".join(grid(HEAD, rows))
    text = PAGE.format(processor=processor(), threads=torch.get_num_threads(), repeats=repeats, table=table, load=load)
    write_page(text, output)


if __name__ == "__main__":
    main()
