"""Checkpoints on plain transformers: the edge where texts become tokens; decoding and scoring stand beside it.

Tokenizer and config are read at once, so that a prompt that cannot be made fails early; weights at the first batch.
"""

from __future__ import annotations

import gc
import itertools
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from evalkit.backends import chat, families
from evalkit.backends.budget import remembered_budget
from evalkit.backends.decode import Completion, Decoder
from evalkit.backends.encode import Encoded, PairEncoder
from evalkit.backends.forest import Batch, plan_pairs
from evalkit.backends.memory import is_exhausted
from evalkit.backends.plain import ChoiceScore
from evalkit.backends.quiet import quiet
from evalkit.backends.tree import TreeScorer, measure_budget
from evalkit.backends.weights import load_weights
from evalkit.errors import ModelError, Stopped, one_line_of
from evalkit.models import Checkpoint
from evalkit.prompt import chat_template_hash
from evalkit.registry import load
from evalkit.types import Request, Response, Sampling, Tick, no_tick

_log = logging.getLogger(__name__)
BATCH_TOKENS, ANSWERING = 1024, 16
"""Tokens of a batch where none are given, and how many times that may be generated in one planned batch: what a killed
process loses at most."""
TAINTED = "tainted: files of the model changed during the run, so its answers may come from two models"
Windows = Sequence[Sequence[Encoded]]
"""The pairs of a request, per choice: one, or as many as a rolling text has windows."""


