"""A checkpoint folder that is whole: weights, tokenizer, generation config, trainkit.json; and a training's steps.

Knows no tensors: models and tokenizers save themselves. What evalkit reads of `trainkit.json` is `prompt.hash`.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from evalkit.errors import RunLocked
from evalkit.jsonl import write_atomic
from trainkit.errors import Halted, TrainError

MANIFEST = "trainkit.json"
SETTINGS = "sft.toml"
STEPS = "steps"
WHOLE = "whole"
"""File that is written last into a step: without it the step is half-written and not resumed."""
_STEP = re.compile(r"checkpoint-(\d+)")
_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")


@contextlib.contextmanager
def held(out: Path, *, fresh: bool) -> Iterator[None]:
    """Hold a checkpoint's folder: one process at a time, a fresh one empty, and empty again if no step was saved.

    Raises:
        TrainError: it is not empty, or cannot be written.
        RunLocked: another process trains into it.
    """
    if fresh and out.exists() and not _as_empty(out):
        hint = f"; `trainkit sft --resume {out}` goes on" if (out / SETTINGS).is_file() else ""
        raise TrainError(f"{out}: is not an empty folder; choose another --out{hint}")
    try:
        (out / STEPS).mkdir(parents=True, exist_ok=True)
        lock = (out / STEPS / "lock").open("w")
    except OSError as fault:
        raise TrainError(f"{out}: cannot be written: {fault.strerror}") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise RunLocked(f"{out}: another process trains into it") from None
        try:
            yield
        except BaseException:
            if fresh and last_step(out) is None:  # nothing to resume: the folder is as it was
                _clear(out)
            raise


def _as_empty(out: Path) -> bool:
    """Say whether a folder holds nothing, or what a training left that was killed before its settings were written."""
    return out.is_dir() and {entry.name for entry in out.iterdir()} <= {STEPS} and not [*out.glob(f"{STEPS}/*-*")]


def _clear(out: Path) -> None:
    shutil.rmtree(out / STEPS, ignore_errors=True)
    (out / SETTINGS).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        out.rmdir()


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    write_atomic(path.resolve(), [text.encode()])


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write JSON that a person can read."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object of ours."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError) as fault:
        raise TrainError(f"{path}: cannot be read: {fault}") from None
    if not isinstance(value, dict):
        raise TrainError(f"{path}: expected a JSON object")
    return value


def last_step(out: Path) -> Path | None:
    """Return the last whole step of a training, removing half-written ones."""
    found: list[tuple[int, Path]] = []
    for folder in (out / STEPS).glob("checkpoint-*"):
        if (match := _STEP.fullmatch(folder.name)) and (folder / WHOLE).is_file():
            found.append((int(match[1]), folder))
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return max(found)[1] if found else None


def save_model(model: Any, tokenizer: Any, ends: Sequence[int], folder: Path, base: str = "") -> None:
    """Save weights, tokenizer and a generation config that ends where training did; files are readable by all.

    An adapter gets the name of its `base` as the user gave it, so that it is found on other machines too.
    """
    folder.mkdir(parents=True, exist_ok=True)
    generation = getattr(model, "generation_config", None)
    if generation is not None:
        generation.eos_token_id = ends[0] if len(ends) == 1 else list(ends)
        if generation.pad_token_id is None:
            generation.pad_token_id = ends[0] if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    config = folder / "adapter_config.json"
    if config.is_file() and base:
        write_json(config, {**read_json(config), "base_model_name_or_path": base})
    (folder / "README.md").unlink(missing_ok=True)  # peft's form of a model card, which says nothing
    readable(folder)


def readable(folder: Path) -> None:
    """Set mode 0644 on every file of a folder; safetensors leaves 0600."""
    for file in folder.rglob("*"):
        if file.is_file():
            file.chmod(0o644)


def publish(work: Path, out: Path, manifest: Mapping[str, Any]) -> None:
    """Move a finished checkpoint's files to where they belong, the manifest last."""
    for file in sorted(work.iterdir()):
        if file.suffix in _PICKLES:
            raise TrainError(f"{file.name}: a pickle would be kept; only safetensors is")
        os.replace(file, out / file.name)
    write_json(out / MANIFEST, manifest)


def saving(what: Callable[[], None], place: Path, out: Path) -> None:
    """Save something; where the disk is full or the place cannot be written, halt with what is still good."""
    try:
        what()
    except Exception as fault:  # safetensors, torch and peft raise their own kinds for a full disk
        if not _is_io(fault):
            raise
        shutil.rmtree(place, ignore_errors=True)
        good = last_step(out)
        kept = f"{good.name} is whole and kept" if good else "no step was saved before"
        raise Halted(
            f"{place}: cannot be saved ({_reason(fault)}); {kept}; make room, then "
            f"`trainkit sft --resume {out}` goes on"
        ) from None


def _is_io(fault: Exception) -> bool:
    text = str(fault).lower()
    return isinstance(fault, OSError) or any(
        s in text for s in ("no space left", "file too large", "os error", "failed writing", "iostream error")
    )


def _reason(fault: Exception) -> str:
    return " ".join(str(fault).split())[:160] or type(fault).__name__
