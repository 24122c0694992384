"""Versions of a training set on disk: a plan applied, edits undone, and the lineage that says what came from what.

`rows.jsonl` is version 1; the next are `rows.v2.jsonl`, `rows.v3.jsonl`, … beside it, listed in `rows.lineage.jsonl`
with the edits that are in force in each. A version is its first version's bytes with those edits written into them, so
taking all of them back gives those bytes again. A version is never written over.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from evalkit.errors import RunLocked
from evalkit.jsonl import dump, parse_object, read_jsonl, write_atomic
from evalkit.registry import did_you_mean
from trainkit.curate.edits import Edit, Plan, edit_of, plan_of, rows_named
from trainkit.curate.guard import held_out_questions, refuse_overlap
from trainkit.curate.lines import parse_data, read_bytes, rewritten
from trainkit.errors import TrainError

_VERSION = re.compile(r"\.v(\d+)$")
ALL = "all"
"""What undoes every edit."""


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a training set."""

    number: int
    """From 2, or above the number in the origin's own name; version 1 is the file that everything came from."""
    file: str
    """Its name."""
    sha256: str
    """Hash of its bytes."""
    parent: str
    """Name of the version that it was made from."""
    parent_sha256: str
    """Hash of that one's bytes."""
    origin: str
    """Name of version 1."""
    origin_sha256: str
    """Hash of its bytes."""
    plan: str
    """Id of the plan that was applied; empty where edits were undone."""
    undone: tuple[str, ...]
    """Ids of the edits that were taken back."""
    edits: tuple[Edit, ...]
    """Edits in force, in the order in which they are written."""
    made: str
    """When, UTC."""

    def record(self) -> dict[str, Any]:
        """Return the version as a line of the lineage."""
        return {**asdict(self), "undone": list(self.undone), "edits": [edit.record() for edit in self.edits]}


@dataclass(frozen=True, slots=True)
class Written:
    """A version that was just written."""

    path: Path
    """Its file."""
    version: Version
    """Its line in the lineage."""


def read_plan(path: str | Path) -> Plan:
    """Read plan.json; a folder stands for the plan in it."""
    file = Path(path) / "plan.json" if Path(path).is_dir() else Path(path)
    try:
        record = parse_object(read_bytes(file))
    except ValueError as fault:
        raise TrainError(f"{file}: no plan of `trainkit curate` (not JSON: {fault})") from None
    return plan_of(record, str(file))


def applied(plan: str | Path, path: str | Path | None = None, held_out: Sequence[str] = ()) -> Written:
    """Apply the plan of a file, and of the held-out suites that are named, or of all on disk; see `apply`."""
    return apply(read_plan(plan), held_out_questions(held_out), path)


def apply(plan: Plan, questions: Mapping[str, str], path: str | Path | None = None) -> Written:
    """Write the next version of the plan's data, its edits in force; `questions` are the held-out ones.

    Raises:
        TrainError: the data is another version than the plan's or was changed by hand, the plan was applied already,
            another plan was applied to the same version, or held-out rows would be in what is written.
    """
    parent = Path(path or plan.path).resolve()
    raw = read_bytes(parent)
    _refuse_other_data(plan, parent, raw)
    if not plan.changing:
        raise TrainError(
            f"plan {plan.id} changes no row: its {len(plan.edits)} edits are for a person; nothing is applied"
        )
    with _held(parent) as lineage:
        _refuse_hand_edits(parent, raw, lineage)
        _refuse_second(plan, parent, lineage)
        before = _version(parent, lineage)
        edits = (*(before.edits if before else ()), *plan.changing)
        return _write(parent, raw, lineage, edits, questions, plan=plan.id)


def undone(path: str | Path, ids: Sequence[str]) -> Written:
    """Write the next version of a training set without some of its edits; ids of edits or plans, or `all`.

    Taking an edit back puts nothing in that was not there before, so held-out questions are not looked for: `trainkit
    loop` does so before it trains.

    Raises:
        TrainError: it is no version that edits made, or not the newest one, or was changed by hand, an id is not in
            force there, or another edit stands on top of the one to take back.
    """
    parent = Path(path).resolve()
    raw = read_bytes(parent)
    with _held(parent) as lineage:
        version = _version(parent, lineage)
        if version is None or not version.edits:
            raise TrainError(f"{parent}: no edit is in force here; give --train the version that a plan was applied to")
        if later := _child(parent, lineage):
            raise TrainError(f"{parent}: {later.file} was made from it; undo there")
        _refuse_hand_edits(parent, raw, lineage)
        gone = _chosen(ids, version, lineage)
        kept = tuple(edit for edit in version.edits if edit.id not in gone)
        return _write(parent, raw, lineage, kept, None, undone=tuple(sorted(gone)))


def _chosen(ids: Sequence[str], version: Version, lineage: Sequence[Version]) -> set[str]:
    """Return the ids of edits that are meant; a plan stands for its edits."""
    force = {edit.id for edit in version.edits}
    gone: set[str] = set()
    for given in ids:
        plans = [_added(v, lineage) for v in lineage if v.plan == given]
        found = force if given == ALL else {given} & force or (set().union(*plans) & force)
        if not found:
            raise TrainError(f"no edit {given!r} is in force in {version.file}{did_you_mean(given, force)}")
        gone |= found
    return gone


def _added(version: Version, lineage: Sequence[Version]) -> set[str]:
    """Return the edits that a version has and its parent has not."""
    before = next((v for v in lineage if v.file == version.parent), None)
    return {e.id for e in version.edits} - {e.id for e in before.edits} if before else {e.id for e in version.edits}


