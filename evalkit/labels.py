"""What people say of answers: labels and preferences, a line each in RUN/labels.jsonl, never changed, only added to.

A label judges one answer; a preference, one answer against another run's. Both keep the digest of what they judge, so
that they can never count for another answer. Knows how they are kept, not how they are asked for.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from evalkit.errors import RunError
from evalkit.journal import Journal, read_journal
from evalkit.jsonl import MAX_LISTED, read_jsonl, scrub
from evalkit.record import read_run
from evalkit.registry import did_you_mean
from evalkit.types import Row, Run

FILE = "labels.jsonl"
Judgement = Literal["correct", "wrong", "unsure"]
Side = Literal["left", "right", "tie"]
Answered = tuple[str, int]
"""Example id and trial: one answer of a run."""
Key = tuple[str, str, int, str, str]
"""Kind, example id, trial, labeller, the other run: of records with one key the last counts."""
_ELSEWHERE = ("id", "trial", "correct", "verdict", "better", "labeller", "answer")
_MEND = "labels before it are whole: move the file away, keep its lines above this one, and go on"


@dataclass(frozen=True, slots=True)
class Label:
    """One labeller's judgement of one answer."""

    id: str
    """Id of the example."""
    trial: int
    """Number of the repetition, from 0."""
    suite: str
    """Name of the suite."""
    labeller: str
    """Who judges."""
    run: str
    """The run that gave the answer, by the name that it never shares."""
    answer: str
    """Digest of the answer that was judged."""
    verdict: Judgement | None = None
    """What the labeller says; None as long as there is only a category or a note."""
    category: str | None = None
    """What is wrong with the answer: the name of an error category."""
    note: str = ""
    """The labeller's own words."""
    time: str = ""
    """When, in UTC."""

    def __post_init__(self) -> None:
        """Refuse a verdict that is none."""
        _refuse(self.verdict, (None, "correct", "wrong", "unsure"))

    @property
    def key(self) -> Key:
        """Return what the label is about."""
        return ("label", self.id, self.trial, self.labeller, "")


@dataclass(frozen=True, slots=True)
class Preference:
    """One labeller's choice between the answers of two runs to one question, made without knowing which is whose."""

    id: str
    """Id of the example."""
    trial: int
    """Number of the repetition, from 0."""
    suite: str
    """Name of the suite."""
    labeller: str
    """Who judges."""
    run: str
    """The run that keeps the preference."""
    left: str
    """The run whose answer stood on the left."""
    right: str
    """The run whose answer stood on the right."""
    left_answer: str
    """Digest of the answer on the left."""
    right_answer: str
    """Digest of the answer on the right."""
    better: Side
    """Which side is better, or `tie`."""
    time: str = ""
    """When, in UTC."""

    def __post_init__(self) -> None:
        """Refuse a side that is none, and a run that stood on neither side."""
        _refuse(self.better, ("left", "right", "tie"))
        _refuse(self.run, (self.left, self.right))

    @property
    def other(self) -> str:
        """Return the run that this one is held against."""
        return self.right if self.left == self.run else self.left

    @property
    def answer(self) -> str:
        """Return the digest of the own run's answer."""
        return self.left_answer if self.left == self.run else self.right_answer

    @property
    def better_run(self) -> str | None:
        """Return the run whose answer is better; None for a tie."""
        return {"left": self.left, "right": self.right, "tie": None}[self.better]

    @property
    def key(self) -> Key:
        """Return what the preference is about."""
        return ("preference", self.id, self.trial, self.labeller, self.other)


@dataclass(frozen=True, slots=True)
class Undo:
    """Takes back the last label or preference with a key; what stood before it counts again."""

    of: Literal["label", "preference"]
    """The kind of what is taken back."""
    id: str
    """Id of the example."""
    trial: int
    """Number of the repetition, from 0."""
    labeller: str
    """Who takes it back."""
    run: str
    """The run that keeps it."""
    other: str = ""
    """The other run of a preference."""
    time: str = ""
    """When, in UTC."""

    @property
    def key(self) -> Key:
        """Return the key of what is taken back."""
        return (self.of, self.id, self.trial, self.labeller, self.other)


