"""Run x training set -> plan: the page that shows the whole flow. What an edit or a version is stands elsewhere."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from evalkit.record import read_run
from evalkit.registry import did_you_mean
from evalkit.types import Run
from trainkit.checkpoint import write_json, write_text
from trainkit.curate.attribute import Attribution, attribute, items_of
from trainkit.curate.audit import ECHO, TAGGERS, Audit, audit
from trainkit.curate.draft import draft, held_out_edits
from trainkit.curate.edits import Plan, most_rows
from trainkit.curate.effects import read_effects
from trainkit.curate.guard import (
    Setting,
    held_out_questions,
    overlap_of,
    refuse_held_out,
    refuse_other_prompt,
    setting_of,
)
from trainkit.curate.lines import DataSet, read_data
from trainkit.curate.show import markdown
from trainkit.errors import TrainError

CATEGORIES = (*TAGGERS, ECHO, "too_long", "duplicate", "conflict", "coverage", "verbatim")
"""What `only` may ask for."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What one `trainkit curate` is asked for."""

    train: str
    """The training file."""
    run: str | None = None
    """Folder of the tuned model's run on a dev suite; None: the rows are audited alone."""
    base: str | None = None
    """Folder of the base model's run on the same suite."""
    budget: float = 0.2
    """Share of the rows that edits may name, above 0 up to 1."""
    only: str | None = None
    """The one category to plan edits for."""
    held_out: tuple[str, ...] = ()
    """Suites whose questions must not be trained; empty: every held-out suite whose questions are on disk."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if not 0 < self.budget <= 1:
            raise TrainError(
                f"budget = {self.budget:g}: expected above 0 up to 1, the share of rows that may be edited"
            )
        if self.only is not None and self.only not in CATEGORIES:
            raise TrainError(f"no category {self.only!r} to plan edits for{did_you_mean(self.only, CATEGORIES)}")
        if self.base and not self.run:
            raise TrainError("--base is the base model's run beside the tuned model's; give RUN as well")


def curate(asked: Asked, out: str | Path) -> Plan:
    """Plan edits and write plan.json and plan.md into the folder `out`.

    Raises:
        TrainError: the run may not choose rows, or was asked otherwise than the model was trained; rows have no ids;
            the budget is zero; or the folder holds another plan.
    """
    folder = Path(out)
    if (folder / "plan.json").exists():
        raise TrainError(f"{folder}: holds a plan already; choose another --out")
    plan = plan_edits(asked)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "plan.json", plan.record())
        write_text(folder / "plan.md", markdown(plan))
    except OSError as fault:
        raise TrainError(f"{folder}: cannot be written: {fault.strerror}") from None
    return plan


def plan_edits(asked: Asked) -> Plan:
    """Read the runs and the rows, and return the plan."""
    run = _run(asked.run) if asked.run else None
    base = _base(asked.base, run) if asked.base and run else None
    data = read_data(asked.train)
    if most_rows(len(data.rows), asked.budget) < 1:
        raise TrainError(f"budget = {asked.budget:g}: of {len(data.rows)} rows that is none; raise --budget")
    overlap = overlap_of(data, held_out_questions(asked.held_out))
    setting = setting_of(run, data) if run else Setting("", {}, ())
    long = run is not None and any(tag.category == "too_long" for row in run.rows for tag in row.tags)
    found = audit(data.rows, setting.template, trim_long=long)
    mended = audit(data.rows, setting.template, trim_long=long, only=asked.only) if asked.only else found
    first = [*setting.edits, *held_out_edits(data, overlap, asked.budget)]
    evidence = attribute(data.rows, found, items_of(run), items_of(base) if base else None) if run else NOTHING
    effects = read_effects(data.path.parent)
    edits, left = draft(data, mended, evidence, first=first, effects=effects, only=asked.only, budget=asked.budget)
    facts = _facts(run, base, data, setting, found, evidence, len(overlap))
    return Plan(str(data.path), data.sha256, len(data.rows), asked.budget, edits, left, facts)


NOTHING = Attribution((), (), {})
"""The evidence of no run."""


def _run(path: str) -> Run:
    run = read_run(path)
    refuse_held_out(run, path)
    refuse_other_prompt(run, path)
    return run


def _base(path: str, run: Run) -> Run:
    base = read_run(path)
    refuse_held_out(base, path)
    one, other = (r.manifest["identity"].get("data_digest") for r in (run, base))
    if base.suite != run.suite or one != other:
        raise TrainError(
            f"{path}: suite {base.suite!r} was not asked the questions of {run.id}; run the base on {run.suite!r}"
        )
    return base


def _facts(
    run: Run | None,
    base: Run | None,
    data: DataSet,
    setting: Setting,
    found: Audit,
    evidence: Attribution,
    overlap: int,
) -> dict[str, Any]:
    """Return what the plan says of its own making; nothing here is read when it is applied."""
    ids = {name: r.id for name, r in (("tuned", run), ("base", base)) if r}
    dev = _dev_overlap(run, data) if run else 0
    return {
        "runs": ids,
        "configuration": {**setting.facts, "cut_targets": found.cut, "held_out_overlap": overlap, "dev_overlap": dev},
        "training_rates": found.rates(),
        "causes": [{k: v for k, v in asdict(cause).items() if k != "rows"} for cause in evidence.causes],
        "gaps": [asdict(gap) for gap in evidence.gaps],
        "notes": list(found.notes),
    }


def _dev_overlap(run: Run, data: DataSet) -> int:
    """Count the rows whose question is one of the run's, or nearly one: such items flatter the tuned model."""
    return len(overlap_of(data, {row.example.id: row.example.question for row in run.rows}))
