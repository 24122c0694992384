"""One suite on its way to a run: read, asked, kept, finished. Knows neither engine nor the model under test."""

from __future__ import annotations

import collections
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evalkit.analyze import Lens, summarize, tallied
from evalkit.assess import Assessment, Assessor, Rows
from evalkit.codec import response_of
from evalkit.court import Counter, Hearing, check_court, court_of, heard, with_judge
from evalkit.errors import SuiteError
from evalkit.folder import RunFolder, new_run_id
from evalkit.prompt import requests_of
from evalkit.registry import load
from evalkit.settings import RunSettings
from evalkit.suite import read_suite
from evalkit.types import Answer, Request, Suite


@dataclass
class Job:
    """One suite on its way through a model, and the folder that keeps its answers."""

    suite: Suite
    assessor: Assessor
    requests: tuple[Request, ...]
    folder: RunFolder | None = None
    redo: set[tuple[str, int]] = field(default_factory=set)
    hearing: Hearing = field(default_factory=Hearing)

    def pending(self, request: Request) -> bool:
        """Say whether this request still needs an answer that is kept."""
        key = (request.example_id, request.trial)
        return self.folder is not None and (key not in self.folder.answered or key in self.redo)


def place_of(suite: Suite, count: int, out: str | Path | None) -> Path:
    """Return the folder of one suite's run among `count` suites."""
    if out is None:
        return Path("runs", new_run_id())
    return Path(out) if count == 1 else Path(out, suite.name)


def jobs_of(settings: RunSettings) -> list[Job]:
    """Read the suites of the settings and build their scorers and taggers."""
    jobs = []
    for name in settings.suites:
        suite = read_suite(
            name,
            overrides=settings.overrides,
            data_dir=settings.data_dir,
            fewshot=settings.fewshot,
            limit=settings.limit,
        )
        suite = with_judge(suite, settings.judge)
        assessor = Assessor.of(suite, settings.vocabulary, settings.training)
        jobs.append(Job(suite, assessor, tuple(requests_of(suite, assessor.kind))))
    if twice := [name for name, n in collections.Counter(job.suite.name for job in jobs).items() if n > 1]:
        raise SuiteError(f"two suites are called {twice[0]!r}; run them one after the other")
    court = court_of(settings.judge, settings.against, settings.options())
    for job in jobs:
        check_court(job.assessor, court, job.suite)
        job.hearing = Hearing(court, court.identity, court.against) if court else Hearing()
    return jobs


def finish(job: Job, rows: Rows | None = None, counter: Counter | None = None) -> Path:
    """Judge, score and tag the kept answers in suite order; write rows and summary."""
    folder = job.folder
    assert folder is not None
    examples = {example.id: example for example in job.suite.examples}
    answers: list[Answer] = []
    for request in job.requests:
        record = folder.answered[request.example_id, request.trial]
        answers.append((examples[request.example_id], request.trial, response_of(record["response"])))
    assessor = heard(job.assessor, answers, folder.path, job.hearing, counter)
    conclude(folder, job.suite, assessor.assess(answers, rows))
    return folder.path


def conclude(folder: RunFolder, suite: Suite, assessment: Assessment) -> None:
    """Write the rows of an assessed run as they come, and its summary."""
    lens = Lens(suite.primary, {}, assessment.references, assessment.training)
    tally, rows = tallied((), lens), assessment.rows
    if suite.requests:
        rows = tuple(rows)

    def summary() -> dict[str, Any]:
        figures = summarize(tally, lens) | {"notes": list(assessment.notes)}
        return figures | ({"lm_eval": load("evalkit.harness:aggregate")(suite, rows)} if suite.requests else {})

    folder.finish(tally.watched(rows), summary)