Record = Label | Preference | Undo
Given = Label | Preference
_KINDS: Mapping[str, type[Label] | type[Preference] | type[Undo]] = {
    "label": Label,
    "preference": Preference,
    "undo": Undo,
}


def read_labels(path: str | Path) -> tuple[Label, ...]:
    """Return the labels of a run's folder: the last one of each labeller for each answer, in the order given.

    Raises:
        RunError: there is no finished run, or its labels are damaged or of another run.
    """
    return tuple(given for given in standing(_all(path)) if isinstance(given, Label))


def read_preferences(path: str | Path) -> tuple[Preference, ...]:
    """Return the preferences of a run's folder, as `read_labels` does."""
    return tuple(given for given in standing(_all(path)) if isinstance(given, Preference))


def labels_of_file(path: Path, run: Run) -> list[Given]:
    """Return labels that were made elsewhere, a JSON object a line, as labels of a run's answers.

    A line has `id` and one of `correct` (true or false), `verdict` and `better` (`run`, `other` or `tie`: which answer
    of a pair), optionally `trial`, `labeller`, and `answer`, the text that was judged.

    Raises:
        RunError: a line is not as expected, or judges another answer than the run's.
    """
    rows = {(row.example.id, row.trial): row for row in run.rows}
    found: list[Given] = []
    faults: list[str] = []
    for number, line in read_jsonl(path, RunError):
        try:
            found.append(_given_elsewhere(line, run, rows, path.stem))
        except (TypeError, ValueError) as fault:
            faults.append(f"line {number}: {fault}")
    if faults:
        more = f"; and {len(faults) - MAX_LISTED} more" if len(faults) > MAX_LISTED else ""
        raise RunError(f"{path}: {'; '.join(faults[:MAX_LISTED])}{more}")
    return found


def read_records(folder: Path, run: Run) -> tuple[Record, ...]:
    """Return every line of a run's labels; a torn last line, which a crash leaves, is not one.

    Raises:
        RunError: a line is damaged, or judges another run or another answer than this one's.
    """
    path, answers = folder / FILE, {(row.example.id, row.trial): digest_of(row) for row in run.rows}
    lines, _, _ = read_journal(path, mend=_MEND)
    records = []
    for number, line in enumerate(lines, 1):
        try:
            record = record_of(line)
        except (TypeError, ValueError, KeyError) as fault:
            raise RunError(f"{path}: line {number} is no label ({fault}); {_MEND}") from None
        if foreign := _foreign(record, run, answers):
            raise RunError(f"{path}: line {number} {foreign}; labels count for the answers they were given to alone")
        records.append(record)
    return tuple(records)


def add_record(folder: Path, record: Record) -> None:
    """Append a line, durable when this returns; labellers may add at the same time.

    Raises:
        RunError: the file cannot be written (Stopped: the disk is full), or a line in it is damaged.
    """
    path = folder / FILE
    with _held(path):
        _, good, _ = read_journal(path, mend=_MEND)
        journal = Journal(path, good, kind="label")
        try:
            journal.append([record_line(record)])
        finally:
            journal.close()


def history(records: Iterable[Record]) -> tuple[Given, ...]:
    """Return the labels and preferences that were not taken back, in the order given."""
    kept: dict[int, Given] = {}
    places: dict[Key, list[int]] = {}
    for number, record in enumerate(records):
        stack = places.setdefault(record.key, [])
        if not isinstance(record, Undo):
            stack.append(number)
            kept[number] = record
        elif stack:
            del kept[stack.pop()]
    return tuple(kept.values())


def standing(records: Iterable[Record]) -> tuple[Given, ...]:
    """Return what counts: of each key the last one that was not taken back, in the order given."""
    last: dict[Key, Given] = {}
    for given in history(records):
        last.pop(given.key, None)
        last[given.key] = given
    return tuple(last.values())


