"""Score and tag answers that exist already: those of a run, or a file of answers. No model is asked."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evalkit.assess import Answer, Assessor
from evalkit.errors import SuiteError
from evalkit.examples import example_of, raise_listed, record_id
from evalkit.identity import identity_of
from evalkit.jobs import conclude
from evalkit.jsonl import MAX_LISTED, read_jsonl
from evalkit.record import RunFolder, read_run
from evalkit.registry import did_you_mean
from evalkit.settings import RunSettings
from evalkit.suite import ANSWERS, LM_EVAL, digested, read_suite, suite_of_answers
from evalkit.types import Example, Finish, Response, Run, Suite

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


def score_run(path: str | Path, how: Rescoring, out: Path) -> Path:
    """Score the answers of a finished run anew, into a new run."""
    run = read_run(path)
    settings = _settings_of_run(run, how)
    suite = _suite_of_run(run, settings)
    examples = {example.id: example for example in suite.examples}
    if missing := [row.example.id for row in run.rows if row.example.id not in examples]:
        raise SuiteError(
            f"{path}: suite {suite.name!r} has no example {missing[0]!r} ({len(missing)} missing); "
            "give the suite it was run on"
        )
    for row in run.rows:
        _same_question(examples[row.example.id], row.example, str(path))
    answers = [(examples[row.example.id], row.trial, row.response) for row in run.rows]
    model = {k.removeprefix("model."): v for k, v in run.manifest["identity"].items() if k.startswith("model.")}
    return _write(suite, answers, settings, out, {**model, "answers_of": run.id})


def score_answers(path: Path, how: Rescoring, out: Path) -> Path:
    """Score a file of answers `{"id", "question", "answer", "target"?, "meta"?, "finish"?, "tokens"?}`."""
    rows = read_jsonl(path, SuiteError)
    if not rows:
        raise SuiteError(f"{path}: no answer in it; expected one JSON object a line with 'question' and 'answer'")
    answers = _answers_of(rows, str(path))
    if how.suite:
        suite = read_suite(how.suite, overrides=how.overrides, data_dir=how.data_dir)
        answers = _aligned(answers, suite, str(path))
    else:
        suite = suite_of_answers(tuple(example for example, _, _ in answers), how.overrides)
    settings = RunSettings(
        model=str(path.resolve()),
        suites=(how.suite or suite.name,),
        data_dir=how.data_dir,
        overrides=how.overrides,
        vocabulary=how.vocabulary,
        training=how.training,
    )
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return _write(suite, answers, settings, out, {"backend": "answers", "model_digest": digest})


def _write(suite: Suite, answers: list[Answer], settings: RunSettings, out: Path, model: Mapping[str, str]) -> Path:
    asked = {example.id for example, _, _ in answers}
    suite = digested(replace(suite, examples=tuple(e for e in suite.examples if e.id in asked)))
    assessor = Assessor.of(suite, settings.vocabulary, settings.training)
    manifest = {"identity": identity_of(suite, assessor, model), "settings": settings.record(), "scored": True}
    with RunFolder.create(out, manifest) as folder:
        conclude(folder, suite, assessor.assess(answers))
    return out


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
    )


def _suite_of_run(run: Run, settings: RunSettings) -> Suite:
    """Return the suite that a run's answers are scored by; answers that came without one bring their own."""
    (given,) = settings.suites
    if given == ANSWERS:
        return suite_of_answers(tuple(row.example for row in run.rows), settings.overrides)
    return read_suite(
        given,
        overrides=settings.overrides,
        data_dir=settings.data_dir,
        fewshot=settings.fewshot,
        limit=settings.limit,
    )


def _answers_of(rows: Sequence[tuple[int, Mapping[str, Any]]], where: str) -> list[Answer]:
    answers: list[Answer] = []
    faults: list[str] = []
    lines: dict[str, int] = {}
    for number, row in rows:
        try:
            for key in row:
                if key not in FIELDS:
                    raise SuiteError(f"line {number}: unknown key {key!r}{did_you_mean(key, FIELDS)}")
            example, response = _example(row, f"line {number}"), _response(row, f"line {number}")
            if example.id in lines:
                raise SuiteError(f"line {number}: id {example.id!r} stands in line {lines[example.id]} already")
            lines[example.id] = number
            answers.append((example, 0, response))
        except SuiteError as fault:
            faults.append(str(fault))
    raise_listed(where, faults)
    return answers


def _example(row: Mapping[str, Any], here: str) -> Example:
    """Build the example of an answer; the question may be empty here, since nothing is asked."""
    question = row.get("question", "")
    if not isinstance(question, str):
        raise SuiteError(f"{here}: question is not a text")
    record = {"input": question.strip(), "target": row.get("target"), "meta": row.get("meta")}
    return replace(
        example_of(
            {"id": record_id(row), **{k: v for k, v in row.items() if k == "id" and v is not None}, **record},
            here,
            blank=True,
        ),
        input=question,
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


def _aligned(answers: Sequence[Answer], suite: Suite, where: str) -> list[Answer]:
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
