"""Checkpoints on plain transformers: the edge where texts become tokens; decoding and scoring stand beside it.

Tokenizer and config are read at once, so that a prompt that cannot be made fails early; weights at the first batch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from evalkit.backends.decode import Completion, Decoder
from evalkit.backends.quiet import quiet
from evalkit.errors import ModelError
from evalkit.models import Checkpoint
from evalkit.registry import load
from evalkit.types import Request, Response, Tick, no_tick

BATCH_TOKENS = 16384
"""Sum of max_new_tokens in one planned batch: what a killed process loses at most."""


class HfBackend:
    """A checkpoint folder, with or without a LoRA adapter on top."""

    kinds = frozenset({"generate", "choose"})

    def __init__(self, checkpoint: Checkpoint, *, batch_tokens: int | None = None) -> None:
        """Read config and tokenizer.

        Raises:
            ModelError: they cannot be read, or the architecture is unknown.
        """
        self.checkpoint = checkpoint
        try:
            with quiet():
                self.config = AutoConfig.from_pretrained(checkpoint.folder, trust_remote_code=False)
                self.tokenizer = AutoTokenizer.from_pretrained(checkpoint.tokenizer, trust_remote_code=False)
        except Exception as fault:  # transformers raises many kinds for a broken folder
            raise ModelError(f"{checkpoint.name}: config or tokenizer cannot be read: {_line(fault)}") from None
        self.device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        self.dtype = torch.float32 if self.device == "cpu" else torch.bfloat16

    @cached_property
    def identity(self) -> Mapping[str, str]:
        """Name weights, template, precision, device and threads."""
        template = self.tokenizer.chat_template or ""
        return {
            "backend": "hf",
            "model_digest": self.checkpoint.digest(),
            "architecture": ",".join(self.config.architectures or [self.config.model_type]),
            "dtype": str(self.dtype).removeprefix("torch."),
            "device": self.device,
            "attention": "sdpa",
            "threads": str(torch.get_num_threads()),
            "chat_template": hashlib.sha256(str(template).encode()).hexdigest()[:16] if template else "",
        }

    @cached_property
    def model(self) -> Any:
        """Load the weights, merge an adapter into them."""
        kind: Any = AutoModelForSeq2SeqLM if self.config.is_encoder_decoder else AutoModelForCausalLM
        try:
            with quiet():
                model = kind.from_pretrained(
                    self.checkpoint.folder,
                    dtype=self.dtype,
                    trust_remote_code=False,  # None would ask on stdin
                    use_safetensors=True,
                    attn_implementation="sdpa",
                ).to(self.device)
                if self.checkpoint.adapter:
                    model = load("evalkit.backends.adapter:merged")(model, self.checkpoint.adapter)
        except ModelError:
            raise
        except Exception as fault:  # transformers raises many kinds for broken weights
            raise ModelError(f"{self.checkpoint.name}: weights cannot be loaded: {_line(fault)}") from None
        return model.eval()

    @cached_property
    def decoder(self) -> Decoder:
        """Build the decoder, which checks itself against the plain forward pass."""
        with quiet():
            return Decoder(self.model, self.eos)

    @property
    def eos(self) -> tuple[int, ...]:
        """Return the ids that end an answer: the generation config's and the tokenizer's."""
        given = getattr(getattr(self.model, "generation_config", None), "eos_token_id", None)
        ids = given if isinstance(given, list) else [given]
        return tuple(sorted({i for i in (*ids, self.tokenizer.eos_token_id) if i is not None}))

    def plan(self, requests: Sequence[Request]) -> Sequence[Sequence[int]]:
        """Cut into batches of consecutive requests, by the tokens they may generate or as the tree scorer says."""
        if any(request.messages for request in requests) and not self.tokenizer.chat_template:
            raise ModelError(
                f"{self.checkpoint.name} has no chat template, and the suite asks by chat; set chat = false and a "
                "template (--set chat=false), or save the tokenizer with its template"
            )
        batches: list[list[int]] = []
        room = 0
        for index, request in enumerate(requests):
            if not batches or room < request.sampling.max_new_tokens:
                batches.append([])
                room = BATCH_TOKENS
            batches[-1].append(index)
            room -= request.sampling.max_new_tokens
        return batches

    def respond(self, requests: Sequence[Request], tick: Tick = no_tick) -> Iterator[Response]:
        """Answer one batch; `tick` is called as each answer ends, in whatever order."""
        yield from self._generated(requests, tick)

    def sent(self, request: Request) -> str:
        """Return the exact text that the model is given."""
        if not request.messages:
            return request.prompt
        turns = [{"role": turn.role, "content": turn.content} for turn in request.messages]
        try:
            text = self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        except Exception as fault:  # templates raise errors of their own, for instance on a role they do not know
            raise ModelError(f"{self.checkpoint.name}: its chat template refuses the prompt: {_line(fault)}") from None
        return str(text)

    def _generated(self, requests: Sequence[Request], tick: Tick) -> Iterator[Response]:
        texts = [self.sent(request) for request in requests]
        prompts = [self._ids(text, plain=not request.messages) for text, request in zip(texts, requests, strict=True)]
        ended: dict[int, Completion] = {}
        for completion in self.decoder.decode(prompts, [r.sampling for r in requests], self._text):
            ended[completion.index] = completion
            tick()
        for index, request in enumerate(requests):
            yield self._response(request, texts[index], prompts[index], ended[index])

    def _response(self, request: Request, sent: str, prompt: Sequence[int], completion: Completion) -> Response:
        errors = {"prompt_too_long": f"the prompt has {len(prompt)} tokens, the model takes {self.decoder.limit}"}
        return Response(
            text=completion.text,
            finish=completion.finish,
            sent=sent,
            tokens=len(completion.token_ids),
            prompt_tokens=len(prompt),
            target_tokens=tuple(len(self._ids(target, plain=False)) for target in request.target),
            error=completion.error and errors.get(completion.error, completion.error),
        )

    def _ids(self, text: str, *, plain: bool) -> list[int]:
        """Encode a text; a plain prompt gets the tokenizer's own start token, a rendered chat has it already."""
        with quiet():
            ids: list[int] = self.tokenizer(text, add_special_tokens=plain, return_attention_mask=False)["input_ids"]
        return ids

    def _text(self, tokens: list[int]) -> str:
        """Decode an answer; special tokens stay visible, since in an answer they are an error."""
        return str(self.tokenizer.decode(tokens, skip_special_tokens=False, clean_up_tokenization_spaces=False))


def _line(fault: BaseException) -> str:
    return " ".join(f"{type(fault).__name__}: {fault}".split())[:240]
