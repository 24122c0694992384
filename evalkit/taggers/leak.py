"""Find what should have stayed behind the scenes: special tokens, the template's own strings, the prompt itself.

What stands in the question or in the reference is no leak. Inline code and closed code blocks may quote tokens.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import takewhile

from evalkit.taggers.text import (
    TOKEN,
    asked,
    blanked,
    clip,
    fences,
    lowered,
    number,
    pieces,
    require,
    sentences,
    silent,
    whole,
    with_state,
)
from evalkit.types import Corpus, Row, Tag

SPECIAL = re.compile(
    r"<\|[A-Za-z_][\w ./-]{0,40}\|>|<｜[^｜\n]{1,40}｜>|</?s>|\[/?INST\]|<</?SYS>>|</?(?:start_of_turn|end_of_turn)>"
    r"|<(?:bos|eos|pad|unk|mask|endoftext|BOS|EOS|PAD|UNK|EOT|EOD)>|\[(?:CLS|SEP|PAD|UNK|EOS|BOS)\]|<(?:extra_id_|unused)\d{1,4}>"
)
"""Tokens that only a tokenizer or a chat template writes."""
_ROLES = re.compile(
    r"^[ \t]*(?:#{2,4}[ \t]*(?:Question|Answer|Instruction|Response|Input|Human|Assistant|User|System)[ \t]*:"
    r"|<?(?:Human|User|Assistant|Instruction)>?[ \t]*:|<?(?:System|Bot|AI|Student)>?[ \t]*:(?=\s|\Z))",
    re.M,
)
_INLINE = re.compile(r"`[^`\n]{1,200}`")
_MOST = 5


@dataclass(frozen=True)
class Leak:
    """Tag special tokens, strings of the template and role markers (`leak`), and answers that copy the prompt."""

    echo_tokens: int = 12
    """Tokens of the prompt's beginning that make an answer's beginning an echo."""
    echo_share: float = 0.5
    """Share of the prompt that does so as well, from six tokens."""
    fixed: tuple[str, ...] = field(default=(), init=False, repr=False, compare=False)
    """After prepare: the lines of the run's template that hold no placeholder."""

    def __post_init__(self) -> None:
        """Refuse settings that make no sense."""
        require(whole(self.echo_tokens, 4), "leak", "echo_tokens", self.echo_tokens, "a whole number from 4")
        share = self.echo_share
        require(number(share) and 0 < share <= 1, "leak", "echo_share", share, "a share above 0, up to 1")

    def prepare(self, corpus: Corpus) -> Leak:
        """Return a tagger that knows the fixed strings of the run's template."""
        return with_state(self, fixed=tuple(_fixed(corpus.template)))

    def __call__(self, row: Row) -> Iterable[Tag]:
        """Yield a tag per leaked string (at most five) and one for an echo of the prompt."""
        if silent(row):
            return
        given = "\n".join((asked(row), *row.example.target))
        found = sorted(_disjoint([*self._special(row.response.text, given), *self._template(row.response.text, given)]))
        for start, end, why in found[:_MOST]:
            more = f" ({len(found)} leaks in this answer)" if len(found) > _MOST else ""
            yield Tag("leak", "major", why + more, (start, end), 0.95)
        yield from self._echo(row)

    def _special(self, text: str, given: str) -> Iterator[tuple[int, int, str]]:
        if "<" not in text and "[" not in text:
            return
        for piece in pieces(text):
            masked = _INLINE.sub(lambda m: " " * len(m.group()), piece.text)
            masked = blanked(masked, [(s, e) for s, e, closed in fences(masked) if closed])
            for match in SPECIAL.finditer(masked):
                if match.group() not in given:
                    at = match.start() + piece.start
                    yield at, at + len(match.group()), f"special token {match.group()!r}"

    def _template(self, text: str, given: str) -> Iterator[tuple[int, int, str]]:
        for piece in pieces(text):
            for line in self.fixed:
                at = -1 if line in given else piece.text.find(line)
                if at >= 0:
                    at += piece.start
                    yield at, at + len(line), f"string of the prompt template {clip(line)!r}"
            for match in _ROLES.finditer(piece.text):
                marker = match.group().strip()
                if marker not in given:
                    at = piece.start + match.end() - len(match.group().lstrip())
                    yield at, piece.start + match.end(), f"role marker {marker!r} starts a line"

    def _echo(self, row: Row) -> Iterator[Tag]:
        prompt, text = row.example.question, row.response.text
        if text.lstrip()[:1].lower() not in lowered(prompt[:2000]) or any(
            _starts_alike(t, prompt) for t in row.example.target
        ):
            return
        theirs = TOKEN.findall(lowered(prompt[:20_000]))
        spans = [m.span() for m, _ in zip(TOKEN.finditer(lowered(text[:20_000])), theirs, strict=False)]
        mine = [lowered(text[s:e]) for s, e in spans]
        same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(mine, theirs, strict=False)))
        if same >= self.echo_tokens or (same >= 6 and same >= self.echo_share * len(theirs)):
            start, end = spans[0][0], spans[same - 1][1]
            share = round(100 * same / len(theirs))
            why = f"the answer begins with the first {same} tokens of the prompt ({share} % of it)"
            yield Tag("prompt_echo", "minor" if _only_begins(text, end) else "major", why, (start, end), 0.9)


def _only_begins(text: str, end: int) -> bool:
    """Return whether an echo ends within the first sentence of an answer that has more of them."""
    parts = sentences(text[: end + 2000])
    return len(parts) >= 2 and end <= parts[0][1]


def _starts_alike(target: str, prompt: str) -> bool:
    return TOKEN.findall(lowered(target[:400]))[:6] == TOKEN.findall(lowered(prompt[:400]))[:6]


def _fixed(template: str) -> Iterator[str]:
    """Yield the lines of a template that hold no placeholder and at least four characters with a letter."""
    for part in re.split(r"\{[^{}\n]{0,60}\}|\{%[^\n]*?%\}|\n", template):
        line = part.strip()
        if len(line) >= 4 and any(c.isalpha() for c in line) and (line.startswith(("#", "<", "[")) or len(line) >= 8):
            yield line


def _disjoint(found: Iterable[tuple[int, int, str]]) -> Iterator[tuple[int, int, str]]:
    last = 0
    for start, end, why in sorted(found, key=lambda x: (x[0], -x[1])):
        if start >= last:
            yield start, end, why
            last = end
