"""The edge to the model hub: a hub id -> a local snapshot."""

from __future__ import annotations

from huggingface_hub import snapshot_download

from evalkit.errors import ModelError

_PATTERNS = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]


def snapshot(model: str) -> str:
    """Return the folder of a hub model's files, downloading what is missing; code and pickles are left out.

    Raises:
        ModelError: the hub cannot be reached or does not have it.
    """
    try:
        return str(snapshot_download(model, allow_patterns=_PATTERNS))
    except Exception as fault:  # the client raises many kinds, all of them mean "not to be had"
        reason = " ".join(str(fault).split())[:160]
        raise ModelError(
            f"model {model!r} is no folder here and cannot be had from the hub ({reason}); "
            "give the folder of a checkpoint, or a catalogue name (`evalkit models list`)"
        ) from None
