"""Turn errors into a better model: fine-tune checkpoints that evalkit runs as they are."""

from __future__ import annotations

from typing import Any

__all__ = ["Runner"]


def __getattr__(name: str) -> Any:
    """Load `Runner` when it is asked for, so that the command line stays fast."""
    if name != "Runner":
        raise AttributeError(f"module 'trainkit' has no attribute {name!r}")
    from trainkit.runner import Runner

    return Runner
