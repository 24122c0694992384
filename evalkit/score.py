"""Score and tag answers that exist already: those of a run, or a file of answers. No model is asked but a judge."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from evalkit.assess import Assessor
from evalkit.court import Hearing, Statement, check_court, court_of, heard, judge_of, read_judgements, with_judge
from evalkit.errors import SuiteError
from evalkit.examples import example_of, raise_listed, record_id
from evalkit.folder import RunFolder
from evalkit.identity import NO_JUDGE, identity_of
from evalkit.jobs import conclude
from evalkit.jsonl import MAX_LISTED, each_jsonl, parse_own
from evalkit.lines import Lines, Parts
from evalkit.record import open_run
from evalkit.registry import did_you_mean
from evalkit.settings import RunSettings
from evalkit.suite import ANSWERS, LM_EVAL, digested, read_suite, suite_of_answers
from evalkit.types import Answer, Example, Finish, Response, Run, Suite

FIELDS = ("id", "question", "answer", "target", "meta", "finish", "tokens", "error")
_FINISHES: tuple[Finish, ...] = ("stop", "length", "error")


@dataclass(frozen=True)
class Rescoring:
    """How kept answers are scored anew; None means as before, or as the suite says."""

    suite: str | None = None
    """Suite by name or folder."""
    overrides: tuple[str, ...] = ()
    """`key.sub=value` settings that override the suite's."""
    data_dir: str | None = None
    """Mirror folder of data sets."""
    vocabulary: str | None = None
    """File with words of the domain."""
    training: str | None = None
    """Training rows whose answers teach the domain's words."""
    judge: str | None = None
    """The model that judges; None asks nobody, and keeps what a judge has said of the run before."""
    against: str | None = None
    """The run that a judge holds the answers against."""


def score_run(path: str | Path, how: Rescoring, out: Path) -> Path:
    """Score the answers of a finished run anew, into a new run."""
    run = open_run(path)
    settings = _settings_of_run(run, how)
    suite, answers = _answers_of(run, settings, str(path))
    model = {k.removeprefix("model."): v for k, v in run.manifest["identity"].items() if k.startswith("model.")}
    judge = {key: value for key, value in run.manifest["identity"].items() if key.startswith("judge")}
    kept = _Kept(answers, {**model, "answers_of": run.id}, judge, read_judgements(path))
    return _write(suite, kept, settings, out, how)


def score_answers(path: Path, how: Rescoring, out: Path) -> Path:
    """Score a file of answers `{"id", "question", "answer", "target"?, "meta"?, "finish"?, "tokens"?}`."""
    answers, digest = _answers_in(path)
    if how.suite:
        suite = read_suite(how.suite, overrides=how.overrides, data_dir=how.data_dir)
        answers = _aligned(answers, suite, str(path))
        suite = _asked(suite, answers)
    else:
        suite = suite_of_answers(Parts(answers, _example_of), how.overrides)
    settings = RunSettings(
        model=str(path.resolve()),
        suites=(how.suite or suite.name,),
        data_dir=how.data_dir,
        overrides=how.overrides,
        vocabulary=how.vocabulary,
        training=how.training,
        judge=how.judge,
        against=how.against,
    )
    kept = _Kept(answers, {"backend": "answers", "model_digest": digest})
    return _write(suite, kept, settings, out, how)


@dataclass(frozen=True)
class _Kept:
    """Answers that exist, and what is known of them."""

    answers: Sequence[Answer]
    model: Mapping[str, str]
    """Identity of what gave them."""
    judge: Mapping[str, str] = field(default_factory=lambda: NO_JUDGE)
    """Identity of the judge that has judged them before."""
    statements: tuple[Statement, ...] = ()
    """What it said."""


def _asked(suite: Suite, answers: Sequence[Answer]) -> Suite:
    """Return the suite with the examples that have an answer."""
    asked = {example.id for example, _, _ in answers}
    return digested(replace(suite, examples=tuple(e for e in suite.examples if e.id in asked)))


def _write(suite: Suite, kept: _Kept, settings: RunSettings, out: Path, how: Rescoring) -> Path:
    suite = with_judge(suite, settings.judge)
    assessor = Assessor.of(suite, settings.vocabulary, settings.training)
    hearing = _hearing(suite, assessor, kept, settings, how)
    manifest: dict[str, Any] = {"identity": identity_of(suite, assessor, kept.model, judge=hearing.identity)}
    if warning := hearing.court.partial_to(kept.model) if hearing.court else "":
        manifest["warnings"] = [warning]
    against = str(hearing.against) if hearing.against else None
    manifest["settings"] = replace(settings, against=against).record()
    with RunFolder.create(out, {**manifest, "scored": True}) as folder:
        conclude(folder, suite, heard(assessor, kept.answers, folder.path, hearing).assess(kept.answers))
    return out


def _hearing(suite: Suite, assessor: Assessor, kept: _Kept, settings: RunSettings, how: Rescoring) -> Hearing:
    """Return who judges: the judge that is asked for, else what one has said of these answers before."""
    judge = judge_of(assessor)
    if how.against and not how.judge:
        raise SuiteError("--against RUN2 goes with --judge MODEL")
    against = settings.against if how.against or (judge and judge.mode == "pairwise") else None
    court = court_of(how.judge, against, {})
    if court:
        check_court(assessor, court, suite)
    identity = court.identity if court else kept.judge if judge else NO_JUDGE
    return Hearing(court, identity, Path(against) if against else None, kept.statements)


