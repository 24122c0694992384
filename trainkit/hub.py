"""The edge to `datasets`: the first rows of a hub data set, streamed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from datasets import load_dataset

from trainkit.errors import TrainError


def streamed(hub: str, config: str, split: str) -> Iterator[Mapping[str, Any]]:
    """Yield the rows of a split one at a time, downloading no more than is read."""
    try:
        yield from load_dataset(hub, config or None, split=split, streaming=True)
    except Exception as fault:  # the hub client raises many kinds, all of them mean "not there"
        reason = " ".join(str(fault).split())[:160]
        raise TrainError(
            f"data set {hub!r} ({split}) cannot be had from the hub ({reason}); give --data-dir, or a file"
        ) from None
