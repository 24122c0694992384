"""Suite x model -> run folder: the page that shows the whole flow. What a suite or a record is stands elsewhere."""

from __future__ import annotations

import functools
import itertools
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evalkit.analyze import Lens, summarize, tallied
from evalkit.assess import Assessment, Assessor
from evalkit.codec import response_of, response_record
from evalkit.court import Court, Hearing, check_court, court_of, heard, with_judge
from evalkit.errors import ModelError, RunError, SuiteError
from evalkit.identity import NO_JUDGE, identity_of
from evalkit.models import load_backend
from evalkit.prompt import requests_of, unlike_trained
from evalkit.record import RunFolder, new_run_id, read_run
from evalkit.registry import load
from evalkit.settings import RunSettings
from evalkit.suite import read_suite
from evalkit.types import Answer, Backend, Request, Run, Suite, Tick

_log = logging.getLogger(__name__)
Progress = Callable[[int, int], None]
"""Called with (answers so far, answers in all)."""
Plan = list[list[int]]
"""Batches of indices into the requests of all jobs, one after the other."""


@dataclass
class Job:
    """One suite on its way through a model, and the folder that keeps its answers."""

    suite: Suite
    assessor: Assessor
    requests: tuple[Request, ...]
    folder: RunFolder | None = None
    redo: set[tuple[str, int]] = field(default_factory=set)
    again: bool = False
    """Ask the judge again about what it could not be asked before."""

    def pending(self, request: Request) -> bool:
        """Say whether this request still needs an answer that is kept."""
        key = (request.example_id, request.trial)
        return self.folder is not None and (key not in self.folder.answered or key in self.redo)


@dataclass(frozen=True)
class Work:
    """What a run has to do: jobs, the model that is asked, the batches, and the judge."""

    jobs: list[Job]
    backend: Backend
    plan: Plan
    court: Court | None

    def identity(self, job: Job) -> dict[str, str]:
        """Return what the answers and scores of a job depend on."""
        judge = self.court.identity if self.court else NO_JUDGE
        return identity_of(job.suite, job.assessor, self.backend.identity, self.plan, judge)

    def warnings(self, job: Job) -> list[str]:
        """Return what a reader of a job's figures must know, a line each."""
        identity = self.backend.identity
        asked = unlike_trained(job.suite, getattr(self.backend, "trained_prompt", {}), identity)
        judged = self.court.partial_to(identity) if self.court else ""
        return [warning for warning in (asked, judged) if warning]


def run(model: str, suite: str, *, out: str | Path | None = None, **settings: Any) -> Run:
    """Run one suite against a model and return the finished run; `settings` are the fields of RunSettings."""
    (folder,) = start(RunSettings(model=model, suites=(suite,), **settings), out=out)
    return read_run(folder)


def start(settings: RunSettings, *, out: str | Path | None = None, progress: Progress | None = None) -> list[Path]:
    """Run every suite of the settings, each into a folder of its own; return the folders."""
    work = _prepare(settings)
    with ExitStack() as held:
        for job in work.jobs:
            path = Path("runs", new_run_id()) if out is None else Path(out)
            path = path / job.suite.name if out is not None and len(work.jobs) > 1 else path
            manifest: dict[str, Any] = {"identity": work.identity(job), "settings": settings.record()}
            if warnings := work.warnings(job):
                manifest["warnings"] = warnings
            for warning in warnings:
                _log.warning("%s: %s", settings.model, warning)
            job.folder = held.enter_context(RunFolder.create(path, manifest))
        return _complete(work, progress)


def resume(path: str | Path, *, retry_errors: bool = False, progress: Progress | None = None) -> list[Path]:
    """Complete a run from its folder, by whole planned batches; nothing it depends on may have changed."""
    with RunFolder.open(Path(path)) as folder:
        for made in ("scored", "imported"):
            if made in folder.manifest:
                raise RunError(f"{path}: its answers were {made}, no model was asked; there is nothing to resume")
        settings = RunSettings.of(folder.manifest["settings"])
        measured = folder.manifest["identity"].get("model.batch_tokens")
        work = _prepare(settings, int(measured) if measured else None)
        job = next((job for job in work.jobs if job.suite.name == folder.manifest["identity"]["suite"]), work.jobs[0])
        folder.check_identity(work.identity(job))
        job.folder = folder
        job.again = retry_errors
        if retry_errors:
            job.redo = {key for key, record in folder.answered.items() if record["response"]["error"]}
        if folder.finished:  # until the rows are written again, they do not stand for the journal
            folder.update(status="running")
        return _complete(work, progress)


