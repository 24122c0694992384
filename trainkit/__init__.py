"""Turn errors into a better model: fine-tune checkpoints that evalkit runs as they are."""
