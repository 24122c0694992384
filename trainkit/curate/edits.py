"""The vocabulary of curation: an edit of one training row, a plan of edits, and both as JSON records. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from evalkit.jsonl import dump
from evalkit.types import SEVERITY_WEIGHTS, Severity
from trainkit.errors import TrainError

SCHEMA = 1
ACTIONS: Mapping[str, str] = {
    "config": "change a setting, no row",
    "fix": "replace words of the answer",
    "trim": "cut a part of the answer off",
    "dedupe": "remove a row that stands there twice",
    "add_request": "a person writes rows; none are invented",
    "drop": "remove a row that cannot be mended",
    "review": "a person looks at the row; nothing is changed",
}
"""What an edit may ask for, the mildest first."""
CHANGING = frozenset({"fix", "trim", "dedupe", "drop"})
"""Actions that change the file when a plan is applied."""
REMOVING = frozenset({"dedupe", "drop"})
"""Actions that take a row out."""
NAMING = CHANGING | {"review"}
"""Actions that name a row of the file, and so count against the budget."""


@dataclass(frozen=True, slots=True)
class Edit:
    """One proposed change, and why."""

    action: str
    """One of ACTIONS."""
    category: str
    """The error it is meant to reduce: a tagger's category, `duplicate`, `conflict`, `held_out`, …"""
    row_id: str = ""
    """The training row; empty where the edit is about none."""
    row_hash: str = ""
    """16 hex digits of the row's line as it must stand there; empty without a row."""
    before: str = ""
    """The answer as it is."""
    after: str = ""
    """The answer as it will be; of an `add_request` or `config`, what is asked for; empty where the row goes."""
    reason: str = ""
    """One line of why, with its numbers."""
    explains: tuple[str, ...] = ()
    """Ids of the failing items that point at this row."""
    confidence: float = 1.0
    """How often an edit like this one is right, 0..1."""
    severity: Severity = "minor"
    """How much the error hurts a reader."""

    @property
    def id(self) -> str:
        """Return 8 hex digits that stay the same whenever the same change of the same line is proposed."""
        what = [self.action, self.category, self.row_id, self.row_hash, self.after]
        return hashlib.sha256(dump(what).encode()).hexdigest()[:8]

    @property
    def rank(self) -> tuple[float, int, float, str, str]:
        """Return what plans are ordered by: items explained x severity x confidence, then the mildest action."""
        worth = SEVERITY_WEIGHTS[self.severity] * self.confidence
        return -len(self.explains) * worth, list(ACTIONS).index(self.action), -worth, self.row_id, self.id

    def record(self) -> dict[str, Any]:
        """Return the edit as plan.json holds it."""
        return {"id": self.id, **asdict(self), "explains": list(self.explains)}


@dataclass(frozen=True, slots=True)
class Plan:
    """Edits of one version of a training set, the most useful first."""

    path: str
    """The data file as it was named."""
    digest: str
    """sha256 of its bytes."""
    rows: int
    """Rows in it."""
    budget: float
    """Share of the rows that the edits may name, 0..1."""
    edits: tuple[Edit, ...]
    """In order of rank."""
    left_out: int = 0
    """Edits that the budget had no room for."""
    facts: Mapping[str, Any] | None = None
    """What the plan was made from: runs, configuration, attribution; for readers, never for applying."""

    @property
    def id(self) -> str:
        """Return 12 hex digits that name the plan: equal for the same edits of the same bytes."""
        return hashlib.sha256(dump([self.digest, [edit.id for edit in self.edits]]).encode()).hexdigest()[:12]

    @property
    def changing(self) -> tuple[Edit, ...]:
        """Return the edits that change the file."""
        return tuple(edit for edit in self.edits if edit.action in CHANGING)

    def record(self) -> dict[str, Any]:
        """Return the content of plan.json."""
        return {
            "schema": SCHEMA,
            "id": self.id,
            "data": {"path": self.path, "digest": self.digest, "rows": self.rows},
            "budget": self.budget,
            "left_out": self.left_out,
            **(self.facts or {}),
            "edits": [edit.record() for edit in self.edits],
        }


def most_rows(rows: int, budget: float) -> int:
    """Return how many rows a plan may name."""
    return int(rows * budget + 1e-9)


def edit_of(record: Mapping[str, Any]) -> Edit:
    """Rebuild an edit from its record; what an id is for is checked by `plan_of`."""
    values = {f.name: record[f.name] for f in fields(Edit)}
    edit = Edit(**{**values, "explains": tuple(values["explains"])})
    texts = (edit.category, edit.row_id, edit.row_hash, edit.before, edit.after, edit.reason, *edit.explains)
    if (
        edit.action not in ACTIONS
        or edit.severity not in SEVERITY_WEIGHTS
        or not all(isinstance(t, str) for t in texts)
    ):
        raise ValueError(f"edit {record.get('id')!r} is not as plans write it")
    return edit


def plan_of(record: Mapping[str, Any], where: str) -> Plan:
    """Rebuild a plan from the content of plan.json.

    An edit that was taken out of the list by hand is left out; one that was changed is refused, for its reason and
    numbers would no longer be those of what it does.
    """
    try:
        if record["schema"] != SCHEMA:
            raise ValueError(f"schema {record['schema']!r} is not {SCHEMA}")
        data = record["data"]
        edits = [(entry["id"], edit_of(entry)) for entry in record["edits"]]
        plan = Plan(str(data["path"]), str(data["digest"]), int(data["rows"]), float(record["budget"]),
                    tuple(edit for _, edit in edits), int(record["left_out"]))  # fmt: skip
    except (KeyError, TypeError, ValueError, AttributeError) as fault:
        raise TrainError(f"{where}: no plan of `trainkit curate` ({type(fault).__name__}: {fault})") from None
    if changed := [name for name, edit in edits if name != edit.id]:
        raise TrainError(f"{where}: edit {changed[0]} was changed by hand; take it out of the list, or plan anew")
    return plan


def rows_named(edits: Sequence[Edit]) -> set[str]:
    """Return the rows that edits name."""
    return {edit.row_id for edit in edits if edit.action in NAMING}
