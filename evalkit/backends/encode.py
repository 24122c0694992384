"""Texts to (context, continuation) tokens by exactly the rules of lm-evaluation-harness 0.4.13.

Follows `TemplateLM._encode_pair`, `TemplateLM.loglikelihood` and `HFLM.tok_encode`. Knows nothing of models.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Encoded:
    """A pair of texts in tokens."""

    context: tuple[int, ...]
    """Tokens to condition on; at least one."""
    continuation: tuple[int, ...]
    """Tokens to score; empty where a tokenizer merges the continuation into the context."""
    truncated: int = 0
    """Tokens of the context cut off at the left."""


@dataclass(frozen=True, slots=True)
class PairEncoder:
    """Encodes pairs with one tokenizer."""

    tokenizer: Any
    """A tokenizer of transformers."""
    limit: int | None = None
    """The model's context limit in tokens; None: no limit."""
    add_bos: bool | None = None
    """Whether to add special tokens; None: what the tokenizer does by itself."""
    separate: bool = False
    """Encode context and continuation each on its own, as encoder-decoder models need it."""
    _heads: dict[str, list[int]] = field(default_factory=dict, repr=False)
    """The context encoded last: the choices of a question share it."""

    @property
    def prefix_token(self) -> int:
        """Return the token that stands for an empty context: start token, or end token where there is none."""
        bos = self.tokenizer.bos_token_id
        return int(self.tokenizer.eos_token_id if bos is None else bos)

    def encode_pair(self, context: str, continuation: str) -> Encoded:
        """Encode a pair: trailing spaces of the context move to the continuation; the context is cut from the left."""
        if context == "":
            return self._fit(*self._without_context(self._plain(continuation)))
        spaces = len(context) - len(context.rstrip())
        if spaces:
            context, continuation = context[:-spaces], context[-spaces:] + continuation
        head = self._head(context)
        tail = self._plain(continuation) if self.separate else self.encode(context + continuation)[len(head) :]
        return self._fit(head, tail)

    def windows(self, text: str) -> list[Encoded]:
        """Cut a whole text into pairs that score each of its tokens once, with all the context that fits the limit.

        As lm-eval's rolling windows: the first begins after the prefix token, each later one sees up to `limit` tokens.
        """
        tokens = tuple(self.encode(text))
        size = self.limit or max(1, len(tokens))
        pairs = [Encoded((self.prefix_token,), tokens[:size])] if tokens else []
        for begin in range(size, len(tokens), size):
            end = min(begin + size, len(tokens))
            pairs.append(Encoded(tokens[end - size - 1 : begin], tokens[begin:end]))
        return pairs

    def encode(self, text: str) -> list[int]:
        """Encode a text with the tokenizer's special tokens, unless it begins with the start token already."""
        if text.startswith(self.tokenizer.decode(self.prefix_token)):
            return self._plain(text)
        settings = {} if self.add_bos is None else {"add_special_tokens": self.add_bos}
        return list(self.tokenizer.encode(text, **settings))

    def _head(self, context: str) -> list[int]:
        if context not in self._heads:
            self._heads.clear()
            self._heads[context] = self.encode(context)
        return self._heads[context]

    def _plain(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False))

    def _without_context(self, tail: list[int]) -> tuple[list[int], list[int]]:
        """Return context and continuation where no context is given."""
        return (tail[:1], tail[1:]) if tail[:1] == [self.prefix_token] else ([self.prefix_token], tail)

    def _fit(self, head: list[int], tail: list[int]) -> Encoded:
        """Cut the context so that all tokens but the last fit the limit."""
        room = len(head) if self.limit is None else self.limit if self.separate else self.limit + 1 - len(tail)
        cut = max(0, len(head) - max(room, 1))
        return Encoded(tuple(head[cut:]), tuple(tail), cut)
