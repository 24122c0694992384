"""Suite x model -> run folder: the page that shows the whole flow. What a suite or a record is stands elsewhere."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from evalkit.engines import check_engine, opened
from evalkit.engines.shards import Batch, plan_of, shards_of, share_of
from evalkit.engines.worker import Reply
from evalkit.errors import ModelError, RunError
from evalkit.identity import identity_of
from evalkit.jobs import Job, finish, jobs_of, place_of
from evalkit.models import load_backend
from evalkit.prompt import unlike_trained
from evalkit.record import RunFolder, read_run
from evalkit.settings import RunSettings
from evalkit.types import Backend, Request, Run, Tick

_log = logging.getLogger(__name__)
Progress = Callable[[int, int], None]
"""Called with (answers so far, answers in all)."""
PART_TOKENS = 1024
"""Token budget of a scoring batch where parts of a run are answered by themselves: measured, it would differ."""


def run(model: str, suite: str, *, out: str | Path | None = None, **settings: Any) -> Run:
    """Run one suite against a model and return the finished run; `settings` are the fields of RunSettings."""
    (folder,) = start(RunSettings(model=model, suites=(suite,), **settings), out=out)
    return read_run(folder)


def start(settings: RunSettings, *, out: str | Path | None = None, progress: Progress | None = None) -> list[Path]:
    """Run every suite of the settings, each into a folder of its own; return the folders."""
    jobs, backend, plan = _prepare(settings)
    with ExitStack() as held:
        for job in jobs:
            manifest = _manifest(job, settings, backend, plan)
            job.folder = held.enter_context(RunFolder.create(place_of(job.suite, len(jobs), out), manifest))
        return _complete(jobs, backend, plan, settings, progress)


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
        jobs, backend, plan = _prepare(settings, int(measured) if measured else None)
        job = next((job for job in jobs if job.suite.name == folder.manifest["identity"]["suite"]), jobs[0])
        folder.check_identity(identity_of(job.suite, job.assessor, backend.identity, plan))
        job.folder = folder
        if retry_errors:
            job.redo = {key for key, record in folder.answered.items() if record["response"]["error"]}
        if folder.complete:  # until the rows are written again, they do not stand for the journal
            folder.update(status="running")
        return _complete(jobs, backend, plan, settings, progress)


def _prepare(settings: RunSettings, measured: int | None = None) -> tuple[list[Job], Backend, list[Batch]]:
    """Read suites, open the model, plan: what fails cheaply fails first.

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
    return jobs, backend, plan_of([job.requests for job in jobs], backend)


def _manifest(job: Job, settings: RunSettings, backend: Backend, plan: list[Batch]) -> dict[str, Any]:
    """Return what a run's manifest says when it begins."""
    identity = identity_of(job.suite, job.assessor, backend.identity, plan)
    manifest: dict[str, Any] = {"identity": identity, "settings": settings.record()}
    if settings.shard:
        manifest["part"] = settings.shard
    if warning := unlike_trained(job.suite, getattr(backend, "trained_prompt", {}), backend.identity):
        _log.warning("%s: %s", settings.model, warning)
        manifest["warnings"] = [warning]
    return manifest


def _complete(
    jobs: list[Job], backend: Backend, plan: list[Batch], settings: RunSettings, progress: Progress | None
) -> list[Path]:
    """Answer what is pending, shard by shard, then score, tag and write the rows of each job that has a folder."""
    asked = [(job, request) for job in jobs for request in job.requests]
    share = share_of(shards_of(plan), settings.share)
    pending = [[batch for batch in shard if any(asked[i][0].pending(asked[i][1]) for i in batch)] for shard in share]
    shards = [shard for shard in pending if shard]
    tick = _counter(sum(len(batch) for shard in shards for batch in shard), progress)
    with opened(settings, backend, [job.requests for job in jobs], plan) as engine:
        folders = [job.folder for job in jobs if job.folder]
        for reply in engine.run(shards, tick):
            _commit(jobs, [asked[index] for index in reply.indices], reply)
            for folder in folders:
                folder.warn(engine.remarks)
        if settings.shard:
            return [folder.close_part() for folder in folders]
        return [finish(job, engine.rows) for job in jobs if job.folder]


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
