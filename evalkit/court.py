"""The judge at work: asks a backend about answers, again where a reply cannot be read, and keeps what it said.

What was said stands in RUN/judgements.jsonl, a line a case, so that a killed run asks no case twice. Knows neither the
words of the prompt nor how scores come of verdicts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from evalkit.assess import Assessor
from evalkit.brief import judgement_of, prompt_digest, request_of_case
from evalkit.errors import EvalkitError, ModelError, RunError, Stopped, SuiteError
from evalkit.identity import NO_JUDGE
from evalkit.journal import Journal, read_journal
from evalkit.jsonl import dump, scrub
from evalkit.models import load_backend
from evalkit.record import finished_manifest, open_run
from evalkit.scorers.judge import VERDICTS, Answers, Case, Judge, Judgement, Mode
from evalkit.suite import digested
from evalkit.types import Answer, Backend, Example, Suite, Tick

FILE = "judgements.jsonl"
TOKENS = 4096
"""Token budget of one scoring batch of a local judge: fixed, not measured, so that a resumed run judges alike."""
_WHO = ("backend", "model_digest", "chat_template", "endpoint", "name")
"""Fields of a backend's identity that say which model answers, wherever it runs."""
_MEND = "lines before it are whole: move the file away and judge anew with `evalkit score RUN --judge MODEL`"
_SAME = "give a run of the same suite"
Asked = Mapping[str, tuple[Case, str, int]]
"""Digest of a case -> the case, the first example that it stands for, and the order of a pair."""
Counter = Callable[[int], Tick]
"""Called with the number of requests; returns what is called for each answer."""


@dataclass(frozen=True)
class Statement:
    """One line of judgements.jsonl."""

    by: str
    """Who judged, told what and how: as `by_of` gives it."""
    case: str
    """Digest of the case."""
    mode: Mode
    """What was asked."""
    id: str
    """Id of the first example that it stands for."""
    group: str
    """What the repetitions and both orders of one question to the judge share."""
    order: int
    """In `pairwise`, 1 where the other run's answer was shown first; else 0."""
    repeat: int
    """Number of the repetition, from 0."""
    judgement: Judgement
    """What was said."""

    def __post_init__(self) -> None:
        """Refuse what no judge can have said."""
        texts = (self.by, self.case, self.id, self.group)
        numbers = (self.order, self.repeat, self.judgement.tries)
        if not all(type(text) is str for text in texts) or not all(type(number) is int for number in numbers):
            raise ValueError("a field is of another type")
        if self.mode not in VERDICTS:
            raise ValueError(f"mode {self.mode!r}")
        self.judgement.check(VERDICTS[self.mode])


@dataclass(frozen=True)
class Court:
    """A judge that can be asked."""

    backend: Backend
    """Where the judge's model is reached."""
    against: Path | None = None
    """The run that answers are held against in `pairwise`."""

    @cached_property
    def identity(self) -> Mapping[str, str]:
        """Return the fields of a run's identity that say how it is judged."""
        own = self.backend.identity
        who = hashlib.sha256(dump({key: own[key] for key in _WHO if key in own}).encode()).hexdigest()[:16]
        other = finished_manifest(self.against) if self.against else {}
        against = {"judge_against": str(other.get("made", other["id"]))} if other else {}
        fields = {f"judge.{key}": value for key, value in own.items()}
        return {"judge": who, "judge_prompt": prompt_digest(), **against, **fields}

    def partial_to(self, subject: Mapping[str, str]) -> str:
        """Return a warning where the judge is the model under test, by its identity; empty where it is not."""
        own = self.backend.identity
        known = [key for key in ("model_digest", "name") if own.get(key)]
        same = known and all(own.get(key) == subject.get(key) for key in ("backend", "endpoint", *known))
        return "the judge is the model under test: models prefer their own answers; take another judge" if same else ""

    def writes(self, judge: Judge) -> bool:
        """Say whether the judge writes replies; otherwise it gives the probabilities of the verdicts."""
        return judge.verdict_by == "reply" or (judge.verdict_by == "auto" and "choose" not in self.backend.kinds)


@dataclass(frozen=True)
class Hearing:
    """What is known before the answers of a run are judged."""

    court: Court | None = None
    """The judge that can be asked; None: nobody is."""
    identity: Mapping[str, str] = field(default_factory=lambda: NO_JUDGE)
    """The judge's fields of the run's identity; with a court, its own."""
    against: Path | None = None
    """The run that answers are held against in `pairwise`."""
    known: Sequence[Statement] = ()
    """What judges have said of the same answers in another run."""
    again: bool = False
    """Ask again about cases whose request failed."""


