"""Score and tag answers as a suite says: (example, trial, response) -> Row. Loads no model."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, fields, is_dataclass, replace
from multiprocessing import get_all_start_methods, get_context
from pathlib import Path
from typing import Any, cast

from evalkit.errors import PluginError, SuiteError
from evalkit.jsonl import read_jsonl
from evalkit.registry import did_you_mean, lookup
from evalkit.taggers import DEFAULT, primary_of
from evalkit.types import Corpus, Example, Kind, Response, Row, Score, Scorer, Severity, Suite, Tag, Tagger

Answer = tuple[Example, int, Response]
"""An example, the number of the trial, and what the model answered."""


MANY, CHUNK = 2000, 200
"""Answers from which several processes are worth their start, and answers handed to one at a time."""


@dataclass(frozen=True)
class Assessment:
    """What scorers and taggers say of a whole run."""

    rows: tuple[Row, ...]
    """A row per answer, in order."""
    references: Mapping[str, float] | None
    """Category -> share of the references that get it, the noise floor; None where there is no reference."""
    training: Mapping[str, float] | None
    """Category -> share of the training answers that get it; None where they are not known."""
    notes: tuple[str, ...]
    """What taggers want a reader to know: bounds they learned, tools they missed."""


@dataclass(frozen=True)
class Assessor:
    """The scorers and taggers of a suite, built once and ready for answers."""

    scorers: tuple[Scorer, ...]
    """Scorers in the suite's order."""
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
        learned = [(Example(str(i), ""), 0, Response(text=text)) for i, text in enumerate(self.training)]
        return Assessment(
            rows=tuple(rows(ready, answers)),
            references=self._rates([a for a in map(_reference, answers) if a], rows),
            training=self._rates(learned, rows),
            notes=tuple(note for tagger in ready.taggers if (note := getattr(tagger, "note", ""))),
        )

    def _prepared(self, answers: Sequence[Answer]) -> Assessor:
        """Return the assessor with every tagger that needs the whole run prepared for it."""
        corpus = Corpus(
            answers=tuple(response.text for _, _, response in answers),
            references=tuple(text for example, trial, _ in answers if trial == 0 for text in example.target),
            prompts=tuple(example.question for example, trial, _ in answers if trial == 0),
            training=self.training,
            vocabulary=self.vocabulary,
            template=self.template,
        )
        return replace(self, taggers=tuple(_prepared(tagger, corpus) for tagger in self.taggers))

    def rows(self, answers: Sequence[Answer]) -> tuple[Row, ...]:
        """Return a row per answer, in order; many answers are shared out over the cores."""
        beside = (os.cpu_count() or 1) > 1 and "torch" not in sys.modules and "fork" in get_all_start_methods()
        if not (self.many(answers) and beside):  # never beside torch, whose threads do not survive a fork
            return tuple(self.row(*answer) for answer in answers)
        with ProcessPoolExecutor(mp_context=get_context("fork"), initializer=_take, initargs=(self,)) as pool:
            return tuple(pool.map(_row_of, answers, chunksize=CHUNK))

    def many(self, answers: Sequence[Answer]) -> bool:
        """Say whether other processes may help, and are worth their start."""
        return len(answers) >= MANY and all(getattr(scorer, "parallel", True) for scorer in self.scorers)

    def _rates(self, answers: Sequence[Answer], share: Rows) -> dict[str, float] | None:
        """Return category -> share of texts that get it, as if a model had written them; None where there are none."""
        if not answers or not self.taggers:
            return None
        rows = tuple(share(replace(self, scorers=())._prepared(answers), answers))
        counts = Counter(category for row in rows for category in {tag.category for tag in row.tags})
        return {category: count / len(rows) for category, count in sorted(counts.items())}

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


Rows = Callable[[Assessor, Sequence[Answer]], Iterable[Row]]
"""What scores and tags many answers with an assessor that is ready, in order."""
_READY: list[Assessor] = []
"""The assessor of a worker process."""


def _take(assessor: Assessor) -> None:
    _READY[:] = [assessor]


def _row_of(answer: Answer) -> Row:
    return _READY[0].row(*answer)


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


def _prepared(tagger: Tagger, corpus: Corpus) -> Tagger:
    prepare = getattr(tagger, "prepare", None)
    return cast(Tagger, prepare(corpus)) if prepare else tagger