class HfBackend:
    """A checkpoint folder, with or without a LoRA adapter on top."""

    kinds = frozenset({"generate", "choose"})

    def __init__(self, checkpoint: Checkpoint, *, batch_tokens: int | None = None, measured: int | None = None) -> None:
        """Read config and tokenizer; `measured` is the budget of scoring that an earlier process found.

        Raises:
            ModelError: they cannot be read, or the architecture is unknown.
        """
        self.checkpoint, self.batch_tokens, self.measured = checkpoint, batch_tokens, batch_tokens or measured
        self._remarks: list[str] = []
        self._halved = False
        self._planned: dict[tuple[Request, ...], tuple[Batch, list[Windows]]] = {}
        try:
            with quiet():
                self.config = AutoConfig.from_pretrained(checkpoint.folder, trust_remote_code=False)
                self.tokenizer = AutoTokenizer.from_pretrained(checkpoint.tokenizer, trust_remote_code=False)
        except Exception as fault:  # transformers raises many kinds for a broken folder
            raise ModelError(f"{checkpoint.name}: config or tokenizer cannot be read: {one_line_of(fault)}") from None
        self.device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        self.dtype = torch.float32 if self.device == "cpu" else torch.bfloat16

    @property
    def identity(self) -> Mapping[str, str]:
        """Name weights, template, precision, device, threads, and the budget of a scoring batch once it is measured."""
        return {
            "backend": "hf",
            "model_digest": self._digest,
            "batch_tokens": str(self.measured or ""),
            "architecture": ",".join(self.config.architectures or [self.config.model_type]),
            "dtype": str(self.dtype).removeprefix("torch."),
            "device": self.device,
            "attention": "sdpa",
            "threads": str(torch.get_num_threads()),
            "chat_template": chat_template_hash(str(self.tokenizer.chat_template or "")),
        }

    @property
    def remarks(self) -> Sequence[str]:
        """Say what was done otherwise than planned, and whether the model changed meanwhile: kept with the run."""
        try:
            changed = self.checkpoint.digest() != self._digest
        except OSError:
            changed = True
        return [*self._remarks, *([TAINTED] if changed else [])]

    @property
    def special(self) -> Sequence[str]:
        """Return the texts that the tokenizer takes for more than text: ends of turns and the like."""
        added = (str(token) for token in getattr(self.tokenizer, "added_tokens_decoder", {}).values())
        return sorted({*self.tokenizer.all_special_tokens, *added})

    @property
    def trained_prompt(self) -> Mapping[str, Any]:
        """Return what prompt the checkpoint was trained with, as far as it says so."""
        return self.checkpoint.trained_prompt()

    @cached_property
    def _digest(self) -> str:
        return self.checkpoint.digest()

    @cached_property
    def model(self) -> Any:
        """Load the weights, merge an adapter into them."""
        kind: Any = AutoModelForSeq2SeqLM if self.config.is_encoder_decoder else AutoModelForCausalLM
        model = load_weights(kind, self.checkpoint.folder, self.dtype, self.checkpoint.name).to(self.device)
        if self.checkpoint.adapter:
            with quiet():
                model = load("evalkit.backends.adapter:merged")(model, self.checkpoint.adapter)
        return model.eval()

    @cached_property
    def decoder(self) -> Decoder:
        """Build the decoder, which checks itself against the plain forward pass."""
        with quiet():
            decoder = Decoder(self.model, self.eos)
        if decoder.fallback:
            self._remark(f"answers are decoded one at a time ({decoder.fallback})")
        return decoder

    @cached_property
    def scorer(self) -> TreeScorer:
        """Build the scorer of choices for the budget that the plan was made with."""
        assert self.measured is not None
        return TreeScorer(self.model, self.measured)

    @cached_property
    def encoder(self) -> PairEncoder:
        """Build the encoder of (context, continuation) pairs."""
        separate = bool(self.config.is_encoder_decoder)
        return PairEncoder(self.tokenizer, families.context_limit(self.config), separate=separate)

    @property
    def eos(self) -> tuple[int, ...]:
        """Return the ids that end an answer: the generation config's and the tokenizer's."""
        given = getattr(getattr(self.model, "generation_config", None), "eos_token_id", None)
        ids = given if isinstance(given, list) else [given]
        return tuple(sorted({i for i in (*ids, self.tokenizer.eos_token_id) if i is not None}))

    def plan(self, requests: Sequence[Request]) -> Sequence[Sequence[int]]:
        """Cut into batches: of consecutive requests by the tokens they may generate, of choices by their token tree."""
        if any(request.messages for request in requests) and not self.tokenizer.chat_template:
            raise ModelError(
                f"{self.checkpoint.name} has no chat template, and the suite asks by chat; set chat = false and a "
                "template (--set chat=false), or save the tokenizer with its template"
            )
        if requests and requests[0].kind == "choose":
            return self._planned_choices(requests)
        batches: list[list[int]] = []
        room = 0
        for index, request in enumerate(requests):
            if not batches or room < request.sampling.max_new_tokens:
                batches.append([])
                room = ANSWERING * (self.batch_tokens or BATCH_TOKENS)
            batches[-1].append(index)
            room -= request.sampling.max_new_tokens
        return batches

    def respond(self, requests: Sequence[Request], tick: Tick = no_tick) -> Iterator[Response]:
        """Answer one batch; `tick` is called as each answer ends, in whatever order."""
        planned = self._planned.get(tuple(requests))
        yield from self._chosen(requests, *planned, tick) if planned else self._generated(requests, tick)

    def release(self) -> None:
        """Give the memory of the weights back; the next batch reads them anew."""
        for loaded in ("model", "decoder", "scorer"):
            self.__dict__.pop(loaded, None)
        gc.collect()
        if self.device == "cuda":
            torch.cuda.empty_cache()

    def sent(self, request: Request) -> str:
        """Return the exact text that the model is given."""
        if not request.messages:
            return request.prompt
        turns = [{"role": turn.role, "content": turn.content} for turn in request.messages]
        try:
            return chat.render(self.tokenizer, turns, opened=True)
        except Exception as fault:  # templates raise errors of their own, for instance on a role they do not know
            raise ModelError(
                f"{self.checkpoint.name}: its chat template refuses the prompt: {one_line_of(fault)}"
            ) from None

    def _planned_choices(self, requests: Sequence[Request]) -> list[list[int]]:
        """Plan all pairs of (context, continuation) on one token tree; requests of one context stay together."""
        if self.measured is None:
            self.measured = remembered_budget(self.identity, lambda: measure_budget(self.model))
        asked = [self._windows(request) for request in requests]
        pairs, owners, labels = [], [], []
        for index, request in enumerate(requests):
            for encoded in itertools.chain.from_iterable(asked[index]):
                pairs.append((encoded.context, encoded.continuation))
                owners.append(index)
                labels.append((request.messages, request.contexts or request.prompt))
        plan = []
        for batch in plan_pairs(pairs, self.measured, labels).batches:
            members = list(dict.fromkeys(owners[place] for place in sorted(batch.indices)))
            self._planned[tuple(requests[index] for index in members)] = batch, [asked[index] for index in members]
            plan.append(members)
        return plan

    def _windows(self, request: Request) -> Windows:
        """Encode each choice of a request with its context: as one pair, or a rolling text as one per window."""
        if request.rolling:
            return [self.encoder.windows(text) for text in request.choices]
        contexts = request.contexts or (self.sent(request),) * len(request.choices)
        return [[self.encoder.encode_pair(c, choice)] for c, choice in zip(contexts, request.choices, strict=True)]

    def _chosen(
        self, requests: Sequence[Request], batch: Batch, asked: Sequence[Windows], tick: Tick
    ) -> Iterator[Response]:
        """Score one batch of the plan; its pairs stand in the order of the requests."""
        before, order = self.scorer.fallback, sorted(range(len(batch.indices)), key=batch.indices.__getitem__)
        found = self._scored(batch)
        if self.scorer.fallback and not before:
            self._remark(f"choices are scored the plain way ({self.scorer.fallback})")
        scores = iter([found[place] for place in order])
        for request, choices in zip(requests, asked, strict=True):
            tick()
            yield self._choice_response(request, choices, [[next(scores) for _ in choice] for choice in choices])

    def _choice_response(self, request: Request, choices: Windows, parts: list[list[ChoiceScore]]) -> Response:
        """Return the response of one request from the scores of its choices' windows."""
        encoded = list(itertools.chain.from_iterable(choices))
        logprobs = tuple(sum(score.logprob for score in part) for part in parts)
        failed = not all(map(math.isfinite, logprobs))
        return Response(
            finish="error" if failed else "stop",
            error="nan_logits" if failed else None,
            sent=request.contexts[0] if request.contexts else self.sent(request),
            choice_logprobs=() if failed else logprobs,
            choice_greedy=() if failed else tuple(all(score.greedy for score in part) for part in parts),
            prompt_tokens=max((len(pair.context) for pair in encoded), default=0),
            truncated_tokens=max((pair.truncated for pair in encoded), default=0),
        )

    def _remark(self, text: str) -> None:
        _log.warning("%s: %s", self.checkpoint.name, text)
        self._remarks.append(text)

    def _relieve(self, fault: RuntimeError | MemoryError) -> None:
        """Let the first failure for want of memory pass, so that half as much is tried.

        Raises:
            Stopped: half was too much as well.
        """
        if not is_exhausted(fault):
            raise fault
        if self._halved:
            raise Stopped(
                f"{self.checkpoint.name}: out of memory, with half the batch too; free some, and resume the run"
            ) from None
        self._halved = True
        self._remark("memory ran out; from there half as much is computed at once")

    def _scored(self, batch: Batch) -> list[ChoiceScore]:
        try:
            return self.scorer.score(batch)
        except (RuntimeError, MemoryError) as fault:
            self._relieve(fault)
        self.scorer = TreeScorer(self.model, max(1, self.scorer.budget // 2))
        return self._scored(batch)

    def _decoded(
        self, prompts: Sequence[Sequence[int]], samplings: Sequence[Sampling], tick: Tick
    ) -> dict[int, Completion]:
        """Return the completion of each prompt; what has ended is kept where memory runs out."""
        ended: dict[int, Completion] = {}
        while left := [index for index in range(len(prompts)) if index not in ended]:
            asked = [prompts[index] for index in left], [samplings[index] for index in left]
            try:
                for completion in self.decoder.decode(*asked, self._text):
                    ended[left[completion.index]] = completion
                    tick()
            except (RuntimeError, MemoryError) as fault:
                self._relieve(fault)
                self.decoder.slots = max(1, min(self.decoder.slots, len(left)) // 2)
        return ended

    def _generated(self, requests: Sequence[Request], tick: Tick) -> Iterator[Response]:
        texts = [self.sent(request) for request in requests]
        prompts = [self._ids(text, plain=not request.messages) for text, request in zip(texts, requests, strict=True)]
        ended = self._decoded(prompts, [request.sampling for request in requests], tick)
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