def _write(
    parent: Path, raw: bytes, lineage: Sequence[Version], edits: tuple[Edit, ...],
    questions: Mapping[str, str] | None, plan: str = "", undone: tuple[str, ...] = (),
) -> Written:  # fmt: skip
    """Write the bytes first and the lineage last, so that what the lineage names is whole."""
    origin = _origin(parent, lineage)
    whole = read_bytes(origin)
    digest = hashlib.sha256(whole).hexdigest()
    if lineage and digest != lineage[0].origin_sha256:
        raise TrainError(f"{origin}: is no longer the file that {parent.name} came from; put it back")
    fresh = rewritten(whole, edits)
    own = _VERSION.search(origin.stem)
    number = max([v.number for v in lineage], default=int(own[1]) if own else 1) + 1
    target = parent.with_name(f"{_family(parent)}.v{number}{parent.suffix}")
    if questions is not None:
        refuse_overlap(parse_data(fresh, target), questions)
    if target.exists():
        raise TrainError(f"{target}: is there already, and no lineage knows it; move it away")
    version = Version(
        number, target.name, hashlib.sha256(fresh).hexdigest(), parent.name, hashlib.sha256(raw).hexdigest(),
        origin.name, digest, plan, undone, edits, datetime.now(UTC).isoformat(timespec="seconds"),
    )  # fmt: skip
    try:
        write_atomic(target, [fresh])
        lines = [dump(v.record()).encode() + b"\n" for v in (*lineage, version)]
        write_atomic(parent.with_name(f"{_family(parent)}.lineage.jsonl"), lines)
    except OSError as fault:
        raise TrainError(f"{target}: cannot be written: {fault.strerror}") from None
    return Written(target, version)


def _family(path: Path) -> str:
    return _VERSION.sub("", path.stem)


def _origin(parent: Path, lineage: Sequence[Version]) -> Path:
    return parent.with_name(lineage[0].origin) if lineage else parent


def read_lineage(path: str | Path) -> tuple[Version, ...]:
    """Return the versions that were made of a training set, oldest first; `path` is any of them."""
    data = Path(path).resolve()
    file = data.with_name(f"{_family(data)}.lineage.jsonl")
    if not file.is_file():
        return ()
    try:
        return tuple(
            Version(**{**record, "undone": tuple(record["undone"]), "edits": tuple(map(edit_of, record["edits"]))})
            for _, record in read_jsonl(file, TrainError)
        )
    except (KeyError, TypeError, ValueError) as fault:
        raise TrainError(f"{file}: damaged ({type(fault).__name__}: {fault})") from None


def _version(path: Path, lineage: Sequence[Version]) -> Version | None:
    """Return the line of a version; None for version 1."""
    return next((v for v in lineage if v.file == path.name), None)


def _child(path: Path, lineage: Sequence[Version]) -> Version | None:
    return next((v for v in lineage if v.parent == path.name), None)


@contextlib.contextmanager
def _held(path: Path) -> Iterator[tuple[Version, ...]]:
    """Hold the lineage of a training set: one process at a time."""
    lock = path.with_name(f".{_family(path)}.lock")
    try:
        handle = lock.open("w")
    except OSError as fault:
        raise TrainError(f"{lock.parent}: cannot be written: {fault.strerror}") from None
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise RunLocked(f"{path}: another process makes a version of it") from None
        yield read_lineage(path)


def _refuse_other_data(plan: Plan, parent: Path, raw: bytes) -> None:
    digest = hashlib.sha256(raw).hexdigest()
    if digest != plan.digest:
        raise TrainError(
            f"{parent}: plan {plan.id} is for another version of the data (sha256 {plan.digest[:12]}, the file has "
            f"{digest[:12]}); plan anew, or give the file it was made from with --train"
        )


def _refuse_hand_edits(parent: Path, raw: bytes, lineage: Sequence[Version]) -> None:
    """Refuse a version with other bytes than were written: the next one is made from version 1 and would lose them."""
    if not lineage:
        return
    version = _version(parent, lineage)
    known = version.sha256 if version else lineage[0].origin_sha256
    if hashlib.sha256(raw).hexdigest() != known:
        raise TrainError(
            f"{parent}: was changed by hand, and the next version would lose that; copy it to a name of its own and "
            "plan anew"
        )


def _refuse_second(plan: Plan, parent: Path, lineage: Sequence[Version]) -> None:
    force = {edit.id for edit in lineage[-1].edits} if lineage else set()
    same = next((v for v in reversed(lineage) if v.plan == plan.id), None)
    if same and not force.isdisjoint(edit.id for edit in plan.changing):
        raise TrainError(f"plan {plan.id} was applied already, on {same.made}: {parent.with_name(same.file)}")
    child = _child(parent, lineage)
    if child is None:
        return
    if lineage[-1].sha256 == plan.digest:
        newest = parent.with_name(lineage[-1].file)
        raise TrainError(f"{parent}: {child.file} was made from it; {newest.name} has the same bytes: --train {newest}")
    theirs = {edit.row_id for edit in child.edits} if child.plan else set()
    both = sorted(rows_named(plan.changing) & theirs)
    shared = f"both change {len(both)} rows ({', '.join(both[:3])}{', …' if len(both) > 3 else ''})" if both else (
        "they change different rows")  # fmt: skip
    made = f"plan {child.plan}" if child.plan else "an undo"
    raise TrainError(
        f"conflict: {made} made {child.file} from {parent.name} on {child.made}, and plan {plan.id} is for "
        f"{parent.name} too; {shared}: plan anew with --train {parent.with_name(child.file)}"
    )
