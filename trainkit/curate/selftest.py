"""Does a plan find what was planted? Precision and recall per kind of defect, counted by row.

A plan names a row with any of its edits, those that a person must look at included. A planted copy counts as found
where either of the two rows is named, and a plan is right about a row in either case.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from evalkit.jsonl import dump
from trainkit.checkpoint import write_json, write_text
from trainkit.curate.attribute import Attribution, Item, gaps_of
from trainkit.curate.audit import audit
from trainkit.curate.draft import draft
from trainkit.curate.edits import CHANGING, NAMING, Edit
from trainkit.curate.lines import DataSet, line_hash, read_data
from trainkit.curate.plant import Planted, kinds_planted, plant
from trainkit.dataset import TrainRow
from trainkit.errors import TrainError
from trainkit.prepare import record_of

KINDS = {
    "looped": {"repetition"},
    "doubled": {"too_long", "repetition"},
    "misspelled": {"misspelling"},
    "duplicated": {"duplicate"},
    "leaked": {"leak", "prompt_echo"},
}
"""Kind of defect -> categories that call it by its name."""
ALL = "all rows"


@dataclass(frozen=True, slots=True)
class Grade:
    """How well a plan found one kind of defect."""

    kind: str
    """The kind."""
    planted: int
    """Rows that have it."""
    found: int
    """Planted rows that an edit of the right category names."""
    named: int
    """Rows that an edit of the kind's categories names."""
    right: int
    """Of those, rows that have any planted defect."""
    mended: int
    """Planted rows whose answer the plan makes what it was before, to the letter; for copies, one of the two goes."""

    @property
    def precision(self) -> float | None:
        """Return the share of the named rows that were planted; None where none is named."""
        return self.right / self.named if self.named else None

    @property
    def recall(self) -> float | None:
        """Return the share of the planted rows that are found; None where none was planted."""
        return self.found / self.planted if self.planted else None


@dataclass(frozen=True, slots=True)
class SelfTest:
    """The grades of one seed."""

    seed: int
    """What the defects were drawn by."""
    rows: int
    """Rows with the planted ones."""
    grades: tuple[Grade, ...]
    """A kind each, the last one over all rows."""
    topic: str
    """The removed topic; empty where rows have none."""
    gap: Grade | None
    """Questions of the removed topic that the plan asks rows for; None without topics."""


def self_test(train: str | Path, seed: int, out: str | Path | None = None) -> SelfTest:
    """Plant defects in a training set, plan, and grade the plan; no model is asked.

    With `out`, the planted rows and what was planted in them are written there, for `trainkit loop` to train on.

    Raises:
        TrainError: the rows cannot be read, are too few, or `out` holds planted rows already.
    """
    clean = read_data(train)
    planted = plant([row for row in clean.rows if row.answer.strip()], seed)
    if out is not None:
        _write(Path(out), planted)
    data = _data(clean.path, planted.rows)
    found = audit(planted.rows)
    edits, _ = draft(data, found, Attribution((), (), {}), budget=1.0)
    naming = [edit for edit in edits if edit.action in NAMING]
    grades = [_grade(kind, rows, naming, planted) for kind, rows in kinds_planted(planted)]
    return SelfTest(seed, len(planted.rows), (*grades, _total(naming, grades, planted)), planted.topic, _gap(planted))


def _write(out: Path, planted: Planted) -> None:
    """Write train.jsonl and planted.json: row -> kind of defect."""
    if (out / "train.jsonl").exists():
        raise TrainError(f"{out}: holds rows already; choose another --out")
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_text(out / "train.jsonl", "".join(dump(record_of(row)) + "\n" for row in planted.rows))
        write_json(out / "planted.json", {"topic": planted.topic, "rows": dict(planted.kinds)})
    except OSError as fault:
        raise TrainError(f"{out}: cannot be written: {fault.strerror}") from None


def _data(path: Path, rows: Sequence[TrainRow]) -> DataSet:
    hashes = {row.id: line_hash(dump(record_of(row)).encode()) for row in rows}
    digest = hashlib.sha256("\n".join(hashes.values()).encode()).hexdigest()
    return DataSet(path, digest, tuple(rows), hashes)


def _grade(kind: str, rows: Sequence[str], edits: Sequence[Edit], planted: Planted) -> Grade:
    mine = [edit for edit in edits if edit.category in KINDS[kind]]
    named = {edit.row_id for edit in mine}
    found = [row for row in rows if row in named or (kind == "duplicated" and planted.originals[row].id in named)]
    return Grade(
        kind, len(rows), len(found), len(named), len(named & _bad(planted)), _mended(kind, rows, mine, planted)
    )


def _total(edits: Sequence[Edit], grades: Sequence[Grade], planted: Planted) -> Grade:
    named = {edit.row_id for edit in edits}
    return Grade(
        ALL, sum(g.planted for g in grades), sum(g.found for g in grades), len(named), len(named & _bad(planted)),
        sum(g.mended for g in grades),
    )  # fmt: skip


def _bad(planted: Planted) -> set[str]:
    """Return the rows that an edit may name: planted ones, and the first of two copies."""
    return {*planted.kinds, *(planted.originals[row].id for row, kind in planted.kinds.items() if kind == "duplicated")}


def _mended(kind: str, rows: Sequence[str], edits: Sequence[Edit], planted: Planted) -> int:
    done = {edit.row_id: edit for edit in edits if edit.action in CHANGING}
    if kind == "duplicated":
        return sum(row in done or planted.originals[row].id in done for row in rows)
    return sum(row in done and done[row].after == planted.originals[row].answer for row in rows)


def _gap(planted: Planted) -> Grade | None:
    """Grade the coverage gaps, as if a model failed on all of the removed topic and on every other question besides."""
    if not planted.removed:
        return None
    asked = [(row, True) for row in planted.removed] + [(row, i % 2 == 0) for i, row in enumerate(planted.spared)]
    items = [
        Item(row.id, row.question, "", f"{row.question}\n{row.answer}", frozenset(), wrong, str(row.meta["topic"]))
        for row, wrong in asked
    ]
    named = {item for gap in gaps_of(planted.rows, items) for item in gap.items}
    removed = {row.id for row in planted.removed}
    return Grade("topic", len(removed), len(named & removed), len(named), len(named & removed), 0)


def table(test: SelfTest) -> Iterator[str]:
    """Yield the grades as lines for a terminal."""
    yield f"seed {test.seed}: {sum(g.planted for g in test.grades[:-1])} defects planted in {test.rows} rows"
    head = f"{'kind':<12}{'planted':>8}{'found':>7}{'recall':>8}"
    yield f"{head}{'named':>7}{'right':>7}{'precision':>11}{'restored':>10}"
    for grade in test.grades:
        yield (
            f"{grade.kind:<12}{grade.planted:>8}{grade.found:>7}{_share(grade.recall):>8}{grade.named:>7}"
            f"{grade.right:>7}{_share(grade.precision):>11}{grade.mended:>10}"
        )
    if test.gap:
        yield (
            f"topic {test.topic} removed: rows are asked for {test.gap.found} of its {test.gap.planted} questions, "
            f"{test.gap.named - test.gap.right} others"
        )


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