def court_of(judge: str | None, against: str | None, options: Mapping[str, Any]) -> Court | None:
    """Return the judge that `--judge` names; None where none is named. Loads no weights."""
    if judge is None:
        return None
    tokens = options.get("batch_tokens") or TOKENS
    return Court(load_backend(judge, {**options, "batch_tokens": tokens}), Path(against) if against else None)


def with_judge(suite: Suite, judge: str | None) -> Suite:
    """Return the suite with the scorer `judge`, where a judge is named and the suite does not have it yet."""
    if judge is None or "judge" in suite.scorers:
        return suite
    return digested(replace(suite, scorers=(*suite.scorers, "judge")))


def judge_of(assessor: Assessor) -> Judge | None:
    """Return the judge among the scorers."""
    return next((scorer for scorer in assessor.scorers if isinstance(scorer, Judge)), None)


def check_court(assessor: Assessor, court: Court | None, suite: Suite) -> None:
    """Refuse a suite whose judge cannot judge it, before anything is asked.

    Raises:
        SuiteError, EvalkitError: says what to give.
    """
    judge = judge_of(assessor)
    if judge is None:
        return
    if court is None:
        raise SuiteError(f"suite {suite.name} is scored by a judge: give --judge MODEL, or leave the scorer out")
    kind = "generate" if court.writes(judge) else "choose"
    if kind not in court.backend.kinds:
        raise SuiteError(f"scorer judge: verdict_by = {judge.verdict_by!r}, but this judge cannot {kind} answers")
    if judge.mode != "pairwise":
        if court.against is not None:
            raise SuiteError(f"--against RUN2 goes with --set scorer.judge.mode=pairwise; the mode is {judge.mode}")
        return
    if court.against is None:
        raise SuiteError(
            f"suite {suite.name}: the judge's mode pairwise needs --against RUN2, the run to hold it against"
        )
    if suite.trials > 1:
        raise SuiteError(
            f"suite {suite.name}: the judge's mode pairwise takes one answer a question, not {suite.trials}"
        )
    answers_of(court.against, suite.examples)


def heard(
    assessor: Assessor, answers: Sequence[Answer], folder: Path, hearing: Hearing, counter: Counter | None = None
) -> Assessor:
    """Return the assessor whose judge has heard the answers; judgements are kept in the run's folder.

    Raises:
        Stopped: the judge refuses or cannot be reached; what it has said is kept.
    """
    judge = judge_of(assessor)
    if judge is None:
        return assessor
    others = answers_of(hearing.against, [example for example, _, _ in answers]) if hearing.against else {}
    asked = cases_of(judge, answers, others)
    by = by_of(hearing.court.identity if hearing.court else hearing.identity, judge)
    path = folder / FILE
    stated, good = _read(path)
    said = {line.case: line.judgement for line in stated if line.by == by and line.case in asked}
    known = {s.case: s for s in hearing.known if s.by == by and s.case in asked and not s.judgement.error}
    new = [line for case, line in known.items() if case not in said]
    if new or hearing.court:
        journal = Journal(path, good, kind="judgement")
        try:
            said |= _kept(journal, new)
            if hearing.court:
                left = {case for case in asked if case not in said or (hearing.again and said[case].error)}
                for batch in _ask(hearing.court, judge, asked, left, counter):
                    said |= _kept(journal, [_stated(by, asked[case.digest], found) for case, found in batch])
        except ModelError as fault:
            raise Stopped(f"{folder}: the judge cannot be asked: {fault}; the answers are kept") from None
        finally:
            journal.close()
    scorers = tuple(judge.heard(said, others) if scorer == judge else scorer for scorer in assessor.scorers)
    return replace(assessor, scorers=scorers)


def by_of(identity: Mapping[str, str], judge: Judge) -> str:
    """Return who judges, told what, and how, from the judge's fields of an identity."""
    how = dump([judge.verdict_by, judge.max_chars, judge.tries, judge.temperature])
    return "/".join((identity["judge"], identity.get("judge_prompt", ""), hashlib.sha256(how.encode()).hexdigest()[:8]))


def cases_of(judge: Judge, answers: Sequence[Answer], others: Answers) -> dict[str, tuple[Case, str, int]]:
    """Return digest -> (case, id of the first example that it stands for, order), in the order of the answers."""
    found: dict[str, tuple[Case, str, int]] = {}
    for example, _, response in answers:
        for number, case in enumerate(judge.cases(example, response, others.get(example.id))):
            order = number % 2 if judge.mode == "pairwise" else 0
            found.setdefault(case.digest, (case, example.id, order))
    return found


