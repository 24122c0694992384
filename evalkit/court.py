"""The judge at work: asks a backend about answers, again where a reply cannot be read, and keeps what it said.

What was said stands in RUN/judgements.jsonl, a line a case, so that a killed run asks no case twice. Knows neither the
words of the prompt nor how scores come of verdicts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from evalkit.assess import Assessor
from evalkit.brief import judgement_of, prompt_digest, request_of_case
from evalkit.errors import EvalkitError, ModelError, RunError, Stopped, SuiteError
from evalkit.journal import Journal, read_journal
from evalkit.jsonl import dump, scrub
from evalkit.labels import run_key
from evalkit.models import load_backend
from evalkit.record import read_run
from evalkit.scorers.judge import Answers, Case, Judge, Judgement
from evalkit.suite import digested
from evalkit.types import Answer, Backend, Run, Suite, Tick

FILE = "judgements.jsonl"
TOKENS = 4096
"""Token budget of one scoring batch of a local judge: fixed, not measured, so that a resumed run judges alike."""
_WHO = ("backend", "model_digest", "chat_template", "endpoint", "name")
"""Fields of a backend's identity that say which model answers, wherever it runs."""
_MEND = "lines before it are whole: move the file away and judge anew with `evalkit score RUN --judge MODEL`"
_SAME = "give a run of the same suite"
Counter = Callable[[int], Tick]
"""Called with the number of requests; returns what is called for each answer."""


@dataclass(frozen=True)
class Statement:
    """One line of judgements.jsonl."""

    by: str
    """Who judged, told what: as in `Court.by`."""
    case: str
    """Digest of the case."""
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


@dataclass(frozen=True)
class Court:
    """A judge that can be asked."""

    backend: Backend
    """Where the judge's model is reached."""
    against: Path | None = None
    """The run that answers are held against in `pairwise`."""

    @property
    def by(self) -> str:
        """Return who judges, told what: 16 hex digits of the model, then of the prompt."""
        return f"{self.identity['judge']}/{prompt_digest()}"

    @property
    def identity(self) -> Mapping[str, str]:
        """Return the fields of a run's identity that say how it is judged."""
        own = self.backend.identity
        who = hashlib.sha256(dump({key: own[key] for key in _WHO if key in own}).encode()).hexdigest()[:16]
        against = {"judge_against": _against_digest(self.against)} if self.against else {}
        fields = {f"judge.{key}": value for key, value in own.items()}
        return {"judge": who, "judge_prompt": prompt_digest(), **against, **fields}

    def partial_to(self, subject: Mapping[str, str]) -> str:
        """Return a warning where the judge is the model under test, by its identity; empty where it is not."""
        own = self.backend.identity
        known = [key for key in ("model_digest", "name") if own.get(key)]
        same = known and all(own.get(key) == subject.get(key) for key in ("backend", "endpoint", *known))
        return "the judge is the model under test: models prefer their own answers; take another judge" if same else ""


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


def check_court(assessor: Assessor, court: Court | None, suite: str) -> None:
    """Refuse a suite whose judge, or whose other run, is not given.

    Raises:
        SuiteError: says what to give.
    """
    for judge in judges(assessor):
        if court is None:
            raise SuiteError(f"suite {suite} is scored by a judge: give --judge MODEL, or leave the scorer out")
        if (judge.mode == "pairwise") != (court.against is not None):
            raise SuiteError(f"--against RUN2 goes with the judge's mode pairwise alone; suite {suite}: {judge.mode}")


def judges(assessor: Assessor) -> tuple[Judge, ...]:
    """Return the judges among the scorers."""
    return tuple(scorer for scorer in assessor.scorers if isinstance(scorer, Judge))


def heard(
    assessor: Assessor,
    answers: Sequence[Answer],
    folder: Path,
    court: Court | None,
    *,
    against: Path | None = None,
    known: Iterable[Statement] = (),
    counter: Counter | None = None,
) -> Assessor:
    """Return the assessor whose judges have heard the answers; judgements are kept in the run's folder.

    `against` is the run that they are held against, `known` are judgements of the same answers in another run. Without
    a court nobody is asked.

    Raises:
        Stopped: the judge refuses or cannot be reached; what it has said is kept.
    """
    if not judges(assessor):
        return assessor
    kept = {line.case: line for line in known}
    others = answers_of(against, answers) if against else {}
    for judge in judges(assessor):
        asked = cases_of(judge, answers, others)
        if court:
            kept |= {line.case: line for line in _hear(court, judge, asked, folder, kept, counter)}
    said = {case: line.judgement for case, line in kept.items()}
    scorers = tuple(s.heard(said, others) if isinstance(s, Judge) else s for s in assessor.scorers)
    return replace(assessor, scorers=scorers)


def cases_of(judge: Judge, answers: Sequence[Answer], others: Answers) -> dict[str, tuple[Case, str, int]]:
    """Return digest -> (case, id of the first example that it stands for, order), in the order of the answers."""
    found: dict[str, tuple[Case, str, int]] = {}
    for example, _, response in answers:
        for number, case in enumerate(judge.cases(example, response, others.get(example.id))):
            order = number % 2 if judge.mode == "pairwise" else 0
            found.setdefault(case.digest, (case, example.id, order))
    return found


