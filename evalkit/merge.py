"""Parts of a run -> the run: what `evalkit run --shard` answered on several machines, put together and judged.

Asks no model but a judge, where the parts were run with one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evalkit.engines.worker import unequal_copies
from evalkit.errors import IdentityError, RunError, Unfinished
from evalkit.folder import RunFolder, differences
from evalkit.identity import suite_identity, versions
from evalkit.jobs import Job, finish, jobs_of, place_of
from evalkit.jsonl import MAX_LISTED
from evalkit.record import ANSWERED, Answers, Key, part_manifest, read_answers, run_folders
from evalkit.settings import RunSettings


@dataclass(frozen=True)
class Part:
    """What one machine answered of a suite."""

    path: Path
    """Its folder."""
    manifest: Mapping[str, Any]
    """What it says of itself."""

    @property
    def settings(self) -> RunSettings:
        """Return what was asked of it."""
        return RunSettings.of(self.manifest["settings"])

    @property
    def identity(self) -> Mapping[str, str]:
        """Return what its answers depend on."""
        found: Mapping[str, str] = self.manifest["identity"]
        return found

    def answers(self) -> Answers:
        """Read its answers."""
        return read_answers(self.path)


def merge(paths: Sequence[Path], out: Path) -> list[Path]:
    """Put parts together, score and tag the answers, and write a run for each suite; return the runs.

    Raises:
        RunError: a folder is no part, parts are of different runs, or some are missing.
    """
    suites: dict[str, list[Part]] = {}
    for folder in [folder for path in paths for folder in run_folders(path) or [path]]:
        part = Part(folder, part_manifest(folder))
        suites.setdefault(part.identity["suite"], []).append(part)
    groups = [sorted(parts, key=lambda part: (part.settings.share, str(part.path))) for parts in suites.values()]
    for parts in groups:
        _check_alike(parts)
        _check_whole(parts)
    jobs = {job.suite.name: job for job in jobs_of(groups[0][0].settings)}
    order = {name: place for place, name in enumerate(jobs)}
    groups.sort(key=lambda parts: order.get(parts[0].identity["suite"], len(order)))
    whole = [(parts, _job_of(parts[0], jobs)) for parts in groups]
    return [_merged(parts, job, place_of(job.suite, len(whole), out)) for parts, job in whole]


def _check_alike(parts: Sequence[Part]) -> None:
    """Refuse parts of different runs, or of one run that was cut in different ways."""
    first = parts[0]
    for part in parts[1:]:
        if found := differences(first.identity, part.identity):
            raise IdentityError(f"{part.path}: is no part of the same run as {first.path}: {found}")
        if part.settings.share[1] != first.settings.share[1]:
            raise RunError(
                f"{part.path}: is part {part.manifest['part']}, but {first.path} is part {first.manifest['part']}; "
                "give the parts of one cut"
            )


def _check_whole(parts: Sequence[Part]) -> None:
    """Refuse a cut of which parts are missing or not finished, and name them."""
    count = parts[0].settings.share[1]
    answered = {part.settings.share[0] for part in parts if part.manifest["status"] == ANSWERED}
    begun = {part.settings.share[0]: part for part in parts}
    missing = [
        f"{number}/{count}" + (f" ({begun[number].path} is not finished, resume it)" if number in begun else "")
        for number in range(1, count + 1)
        if number not in answered
    ]
    if missing:
        more = f" and {len(missing) - MAX_LISTED} more" if len(missing) > MAX_LISTED else ""
        raise Unfinished(
            f"suite {parts[0].identity['suite']}: {len(missing)} of {count} parts are missing: "
            f"{', '.join(missing[:MAX_LISTED])}{more}"
        )


def _job_of(part: Part, jobs: Mapping[str, Job]) -> Job:
    """Return the suite of a part as it is read here; it must not have changed since the part was answered."""
    name = part.identity["suite"]
    job = jobs.get(name) or next(iter(jobs.values()))
    here = {**suite_identity(job.suite, job.assessor), **versions()}
    if found := differences({key: part.identity.get(key, "") for key in here}, here):
        raise IdentityError(f"{part.path}: cannot be scored here, it depends on what has changed: {found}")
    return job


def _merged(parts: Sequence[Part], job: Job, out: Path) -> Path:
    """Write one run from all of its parts, with a journal of its own, so that it can be resumed like any."""
    kept, unequal = _together(parts)
    keys = [(request.example_id, request.trial) for request in job.requests]
    if missing := [key for key in keys if key not in kept]:
        raise RunError(
            f"answers in none of the parts: {len(missing)}, the first to {missing[0][0]!r} (trial {missing[0][1]}); "
            "a journal was cut off; resume the parts"
        )
    settings = replace(parts[0].settings, shard=None, engine="local", workers=None, ray_address=None)
    manifest = {
        "identity": dict(parts[0].identity),
        "settings": settings.record(),
        "merged": [part.manifest["id"] for part in parts],
    }
    with RunFolder.create(out, manifest) as job.folder:
        job.folder.warn([warning for part in parts for warning in part.manifest.get("warnings", ())] + unequal)
        job.folder.append(kept[key] for key in keys)
        return finish(job)


def _together(parts: Sequence[Part]) -> tuple[Answers, list[str]]:
    """Return every answer by its key, and a warning where copies of one are not equal; an error gives way."""
    kept: Answers = {}
    unequal: list[Key] = []
    for part in parts:
        for key, record in part.answers().items():
            before = kept.get(key)
            if before is None or before["response"]["error"]:
                kept[key] = record
            elif not record["response"]["error"] and record != before:
                unequal.append(key)
    return kept, [unequal_copies(key[0]) for key in unequal[:1]]
