"""The edge to `transformers.Trainer`: its loop, schedule, saving and resuming around our steps and our loss."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Sampler
from transformers import EarlyStoppingCallback, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from trainkit.batches import epoch_order
from trainkit.checkpoint import STEPS, WHOLE, last_step, readable, saving
from trainkit.encode import Encoded
from trainkit.errors import Halted
from trainkit.settings import SftSettings
from trainkit.step import Stepper
from trainkit.weights import precision_of

Tell = Callable[[int, int, Mapping[str, float]], None]
"""Called with (step, steps in all, what was logged); without values when a step ended."""
_OPTIMIZERS = {"adamw": "adamw_torch_fused", "adafactor": "adafactor"}


@dataclass(frozen=True)
class Job:
    """Everything a training needs, read and encoded."""

    settings: SftSettings
    """What was asked."""
    model: Any
    """The model, with its adapter if there is one."""
    stepper: Stepper
    """How the loss of rows is computed."""
    train: Sequence[Encoded]
    """Rows to learn."""
    dev: Sequence[Encoded]
    """Rows of the evaluation loss."""
    out: Path
    """Folder of the checkpoint."""
    flops: tuple[float, float]
    """Floating point operations of a step per token, and per supervised token (the head)."""
    score: Callable[[Any], float] | None = None
    """Runs the dev suite on the model as it is."""
    tell: Tell = lambda step, steps, logs: None
    """Progress."""


def interval(settings: SftSettings, rows: int) -> int:
    """Return the steps between evaluations (and saves) where none are given: an epoch's, but at most ten in all."""
    epoch = math.ceil(rows / settings.batch_size)
    return max(epoch, math.ceil((settings.max_steps or settings.epochs * epoch) / 10))


def arguments(settings: SftSettings, out: Path, rows: int) -> TrainingArguments:
    """Return the settings in transformers' words."""
    usual = interval(settings, rows)
    return TrainingArguments(
        output_dir=str(out / STEPS),
        per_device_train_batch_size=settings.batch_size,
        num_train_epochs=settings.epochs,
        max_steps=settings.max_steps or -1,
        learning_rate=settings.rate,
        lr_scheduler_type=settings.schedule if settings.schedule != "constant" else "constant_with_warmup",
        warmup_steps=settings.warmup,
        optim=_OPTIMIZERS[settings.optimizer],
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        seed=settings.seed,
        use_cpu=not (torch.cuda.is_available() or torch.backends.mps.is_available()),
        bf16=precision_of(settings.precision) == "mixed",
        logging_steps=1,  # so that a resumed run logs the same losses
        logging_nan_inf_filter=False,
        eval_strategy="steps" if settings.evaluates else "no",
        eval_steps=settings.eval_steps or settings.save_steps or usual,
        save_strategy="steps",
        save_steps=settings.save_steps or settings.eval_steps or usual,
        save_total_limit=2,
        load_best_model_at_end=settings.measure != "last",
        metric_for_best_model=f"eval_{settings.measure}" if settings.measure != "last" else None,
        greater_is_better=settings.measure == "suite" if settings.measure != "last" else None,
        restore_callback_states_from_checkpoint=settings.patience is not None,
        report_to=[name.strip() for name in settings.report_to.split(",")],
        disable_tqdm=True,
        log_level="error",
        remove_unused_columns=False,
        dataloader_pin_memory=False,
    )


