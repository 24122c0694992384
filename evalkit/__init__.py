"""Measure a language model and explain its errors.

From Python:

    from evalkit import run, read_run
    run("checkpoint", "docs_qa", limit=20).to_frame()
"""

from typing import TYPE_CHECKING

from evalkit.labels import read_labels
from evalkit.record import read_run

if TYPE_CHECKING:
    from evalkit.flow import run

__all__ = ["read_labels", "read_run", "run"]


def __getattr__(name: str) -> object:
    """Load `run` when it is first used: it imports numpy, which `evalkit --help` does not need."""
    if name == "run":
        from evalkit.registry import load

        return load("evalkit.flow:run")
    raise AttributeError(f"module 'evalkit' has no attribute {name!r}")
