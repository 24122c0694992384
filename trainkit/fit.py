"""The edge to torch: a prepared training -> a trained model, by the trainer."""

from __future__ import annotations

import gc
import os
import resource
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import set_seed
from transformers.utils import logging

from evalkit.backends.quiet import quiet
from evalkit.registry import load
from trainkit.attention import attending, best_mode
from trainkit.checkpoint import read_json, save_model
from trainkit.errors import TrainError
from trainkit.intake import Prepared, flops_of
from trainkit.shapes import Shape
from trainkit.step import Stepper
from trainkit.suites import dev_score
from trainkit.trainer import Job, SftTrainer
from trainkit.weights import load_weights, precision_of


@dataclass
class Trained:
    """A trained model and what its training was."""

    model: Any
    """The model, the best or the last step's."""
    facts: dict[str, Any]
    """Steps, tokens, operations, losses, memory."""
    history: Sequence[dict[str, float]]
    """What was logged."""

    def release(self) -> None:
        """Let the model go, before another copy of it is loaded."""
        self.model = None
        gc.collect()


def fit(prepared: Prepared, shape: Shape, step: Path | None, tell: Any) -> Trained:
    """Train, from a saved step where one is given."""
    settings, out = prepared.settings, Path(prepared.settings.out)
    set_seed(settings.seed)
    plain = load_weights(prepared.checkpoint, precision_of(settings.precision))
    mode = "padded" if settings.packing == "never" else best_mode(plain)
    model = _adapted(plain, prepared)
    pad = prepared.tokenizer.pad_token_id if prepared.tokenizer.pad_token_id is not None else prepared.encoder.ends[0]
    job = Job(
        settings, model, Stepper.of(model, mode, settings.batch_tokens, pad), prepared.train, prepared.dev, out,
        flops_of(prepared, shape), _scorer(prepared), *([tell] if tell else []),
    )  # fmt: skip
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # theirs
    caches = plain.config.use_cache
    trainer = _trainer(job)
    if step:
        state = read_json(step / "trainer_state.json")
        control = state.get("stateful_callbacks", {}).get("TrainerControl", {}).get("args", {})
        trainer.ended = bool(control.get("should_training_stop"))
    with attending(plain, mode), _fused(model, prepared):
        trainer.train(resume_from_checkpoint=str(step) if step else None)
    plain.config.use_cache = caches  # a trainer turns it off, and the checkpoint would stay slow
    return Trained(model, _facts(trainer, mode), _history(trainer.state.log_history))


def _adapted(plain: Any, prepared: Prepared) -> Any:
    settings = prepared.settings
    if settings.gradient_checkpointing:
        plain.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    if not settings.lora:
        return plain
    return load("trainkit.lora:attach")(plain, settings, str(prepared.checkpoint.folder))


def _fused(model: Any, prepared: Prepared) -> AbstractContextManager[None]:
    if not prepared.settings.lora or precision_of(prepared.settings.precision) != "float32":
        return nullcontext()
    fast: AbstractContextManager[None] = load("trainkit.lora:fused")(model)
    return fast


def _scorer(prepared: Prepared) -> Any:
    if not prepared.settings.dev_suite:
        return None

    def score(model: Any) -> float:
        with quiet():
            return dev_score(
                prepared.settings, lambda folder: save_model(model, prepared.tokenizer, prepared.encoder.ends, folder)
            )

    return score


def _trainer(job: Job) -> SftTrainer:
    """Build the trainer; only a logger that is not there can be wrong by now."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise TrainError("WORLD_SIZE is above 1: a training is one process on one device; start it without a launcher")
    try:
        with quiet():
            return SftTrainer(job)
    except (ValueError, RuntimeError, ImportError) as fault:
        if job.settings.report_to == "none":
            raise
        raise TrainError(f"report_to = {job.settings.report_to!r}: {' '.join(str(fault).split())[:200]}") from None


def _history(entries: Sequence[dict[str, float]]) -> list[dict[str, float]]:
    """Return what was logged without the trainer's clock readings, so that equal trainings have equal logs."""
    return [dict(entry) for entry in entries if "train_runtime" not in entry]


def _facts(trainer: SftTrainer, mode: str) -> dict[str, Any]:
    state = trainer.state
    losses = [entry["loss"] for entry in state.log_history if "loss" in entry]
    measured = [entry for entry in state.log_history if "eval_loss" in entry or "eval_suite" in entry]
    best = state.best_global_step if trainer.args.load_best_model_at_end else None
    return {
        "steps": state.global_step,
        "kept_step": best or state.global_step,
        "epochs": state.epoch,
        "first_loss": losses[0] if losses else None,
        "last_loss": losses[-1] if losses else None,
        "evaluations": [{k: e[k] for k in ("step", "eval_loss", "eval_suite") if k in e} for e in measured],
        "mode": mode,
        "precision": precision_of(trainer.job.settings.precision),
        "tokens": dict(trainer.computed),
        "flops": state.total_flos,
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "device": str(trainer.args.device),
        "threads": torch.get_num_threads(),
    }
