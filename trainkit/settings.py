"""What the user asks of a training: every flag of `trainkit sft`, and which of them contradict each other."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trainkit.config import build, setting
from trainkit.errors import TrainError

LEARNING_RATES = {"full": 1e-5, "lora": 2e-4}
"""Where none is given: the seed's for full fine-tuning, LoRA's usual one."""
RENAMED: Mapping[str, str] = {
    "evaluation_strategy": "give eval_steps (steps between evaluations); without it every epoch is",
    "eval_strategy": "give eval_steps (steps between evaluations); without it every epoch is",
    "overwrite_output_dir": "a folder that holds a checkpoint is never overwritten; choose another out",
    "per_device_train_batch_size": "give batch_size (rows a step) and batch_tokens (tokens a forward pass)",
    "per_device_eval_batch_size": "give batch_tokens (tokens a forward pass)",
    "gradient_accumulation_steps": "give batch_size (rows a step); it is cut into passes of batch_tokens by itself",
    "num_train_epochs": "give epochs",
    "max_seq_length": "give max_tokens and over_long",
    "max_length": "give max_tokens and over_long",
    "model_max_length": "give max_tokens and over_long",
    "lr_scheduler_type": "give schedule",
    "warmup_steps": "give warmup: a share of all steps below 1, or a number of steps",
    "warmup_ratio": "give warmup: a share of all steps below 1, or a number of steps",
    "optim": "give optimizer",
    "load_best_model_at_end": "give best = loss, suite or last",
    "metric_for_best_model": "give best = loss, suite or last",
    "early_stopping_patience": "give patience",
    "save_total_limit": "the last and the best step are kept while training, the result alone afterwards",
    "logging_steps": "every step is logged",
    "output_dir": "give out",
    "model_name_or_path": "give model",
    "train_file": "give data",
    "tokenizer": "the model's own is used; it was removed from transformers' Trainer in version 5",
    "no_cuda": "the device is found by itself",
    "fp16": "give precision; float16 is not among them, for it needs loss scaling",
    "bf16": "give precision = mixed or bfloat16",
    "group_by_length": "rows are grouped by length by themselves",
}
"""Names that other trainers have (or had), and what to give instead."""


@dataclass(frozen=True)
class SftSettings:
    """The settings of one `trainkit sft`."""

    model: str = setting(says="A checkpoint folder, hub id or catalogue name.", metavar="M")
    data: str = setting(says="Training rows, JSONL: question and answer, chat messages, or Alpaca's.", metavar="FILE")
    out: str = setting(says="Folder of the checkpoint: new or empty.", metavar="DIR")
    eval_data: str | None = setting(None, says="Rows for the evaluation loss, JSONL.", metavar="FILE")
    eval_share: float = setting(0.0, says="Share of the rows kept aside for the evaluation loss, by content hash.")
    input_key: str = setting("question", says="Key of the question in a row.", metavar="KEY")
    output_key: str = setting("answer", says="Key of the answer in a row.", metavar="KEY")
    bad_rows: str = setting(
        "raise", says="What to do with rows that cannot be read or encoded.", choices=("raise", "drop")
    )
    prompt_from: str | None = setting(None, says="Ask as this suite asks: chat or template, system.", metavar="SUITE")
    template: str = setting("", says="Plain prompt with {input} in it; without: the model's chat template.")
    system: str = setting("", says="System message; empty: none is sent.")
    separator: str = setting(" ", says="Text between a plain prompt and the answer.")
    max_tokens: int | None = setting(None, says="Most tokens of a row; default: the model's context.", metavar="N")
    over_long: str = setting(
        "raise", says="What to do with longer rows.", choices=("raise", "drop", "truncate-prompt-left")
    )
    lora: bool = setting(False, says="Train a LoRA adapter instead of all weights.")
    lora_rank: int = setting(16, says="Rank of the adapter.", metavar="N")
    lora_alpha: float | None = setting(None, says="Scale of the adapter; default: twice the rank.")
    lora_dropout: float = setting(0.0, says="Dropout before the adapter.")
    lora_targets: str = setting("all-linear", says="Names of the layers it is put on, with commas.", metavar="A,B")
    epochs: float = setting(3.0, says="Passes over the rows.")
    max_steps: int | None = setting(None, says="Optimizer steps; overrides epochs.", metavar="N")
    batch_size: int = setting(
        8, says="Rows a step; the loss is the mean over all their supervised tokens.", metavar="N"
    )
    batch_tokens: int = setting(
        1024, says="Most tokens of one forward pass; changes memory, not the result.", metavar="N"
    )
    packing: str = setting(
        "auto", says="Rows side by side without padding, where the model can.", choices=("auto", "never")
    )
    learning_rate: float | None = setting(None, says="Peak learning rate; default: 1e-5, with LoRA 2e-4.")
    schedule: str = setting("linear", says="Learning rate after warm-up.", choices=("linear", "cosine", "constant"))
    warmup: float = setting(0.03, says="Warm-up: a share of all steps below 1, or a number of steps.")
    optimizer: str = setting("adamw", says="Optimizer.", choices=("adamw", "adafactor"))
    weight_decay: float = setting(0.0, says="Weight decay.")
    max_grad_norm: float = setting(1.0, says="Longest gradient; longer ones are scaled down. 0: never.")
    precision: str = setting(
        "auto",
        says="Numbers: float32, bfloat16 over float32 weights, or bfloat16 alone; auto: mixed where a GPU has it.",
        choices=("auto", "float32", "mixed", "bfloat16"),
    )
    gradient_checkpointing: bool = setting(False, says="Compute activations twice to keep fewer.")
    eval_steps: int | None = setting(
        None, says="Steps between evaluations; default: an epoch's, ten in all at most.", metavar="N"
    )
    save_steps: int | None = setting(None, says="Steps between saves; default: when evaluated.", metavar="N")
    dev_suite: str | None = setting(None, says="Suite (dev, not held-out) that is run at each evaluation.", metavar="S")
    dev_limit: int | None = setting(None, says="Only the first N questions of the dev suite.", metavar="N")
    best: str = setting(
        "auto",
        says="Which step is kept; auto: by suite or loss, where measured.",
        choices=("auto", "loss", "suite", "last"),
    )
    patience: int | None = setting(None, says="Stop after N evaluations without a better one.", metavar="N")
    seed: int = setting(0, says="Seed of order, adapter and dropout.", metavar="N")
    report_to: str = setting("none", says="Loggers of transformers, with commas: tensorboard, wandb, mlflow, …")
    probe: int = setting(8, says="Training rows asked after training, to see whether answers end.", metavar="N")
    keep_steps: bool = setting(False, says="Keep the saved steps with their optimizer state.")

    def __post_init__(self) -> None:
        """Refuse what contradicts itself, before anything is read."""
        for holds, message in (*_ranges(self), *_contradictions(self)):
            if not holds:
                raise TrainError(message)

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> SftSettings:
        """Build settings from a config's or command line's values."""
        return build(cls, given, RENAMED)

    @property
    def rate(self) -> float:
        """Return the learning rate."""
        return self.learning_rate or LEARNING_RATES["lora" if self.lora else "full"]

    @property
    def evaluates(self) -> bool:
        """Say whether anything is measured while training."""
        return bool(self.eval_data or self.eval_share or self.dev_suite)

    @property
    def measure(self) -> str:
        """Return what chooses the best step: `suite`, `loss` or `last`."""
        found = "suite" if self.dev_suite else "loss" if self.evaluates else "last"
        return found if self.best == "auto" else self.best


Facts = tuple[tuple[bool, str], ...]
NOTHING = "without anything to evaluate; give eval_data, eval_share or dev_suite"


def _ranges(s: SftSettings) -> Facts:
    positive = ("batch_size", "batch_tokens", "lora_rank", "max_steps", "max_tokens", "eval_steps", "save_steps",
                "dev_limit", "patience")  # fmt: skip
    counts = [(name, getattr(s, name)) for name in positive]
    return (
        *((v is None or v >= 1, f"{name} = {v}: expected 1 or more") for name, v in counts),
        (0 < s.epochs < math.inf, f"epochs = {s.epochs}: expected above 0"),
        (0 < s.rate < 1, f"learning_rate = {s.learning_rate}: expected between 0 and 1, for instance 1e-5"),
        (0 <= s.eval_share < 1, f"eval_share = {s.eval_share}: expected from 0 to below 1"),
        (0 <= s.lora_dropout < 1, f"lora_dropout = {s.lora_dropout}: expected from 0 to below 1"),
        (s.lora_alpha is None or s.lora_alpha > 0, f"lora_alpha = {s.lora_alpha}: expected above 0"),
        (s.warmup >= 0, f"warmup = {s.warmup}: expected 0 or more"),
        (s.warmup < 1 or s.warmup == int(s.warmup), f"warmup = {s.warmup}: expected a share below 1, or whole steps"),
        (0 <= s.weight_decay < 1, f"weight_decay = {s.weight_decay}: expected from 0 to below 1"),
        (0 <= s.max_grad_norm < math.inf, f"max_grad_norm = {s.max_grad_norm}: expected 0 or more"),
        (s.probe >= 0, f"probe = {s.probe}: expected 0 or more"),
        (0 <= s.seed < 2**32, f"seed = {s.seed}: expected from 0 to 4294967295"),
    )


def _contradictions(s: SftSettings) -> Facts:
    steps = s.max_steps or math.inf
    own = LORA_ONLY if not s.lora else ()
    touched = [name for name in own if getattr(s, name) != getattr(SftSettings, name)]
    return (
        (not (s.eval_data and s.eval_share), "eval_data and eval_share are both given; keep the one that is meant"),
        (not (s.prompt_from and (s.template or s.system)), "prompt_from brings template and system; leave those out"),
        (not s.eval_steps or s.evaluates, f"eval_steps {NOTHING}"),
        (not s.eval_steps or s.eval_steps <= steps,
         f"eval_steps = {s.eval_steps}, but training ends after max_steps = {s.max_steps}: nothing would be evaluated"),
        (not s.save_steps or s.save_steps <= steps,
         f"save_steps = {s.save_steps}, but training ends after max_steps = {s.max_steps}: it would never be saved"),
        (s.warmup <= steps, f"warmup = {s.warmup:g} steps, but training ends after max_steps = {s.max_steps}"),
        (s.patience is None or s.evaluates, f"patience {NOTHING}"),
        (s.best != "suite" or bool(s.dev_suite), "best = 'suite' needs dev_suite"),
        (s.best != "loss" or bool(s.eval_data or s.eval_share), "best = 'loss' needs eval_data or eval_share"),
        (s.patience is None or s.measure != "last", "patience needs best = loss or suite"),
        (s.dev_limit is None or bool(s.dev_suite), "dev_limit goes with dev_suite"),
        (s.measure == "last" or not (s.save_steps and s.eval_steps) or s.save_steps == s.eval_steps,
         f"save_steps = {s.save_steps}, eval_steps = {s.eval_steps}: the best step can be kept where both are equal"),
        (not s.template or "{input}" in s.template or "{question}" in s.template,
         "template: expected the place of the question, {input}, in it"),
        (not touched, f"{', '.join(touched)} without lora = true; add --lora, or leave it out"),
    )  # fmt: skip


LORA_ONLY = ("lora_rank", "lora_alpha", "lora_dropout", "lora_targets")