def answers_of(against: Path, examples: Iterable[Example]) -> dict[str, str]:
    """Return example id -> the first answer of the other run.

    Raises:
        EvalkitError: the run answers other questions.
    """
    asked = {example.id: example.question for example in examples}
    found: dict[str, str] = {}
    for row in open_run(against).rows:
        if row.example.id in asked and row.example.question != asked[row.example.id]:
            raise EvalkitError(f"--against {against}: {row.example.id!r} is another question there; {_SAME}")
        if row.trial == 0 and row.response.error is None:
            found[row.example.id] = row.response.text
    if not found.keys() & asked.keys():
        raise EvalkitError(f"--against {against}: it answers none of these questions; {_SAME}")
    return found


def read_judgements(folder: str | Path) -> tuple[Statement, ...]:
    """Return what judges said of a run's answers, the last line of each case; empty where none was asked.

    Raises:
        RunError: a line is damaged.
    """
    return tuple({(line.by, line.case): line for line in _read(Path(folder) / FILE)[0]}.values())


def unjudged(folder: str | Path) -> list[str]:
    """Return why requests to a run's judge failed, an error a case."""
    return [line.judgement.error for line in read_judgements(folder) if line.judgement.error]


def _ask(
    court: Court, judge: Judge, asked: Asked, left: set[str], counter: Counter | None
) -> Iterable[list[tuple[Case, Judgement]]]:
    """Yield what is said of the cases that are left, a planned batch at a time.

    The plan is that of all cases, whatever is known: equal batches have equal numbers.
    """
    if not left:
        return
    by_reply, cases = court.writes(judge), [case for case, _, _ in asked.values()]
    requests = [request_of_case(case, judge, by_reply=by_reply, special=_special(court)) for case in cases]
    plan = court.backend.plan(requests)
    pending = [batch for batch in plan if any(cases[index].digest in left for index in batch)]
    tick = counter(sum(map(len, pending))) if counter else lambda: None
    for batch in pending:
        wanted = [cases[index] for index in batch if cases[index].digest in left]
        if by_reply:
            found = _replied(court, judge, wanted, tick)
        else:  # by the probabilities of the verdicts
            answered = court.backend.respond([requests[index] for index in batch], tick)
            found = {cases[i].digest: judgement_of(cases[i], answer) for i, answer in zip(batch, answered, strict=True)}
        yield [(case, found[case.digest]) for case in wanted]


def _replied(court: Court, judge: Judge, cases: Sequence[Case], tick: Tick) -> dict[str, Judgement]:
    """Return the judgements by written replies, asked for again where they cannot be read."""
    said: dict[str, Judgement] = {}
    left = list(cases)
    for attempt in range(judge.tries):
        requests = [
            request_of_case(case, judge, by_reply=True, attempt=attempt, special=_special(court)) for case in left
        ]
        for part in court.backend.plan(requests):
            answered = court.backend.respond([requests[i] for i in part], (lambda: None) if attempt else tick)
            for index, answer in zip(part, answered, strict=True):
                said[left[index].digest] = judgement_of(left[index], answer, attempt)
        left = [case for case in left if said[case.digest].verdict is None and not said[case.digest].error]
        if not left:
            break
    return said


def _special(court: Court) -> Sequence[str]:
    """Return the texts that the judge's tokenizer takes for more than text."""
    return getattr(court.backend, "special", ())


def _stated(by: str, asked: tuple[Case, str, int], said: Judgement) -> Statement:
    case, example_id, order = asked
    return Statement(by, case.digest, case.mode, example_id, case.group, order, case.repeat, said)


def _kept(journal: Journal, lines: Sequence[Statement]) -> dict[str, Judgement]:
    """Commit statements to the journal and return what they say."""
    journal.append([dict(scrub(asdict(line))) for line in lines])
    return {line.case: line.judgement for line in lines}


def _read(path: Path) -> tuple[tuple[Statement, ...], int]:
    """Return (statements, bytes up to the end of the last whole line)."""
    lines, good, _ = read_journal(path, mend=_MEND)
    try:
        return tuple(map(_statement_of, lines)), good
    except (TypeError, ValueError, KeyError, AttributeError) as fault:
        raise RunError(f"{path}: a line is no judgement ({fault}); {_MEND}") from None


def _statement_of(record: Mapping[str, Any]) -> Statement:
    said = dict(record["judgement"])
    said["probabilities"] = tuple(said["probabilities"])
    return Statement(**{**record, "judgement": Judgement(**said)})
