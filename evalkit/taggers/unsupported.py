"""Find links, versions, flags and identifiers that no prompt, reference or training answer supports.

"Unsupported" is not "false": nothing is fetched or looked up. Where there is neither a reference nor training data,
nothing could support an answer and nothing is tagged.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain

from evalkit.taggers.facts import Fact, claims
from evalkit.taggers.text import asked, blanked, fences, pieces, require, silent, whole, with_state
from evalkit.types import Corpus, Row, Tag


@dataclass(frozen=True)
class Unsupported:
    """Tag claims that can be checked letter by letter and that stand nowhere else."""

    most: int = 5
    """Tags per answer; the rest is counted in the last one."""
    identifiers: bool = True
    """Also look at identifiers (`snake_case`, `camelCase`, `module.call(`) outside blocks of code."""
    supported: frozenset[str] = field(default=frozenset(), init=False, repr=False, compare=False)
    """After prepare: keys of everything that prompts, references and training answers state."""
    informed: bool = field(default=False, init=False, repr=False, compare=False)
    """After prepare: whether there are training answers."""

    def __post_init__(self) -> None:
        """Refuse settings that make no sense."""
        require(whole(self.most, 1), "unsupported", "most", self.most, "a whole number from 1")
        require(isinstance(self.identifiers, bool), "unsupported", "identifiers", self.identifiers, "true or false")

    def prepare(self, corpus: Corpus) -> Unsupported:
        """Return a tagger that knows what the whole suite and the training data state."""
        known = {f.key for t in chain(corpus.prompts, corpus.references, corpus.training) for f in _claims(t)}
        return with_state(self, supported=frozenset(known), informed=bool(corpus.training))

    def __call__(self, row: Row) -> Iterable[Tag]:
        """Yield a tag per distinct unsupported claim."""
        if silent(row) or not (row.example.target or self.informed):
            return
        stated: dict[str, Fact] = {}
        for piece in pieces(row.response.text):
            for fact in _outside_code(piece.text, piece.start):
                stated.setdefault(fact.key, fact)  # where it stands first
        if not stated:
            return
        given = "\n".join((asked(row), *row.example.target)).lower()
        alien = [f for k, f in stated.items() if k not in self.supported and k not in given and not _standard(f)]
        if not self.identifiers:
            alien = [f for f in alien if f.kind != "identifier"]
        alien.sort(key=lambda f: f.start)
        sources = "prompt, reference or training answer" if self.informed else "prompt or reference"
        for at, fact in enumerate(alien[: self.most], 1):
            why = f"{fact.kind} {fact.text!r} stands in no {sources}"
            why += f" (and {len(alien) - self.most} more)" if at == self.most < len(alien) else ""
            yield Tag("unsupported", "minor", why, (fact.start, fact.start + len(fact.text)), _CONFIDENCE[fact.kind])


_PLACEHOLDER = re.compile(r"(?<!\w)(?:\[\w{1,60}\](?!\()|<\w{1,60}>|\{\w{1,60}\})")  # [company_name], <your_key>
_CONFIDENCE = {"URL": 0.7, "version": 0.6, "flag": 0.7, "identifier": 0.5}


def _standard(fact: Fact) -> bool:
    """Return whether a fact is a name in a module that comes with Python: whether it is there is not looked up."""
    module, dot, _ = fact.text.partition(".")
    return fact.kind == "identifier" and bool(dot) and module in sys.stdlib_module_names


def _claims(text: str) -> Iterator[Fact]:
    for piece in pieces(text):
        yield from claims(piece.text)


def _outside_code(text: str, offset: int) -> Iterator[Fact]:
    """Yield the claims outside blocks of code and placeholders that the blocks do not define themselves."""
    blocks = [(s, e) for s, e, _ in fences(text)]
    code = "\n".join(text[s:e] for s, e in blocks).lower()
    prose = _PLACEHOLDER.sub(lambda m: " " * len(m.group()), blanked(text, blocks))
    for fact in claims(prose):
        if not (fact.kind == "identifier" and fact.text.lower() in code):
            yield Fact(fact.kind, fact.text, fact.start + offset)
