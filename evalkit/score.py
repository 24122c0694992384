"""Score and tag answers that exist already: those of a run, or a file of answers. No model is asked."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evalkit.assess import Answer, Assessor
from evalkit.errors import SuiteError
from evalkit.examples import example_of, record_id
from evalkit.identity import identity_of
from evalkit.jsonl import read_jsonl
from evalkit.record import RunFolder, read_run
from evalkit.registry import did_you_mean
from evalkit.flow import finish
from evalkit.settings import RunSettings
from evalkit.suite import digested, read_suite, suite_of_answers
from evalkit.types import Example, Finish, Response, Suite

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
    before = RunSettings.of(run.manifest["settings"])
    suite = _suite_of_run(run.suite, how, before)
    examples = {example.id: example for example in suite.examples}
    if missing := [row.example.id for row in run.rows if row.example.id not in examples]:
        raise SuiteError(f"{path}: suite {suite.name!r} has no example {missing[0]!r} ({len(missing)} missing); give the suite it was run on")
    answers = [(examples[row.example.id], row.trial, row.response) for row in run.rows]
    asked = {example.id for example, _, _ in answers}
    suite = digested(replace(suite, examples=tuple(e for e in suite.examples if e.id in asked)))
    model = {k.removeprefix("model."): v for k, v in run.manifest["identity"].items() if k.startswith("model.")}
    return _write(suite, answers, how, out, (before.model, {**model, "answers_of": run.id}))


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
    asked = {example.id for example, _, _ in answers}
    suite = digested(replace(suite, examples=tuple(e for e in suite.examples if e.id in asked)))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return _write(suite, answers, how, out, (str(path), {"backend": "answers", "model_digest": digest}))


def _write(suite: Suite, answers: list[Answer], how: Rescoring, out: Path, model: tuple[str, Mapping[str, str]]) -> Path:
    assessor = Assessor.of(suite, how.vocabulary, how.training)
    settings = RunSettings(
        model[0], (how.suite or suite.name,), None, how.data_dir, how.overrides, vocabulary=how.vocabulary, training=how.training
    )
    manifest = {"identity": identity_of(suite, assessor, model[1]), "settings": settings.record()}
    folder = RunFolder.create(out, manifest)
    finish(folder, suite, assessor, answers)
    return out


def _suite_of_run(name: str, how: Rescoring, before: RunSettings) -> Suite:
    """Return the suite that a run's answers are scored by: the one given, else its own."""
    given = how.suite or next((s for s in before.suites if Path(s).name == name), name)
    overrides = (*before.overrides, *how.overrides)
    return read_suite(given, overrides=overrides, data_dir=how.data_dir or before.data_dir, fewshot=before.fewshot, limit=before.limit)


def _answers_of(rows: Sequence[tuple[int, Mapping[str, Any]]], where: str) -> list[Answer]:
    answers: list[Answer] = []
    lines: dict[str, int] = {}
    for number, row in rows:
        here = f"{where}: line {number}"
        for key in row:
            if key not in FIELDS:
                raise SuiteError(f"{here}: unknown key {key!r}{did_you_mean(key, FIELDS)}")
        example, response = _example(row, here), _response(row, here)
        if example.id in lines:
            raise SuiteError(f"{here}: id {example.id!r} stands in line {lines[example.id]} already")
        lines[example.id] = number
        answers.append((example, 0, response))
    return answers


def _example(row: Mapping[str, Any], here: str) -> Example:
    """Build the example of an answer; the question may be empty here, since nothing is asked."""
    question = row.get("question", "")
    if not isinstance(question, str):
        raise SuiteError(f"{here}: question is not a text")
    record = {"id": row.get("id") or record_id(row), "input": question or "-", "target": row.get("target"), "meta": row.get("meta")}
    return replace(example_of(record, here), input=question)


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
    return Response(text=answer or "", finish="error" if error else finish, tokens=tokens, error=error or None)


def _aligned(answers: Sequence[Answer], suite: Suite, where: str) -> list[Answer]:
    """Return the answers with the suite's own examples, in the suite's order."""
    given = {example.id: response for example, _, response in answers}
    known = {example.id for example in suite.examples}
    for example_id in given:
        if example_id not in known:
            raise SuiteError(f"{where}: suite {suite.name!r} has no example {example_id!r}{did_you_mean(example_id, known)}")
    return [(example, 0, given[example.id]) for example in suite.examples if example.id in given]
