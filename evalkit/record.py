"""What a run folder holds, read and verified: manifest, journal, rows, summary. Writes nothing; see `folder`."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shlex
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from evalkit.codec import response_of, row_of
from evalkit.errors import RunError, Unfinished
from evalkit.journal import read_journal
from evalkit.jsonl import collector_paused, dump, parse_object, parse_own
from evalkit.lines import Lines
from evalkit.types import Row, Run

SCHEMA = 1
FINISHED, ANSWERED = "finished", "answered"
"""A run whose rows are written; and one part of a run, all of whose answers are kept."""
HELD = 20_000
"""Rows that `open_run` holds in memory, some 3 kB each; to parse them again for each pass takes longer."""
_DAMAGE = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)
_KEYS = (
    ("id",),
    ("status",),
    ("identity", "suite"),
    ("identity", "primary"),
    ("identity", "split"),
    ("settings", "model"),
    ("settings", "max_errors"),
)
"""What every manifest holds."""
Key = tuple[str, int]
"""Example id and trial: what an answer is kept by."""
Answers = dict[Key, dict[str, Any]]
"""Key -> line of the journal."""
STUDIES = ("loop.md", "curve.md")
"""Pages of `trainkit`, which hold what several trainings gave."""


def read_run(path: str | Path) -> Run:
    """Read a finished run from its folder.

    Raises:
        Unfinished: the run is in progress, or was stopped.
        RunError: there is no run, or a file of it is damaged or of a newer schema.
    """
    folder = Path(path)
    manifest = finished_manifest(folder)
    with collector_paused():
        rows = tuple(read_rows(folder, manifest.get("rows_sha256")))
    return Run(id=manifest["id"], manifest=manifest, rows=rows, summary=_read_summary(folder))


def open_run(path: str | Path) -> Run:
    """Return a finished run; more rows than HELD stay on disk: each is parsed when it is asked for, and none is kept.

    What is wrong with a run is raised as `read_run` does, a row that is none when it is asked for. Rows without a
    digest to hold them against are read at once.
    """
    folder = Path(path)
    manifest = finished_manifest(folder)
    digest = hashlib.sha256()

    kept = folder / "rows.jsonl"

    def row(line: bytes) -> Row:
        try:
            return row_of(parse_own(line))
        except _DAMAGE as fault:
            raise RunError(f"{kept}: {_place(kept, line)} is damaged ({fault}); {_anew(folder)}") from None

    try:
        rows = Lines(kept, row, digest.update)
    except OSError:
        return read_run(path)
    if len(rows) <= HELD or digest.hexdigest() != manifest.get("rows_sha256"):
        return read_run(path)
    return Run(id=manifest["id"], manifest=manifest, rows=rows, summary=_read_summary(folder))


def finished_manifest(folder: Path) -> dict[str, Any]:
    """Read the manifest of a run that must be finished; Unfinished says how to complete one that is not."""
    manifest = read_manifest(folder)
    if manifest["status"] == ANSWERED:
        raise Unfinished(
            f"{folder}: is part {manifest['part']} of a run; `evalkit merge PART … --out RUN` puts all parts together"
        )
    if manifest["status"] != FINISHED:
        mend = _made_elsewhere(manifest) or f"{resume_command(folder)} completes it"
        raise Unfinished(f"{folder}: the run is not finished; {mend}")
    return manifest


def part_manifest(folder: Path) -> dict[str, Any]:
    """Read the manifest of one part of a run."""
    manifest = read_manifest(folder)
    if "part" not in manifest:
        raise RunError(f"{folder}: is no part of a run; `evalkit run --shard K/N` makes parts")
    return manifest


def read_answers(folder: Path) -> Answers:
    """Read the answers that a run keeps; of two to one question the last one counts."""
    records, _, _ = read_journal(folder / "journal.jsonl")
    return by_key(folder, records)


def by_key(path: Path, records: Iterable[dict[str, Any]]) -> Answers:
    """Return the last record of each answer; a journal may come from others."""
    found: Answers = {}
    for number, record in enumerate(records, 1):
        try:
            response_of(record["response"])
            found[record["id"], record["trial"]] = record
        except _DAMAGE as fault:
            raise RunError(f"{path}/journal.jsonl: line {number} is no answer ({fault})") from None
    return found


def run_folders(path: Path) -> list[Path]:
    """Return the run that `path` is, or the runs that it holds, as several suites in one command leave them."""
    found = path.glob("*/manifest.json") if not (path / "manifest.json").is_file() else [path / "manifest.json"]
    return sorted(manifest.parent for manifest in found)


def study_of(path: Path) -> Path | None:
    """Return the page of several trainings that a folder holds, a loop's or a curve's; None where it is a run."""
    pages = [path / name for name in STUDIES if (path / name).is_file()]
    return pages[0] if pages and not (path / "manifest.json").exists() else None


def read_rows(folder: Path, sha256: str | None = None) -> Iterator[Row]:
    """Yield the rows of a finished run, one at a time; at the end, compare the file with its `sha256`."""
    path, digest = folder / "rows.jsonl", hashlib.sha256()
    parse = parse_own if sha256 else parse_object
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                digest.update(line)
                try:
                    yield row_of(parse(line.rstrip(b"\n")))
                except _DAMAGE as fault:
                    raise RunError(f"{path}: line {number} is damaged ({fault}); {_anew(folder)}") from None
    except OSError as fault:
        raise RunError(f"{path}: cannot be read: {fault.strerror}") from None
    if sha256 not in (None, digest.hexdigest()):
        for _ in read_rows(folder):  # parsed strictly, it names the damaged line, where there is one
            pass
        raise RunError(f"{path}: damaged (its sha256 is not the manifest's); {_anew(folder)}")


def _place(path: Path, line: bytes) -> str:
    """Return which line of a file this is."""
    with path.open("rb") as file:
        return next(
            (f"line {number}" for number, other in enumerate(file, 1) if other.rstrip(b"\r\n") == line), "a line"
        )


def _anew(folder: Path) -> str:
    """Return how damaged rows are mended."""
    made = ""
    with contextlib.suppress(RunError):  # rows are damaged; a manifest that is too would be told first
        made = _made_elsewhere(read_manifest(folder))
    return made or f"{resume_command(folder)} writes it anew from the journal"


def _made_elsewhere(manifest: Mapping[str, Any]) -> str:
    """Return how a run is mended that no model can be asked for again; empty where one can."""
    made = next((how for how in ("scored", "imported") if how in manifest), "")
    return f"make it anew, since its answers were {made}" if made else ""


def resume_command(folder: Path) -> str:
    """Return the command that goes on with a run, in backticks."""
    return f"`evalkit run --resume {shlex.quote(str(folder))}`"


def _read_summary(folder: Path) -> dict[str, Any]:
    try:
        summary = parse_object((folder / "summary.json").read_bytes())
        tables = [{} if table is None else table for table in summary.get("rates", {}).values()]
        rates = [rate for table in tables for rate in table.values()]
        if set(map(type, rates)) - {int, float} or set(map(type, [*summary.get("notes", ())])) - {str}:
            raise TypeError("rates or notes are of another type")
        return summary
    except (OSError, *_DAMAGE) as fault:
        raise RunError(f"{folder}/summary.json: damaged ({fault}); {_anew(folder)}") from None


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read and verify manifest.json; see the raised RunError for what may be wrong."""
    path = folder / "manifest.json"
    if not path.is_file():
        raise RunError(f"{folder}: no run here (no manifest.json); a run is the folder that `evalkit run` printed last")
    try:
        manifest = json.loads(path.read_bytes())
        schema, check = int(manifest["schema"]), manifest.pop("check")
        whole = check == checksum_of(manifest)
    except (OSError, *_DAMAGE) as fault:
        raise RunError(f"{path}: damaged ({type(fault).__name__}: {fault})") from None
    if schema > SCHEMA:
        raise RunError(f"{path}: run schema {schema} is newer than this evalkit's {SCHEMA}; update evalkit")
    if not whole:
        raise RunError(f"{path}: damaged (its checksum does not fit its content)")
    for *tables, key in _KEYS:
        table = manifest.get(tables[0]) if tables else manifest
        if not isinstance(table, dict) or key not in table:
            raise RunError(f"{path}: damaged (no {'.'.join((*tables, key))})")
    if not _typed(manifest):
        raise RunError(f"{path}: damaged (a value is of another type)")
    return dict(manifest)


def _typed(manifest: Mapping[str, Any]) -> bool:
    """Say whether what a manifest tells of a run is text where it must be; it may come from others."""
    identity, settings, warnings = manifest["identity"], manifest["settings"], manifest.get("warnings", [])
    texts = [manifest["id"], manifest["status"], manifest.get("made", ""), settings["model"], *identity.values()]
    return (
        isinstance(warnings, list)
        and set(map(type, [*texts, *warnings])) <= {str}
        and type(settings["max_errors"]) in (int, float)
    )


def checksum_of(manifest: Mapping[str, Any]) -> str:
    """Return the checksum that a manifest carries, over all else in it."""
    return f"{zlib.crc32(dump(manifest).encode()):08x}"
