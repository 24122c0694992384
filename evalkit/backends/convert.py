"""The edge to GGUF: a quantised file -> a plain checkpoint folder in float32."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

from evalkit.backends.quiet import quiet


def gguf_to_folder(gguf: Path, folder: Path) -> None:
    """Write the model and tokenizer of a GGUF file as safetensors, tokenizer and config; weights are dequantised."""
    with quiet():
        model = AutoModelForCausalLM.from_pretrained(
            gguf.parent,
            gguf_file=gguf.name,
            quantization_config=GgufConfig(dequantize=True),  # otherwise save_pretrained refuses
            dtype=torch.float32,
            trust_remote_code=False,
        )
        model.save_pretrained(folder)
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name, trust_remote_code=False)
        tokenizer.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_bytes())
    config.pop("_model_name_or_path", None)  # a stray name of the quantiser's own run
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
