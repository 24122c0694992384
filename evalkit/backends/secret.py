"""The key of an endpoint: read from the environment or a file, shown to nobody but the endpoint."""

from __future__ import annotations

import re
from collections.abc import Mapping

from evalkit.backends.endpoint import Address
from evalkit.errors import ModelError

SHORTEST = 12
"""Characters from which on a key cannot be a word that stands in an answer by chance, as `none` or `EMPTY` can."""


class Secret:
    """A text that shows as `***`, whoever prints it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return "***"

    def reveal(self) -> str:
        """Return the text, for the one place that needs it."""
        return self._text

    def out_of(self, text: str, *, answer: bool = False) -> str:
        """Return a text with the secret blotted out; of an answer only what cannot be there by chance."""
        return text if answer and len(self._text) < SHORTEST else text.replace(self._text, repr(self))


def read_key(address: Address, environment: Mapping[str, str]) -> Secret | None:
    """Return the key to send: EVALKIT_API_KEY, what EVALKIT_API_KEY_FILE holds, or OpenAI's own for OpenAI's host.

    Raises:
        ModelError: the file cannot be read, or what should be a key is none; the message does not show it.
    """
    source, text = "EVALKIT_API_KEY", environment.get("EVALKIT_API_KEY", "").strip()
    if not text and (path := environment.get("EVALKIT_API_KEY_FILE")):
        source, text = f"EVALKIT_API_KEY_FILE {path}", _content(path)
    if not text and address.encrypted and f".{address.host}".endswith(".openai.com"):
        source, text = "OPENAI_API_KEY", environment.get("OPENAI_API_KEY", "").strip()
    if text and not re.fullmatch(r"[!-~]+", text):
        raise ModelError(f"{source}: expected a key alone: visible ASCII characters without a space")
    return Secret(text) if text else None


def _content(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read(10_000).strip()
    except OSError as fault:
        raise ModelError(f"EVALKIT_API_KEY_FILE {path}: cannot be read: {fault.strerror}") from None
    if not text:
        raise ModelError(f"EVALKIT_API_KEY_FILE {path}: is empty; expected a key")
    return text