def answers_of(against: Path, answers: Sequence[Answer]) -> dict[str, str]:
    """Return example id -> the first answer of the other run.

    Raises:
        EvalkitError: the run answers other questions.
    """
    asked = {example.id: example.question for example, _, _ in answers}
    found: dict[str, str] = {}
    for row in read_run(against).rows:
        if row.example.id in asked and row.example.question != asked[row.example.id]:
            raise EvalkitError(
                f"--against {against}: its {row.example.id!r} is another question; give a run of this suite"
            )
        if row.trial == 0 and row.response.error is None:
            found[row.example.id] = row.response.text
    if not found.keys() & asked.keys():
        raise EvalkitError(f"--against {against}: it answers none of these questions; {_SAME}")
    return found


def read_judgements(folder: str | Path) -> tuple[Statement, ...]:
    """Return what judges said of a run's answers, a line a case; empty where none was asked.

    Raises:
        RunError: a line is damaged.
    """
    return _read(Path(folder) / FILE)[0]


def _hear(
    court: Court,
    judge: Judge,
    asked: Mapping[str, tuple[Case, str, int]],
    folder: Path,
    kept: Mapping[str, Statement],
    counter: Counter | None,
) -> Iterable[Statement]:
    """Ask what is not known yet, by whole planned batches, each kept before the next is asked."""
    path = folder / FILE
    stated, good = _read(path)
    before = {line.case: line for line in stated if line.by == court.by}
    reused = [line for case, line in kept.items() if case in asked and case not in before and line.by == court.by]
    journal = Journal(path, good, kind="judgement")
    try:
        journal.append([_record(line) for line in reused])
        before |= {line.case: line for line in reused}
        for batch in _ask(court.backend, judge, [case for case, _, _ in asked.values()], before, counter):
            lines = [_stated(court.by, asked[case.digest], said) for case, said in batch]
            journal.append([_record(line) for line in lines if not line.judgement.error])
            before |= {line.case: line for line in lines}
    except ModelError as fault:
        raise Stopped(f"{folder}: the judge cannot be asked: {fault}; the answers are kept") from None
    finally:
        journal.close()
    return before.values()


def _stated(by: str, asked: tuple[Case, str, int], said: Judgement) -> Statement:
    case, example_id, order = asked
    return Statement(by, case.digest, example_id, case.group, order, case.repeat, said)


def _ask(
    backend: Backend, judge: Judge, cases: Sequence[Case], known: Mapping[str, Statement], counter: Counter | None
) -> Iterable[list[tuple[Case, Judgement]]]:
    """Yield the cases of each planned batch with what was said."""
    by_reply = judge.verdict_by == "reply" or (judge.verdict_by == "auto" and "choose" not in backend.kinds)
    kind = "generate" if by_reply else "choose"
    if kind not in backend.kinds:
        raise ModelError(f"scorer judge: verdict_by = {judge.verdict_by!r}, but this judge cannot {kind} answers")
    plan = backend.plan([request_of_case(case, judge, by_reply=by_reply) for case in cases]) if cases else []
    batches = [[cases[index] for index in batch] for batch in plan]
    pending = [batch for batch in batches if any(case.digest not in known for case in batch)]
    tick = counter(sum(map(len, pending))) if counter else lambda: None
    for batch in pending:
        yield _settled(backend, judge, batch, by_reply=by_reply, tick=tick)


def _settled(
    backend: Backend, judge: Judge, batch: Sequence[Case], *, by_reply: bool, tick: Tick
) -> list[tuple[Case, Judgement]]:
    """Ask one batch, and again what cannot be read, as often as the judge is to be asked."""
    said: dict[str, Judgement] = {}
    left = list(batch)
    for attempt in range(judge.tries if by_reply else 1):
        requests = [request_of_case(case, judge, by_reply=by_reply, attempt=attempt) for case in left]
        parts = [range(len(left))] if not attempt else backend.plan(requests)
        for part in parts:
            answered = backend.respond([requests[i] for i in part], tick if not attempt else lambda: None)
            said |= {
                left[i].digest: judgement_of(left[i], answer, attempt) for i, answer in zip(part, answered, strict=True)
            }
        left = [case for case in left if said[case.digest].verdict is None and not said[case.digest].error]
        if not left:
            break
    return [(case, said[case.digest]) for case in batch]


def _read(path: Path) -> tuple[tuple[Statement, ...], int]:
    """Return (statements, bytes up to the end of the last whole line)."""
    lines, good, _ = read_journal(path, mend=_MEND)
    try:
        return tuple(map(_statement_of, lines)), good
    except (TypeError, ValueError, KeyError) as fault:
        raise RunError(f"{path}: a line is no judgement ({fault}); {_MEND}") from None


def _record(line: Statement) -> dict[str, Any]:
    return dict(scrub({**asdict(line), "judgement": asdict(line.judgement)}))


def _statement_of(record: Mapping[str, Any]) -> Statement:
    said = dict(record["judgement"])
    said["probabilities"] = tuple(said["probabilities"])
    return Statement(**{**record, "judgement": Judgement(**said)})


def opponent_of(run: Run) -> str:
    """Return the run that a judge has held this one's answers against, by the name that it never shares; else empty."""
    against = run.manifest["settings"].get("against")
    return run_key(read_run(against)) if against else ""


def _against_digest(against: Path) -> str:
    return str(read_run(against).manifest.get("rows_sha256", ""))[:16]
