"""The edge to transformers' weights: a folder -> a model whose every weight came from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from evalkit.backends.quiet import quiet
from evalkit.errors import ModelError, one_line_of


def load_weights(kind: Any, folder: Path, dtype: torch.dtype, name: str) -> Any:
    """Load a folder's safetensors by one of transformers' auto classes; `name` is what messages call the model.

    Raises:
        ModelError: they cannot be loaded, or some are not in the folder; transformers would draw those by chance.
    """
    try:
        with quiet():
            model, found = kind.from_pretrained(
                folder,
                dtype=dtype,
                trust_remote_code=False,  # None would ask on stdin
                use_safetensors=True,
                attn_implementation="sdpa",
                output_loading_info=True,
            )
    except Exception as fault:  # transformers raises many kinds for broken weights
        raise ModelError(f"{name}: weights cannot be loaded: {one_line_of(fault)}") from None
    if missing := sorted(found["missing_keys"]):
        raise ModelError(
            f"{name}: {len(missing)} weights are not in its files ({', '.join(missing[:3])}); copy the folder again"
        )
    return model
