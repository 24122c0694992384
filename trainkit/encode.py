"""TrainRows -> token ids with the place where the answer begins. Knows tokenizers by what they do, not by import.

The prompt's ids are those that evalkit sends, and an exact prefix of the row's; labels are by position, never by
token id; the last token is one that ends an answer, and it is always learned.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from evalkit.backends.chat import render
from trainkit.dataset import TrainRow
from trainkit.errors import BadRow, TrainError
from trainkit.ledger import Ledger
from trainkit.template import PromptSpec

IGNORE = -100
"""Label of tokens that are not learned."""


class Tokenizer(Protocol):
    """What is asked of a tokenizer."""

    chat_template: Any
    eos_token_id: int | None

    def __call__(self, text: str, *, add_special_tokens: bool, return_attention_mask: bool) -> Mapping[str, Any]:
        """Return {"input_ids": [ids]}."""

    def apply_chat_template(
        self, conversation: list[dict[str, str]], *, tokenize: bool, add_generation_prompt: bool
    ) -> Any:
        """Return the rendered chat as text."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """One row as the model sees it."""

    id: str
    """The row's id."""
    ids: tuple[int, ...]
    """Prompt and answer in tokens, the end token last."""
    prompt: int
    """How many of them are the prompt."""
    cut: int = 0
    """Prompt tokens cut off at the left."""

    @property
    def labels(self) -> list[int]:
        """Return the label of each position: -100 on the prompt."""
        return [IGNORE] * self.prompt + list(self.ids[self.prompt :])

    @property
    def supervised(self) -> int:
        """Return how many tokens are learned."""
        return len(self.ids) - self.prompt


@dataclass(frozen=True, slots=True)
class Encoder:
    """A prompt in the tokens of one model."""

    spec: PromptSpec
    """How a question is asked."""
    tokenizer: Tokenizer
    """The model's tokenizer."""
    ends: Sequence[int]
    """Ids that end an answer."""
    limit: int | None = None
    """Most tokens of a row; None: any number."""
    over_long: str = "raise"
    """`raise`, `drop` or `truncate-prompt-left`."""
    bad_rows: str = "raise"
    """`raise` or `drop`, for rows that cannot be encoded."""

    def __post_init__(self) -> None:
        """Refuse a model that cannot be asked or cannot end."""
        if self.spec.chat and not self.tokenizer.chat_template:
            raise TrainError("the model has no chat template; give --template with {input} in it")
        if self.tokenizer.eos_token_id is None or not self.ends:
            raise TrainError("the model's tokenizer has no end token (eos_token), so answers could never end; set one")

    def encode(self, row: TrainRow) -> Encoded:
        """Encode one row, whole; BadRow names it where that is not possible."""
        where = f"row {row.id} (line {row.line})"
        prompt, full, plain_end = self._texts(row, where)
        plain = not self.spec.chat
        head, ids = self._ids(prompt, plain), self._ids(full, plain)
        if not head:
            raise BadRow(where, "its prompt has no token")
        if ids[: len(head)] != head:
            raise BadRow(
                where, "the tokenizer joins the end of the prompt with the answer, so the prompt is not a prefix of "
                "the row; end the template differently, or set separator"
            )  # fmt: skip
        return Encoded(row.id, (*head, *self._ended(ids[len(head) :], full[:plain_end], len(head), where)), len(head))

    def encode_all(self, rows: Iterable[TrainRow], ledger: Ledger) -> list[Encoded]:
        """Encode rows, apply the limit, and write what became of each into the ledger.

        Raises:
            BadRow: a row cannot be encoded and `bad_rows` is `raise`, or is too long and `over_long` is `raise`.
        """
        kept = []
        for row in rows:
            encoded = self._encoded(row)
            if isinstance(encoded, Encoded):
                encoded = self._fitted(encoded, row.line)
            if isinstance(encoded, str):
                ledger.dropped[row.id] = encoded
                continue
            if encoded.cut:
                ledger.truncated[row.id] = f"prompt longer than the limit ({encoded.cut} tokens cut at the left)"
            else:
                ledger.trained += 1
            kept.append(encoded)
        return kept

    def _encoded(self, row: TrainRow) -> Encoded | str:
        """Return the row in tokens, or why it is dropped."""
        try:
            return self.encode(row)
        except BadRow as fault:
            if self.bad_rows == "raise":
                raise BadRow(fault.row, f"{fault.reason} (--bad-rows drop leaves such rows out, counted)") from None
            return fault.reason

    def _fitted(self, encoded: Encoded, line: int) -> Encoded | str:
        """Return the row within the limit, or why it is dropped."""
        over = len(encoded.ids) - self.limit if self.limit else 0
        if over <= 0:
            return encoded
        told = f"over-long ({len(encoded.ids)} tokens, the limit is {self.limit})"
        if self.over_long == "raise":
            raise BadRow(
                f"row {encoded.id} (line {line})",
                f"{told}; shorten it, or give --over-long drop or truncate-prompt-left",
            )
        if self.over_long == "drop":
            return told
        if over >= encoded.prompt:
            return (
                f"over-long even without its prompt ({encoded.supervised} tokens of answer, the limit is {self.limit})"
            )
        return Encoded(encoded.id, encoded.ids[over:], encoded.prompt - over, over)

    def _texts(self, row: TrainRow, where: str) -> tuple[str, str, int]:
        """Return the prompt, prompt with answer as rendered, and where the answer's last character stands."""
        if not self.spec.chat and not isinstance(row.input, str):
            raise BadRow(
                where, "is a chat, but the template is plain; leave --template out, or give rows with questions"
            )
        request = self.spec.request(row.id, row.input)
        if not self.spec.chat:
            joint = "" if row.answer[0].isspace() or request.prompt[-1:].isspace() else self.spec.separator
            full = request.prompt + joint + row.answer
            return request.prompt, full, len(full)
        turns = [{"role": turn.role, "content": turn.content} for turn in request.messages]
        prompt = self._rendered(turns, where, opened=True)
        full = self._rendered([*turns, {"role": "assistant", "content": row.answer}], where, opened=False)
        if not full.startswith(prompt):
            raise BadRow(
                where, "the model's chat template renders the prompt differently once an answer follows; use --template"
            )
        end = full.find(row.answer.strip(), len(prompt))
        if end < 0:
            raise BadRow(where, "the model's chat template changes the answer; use --template")
        return prompt, full, end + len(row.answer.strip())

    def _rendered(self, turns: list[dict[str, str]], where: str, *, opened: bool) -> str:
        try:
            return render(self.tokenizer, turns, opened=opened)
        except Exception as fault:  # templates raise errors of their own, for instance on a role they do not know
            raise BadRow(where, f"the chat template refuses it: {' '.join(str(fault).split())[:160]}") from None

    def _ids(self, text: str, plain: bool) -> list[int]:
        """Encode as evalkit does: a plain prompt gets the tokenizer's start token, a rendered chat has it already."""
        return list(self.tokenizer(text, add_special_tokens=plain, return_attention_mask=False)["input_ids"])

    def _ended(self, answer: Sequence[int], bare: str, head: int, where: str) -> list[int]:
        """Return the answer's ids up to its end token; one is added where the template gives none."""
        ends = [i for i, token in enumerate(answer) if token in self.ends]
        if len(ends) > 1 or (ends and not self.spec.chat):
            raise BadRow(where, "its answer holds the text of an end token, which would teach stopping in its middle")
        if ends:
            return list(answer[: ends[0] + 1])
        assert self.tokenizer.eos_token_id is not None
        return [*self._ids(bare, not self.spec.chat)[head:], self.tokenizer.eos_token_id]
