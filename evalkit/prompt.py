"""Example -> Request: template, few-shots, chat messages. Pure; the model's own template is the backend's."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from typing import Any

from evalkit.jsonl import dump
from evalkit.types import Example, Kind, Message, Request, Suite


def requests_of(suite: Suite, kind: Kind = "generate") -> Iterator[Request]:
    """Yield the requests of a suite: example by example, the trials of one example together."""
    yield from suite.requests
    if suite.requests:
        return
    for example in suite.examples:
        for trial in range(suite.trials):
            yield request_of(suite, example, trial, kind)


def request_of(suite: Suite, example: Example, trial: int = 0, kind: Kind = "generate") -> Request:
    """Return the request of one trial; sampled trials get seeds of their own, fixed by example id and trial."""
    sampling = suite.generation
    if sampling.temperature > 0:
        sampling = replace(sampling, seed=_seed(sampling.seed, example.id, trial))
    return Request(
        example_id=example.id,
        trial=trial,
        kind=kind,
        prompt="" if suite.chat else prompt_of(suite, example),
        messages=messages_of(suite, example) if suite.chat else (),
        choices=tuple(f" {choice}" if not suite.chat else choice for choice in example.choices)
        if kind == "choose"
        else (),
        sampling=sampling,
        target=example.target,
    )


def prompt_of(suite: Suite, example: Example) -> str:
    """Return the plain prompt: solved examples, then the question, each through the suite's template."""
    shots = [_filled(suite, shot) + " " + shot.target[0] for shot in suite.fewshot if shot.target]
    lead = [suite.system] if suite.system else []
    return "\n\n".join([*lead, *shots, _filled(suite, example)])


def messages_of(suite: Suite, example: Example) -> tuple[Message, ...]:
    """Return the chat: system message, solved examples as turns, the question or the example's own turns."""
    turns = [Message("system", suite.system)] if suite.system else []
    for shot in suite.fewshot:
        if shot.target:
            turns += [Message("user", shot.question), Message("assistant", shot.target[0])]
    own = (Message("user", example.input),) if isinstance(example.input, str) else example.input
    return (*turns, *own)


def template_hash(suite: Suite) -> str:
    """Return 16 hex digits that are equal for suites that ask alike: chat or not, template, system, few-shots."""
    parts = [suite.chat, "" if suite.chat else suite.template, suite.system, [asdict(shot) for shot in suite.fewshot]]
    return hashlib.sha256(dump(parts).encode()).hexdigest()[:16]


def chat_template_hash(template: str) -> str:
    """Return 16 hex digits of a tokenizer's chat template; empty where it has none."""
    return hashlib.sha256(template.encode()).hexdigest()[:16] if template else ""


def unlike_trained(suite: Suite, trained: Mapping[str, Any], identity: Mapping[str, str]) -> str:
    """Return how a suite asks otherwise than a checkpoint's trainkit.json says it was trained; empty where it does not.

    `identity` is the backend's. Requests of lm-eval's tasks are as lm-eval makes them.
    """
    if suite.requests or "hash" not in trained:
        return ""
    if trained["hash"] == template_hash(suite):
        same = not suite.chat or trained.get("chat_template") == identity.get("chat_template")
        return "" if same else "its chat template is not the one that it was trained with"
    names = ("chat", "system") if trained.get("chat") else ("chat", "template", "system")
    others = [name for name in names if trained.get(name) != getattr(suite, name)]
    ways = [f"--set {shlex.quote(f'{name}={dump(trained.get(name))}')}" for name in others]
    remedy = f"to ask as trained: {' '.join(ways)}" if ways else "training showed no solved examples"
    return f"trained with another prompt than suite {suite.name} asks with; {remedy}"


def _filled(suite: Suite, example: Example) -> str:
    return suite.template.replace("{input}", example.question)


def _seed(seed: int, example_id: str, trial: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/{example_id}/{trial}".encode()).digest()[:4])
