"""The edge to peft: a LoRA adapter merged into its base, so that the merged model runs at the base's speed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from peft import PeftConfig, PeftModel

from evalkit.errors import ModelError


def merged(model: Any, adapter: Path) -> Any:
    """Return the base model with the adapter's weights added.

    Raises:
        ModelError: the adapter does not fit the base: other layers, or other shapes.
    """
    config = PeftConfig.from_pretrained(str(adapter))
    try:
        return PeftModel.from_pretrained(model, str(adapter), config=config).merge_and_unload(safe_merge=True)
    except (ValueError, RuntimeError, KeyError) as fault:
        reason = " ".join(str(fault).split())[:200]
        raise ModelError(
            f"{adapter}: the adapter does not fit its base {config.base_model_name_or_path!r}: {reason}"
        ) from None
