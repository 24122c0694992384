"""Settings -> checkpoint: the page that shows the whole flow of a training. What a step is stands elsewhere."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from evalkit.registry import load
from trainkit import manifest
from trainkit.checkpoint import (
    MANIFEST,
    SETTINGS,
    STEPS,
    held,
    last_step,
    publish,
    read_json,
    save_model,
    saving,
    write_json,
    write_text,
)
from trainkit.config import read_settings, to_toml
from trainkit.errors import TrainError
from trainkit.intake import Prepared, load_of, prepare
from trainkit.plan import estimate
from trainkit.probe import Probe, probe
from trainkit.settings import SftSettings
from trainkit.shapes import Shape, shape_of

RUN = "run.json"
"""In the steps' folder: what a resumed training must find unchanged."""
WORK = ".final-"
"""Beginning of the name of a folder where a finished checkpoint is put together."""
_PATHS = ("data", "out", "eval_data")
Say = Callable[[str], None]


@dataclass(frozen=True)
class Outcome:
    """A finished training."""

    folder: Path
    """The checkpoint."""
    manifest: Mapping[str, Any]
    """Its trainkit.json."""
    history: Sequence[Mapping[str, float]] = field(default_factory=tuple)
    """What was logged: step, loss, learning rate, gradient length, evaluations."""
    probe: Probe | None = None
    """Answers to training rows after training."""


def sft(settings: SftSettings, *, say: Say = lambda line: None, tell: Any = None) -> Outcome:
    """Train a model as the settings say; the checkpoint stands in `settings.out`.

    Raises:
        TrainError: settings, data or model are not usable; nothing was trained then.
        Halted: training stopped early and can be resumed.
    """
    settings = _absolute(settings)
    prepared = prepare(settings)
    out = Path(settings.out)
    with held(out, fresh=True):
        write_json(out / STEPS / RUN, prepared.digests)
        write_text(out / SETTINGS, to_toml(settings))  # last: from here on the folder can be resumed
        return _train(prepared, None, say, tell)


def resume(folder: str | Path, *, say: Say = lambda line: None, tell: Any = None) -> Outcome:
    """Complete a training from its last whole step; data, model and versions must be those it was started with."""
    out = Path(folder)
    if not (out / SETTINGS).is_file():
        raise TrainError(f"{out}: no training here (no {SETTINGS}); give the --out of the training that was stopped")
    if (out / MANIFEST).is_file() or not (out / STEPS / RUN).is_file():
        raise TrainError(f"{out}: this training is finished; there is nothing to resume")
    settings = replace(SftSettings.of(read_settings(out / SETTINGS)), out=str(out.resolve()))
    prepared = prepare(settings)
    with held(out, fresh=False):
        before = read_json(out / STEPS / RUN)
        for key, value in prepared.digests.items():
            if before.get(key) != value:
                raise TrainError(
                    f"{out}: cannot be resumed: {key} has changed since it was started; train anew, or restore it"
                )
        return _train(prepared, last_step(out), say, tell)


def _train(prepared: Prepared, step: Path | None, say: Say, tell: Any) -> Outcome:
    """Load weights, train, write the checkpoint, look at what it answers."""
    settings, out = prepared.settings, Path(prepared.settings.out)
    say(prepared.ledger.line())
    shape = shape_of(prepared.settings.model)
    _warn_of_memory(shape, prepared, say)
    began = time.monotonic()
    trained = load("trainkit.fit:fit")(prepared, shape, step, tell)
    facts = {"seconds": round(time.monotonic() - began, 1), **trained.facts}
    with _work(out) as work:
        saving(
            lambda: save_model(trained.model, prepared.tokenizer, prepared.encoder.ends, work, settings.model),
            work,
            out,
        )
        trained.release()
        found = probe(str(work), prepared, settings.probe)
        told = manifest.record(prepared, shape, facts, found)
        saving(lambda: _write_side_files(out, trained.history), out / "nothing", out)
        saving(lambda: publish(work, out, told), work, out)
    if not settings.keep_steps:
        shutil.rmtree(out / STEPS, ignore_errors=True)
    return Outcome(out, told, tuple(trained.history), found)


@contextmanager
def _work(out: Path) -> Iterator[Path]:
    """Give a folder on the same disk, removed afterwards; so is what a killed process left of its own."""
    for stale in out.glob(f"{WORK}*"):
        shutil.rmtree(stale, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=WORK) as name:
        yield Path(name)


def _write_side_files(out: Path, history: Sequence[Mapping[str, float]]) -> None:
    write_text(out / "log.jsonl", "".join(json.dumps(entry, sort_keys=True) + "\n" for entry in history))
    if any("loss" in entry for entry in history):
        load("trainkit.plot:loss_png")(history, out / "loss.png")


def _absolute(settings: SftSettings) -> SftSettings:
    """Return the settings with absolute paths, so that a training can be resumed from any folder."""
    paths = {name: str(Path(value).resolve()) for name in _PATHS if (value := getattr(settings, name))}
    if Path(settings.model).is_dir():
        paths["model"] = str(Path(settings.model).resolve())
    given = {f.name: getattr(settings, f.name) for f in fields(settings)}
    return SftSettings(**{**given, **paths})


def _warn_of_memory(shape: Shape, prepared: Prepared, say: Say) -> None:
    """Say so where the plan does not fit what is free, before anything is loaded."""
    need, free = estimate(shape, load_of(prepared)).total, load("trainkit.weights:free_memory")()
    if free and need > free:
        say(
            f"warning: this training needs about {need / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB are free; "
            f"`trainkit plan --model {prepared.settings.model}` shows cheaper settings"
        )