def undo_of(given: Given, time: str = "") -> Undo:
    """Return the record that takes one back."""
    kind, item, trial, labeller, other = given.key
    return Undo("label" if kind == "label" else "preference", item, trial, labeller, given.run, other, time)


def run_key(run: Run) -> str:
    """Return the name of a run that no other one has, whatever their folders are called."""
    return str(run.manifest.get("made", run.id))


def digest_of(row: Row) -> str:
    """Return 16 hex digits of what was answered: the text, and which choices were preferred how much."""
    response = row.response
    content = repr((response.text, response.choice_logprobs)) if response.choice_logprobs else response.text
    return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def record_line(record: Record) -> dict[str, Any]:
    """Return a record as JSON."""
    return {"kind": type(record).__name__.lower(), **scrub(asdict(record))}


def record_of(line: Mapping[str, Any]) -> Record:
    """Rebuild a record from JSON.

    Raises:
        TypeError, ValueError, KeyError: it is none.
    """
    fields = dict(line)
    record = _KINDS[fields.pop("kind")](**fields)
    if not isinstance(record.trial, int) or not all(isinstance(v, str | int | None) for v in fields.values()):
        raise ValueError("a field is neither text nor number")
    return record


def _given_elsewhere(line: Mapping[str, Any], run: Run, rows: Mapping[Answered, Row], labeller: str) -> Given:
    """Build a label or a preference; ValueError says what is wrong with it."""
    for key in line:
        if key not in _ELSEWHERE:
            raise ValueError(f"unknown key {key!r}{did_you_mean(key, _ELSEWHERE)}")
    if [key in line for key in ("correct", "verdict", "better")].count(True) != 1:
        raise ValueError("expected one of correct, verdict and better")
    item, trial, who = line.get("id"), line.get("trial", 0), line.get("labeller", labeller)
    if not isinstance(item, str) or type(trial) is not int or not isinstance(who, str) or not who.strip():
        raise ValueError("expected id and labeller to be texts, and trial a number")
    row = rows.get((item, trial))
    if row is None:
        raise ValueError(f"the run has no answer to {item!r}, trial {trial}; give the labels of this run")
    if line.get("answer", row.response.text) != row.response.text:
        raise ValueError(f"judges another answer to {item!r} than this run's")
    own = run_key(run)
    if "better" in line:
        _refuse(line["better"], ("run", "other", "tie"))
        side: Side = {"run": "left", "other": "right", "tie": "tie"}[line["better"]]  # type: ignore[assignment]  # as refused
        return Preference(item, trial, run.suite, who, own, own, "", digest_of(row), "", side)
    if "correct" in line and type(line["correct"]) is not bool:
        raise ValueError(f"correct = {line['correct']!r}: expected true or false")
    verdict: Any = line["verdict"] if "verdict" in line else "correct" if line["correct"] else "wrong"
    _refuse(verdict, ("correct", "wrong", "unsure"))
    return Label(item, trial, run.suite, who, own, digest_of(row), verdict)


def _all(path: str | Path) -> tuple[Record, ...]:
    return read_records(Path(path), read_run(path))


def _foreign(record: Record, run: Run, answers: Mapping[Answered, str]) -> str:
    """Return why a record does not belong to a run, or an empty text."""
    if record.run != run_key(run):
        return f"judges run {record.run}, this is run {run_key(run)}"
    if (record.id, record.trial) not in answers:
        return f"judges example {record.id!r}, trial {record.trial}, which this run lacks"
    if not isinstance(record, Undo) and record.answer != answers[record.id, record.trial]:
        return f"judges another answer to {record.id!r} than this run's"
    return ""


@contextlib.contextmanager
def _held(path: Path) -> Iterator[None]:
    """Hold the file against others who add to it, for the moment that one line takes."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    except OSError as fault:
        raise RunError(f"{path}: cannot be written: {fault.strerror}") from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _refuse(value: object, known: tuple[object, ...]) -> None:
    if value not in known:
        raise ValueError(f"{value!r} is none of {', '.join(map(str, known))}")
