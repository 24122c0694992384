"""How a row becomes a prompt: the one statement that training and evaluation share. Pure.

A prompt is made by `evalkit.prompt` from a suite that asks the same way, so both are equal by construction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from evalkit.prompt import request_of, template_hash
from evalkit.types import Example, Message, Request, Suite
from trainkit.errors import TrainError


@dataclass(frozen=True, slots=True)
class PromptSpec:
    """Chat or plain, with which template and system message."""

    chat: bool = True
    """Through the model's chat template; otherwise through `template`."""
    template: str = ""
    """The plain prompt; `{input}` stands for the question."""
    system: str = ""
    """System message; empty: none is sent, so a chat template's own default applies."""
    separator: str = " "
    """Text between a plain prompt and the answer; part of what is learned, not of the prompt."""

    @classmethod
    def of(cls, template: str, system: str = "", separator: str = " ") -> PromptSpec:
        """Return the prompt of the settings: plain where there is a template."""
        return cls(not template, template.replace("{question}", "{input}"), system, separator)

    @classmethod
    def of_suite(cls, suite: Suite, separator: str = " ") -> PromptSpec:
        """Return the prompt that a suite asks with; its solved examples are refused, for training has none."""
        if suite.fewshot:
            raise TrainError(f"prompt_from: suite {suite.name!r} shows solved examples, which training does not")
        return cls(suite.chat, "" if suite.chat else suite.template, suite.system, separator)

    @property
    def suite(self) -> Suite:
        """Return a suite without examples that asks like this."""
        return Suite("training", (), chat=self.chat, template=self.template or "{input}", system=self.system)

    @property
    def hash(self) -> str:
        """Return evalkit's hash of how is asked: equal to that of a suite that asks alike."""
        return template_hash(self.suite)

    def request(self, row: str, question: str | tuple[Message, ...]) -> Request:
        """Return the request that evalkit would make of this question."""
        return request_of(self.suite, Example(row, question))

    def record(self) -> dict[str, Any]:
        """Return what the checkpoint keeps."""
        return {
            "chat": self.chat,
            "template": self.template,
            "system": self.system,
            "separator": self.separator,
            "hash": self.hash,
        }
