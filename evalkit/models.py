"""`--model X` -> a backend: a folder, a hub id, a catalogue name, an adapter's folder, or `backend:where`.

Loads no weights.
"""

from __future__ import annotations

import hashlib
import json
import re
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalkit.catalogue import CATALOGUE, fetch, read_cache, write_cache
from evalkit.errors import ModelError
from evalkit.jsonl import parse_object
from evalkit.registry import did_you_mean, load, lookup, table
from evalkit.types import Backend

HASHES = "hashes.json"
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_READ = re.compile(
    r"(config|generation_config|adapter_config|tokenizer\w*|special_tokens_map|added_tokens|vocab|preprocessor_config)\.json"
    r"|.*\.safetensors(\.index\.json)?|merges\.txt|vocab\.txt|.*\.model|chat_template.*|.*\.jinja|trainkit\.json"
)
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_OPTIONS = {"hf": ("batch_tokens", "measured"), "openai": ("concurrency", "timeout")}
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")


@dataclass(frozen=True)
class Checkpoint:
    """A model on disk, checked as far as that goes without reading its weights."""

    name: str
    """The model as the user gave it."""
    folder: Path
    """Folder with config, weights and tokenizer; for an adapter, that of its base."""
    adapter: Path | None = None
    """Folder of a LoRA adapter to put on top of the base."""

    @property
    def tokenizer(self) -> Path:
        """Return the folder whose tokenizer is used: the adapter's, where it brings one."""
        brings = self.adapter and any((self.adapter / name).is_file() for name in _TOKENIZERS)
        return self.adapter if brings and self.adapter else self.folder

    def digest(self) -> str:
        """Return the sha256 over every file that loading reads."""
        folders = [self.folder, *([self.adapter] if self.adapter else [])]
        lines = [f"{p.name} {h}" for folder in folders for p, h in _hashes(sorted(_files_read(folder)))]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def trained_prompt(self) -> Mapping[str, Any]:
        """Return what trainkit.json says of the prompt in training; empty where there is none, or it is broken."""
        try:
            found = parse_object(((self.adapter or self.folder) / "trainkit.json").read_bytes()).get("prompt")
        except (OSError, ValueError, ModelError):
            return {}
        return found if isinstance(found, dict) else {}


def load_backend(model: str, options: Mapping[str, Any]) -> Backend:
    """Return the backend for `--model`; weights are read at the first batch, not here.

    Raises:
        ModelError: the model cannot be found, or is not usable; the message says where it was looked for.
    """
    name, colon, where = model.partition(":")
    if name in table("backends") and name != "hf" and (colon or not Path(model).exists()):
        backend: Backend = lookup("backends", name)(where, **_taken(name, options))
    else:
        checkpoint = find_checkpoint(model.removeprefix("hf:"))  # before torch loads, which takes seconds
        backend = lookup("backends", "hf")(checkpoint, **_taken("hf", options))
    return backend


def _taken(backend: str, options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: options[name] for name in _OPTIONS.get(backend, ()) if name in options}


def find_checkpoint(model: str) -> Checkpoint:
    """Return the checkpoint that `model` names, fetching a catalogue entry that is not there yet."""
    folder = _find_folder(model)
    if not (folder / "adapter_config.json").is_file():
        _check_folder(folder)
        return Checkpoint(model, folder)
    base = _read_json(folder / "adapter_config.json").get("base_model_name_or_path")
    if not base:
        raise ModelError(f"{folder}: adapter_config.json names no base model (base_model_name_or_path)")
    try:
        base_folder = _find_folder(str(base))
    except ModelError as fault:
        raise ModelError(f"{folder}: its base model {base!r} cannot be found: {fault}") from None
    _check_folder(base_folder)
    _check_weights(folder)
    return Checkpoint(model, base_folder, folder)


def _find_folder(model: str) -> Path:
    path = Path(model).expanduser()
    if path.is_dir():
        return path
    if model in CATALOGUE:
        return fetch(model)
    if path.exists():
        raise ModelError(f"{model!r} is a file; expected the folder of a checkpoint (config.json, weights, tokenizer)")
    if HUB_ID.fullmatch(model) and not path.is_absolute():
        return Path(load("evalkit.backends.hub:snapshot")(model))
    known = [*CATALOGUE, *(f"{name}:" for name in table("backends") if name != "hf")]
    raise ModelError(
        f"no model {model!r}: neither a folder, nor a hub id (owner/name), nor in the catalogue"
        f"{did_you_mean(model, known)}"
    )


def _check_folder(folder: Path) -> None:
    """Refuse what cannot be loaded safely, before a library gives a page of traceback for it."""
    config = folder / "config.json"
    if not config.is_file():
        raise ModelError(f"{folder}: no config.json; a checkpoint folder holds config, weights and tokenizer")
    if "auto_map" in _read_json(config):
        raise ModelError(
            f"{folder}: the model brings its own code (auto_map), which is never run; use a built-in architecture"
        )
    if not any((folder / name).is_file() for name in _TOKENIZERS):
        raise ModelError(
            f"{folder}: no tokenizer ({', '.join(_TOKENIZERS[:3])}); save it beside the model (save_pretrained)"
        )
    _check_weights(folder)


def _check_weights(folder: Path) -> None:
    shards = sorted(folder.glob("*.safetensors"))
    for index in folder.glob("*.safetensors.index.json"):
        weights = _read_json(index).get("weight_map")
        if not isinstance(weights, dict):
            raise ModelError(f"{index}: no weight_map; copy the folder again")
        for name in sorted(set(map(str, weights.values())) - {shard.name for shard in shards}):
            raise ModelError(f"{folder}: shard {name} is missing; copy the folder again")
    if not shards:
        pickled = [p.name for pattern in _PICKLES for p in folder.glob(pattern)]
        hint = (
            f"only pickled weights ({pickled[0]}), which can run code; convert them to safetensors"
            if pickled
            else "no weights"
        )
        raise ModelError(f"{folder}: {hint} (expected *.safetensors)")
    for shard in shards:
        _check_shard(shard)


def _check_shard(path: Path) -> None:
    """Compare a safetensors file's size with what its header promises."""
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length)) if length < min(size, 100_000_000) else {}
        ends = [int(entry["data_offsets"][1]) for key, entry in header.items() if key != "__metadata__"]
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, struct.error):
        raise ModelError(f"{path}: not a safetensors file; copy it again") from None
    promised = 8 + length + max(ends, default=0)
    if not ends or size != promised:
        raise ModelError(f"{path}: truncated or damaged: {size:,} bytes, its header promises {promised:,}")


def _files_read(folder: Path) -> Iterable[Path]:
    return (p for p in folder.iterdir() if p.is_file() and _READ.fullmatch(p.name))


def _hashes(files: Iterable[Path]) -> Iterable[tuple[Path, str]]:
    """Yield (file, sha256); hashes of files that did not change come from a cache."""
    known: dict[str, str] = read_cache(HASHES)
    fresh: dict[str, str] = {}
    for file in files:
        stat = file.stat()
        key = f"{file.resolve()}|{stat.st_size}|{stat.st_mtime_ns}|{stat.st_ino}"
        if key not in known:
            with file.open("rb") as content:
                fresh[key] = known[key] = hashlib.file_digest(content, "sha256").hexdigest()
        yield file, known[key]
    if fresh:
        write_cache(HASHES, known)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as fault:
        raise ModelError(f"{path}: not readable as JSON: {fault}") from None
    if not isinstance(value, dict):
        raise ModelError(f"{path}: expected a JSON object")
    return value
