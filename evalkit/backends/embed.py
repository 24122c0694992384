"""Texts to vectors by a sentence-embedding model on plain transformers. Knows no answers, targets or scores.

As sentence-transformers does it: tokens of the stripped text up to the limit, the encoder's last hidden states, pooled,
divided by their length. No prompt is put before a text. The states of the tokens are kept beside the vector, so that a
part of a text can be compared as well: its vector is the mean over its tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import AutoModel, AutoTokenizer

from evalkit.backends.families import context_limit
from evalkit.backends.quiet import quiet
from evalkit.backends.sentence import SentenceModel
from evalkit.errors import ModelError, one_line_of

BATCH_TOKENS = 1024
"""Tokens of a batch, padding included."""

Floats = np.ndarray[Any, np.dtype[np.float32]]


@dataclass(frozen=True, slots=True)
class Embedding:
    """A text in vectors."""

    text: str
    """The text without outer white space."""
    whole: Floats
    """The vector of the text (D,), of length one."""
    tokens: Floats
    """The states of its tokens (T, D), special ones left out; none where the model does not average them."""
    places: Sequence[tuple[int, int]]
    """Where each token stands, as [start, end) in characters of the text."""

    def nearest_part(self, other: Embedding) -> tuple[float, str]:
        """Return the part with as many tokens as `other` that is nearest to it, and its cosine with it.

        The whole text counts as a part, the first of equals wins, and a text no longer than `other` has no other part.
        """
        best, part = self.cosine(other), self.text
        count = len(other.tokens)
        if 0 < count < len(self.tokens):
            sums = np.concatenate([np.zeros((1, self.tokens.shape[1])), self.tokens.cumsum(0, dtype=np.float64)])
            parts = sums[count:] - sums[:-count]  # (T - count + 1, D)
            cosines = parts @ other.whole / np.linalg.norm(parts, axis=1)
            start = int(cosines.argmax())
            if cosines[start] > best:
                best, part = float(cosines[start]), self.text[self.places[start][0] : self.places[start + count - 1][1]]
        return best, part

    def cosine(self, other: Embedding) -> float:
        """Return the cosine of two whole texts."""
        return float(self.whole @ other.whole)


class Embedder:
    """A sentence-embedding model in memory, in float32."""

    def __init__(self, model: SentenceModel) -> None:
        """Load tokenizer and weights.

        Raises:
            ModelError: they cannot be loaded.
        """
        self.pooling, folder = model.pooling, model.checkpoint.folder
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            with quiet():
                self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
                encoder: Any = AutoModel.from_pretrained(
                    folder, dtype=torch.float32, trust_remote_code=False, use_safetensors=True
                )
        except Exception as fault:  # transformers raises many kinds for a broken folder
            raise ModelError(f"{folder}: the embedding model cannot be loaded: {one_line_of(fault)}") from None
        if not self.tokenizer.is_fast:
            raise ModelError(f"{folder}: its tokenizer cannot say where a token stands; save it with a tokenizer.json")
        self.encoder = encoder.to(self.device).eval()
        bounds = (model.limit or self.tokenizer.model_max_length, context_limit(encoder.config))
        self.limit = min(bound for bound in bounds if bound)

    def __call__(self, texts: Sequence[str]) -> list[Embedding]:
        """Return an embedding per text; texts of like length go through the encoder together."""
        stripped = [text.strip() for text in texts]
        encoded = self.tokenizer(
            stripped,
            truncation=True,
            max_length=self.limit,
            return_offsets_mapping=True,
            return_special_tokens_mask=True,
        )
        rows, found = encoded["input_ids"], {}
        for batch in _batches([len(row) for row in rows]):
            states, vectors = self._vectors([rows[i] for i in batch])
            for place, index in enumerate(batch):
                mask = encoded["special_tokens_mask"][index]
                inner = [n for n, special in enumerate(mask) if not special] if self.pooling == "mean" else []
                places = [encoded["offset_mapping"][index][n] for n in inner]
                found[index] = Embedding(stripped[index], vectors[place], states[place][inner], places)
        return [found[index] for index in range(len(texts))]

    @torch.inference_mode()
    def _vectors(self, rows: Sequence[Sequence[int]]) -> tuple[Floats, Floats]:
        """Return the states of a batch's tokens (B, T, D) and the vectors of its texts (B, D)."""
        inputs = self.tokenizer.pad({"input_ids": rows}, return_tensors="pt").to(self.device)
        states = self.encoder(**inputs).last_hidden_state
        mask = inputs["attention_mask"].unsqueeze(-1)
        pooled = states[:, 0] if self.pooling == "cls" else (states * mask).sum(1) / mask.sum(1)
        return states.cpu().numpy(), torch.nn.functional.normalize(pooled, dim=-1).cpu().numpy()


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Cut texts, the shortest first, into batches of at most BATCH_TOKENS, all padded to the longest."""
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and (len(batch) + 1) * lengths[index] > BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch
