"""trainkit.json: everything that a checkpoint came from, so that it can be made again and compared. Knows no tensors.

Reading what evalkit needs (`prompt.hash`) takes no more than `json`; the layout has a `schema`.
"""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.jsonl import dump
from evalkit.models import Checkpoint
from evalkit.prompt import chat_template_hash
from trainkit.dataset import Reading
from trainkit.template import PromptSpec

if TYPE_CHECKING:
    from trainkit.intake import Prepared
    from trainkit.probe import Probe
    from trainkit.shapes import Shape

SCHEMA = 1
PACKAGES = ("evalkit-llm", "torch", "transformers", "tokenizers", "peft", "accelerate", "safetensors")


def digests(checkpoint: Checkpoint, spec: PromptSpec, data: Reading, dev: Reading | None) -> dict[str, str]:
    """Return what must be unchanged for a training to be resumed to the same result."""
    return {
        "data": data.sha256,
        "eval_data": dev.sha256 if dev else "",
        "model": checkpoint.digest(),
        "prompt": spec.hash,
        **{f"version.{name}": number for name, number in versions().items()},
    }


def versions() -> Mapping[str, str]:
    """Return the versions of what trains."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "none"
    return found


def record(prepared: Prepared, shape: Shape, facts: Mapping[str, Any], probe: Probe | None) -> dict[str, Any]:
    """Return the content of trainkit.json."""
    template = str(prepared.tokenizer.chat_template or "")
    spec = prepared.encoder.spec
    return {
        "schema": SCHEMA,
        "kind": "lora" if prepared.settings.lora else "full",
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "prompt": {**spec.record(), "chat_template": chat_template_hash(template) if spec.chat else ""},
        "ends": list(prepared.encoder.ends),
        "parent": {
            "model": prepared.settings.model,
            "digest": prepared.digests["model"],
            "parameters": shape.parameters,
        },
        "data": {"path": prepared.settings.data, "sha256": prepared.digests["data"]},
        "eval_data": {
            "path": prepared.settings.eval_data or "",
            "sha256": prepared.digests["eval_data"],
            "rows": len(prepared.dev),
        },
        "ledger": prepared.ledger.record(),
        "settings": asdict(prepared.settings),
        "result": dict(facts),
        "probe": probe.record() if probe else None,
        "versions": dict(versions()),
        "hardware": hardware(),
    }


def merged(parent: Mapping[str, Any], adapter: Checkpoint, difference: float) -> dict[str, Any]:
    """Return the trainkit.json of a merged checkpoint: the adapter's, with the proof of the merge."""
    told = {
        "schema": SCHEMA,
        **parent,
        "kind": "merged",
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "merge": {"adapter": adapter.name, "digest": adapter.digest(), "largest_logit_difference": difference},
    }
    return told


def hardware() -> dict[str, Any]:
    """Return the machine: processor, cores, memory."""
    return {
        "machine": platform.machine(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory": _meminfo("MemTotal"),
    }


def free_memory() -> int:
    """Return the bytes that a training can have on this machine's processor; 0 where that is unknown."""
    return _meminfo("MemAvailable")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor()
    )


def _meminfo(key: str) -> int:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:")), 0)


def settings_hash(settings: Mapping[str, Any]) -> str:
    """Return 16 hex digits of settings."""
    return hashlib.sha256(dump(dict(settings)).encode()).hexdigest()[:16]
