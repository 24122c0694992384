"""Score and tag answers as a suite says: (example, trial, response) -> Row. Loads no model."""

from __future__ import annotations

import gc
import os
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, fields, is_dataclass, replace
from itertools import chain, islice
from multiprocessing import get_all_start_methods, get_context
from pathlib import Path
from typing import Any, TypeVar, cast

from evalkit.errors import PluginError, SuiteError
from evalkit.jsonl import read_jsonl
from evalkit.lines import Texts
from evalkit.registry import did_you_mean, lookup
from evalkit.taggers import DEFAULT, primary_of
from evalkit.types import Answer, Corpus, Example, Kind, Response, Row, Score, Scorer, Severity, Suite, Tag, Tagger

Plugin = TypeVar("Plugin", Scorer, Tagger)

MANY, CHUNK, AHEAD = 2000, 200, 16
"""Answers from which several processes are worth their start, answers handed to one at a time, and such chunks at most
that wait for the one whose turn it is."""


@dataclass(frozen=True)
class Assessment:
    """What scorers and taggers say of a whole run."""

    rows: Iterable[Row]
    """A row per answer, in order, made while they are gone through; once."""
    references: Mapping[str, float] | None
    """Category -> share of the references that get it, the noise floor; None where there is no reference."""
    training: Mapping[str, float] | None
    """Category -> share of the training answers that get it; None where they are not known."""
    notes: tuple[str, ...]
    """What scorers and taggers want a reader to know: bounds they learned, tools they missed."""


@dataclass(frozen=True)
class Assessor:
    """The scorers and taggers of a suite, built once and ready for answers."""

    scorers: tuple[Scorer, ...]
    """Scorers in the suite's order, not yet prepared with a run's answers."""
    taggers: tuple[Tagger, ...]
    """Taggers in the suite's order, not yet prepared with a corpus."""
    severity: Mapping[str, Severity]
    """Category -> severity that overrides the tagger's."""
    template: str = ""
    """The plain prompt template, so that its return in an answer is seen."""
    vocabulary: frozenset[str] = frozenset()
    """Words of the domain, lower case."""
    training: tuple[str, ...] = ()
    """Answers the model was trained on."""

    @classmethod
    def of(cls, suite: Suite, vocabulary: str | None = None, training: str | None = None) -> Assessor:
        """Build what the suite names, with the suite's settings, and read the files of domain words and training rows.

        Raises:
            PluginError, SuiteError: a name, a setting or a file is not as expected.
        """
        return cls(
            scorers=tuple(_built(suite, "scorer", name) for name in suite.scorers),
            taggers=tuple(_built(suite, "tagger", name) for name in expanded(suite.taggers)),
            severity=cast(Mapping[str, Severity], suite.severity),
            template="" if suite.chat else suite.template,
            vocabulary=read_words(Path(vocabulary)) if vocabulary else frozenset(),
            training=read_training(Path(training)) if training else (),
        )

    @property
    def kind(self) -> Kind:
        """Return what requests must ask for: `choose` where a scorer reads log-probabilities of choices."""
        return "choose" if any(getattr(scorer, "kind", "") == "choose" for scorer in self.scorers) else "generate"

    def assess(self, answers: Sequence[Answer], rows: Rows | None = None) -> Assessment:
        """Score and tag the answers of a whole run, and measure how often references get the same tags.

        `rows` is what shares out the work, where that is not for this process to do.
        """
        rows = rows or Assessor.rows
        ready = self._prepared(answers)
        ready = replace(ready, scorers=tuple(_prepared(scorer, answers) for scorer in self.scorers))
        plugins = (*ready.scorers, *ready.taggers)
        return Assessment(
            rows=rows(ready, answers),
            references=self._rates(lambda: filter(None, map(_reference, answers)), rows),
            training=self._rates(
                lambda: ((Example(str(i), ""), 0, Response(text=text)) for i, text in enumerate(self.training)), rows
            ),
            notes=tuple(note for plugin in plugins if (note := getattr(plugin, "note", ""))),
        )

    def _prepared(self, answers: Iterable[Answer]) -> Assessor:
        """Return the assessor with every tagger that needs the whole run prepared for it."""
        if not any(hasattr(tagger, "prepare") for tagger in self.taggers):
            return self
        said, given, asked = Texts(), Texts(), Texts()
        for example, trial, response in answers:
            said.append(response.text)
            if trial == 0:
                asked.append(example.question)
                for text in example.target:
                    given.append(text)
        corpus = Corpus(said, given, asked, self.training, self.vocabulary, self.template)
        return replace(self, taggers=tuple(_prepared(tagger, corpus) for tagger in self.taggers))

    def rows(self, answers: Iterable[Answer]) -> Iterator[Row]:
        """Yield a row per answer, in order; many answers are shared out over the cores, a few chunks ahead."""
        rest = iter(answers)
        few = list(islice(rest, MANY))
        beside = (os.cpu_count() or 1) > 1 and "torch" not in sys.modules and "fork" in get_all_start_methods()
        if not (self.many(few) and beside):  # never beside torch, whose threads do not survive a fork
            yield from (self.row(*answer) for answer in chain(few, rest))
            return
        rest, ahead = chain(few, rest), deque[Future[list[Row]]]()
        with ProcessPoolExecutor(mp_context=get_context("fork"), initializer=_take, initargs=(self,)) as pool:
            while chunk := list(islice(rest, CHUNK)):
                ahead.append(pool.submit(_rows_of, chunk))
                if len(ahead) > AHEAD:
                    yield from ahead.popleft().result()
            while ahead:
                yield from ahead.popleft().result()

    def many(self, first: Sequence[Answer]) -> bool:
        """Say by the first MANY answers whether other processes may help, and are worth their start."""
        return len(first) >= MANY and all(getattr(scorer, "parallel", True) for scorer in self.scorers)

    def _rates(self, answers: Callable[[], Iterable[Answer]], share: Rows) -> dict[str, float] | None:
        """Return category -> share of texts that get it, as if a model had written them; None where there are none."""
        if not self.taggers or next(iter(answers()), None) is None:
            return None
        counts: Counter[str] = Counter()
        texts = 0
        for row in share(replace(self, scorers=())._prepared(answers()), answers()):
            texts += 1
            counts.update({tag.category for tag in row.tags})
        return {category: count / texts for category, count in sorted(counts.items())}

    def row(self, example: Example, trial: int, response: Response) -> Row:
        """Score and tag one answer; an error is neither right nor wrong and gets no tags."""
        row = Row(example=example, response=response, trial=trial, scores=tuple(self._scores(example, response)))
        tags = () if response.error else self._tags(row)
        return replace(row, tags=tags, primary=primary_of(tags))

    def _scores(self, example: Example, response: Response) -> Iterable[Score]:
        for scorer in self.scorers:
            score = scorer(example, response)
            yield from score if isinstance(score, tuple) else (score,)

    def _tags(self, row: Row) -> tuple[Tag, ...]:
        found = [tag for tagger in self.taggers for tag in tagger(row)]
        override = self.severity
        if override:
            found = [replace(tag, severity=override.get(tag.category, tag.severity)) for tag in found]
        return tuple(sorted(found, key=lambda tag: (tag.span or (0, 0), tag.category, tag.why)))