def _prepare(settings: RunSettings, measured: int | None = None) -> Work:
    """Read suites, build scorers and taggers, open model and judge, plan: what fails cheaply fails first.

    `measured` is the token budget that the run was planned with, where none was given.
    """
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
    if twice := [name for name, n in Counter(job.suite.name for job in jobs).items() if n > 1]:
        raise SuiteError(f"two suites are called {twice[0]!r}; run them one after the other")
    options = {name: getattr(settings, name) for name in ("batch_tokens", "concurrency", "timeout")}
    court = court_of(settings.judge, settings.against, options)
    backend = load_backend(settings.model, {**options, "measured": measured})
    for job in jobs:
        check_court(job.assessor, court, job.suite)
        for kind in sorted({request.kind for request in job.requests} - backend.kinds):
            raise ModelError(f"model {settings.model!r} cannot {kind} answers, as suite {job.suite.name!r} asks")
    return Work(jobs, backend, list(_planned(jobs, backend)), court)


def _planned(jobs: list[Job], backend: Backend) -> Iterator[list[int]]:
    """Yield batches: choices of all suites share one plan, so that equal requests cost once; others do not."""
    groups: dict[str | int, list[tuple[int, Request]]] = {}
    starts = 0
    for number, job in enumerate(jobs):
        for index, request in enumerate(job.requests, starts):
            groups.setdefault("choose" if request.kind == "choose" else number, []).append((index, request))
        starts += len(job.requests)
    for group in groups.values():
        for batch in backend.plan([request for _, request in group]):
            yield [group[position][0] for position in batch]


def _complete(work: Work, progress: Progress | None) -> list[Path]:
    """Answer what is pending, batch by batch, then judge, score, tag and write the rows of each job with a folder."""
    jobs, backend = work.jobs, work.backend
    asked = [(job, request) for job in jobs for request in job.requests]
    batches = [[asked[index] for index in batch] for batch in work.plan]
    pending = [part for part in batches if any(job.pending(request) for job, request in part)]
    tick = _counter(sum(map(len, pending)), progress)
    for part in pending:
        began = time.monotonic()
        answered = [response_record(r) for r in backend.respond([request for _, request in part], tick)]
        _commit(jobs, part, answered, time.monotonic() - began)
    for job in jobs:
        if job.folder and (remarks := getattr(backend, "remarks", ())):
            job.folder.update(warnings=list(dict.fromkeys([*job.folder.manifest.get("warnings", ()), *remarks])))
    if work.court and hasattr(backend, "release"):
        backend.release()  # there may be no room for the judge's weights beside the model's
    return [_finish(job, work.court, progress) for job in jobs if job.folder]


def _counter(total: int, progress: Progress | None) -> Tick:
    """Return what counts answers for the progress of a run."""
    done = itertools.count(1)
    return lambda: progress(next(done), total) if progress else None


def _commit(jobs: list[Job], part: list[tuple[Job, Request]], answered: list[dict[str, Any]], seconds: float) -> None:
    """Journal what was pending of one batch, each answer in the folder of its own suite."""
    for job in jobs:
        if job.folder:
            records = [
                {"id": request.example_id, "trial": request.trial, "response": response}
                for (owner, request), response in zip(part, answered, strict=True)
                if owner is job and job.pending(request)
            ]
            if records:
                job.folder.append(records)
                job.folder.note_time({"answers": len(records), "seconds": round(seconds, 3)})


def _finish(job: Job, court: Court | None, progress: Progress | None) -> Path:
    """Judge, score and tag the kept answers in suite order; write rows and summary."""
    folder = job.folder
    assert folder is not None
    examples = {example.id: example for example in job.suite.examples}
    answers: list[Answer] = []
    for request in job.requests:
        record = folder.answered[request.example_id, request.trial]
        answers.append((examples[request.example_id], request.trial, response_of(record["response"])))
    hearing = Hearing(court, court.identity, court.against, again=job.again) if court else Hearing()
    assessor = heard(job.assessor, answers, folder.path, hearing, functools.partial(_counter, progress=progress))
    finish(folder, job.suite, assessor.assess(answers))
    return folder.path


def finish(folder: RunFolder, suite: Suite, assessment: Assessment) -> None:
    """Write the rows of an assessed run as they come, and its summary."""
    lens = Lens(suite.primary, {}, assessment.references, assessment.training)
    tally, rows = tallied((), lens), assessment.rows
    if suite.requests:
        rows = tuple(rows)

    def summary() -> dict[str, Any]:
        figures = summarize(tally, lens) | {"notes": list(assessment.notes)}
        return figures | ({"lm_eval": load("evalkit.harness:aggregate")(suite, rows)} if suite.requests else {})

    folder.finish(tally.watched(rows), summary)
