"""One suite on its way to a run: read, asked, kept, finished. Knows neither model nor engine."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from evalkit.analyze import Lens, summarize
from evalkit.assess import Answer, Assessment, Assessor, Rows
from evalkit.codec import response_of
from evalkit.errors import SuiteError
from evalkit.prompt import requests_of
from evalkit.record import RunFolder, new_run_id
from evalkit.registry import load
from evalkit.settings import RunSettings
from evalkit.suite import read_suite
from evalkit.types import Request, Suite


@dataclass
class Job:
    """One suite on its way through a model, and the folder that keeps its answers."""

    suite: Suite
    assessor: Assessor
    requests: tuple[Request, ...]
    folder: RunFolder | None = None
    redo: set[tuple[str, int]] = field(default_factory=set)

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
        assessor = Assessor.of(suite, settings.vocabulary, settings.training)
        jobs.append(Job(suite, assessor, tuple(requests_of(suite, assessor.kind))))
    if twice := [name for name, n in Counter(job.suite.name for job in jobs).items() if n > 1]:
        raise SuiteError(f"two suites are called {twice[0]!r}; run them one after the other")
    return jobs


def finish(job: Job, rows: Rows | None = None) -> Path:
    """Score and tag the kept answers in suite order; write rows and summary."""
    folder = job.folder
    assert folder is not None
    examples = {example.id: example for example in job.suite.examples}
    answers: list[Answer] = []
    for request in job.requests:
        record = folder.answered[request.example_id, request.trial]
        answers.append((examples[request.example_id], request.trial, response_of(record["response"])))
    conclude(folder, job.suite, job.assessor.assess(answers, rows))
    return folder.path


def conclude(folder: RunFolder, suite: Suite, assessment: Assessment) -> None:
    """Write the rows and the summary of an assessed run."""
    lens = Lens(suite.primary, {}, assessment.references, assessment.training)
    summary = summarize(assessment.rows, lens) | {"notes": list(assessment.notes)}
    if suite.requests:
        summary["lm_eval"] = load("evalkit.harness:aggregate")(suite, assessment.rows)
    folder.finish(assessment.rows, summary)
