"""What curation refuses: choosing rows by what may only judge, and a run that says nothing about this training set.

Reads suites and a checkpoint's trainkit.json; knows no rows' faults.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalkit.suite import describe, find_suite, read_suite, suite_folders
from evalkit.types import Row, Run
from trainkit.checkpoint import MANIFEST, read_json
from trainkit.curate.edits import Edit
from trainkit.curate.lines import DataSet
from trainkit.errors import TrainError
from trainkit.near import figures, near_pairs
from trainkit.probe import LOW

UNLIKE = ("trained with another prompt", "its chat template is not the one")
"""How evalkit's warnings of another prompt begin (`evalkit.prompt.unlike_trained`)."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What can be known of how a run's model was trained and asked."""

    template: str
    """The plain prompt of the training; empty for a chat template, or where it is not known."""
    facts: Mapping[str, Any]
    """What a reader should know, name -> value."""
    edits: tuple[Edit, ...]
    """Settings to change before any row."""


def refuse_held_out(run: Run, where: str) -> None:
    """Refuse a run whose items may only judge: choosing rows by them would train on the test."""
    if run.manifest["identity"]["split"] != "dev":
        dev = [name for name, folder in suite_folders().items() if describe(folder).split == "dev"]
        near = next((name for name in dev if name.startswith(run.suite)), "")
        known = f"--suite {near}" if near else "a suite with split = 'dev'"
        raise TrainError(
            f"{where}: suite {run.suite!r} is held out: it may judge a model, not choose training rows; "
            f"run {known} with --model {run.model}, and give that run"
        )


def refuse_other_prompt(run: Run, where: str) -> None:
    """Refuse a run that asks otherwise than its model was trained: its errors are not the rows'."""
    nothing = "errors under another prompt say nothing of the rows, so run again as it was trained"
    for warning in run.manifest.get("warnings", ()):
        if str(warning).startswith(UNLIKE):
            raise TrainError(f"{where}: {warning}; {nothing}")
    hashed, asked = _trained(run).get("prompt", {}).get("hash"), run.manifest["identity"].get("template")
    if hashed and asked and hashed != asked:
        raise TrainError(
            f"{where}: asked by prompt {asked}, and {run.model} was trained by prompt {hashed} (its {MANIFEST} says "
            f"which that is); {nothing}"
        )


def setting_of(run: Run, data: DataSet) -> Setting:
    """Return what training and evaluation settings have to do with a run's errors; rows come after that."""
    trained = _trained(run)
    facts: dict[str, Any] = {"trained_on_this_file": None, "truncated_in_training": None}
    edits = [*_budget(run.rows)]
    if trained:
        ledger, digest = trained.get("ledger", {}), trained.get("data", {}).get("sha256")
        facts |= {"trained_on_this_file": digest == data.sha256, "truncated_in_training": ledger.get("truncated", 0)}
        if lost := ledger.get("truncated"):
            edits.append(_config("max_tokens", f"raise max_tokens, or over_long = drop: {lost} rows were trained cut, "
                                 "without their end"))  # fmt: skip
        ended = (trained.get("probe") or {}).get("ended")
        if ended is not None and ended < LOW:
            edits.append(_config("end", f"train until answers end: {100 * ended:.0f} % of the answers to training rows "
                                 "ended by themselves after training"))  # fmt: skip
        if digest and digest != data.sha256:
            edits.append(_config("data", f"train on {data.path.name} first: {run.model} was trained on another file, "
                                 "so rates and neighbours are those of rows it may not have seen"))  # fmt: skip
    prompt = trained.get("prompt", {}) if trained else {}
    return Setting("" if prompt.get("chat", True) else str(prompt.get("template", "")), facts, tuple(edits))


def _budget(rows: Sequence[Row]) -> Iterable[Edit]:
    """Yield one edit where answers were cut by the evaluation's budget, which is no defect of any row."""
    cut = [r for r in rows if any(t.category == "truncated" and t.severity == "info" for t in r.tags)]
    if cut:
        ids = tuple(dict.fromkeys(row.example.id for row in cut))
        yield _config("max_new_tokens", f"raise max_new_tokens: {len(cut)} answers were cut at the limit and are not "
                      "too long", ids)  # fmt: skip


def _config(name: str, says: str, explains: tuple[str, ...] = ()) -> Edit:
    return Edit("config", name, after=says, reason=says, explains=explains, severity="major")


def _trained(run: Run) -> dict[str, Any]:
    """Return the trainkit.json of the model that was run; empty where it is not a checkpoint of ours here."""
    path = Path(run.model) / MANIFEST
    return read_json(path) if path.is_file() else {}


def held_out_questions(names: Sequence[str] = ()) -> dict[str, str]:
    """Return `suite/item` -> question of the named held-out suites, or of all whose questions are on disk here."""
    folders = [find_suite(name) for name in names] or [
        folder for folder in suite_folders().values() if describe(folder).split == "held_out"
    ]
    found: dict[str, str] = {}
    for folder in folders:
        if names or (folder / "examples.jsonl").is_file():
            suite = read_suite(str(folder))
            found |= {f"{suite.name}/{example.id}": example.question for example in suite.examples}
    return found


def overlap_of(data: DataSet, questions: Mapping[str, str]) -> dict[str, tuple[str, float]]:
    """Return row -> (item, similarity 0..1) of rows whose question is one of `questions`, or nearly one.

    Where both hold numbers, and others or with other signs, they are two questions.
    """
    found: dict[str, tuple[str, float]] = {}
    for name, item, similarity in near_pairs({row.id: row.question for row in data.rows}, questions):
        ours, theirs = figures(data.named[name].question), figures(questions[item])
        if ours == theirs or not (ours and theirs):
            found.setdefault(name, (item, similarity))
    return found


def refuse_overlap(data: DataSet, questions: Mapping[str, str]) -> None:
    """Refuse a training set that holds a held-out question, or nearly one."""
    if overlap := overlap_of(data, questions):
        name, (item, similarity) = next(iter(overlap.items()))
        raise TrainError(
            f"{data.path}: {len(overlap)} rows are held-out questions or nearly so (row {name} is {item}, similarity "
            f"{similarity:.2f}); training on them would train on the test: take them out"
        )