def expanded(names: Iterable[str]) -> tuple[str, ...]:
    """Return tagger names with `default` replaced by what it stands for and `none` dropped, each once."""
    return tuple(dict.fromkeys(n for name in names for n in (DEFAULT if name == "default" else (name,)) if n != "none"))


def _reference(answer: Answer) -> Answer | None:
    """Return the best reference as if the model had written it; None where there is none, or choices were scored."""
    example, trial, response = answer
    if trial or not example.target or response.choice_logprobs:
        return None
    lengths = response.target_tokens
    text = Response(text=example.target[0], tokens=lengths[0] if lengths else None, target_tokens=lengths)
    return example, 0, text


Rows = Callable[[Assessor, Iterable[Answer]], Iterable[Row]]
"""What scores and tags many answers with an assessor that is ready, in order."""
_READY: list[Assessor] = []
"""The assessor of a worker process."""


def _take(assessor: Assessor) -> None:
    """Keep the assessor; what came with the fork is never collected here, so that its pages stay shared."""
    gc.freeze()
    _READY[:] = [assessor]


def _rows_of(answers: Sequence[Answer]) -> list[Row]:
    return [_READY[0].row(*answer) for answer in answers]


def read_words(path: Path) -> frozenset[str]:
    """Read a file of domain words: one a line, `#` starts a comment; lower case is what counts."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as fault:
        raise SuiteError(
            f"vocabulary {path}: cannot be read as UTF-8 text ({fault}); one word a line is expected"
        ) from None
    return frozenset(word.lower() for line in lines for word in line.partition("#")[0].split())


def read_training(path: Path) -> tuple[str, ...]:
    """Read the answers of training rows: `answer`, Alpaca's `output`, or the assistant's last message."""
    answers = []
    for number, row in read_jsonl(path, SuiteError):
        turns = row["messages"] if isinstance(row.get("messages"), list) else []
        said = [t.get("content") for t in turns if isinstance(t, dict) and t.get("role") == "assistant"]
        answer = row.get("answer", row.get("output", said[-1] if said else None))
        if not isinstance(answer, str):
            raise SuiteError(f"{path}: line {number}: expected a training row with 'answer', 'output' or 'messages'")
        answers.append(answer)
    return tuple(answers)


def _built(suite: Suite, kind: str, name: str) -> Any:
    """Build one plug-in with the settings `[kind.name]` of the suite."""
    plugin = lookup(f"{kind}s", name)
    if not (isinstance(plugin, type) and is_dataclass(plugin)):
        raise PluginError(
            f"{kind} {name!r} ({plugin!r}) is not a dataclass, as every {kind} is; its fields are its settings"
        )
    settings = dict(suite.settings.get(f"{kind}.{name}", {}))
    known = [f.name for f in fields(plugin) if f.init]
    for key in settings:
        if key not in known:
            raise SuiteError(f"suite {suite.name}: unknown key {kind}.{name}.{key}{did_you_mean(key, known)}")
    if "suite" in known:
        settings["suite"] = suite
    return plugin(**{key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()})


def _prepared(plugin: Plugin, run: Corpus | Sequence[Answer]) -> Plugin:
    """Return a scorer or tagger made ready for a run, or the same one where it needs nothing."""
    prepare = getattr(plugin, "prepare", None)
    return cast(Plugin, prepare(run)) if prepare else plugin