def _settings_of_run(run: Run, how: Rescoring) -> RunSettings:
    """Return the settings of a run with what is changed for scoring, so that the new run can be scored anew as well."""
    before = RunSettings.of(run.manifest["settings"])
    called = {Path(s).name.removeprefix(LM_EVAL): s for s in before.suites}
    own = before.suites[0] if len(before.suites) == 1 else called.get(run.suite, run.suite)
    return replace(
        before,
        suites=(how.suite or own,),
        overrides=(*before.overrides, *how.overrides),
        data_dir=how.data_dir or before.data_dir,
        vocabulary=how.vocabulary or before.vocabulary,
        training=how.training or before.training,
        judge=how.judge or (None if any(o.startswith("scorers=") for o in how.overrides) else before.judge),
        against=how.against or before.against,
    )


def _answers_of(run: Run, settings: RunSettings, where: str) -> tuple[Suite, Sequence[Answer]]:
    """Return the suite that a run's answers are scored by, and the answers; those of no suite bring their own."""
    (given,) = settings.suites
    if given == ANSWERS:
        own = suite_of_answers(Parts(run.rows, lambda row: row.example), settings.overrides)
        return own, Parts(run.rows, lambda row: (row.example, row.trial, row.response))
    suite = read_suite(
        given,
        overrides=settings.overrides,
        data_dir=settings.data_dir,
        fewshot=settings.fewshot,
        limit=settings.limit,
    )
    examples = {example.id: example for example in suite.examples}
    missing = []
    for row in run.rows:
        if row.example.id in examples:
            _same_question(examples[row.example.id], row.example, where)
        else:
            missing.append(row.example.id)
    if missing:
        raise SuiteError(
            f"{where}: suite {suite.name!r} has no example {missing[0]!r} ({len(missing)} missing); "
            "give the suite it was run on"
        )
    answers = Parts(run.rows, lambda row: (examples[row.example.id], row.trial, row.response))
    return _asked(suite, answers), answers


def _answers_in(path: Path) -> tuple[Sequence[Answer], str]:
    """Return the answers of a file, which stay there and are parsed when they are asked for, and its sha256.

    Raises:
        SuiteError: lines are not answers (up to 20 are listed), or two have the same id.
    """
    faults: list[str] = []
    lines: dict[str, int] = {}
    for number, row in each_jsonl(path, SuiteError):
        try:
            example, _, _ = _answer(row, f"line {number}")
            if example.id in lines:
                raise SuiteError(f"line {number}: id {example.id!r} stands in line {lines[example.id]} already")
            lines[example.id] = number
        except SuiteError as fault:
            faults.append(str(fault))
    raise_listed(str(path), faults)
    if not lines:
        raise SuiteError(f"{path}: no answer in it; expected one JSON object a line with 'question' and 'answer'")
    digest = hashlib.sha256()
    answers = Lines(path, lambda line: _answer(parse_own(line), str(path)), digest.update)
    return answers, digest.hexdigest()


def _answer(row: Mapping[str, Any], here: str) -> Answer:
    for key in row:
        if key not in FIELDS:
            raise SuiteError(f"{here}: unknown key {key!r}{did_you_mean(key, FIELDS)}")
    return _example(row, here), 0, _response(row, here)


def _example_of(answer: Answer) -> Example:
    return answer[0]


def _example(row: Mapping[str, Any], here: str) -> Example:
    """Build the example of an answer; the question may be empty here, since nothing is asked."""
    question = row.get("question", "")
    if not isinstance(question, str):
        raise SuiteError(f"{here}: question is not a text")
    given = row.get("id")
    record = {"input": question.strip(), "target": row.get("target"), "meta": row.get("meta")}
    return replace(
        example_of({"id": record_id(row) if given is None else given, **record}, here, blank=True), input=question
    )


def _response(row: Mapping[str, Any], here: str) -> Response:
    answer, finish, tokens, error = row.get("answer"), row.get("finish", "stop"), row.get("tokens"), row.get("error")
    if not isinstance(answer, str) and not error:
        raise SuiteError(f"{here}: expected 'answer' to be a text")
    if finish not in _FINISHES:
        raise SuiteError(f"{here}: finish = {finish!r}: expected one of {', '.join(_FINISHES)}")
    if tokens is not None and (not isinstance(tokens, int) or isinstance(tokens, bool) or tokens < 0):
        raise SuiteError(f"{here}: tokens = {tokens!r}: expected a whole number of tokens")
    if error is not None and not isinstance(error, str):
        raise SuiteError(f"{here}: expected 'error' to be a text")
    if finish == "error":
        error = error or "the answer is marked as an error"
    return Response(text=answer or "", finish="error" if error else finish, tokens=tokens, error=error or None)


def _aligned(answers: Sequence[Answer], suite: Suite, where: str) -> Sequence[Answer]:
    """Return the answers with the suite's own examples, in the suite's order."""
    given = {example.id: response for example, _, response in answers}
    known = {example.id: example for example in suite.examples}
    for example, _, _ in answers:
        if example.id not in known:
            hint = did_you_mean(example.id, known) if len(known) <= MAX_LISTED else ""
            raise SuiteError(f"{where}: suite {suite.name!r} has no example {example.id!r}{hint}")
        if example.input:
            _same_question(known[example.id], example, where)
    return [(example, 0, given[example.id]) for example in suite.examples if example.id in given]


def _same_question(asked: Example, answered: Example, where: str) -> None:
    """Refuse to score an answer by another question than it was given to."""
    if asked.question.strip() != answered.question.strip() or (answered.choices and asked.choices != answered.choices):
        raise SuiteError(
            f"{where}: id {asked.id!r} answers {_short(answered.question)}, "
            f"but the suite asks {_short(asked.question)}; run the suite again"
        )


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:59] + "…")
