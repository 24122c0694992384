"""An adapter's folder -> a plain checkpoint that says the same."""

from __future__ import annotations

import tempfile
from pathlib import Path

from evalkit.models import find_checkpoint
from evalkit.registry import load
from trainkit import manifest
from trainkit.checkpoint import MANIFEST, publish, read_json, save_model
from trainkit.errors import TrainError


def merge(folder: str, out: str | Path) -> float:
    """Merge the adapter in `folder` into its base, into `out`; return the largest difference of a logit.

    Raises:
        TrainError: there is no adapter, it does not fit, merging changes the model, or `out` is not empty.
    """
    target = Path(out)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise TrainError(f"{target}: is not an empty folder; choose another --out")
    checkpoint = find_checkpoint(folder)
    done = load("trainkit.lora:merge")(checkpoint)
    tokenizer = load("trainkit.weights:read_tokenizer")(checkpoint)
    assert checkpoint.adapter is not None
    known = checkpoint.adapter / MANIFEST
    parent = read_json(known) if known.is_file() else {}
    ends = parent.get("ends") or load("trainkit.weights:end_ids")(checkpoint, tokenizer)
    try:
        target.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target, prefix=".merged-") as work:
            save_model(done.model, tokenizer, ends, Path(work))
            publish(Path(work), target, manifest.merged(parent, checkpoint, done.difference))
    except OSError as fault:
        raise TrainError(f"{target}: cannot be written: {fault.strerror}") from None
    return float(done.difference)