class SftTrainer(Trainer):
    """The loop of transformers over whole steps: a batch is the rows of one optimizer step."""

    def __init__(self, job: Job) -> None:
        args = arguments(job.settings, job.out, len(job.train))
        args._n_gpu = min(args.n_gpu, 1)  # one pass is one batch of rows side by side, which cannot be scattered
        stops = [EarlyStoppingCallback(job.settings.patience)] if job.settings.patience else []
        super().__init__(
            model=job.model,
            args=args,
            train_dataset=_Rows(job.train),
            eval_dataset=_Rows(job.dev),
            callbacks=[*stops, _Progress(job.tell)],
        )
        self.remove_callback(PrinterCallback)
        self.job = job
        self.ended = False
        self.computed = {"tokens": 0, "supervised": 0, "padding": 0}

    def get_train_dataloader(self) -> DataLoader[list[Encoded]]:
        """Return the rows of each step, in an order that depends on seed and epoch alone."""
        group = self.job.settings.batch_size if self.job.stepper.mode == "padded" else 0
        order = _Order([len(row.ids) for row in self.job.train], self.job.settings.seed, group, self._epoch)
        loader = DataLoader(_Rows(self.job.train), self.args.train_batch_size, sampler=order, collate_fn=list)
        return self.accelerator.prepare(loader)  # type: ignore[no-any-return]  # accelerate is untyped

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        """Compute the gradients of one step, pass by pass; return the mean loss of its supervised tokens."""
        rows: list[Encoded] = inputs
        model.train()
        tokens = sum(row.supervised for row in rows)
        loss = torch.zeros((), device=self.args.device)
        for part in self.job.stepper.cut(rows):
            with self.compute_loss_context_manager():
                share = self.job.stepper.loss_sum(model, part) / tokens
            self.accelerator.backward(share)
            loss += share.detach()
        if not torch.isfinite(loss):
            raise self._halted(f"the loss is {float(loss)}")
        self._count(rows)
        return loss

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Measure the loss per supervised token over all evaluation rows, and the dev suite."""
        metrics: dict[str, float] = {}
        if self.job.dev:
            loss, tokens = self.job.stepper.total(self.model, self.job.dev)
            metrics["eval_loss"] = loss / tokens
        if self.job.score:
            metrics["eval_suite"] = self.job.score(self.model)
        self.log(dict(metrics))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def floating_point_ops(self, inputs: Any) -> int:
        """Count 6N (LoRA: 4N) a token for the body, and the head on supervised positions alone."""
        body, head = self.job.flops
        return int(body * sum(len(row.ids) for row in inputs) + head * sum(row.supervised for row in inputs))

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)  # type: ignore[no-untyped-call]  # theirs
        if not math.isfinite(float(norm)):
            raise self._halted(f"the gradient's length is {float(norm)}")
        return norm

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        place = self.job.out / STEPS / f"checkpoint-{self.state.global_step}"

        def save() -> None:
            super(SftTrainer, self)._save_checkpoint(model, trial)
            readable(place)
            (place / WHOLE).touch()

        saving(save, place, self.job.out)

    def _run_epoch(self, **kwargs: Any) -> None:  # type: ignore[override]  # it is called by keywords alone
        if self.ended:  # the resumed step is the one that early stopping ended with
            self.control.should_training_stop = True
            return
        super()._run_epoch(**kwargs)  # type: ignore[no-untyped-call]  # theirs

    def _epoch(self) -> int:
        return int(self.state.global_step // max(1, math.ceil(len(self.job.train) / self.args.train_batch_size)))

    def _count(self, rows: Sequence[Encoded]) -> None:
        size = sum(len(row.ids) for row in rows)
        self.computed["tokens"] += size
        self.computed["supervised"] += sum(row.supervised for row in rows)
        self.computed["padding"] += self.job.stepper.computed(rows) - size

    def _halted(self, what: str) -> Halted:
        good = last_step(self.job.out)
        kept = f"{good.name} before it is whole and kept in {good.parent}" if good else "no step was saved before it"
        return Halted(f"step {self.state.global_step + 1}: {what}; {kept}; a smaller learning_rate may help")


class _Rows(torch.utils.data.Dataset[Encoded]):
    """Encoded rows as a data set."""

    def __init__(self, rows: Sequence[Encoded]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Encoded:
        return self.rows[index]


class _Order(Sampler[int]):
    """The rows of the epoch that a training has come to."""

    def __init__(self, lengths: Sequence[int], seed: int, group: int, epoch: Callable[[], int]) -> None:
        self.lengths, self.seed, self.group, self.epoch = lengths, seed, group, epoch

    def __iter__(self) -> Iterator[int]:
        return iter(epoch_order(self.lengths, self.seed, self.epoch(), group=self.group))

    def __len__(self) -> int:
        return len(self.lengths)


class _Progress(TrainerCallback):
    """Pass steps and logs on."""

    def __init__(self, tell: Tell) -> None:
        self.tell = tell

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Tell what was logged."""
        self.tell(
            state.global_step, state.max_steps, {k: v for k, v in (logs or {}).items() if isinstance(v, int | float)}
        )

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Tell that a step ended."""
        self.tell(state.global_step, state.max_steps, {})
