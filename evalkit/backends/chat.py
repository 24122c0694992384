"""A chat through a model's own template, within bounds of time and length. Knows no model and no suite.

Templates come with model folders from anywhere. transformers renders them in jinja2's immutable sandbox, where they
reach nothing of this process; but the sandbox bounds neither how long they take nor how much they write.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

SECONDS = 10.0
"""Time of one rendering, which takes a millisecond; kept in the main thread, where a signal can interrupt it."""
LARGEST = 1_000_000
"""Characters that a template may add to the turns."""


def render(tokenizer: Any, turns: Sequence[Mapping[str, str]], *, opened: bool) -> str:
    """Return the turns as one text, with the beginning of an answer where the chat is `opened`.

    Raises:
        ValueError: the template takes too long, or writes too much; errors of its own come as they are.
    """
    with _within(SECONDS):
        text = str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=opened))
    if len(text) > LARGEST + 2 * sum(len(turn["content"]) for turn in turns):
        raise ValueError(f"it writes {len(text):,} characters")
    return text


@contextlib.contextmanager
def _within(seconds: float) -> Iterator[None]:
    """Raise ValueError where a block takes longer; in other threads than the main one there is no limit."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def late(*_: object) -> NoReturn:
        raise ValueError(f"it takes longer than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
