"""Suite x model -> run folder: the page that shows the whole flow. What a suite or a record is stands elsewhere."""

from __future__ import annotations

import functools
import itertools
import logging
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evalkit.engines import check_engine, opened
from evalkit.engines.shards import Batch, plan_of, shards_of, share_of
from evalkit.engines.worker import Reply
from evalkit.errors import ModelError, RunError
from evalkit.folder import RunFolder
from evalkit.identity import identity_of
from evalkit.jobs import Job, finish, jobs_of, place_of
from evalkit.models import load_backend
from evalkit.prompt import unlike_trained
from evalkit.record import read_run
from evalkit.settings import RunSettings
from evalkit.types import Backend, Request, Run, Tick

_log = logging.getLogger(__name__)
Progress = Callable[[int, int], None]
"""Called with (answers so far, answers in all)."""
PART_TOKENS = 1024
"""Token budget of a scoring batch where parts of a run are answered by themselves: measured, it would differ."""


@dataclass(frozen=True)
class Work:
    """What a run has to do: jobs, the model that is asked, the batches."""

    settings: RunSettings
    jobs: list[Job]
    backend: Backend
    plan: list[Batch]

    def identity(self, job: Job) -> dict[str, str]:
        """Return what the answers and scores of a job depend on."""
        return identity_of(job.suite, job.assessor, self.backend.identity, self.plan, job.hearing.identity)

    def manifest(self, job: Job) -> dict[str, Any]:
        """Return what a run's manifest says when it begins, with what a reader of its figures must know."""
        manifest: dict[str, Any] = {"identity": self.identity(job), "settings": self.settings.record()}
        if self.settings.shard:
            manifest["part"] = self.settings.shard
        identity, court = self.backend.identity, job.hearing.court
        asked = unlike_trained(job.suite, getattr(self.backend, "trained_prompt", {}), identity)
        warnings = [warning for warning in (asked, court.partial_to(identity) if court else "") if warning]
        for warning in warnings:
            _log.warning("%s: %s", self.settings.model, warning)
        return {**manifest, "warnings": warnings} if warnings else manifest


def run(model: str, suite: str, *, out: str | Path | None = None, **settings: Any) -> Run:
    """Run one suite against a model and return the finished run; `settings` are the fields of RunSettings."""
    (folder,) = start(RunSettings(model=model, suites=(suite,), **settings), out=out)
    return read_run(folder)


def start(settings: RunSettings, *, out: str | Path | None = None, progress: Progress | None = None) -> list[Path]:
    """Run every suite of the settings, each into a folder of its own; return the folders."""
    work = _prepare(settings)
    with ExitStack() as held:
        for job in work.jobs:
            place = place_of(job.suite, len(work.jobs), out)
            job.folder = held.enter_context(RunFolder.create(place, work.manifest(job)))
        return _complete(work, progress)


def resume(
    path: str | Path, *, retry_errors: bool = False, progress: Progress | None = None, **engine: Any
) -> list[Path]:
    """Complete a run from its folder, by whole planned batches; nothing it depends on may have changed.

    `engine` are fields of RunSettings that change no answer: `engine`, `workers`, `ray_address`.
    """
    with RunFolder.open(Path(path)) as folder:
        for made in ("scored", "imported"):
            if made in folder.manifest:
                raise RunError(f"{path}: its answers were {made}, no model was asked; there is nothing to resume")
        if engine.get("engine") == "local":
            engine = {"workers": None, "ray_address": None, **engine}
        settings = replace(RunSettings.of(folder.manifest["settings"]), **engine)
        measured = folder.manifest["identity"].get("model.batch_tokens")
        work = _prepare(settings, int(measured) if measured else None)
        job = next((job for job in work.jobs if job.suite.name == folder.manifest["identity"]["suite"]), work.jobs[0])
        folder.check_identity(work.identity(job))
        job.folder = folder
        if retry_errors:
            job.hearing = replace(job.hearing, again=True)
            job.redo = {key for key, record in folder.answered.items() if record["response"]["error"]}
        if folder.complete:  # until the rows are written again, they do not stand for the journal
            folder.update(status="running")
        return _complete(work, progress)


def _prepare(settings: RunSettings, measured: int | None = None) -> Work:
    """Read suites, open judge and model, plan: what fails cheaply fails first.

    `measured` is the token budget that the run was planned with, where none was given.
    """
    check_engine(settings)
    jobs = jobs_of(settings)
    if settings.shard and any(request.kind == "choose" for job in jobs for request in job.requests):
        measured = measured or PART_TOKENS
    backend = load_backend(settings.model, settings.options(measured))
    for job in jobs:
        for kind in sorted({request.kind for request in job.requests} - backend.kinds):
            raise ModelError(f"model {settings.model!r} cannot {kind} answers, as suite {job.suite.name!r} asks")
    return Work(settings, jobs, backend, plan_of([job.requests for job in jobs], backend))


def _complete(work: Work, progress: Progress | None) -> list[Path]:
    """Answer what is pending, shard by shard, then judge, score, tag and write the rows of each job with a folder."""
    asked = [(job, request) for job in work.jobs for request in job.requests]
    share = share_of(shards_of(work.plan), work.settings.share)
    pending = [[batch for batch in shard if any(asked[i][0].pending(asked[i][1]) for i in batch)] for shard in share]
    shards = [shard for shard in pending if shard]
    tick = _counter(sum(len(batch) for shard in shards for batch in shard), progress)
    begun = [(job, job.folder) for job in work.jobs if job.folder]
    with opened(work.settings, work.backend, [job.requests for job in work.jobs], work.plan) as engine:
        for reply in engine.run(shards, tick):
            _commit(work.jobs, [asked[index] for index in reply.indices], reply)
            remarks = tuple(engine.remarks)
            for _, folder in begun:
                folder.warn(remarks)
        if work.settings.shard:
            return [folder.close_part() for _, folder in begun]
        if any(job.hearing.court for job, _ in begun) and hasattr(work.backend, "release"):
            work.backend.release()  # there may be no room for the judge's weights beside the model's
        return [finish(job, engine.rows, functools.partial(_counter, progress=progress)) for job, _ in begun]


def _counter(total: int, progress: Progress | None) -> Tick:
    """Return what counts answers for the progress of a run."""
    done = itertools.count(1)
    return lambda: progress(next(done), total) if progress else None


def _commit(jobs: list[Job], asked: list[tuple[Job, Request]], reply: Reply) -> None:
    """Journal what was pending of one reply, each answer in the folder of its own suite."""
    for job in jobs:
        if job.folder:
            records = [
                {"id": request.example_id, "trial": request.trial, "response": response}
                for (owner, request), response in zip(asked, reply.records, strict=True)
                if owner is job and job.pending(request)
            ]
            if records:
                job.folder.append(records)
                host = {"host": reply.host} if reply.host else {}
                job.folder.note_time({"answers": len(records), "seconds": round(reply.seconds, 3), **host})
