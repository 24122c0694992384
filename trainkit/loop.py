"""The whole circle: retrain on the original rows, on planned edits and on random ones, run, compare, judge.

Each arm is trained with the same settings and seeds; a cell (arm, seed) stands in a folder of its own and is not made
again when the loop is continued. The random arm does what the plan does, to rows drawn by chance: without it, any
change of the data would look like a success.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from evalkit.compare import Comparison, compare_runs
from evalkit.errors import Unfinished
from evalkit.evaluate import TAG, evaluate
from evalkit.flow import resume, run
from evalkit.record import read_run
from evalkit.registry import load
from evalkit.suite import describe, find_suite
from evalkit.types import Run
from evalkit.verdict import Check, Verdict
from trainkit.checkpoint import MANIFEST, read_json, write_json, write_text
from trainkit.curate.edits import REMOVING, Edit, Plan
from trainkit.curate.effects import Effect, add_effects
from trainkit.curate.guard import held_out_questions, refuse_overlap
from trainkit.curate.lines import parse_data, read_bytes, rewritten
from trainkit.curate.version import read_plan
from trainkit.dataset import TrainRow
from trainkit.errors import TrainError
from trainkit.looped import Arms, Outcome, changes, fails, plots, report
from trainkit.manifest import settings_hash
from trainkit.settings import SftSettings

Say = Callable[[str], None]
Train = Callable[[SftSettings], str]
"""Trains as the settings say and returns what `evalkit run --model` takes."""
ARMS = ("original", "plan", "random")
SHARED = ("held_out", "empty")
"""Rows that no arm is trained on: the plan's drops of them are made everywhere, and are not what is proven."""


@dataclass(frozen=True, slots=True)
class Circle:
    """What one `trainkit loop` is asked for."""

    plan: Plan
    """The plan to prove."""
    suites: tuple[str, ...]
    """Held-out suites that judge."""
    seeds: int = 3
    """Trainings of each arm."""
    limit: int | None = None
    """Only the first N questions of each suite."""

    def __post_init__(self) -> None:
        """Refuse what cannot be judged."""
        if not proven(self.plan):
            raise TrainError(
                f"plan {self.plan.id} changes no row but held-out and empty ones: there is nothing to prove"
            )
        if self.seeds < 1 or not self.suites:
            raise TrainError("expected at least one seed and one --suite")
        for name in self.suites:
            if describe(find_suite(name)).split == "dev":
                raise TrainError(
                    f"suite {name!r} is a dev suite: rows are chosen by those, the verdict is read on held-out ones"
                )


def loop(settings: SftSettings, circle: Circle, *, command: str = "", say: Say = lambda line: None,
         train: Train | None = None) -> Outcome:  # fmt: skip
    """Train and run every cell, compare, and write loop.md, loop.json and a ledger entry beside the data.

    Raises:
        TrainError: the data is not the plan's, holds held-out questions, or the folder holds another loop.
    """
    out, plan = Path(settings.out), circle.plan
    raw = read_bytes(settings.data)
    _check(settings, circle, hashlib.sha256(raw).hexdigest())
    raw = rewritten(raw, [edit for edit in plan.changing if edit.category in SHARED])
    questions = held_out_questions() | held_out_questions(circle.suites)
    runs: dict[tuple[str, str], list[Run]] = {}
    for seed in range(circle.seeds):
        for arm in ARMS:
            place = out / f"{arm}-{seed}"
            data = rewritten(raw, _edits(arm, plan, raw, seed))
            refuse_overlap(parse_data(data, Path(settings.data)), questions)
            model = _trained(settings, place, data, seed, train or _sft)
            for suite in circle.suites:
                found = _ran(model, suite, place, circle.limit)
                runs.setdefault((found.suite, arm), []).append(found)
            say(f"{arm}, seed {seed}: done")
    outcome = judge(plan, {key: _merged(key[1], found) for key, found in runs.items()}, circle.seeds)
    _write(out, outcome, command, Path(settings.data).parent)
    return outcome


def proven(plan: Plan) -> tuple[Edit, ...]:
    """Return the edits that the plan's arm has alone."""
    return tuple(edit for edit in plan.changing if edit.category not in SHARED)


def judge(plan: Plan, runs: Mapping[tuple[str, str], Run], seeds: int) -> Outcome:
    """Compare the arms of each suite, seeds as trials of one item; `runs` is (suite, arm) -> run. Pure."""
    arms = {suite: _arms(runs, suite) for suite in dict.fromkeys(suite for suite, _ in runs)}
    accepted = bool(arms) and any(_beats(plan, a) for a in arms.values()) and not any(fails(a) for a in arms.values())
    effects = [effect for suite, a in arms.items() for effect in _effects(plan, suite, a, accepted, seeds)]
    return Outcome(plan.id, seeds, arms, accepted, tuple(effects))


def _arms(runs: Mapping[tuple[str, str], Run], suite: str) -> Arms:
    original, plan, control = (runs[suite, arm] for arm in ARMS)
    pairs = [compare_runs(original, plan), compare_runs(original, control), compare_runs(control, plan)]
    return Arms(pairs[0].primary, *(_verdict(pair) for pair in pairs))


def _verdict(pair: Comparison) -> Verdict:
    return evaluate([pair])


def targets(plan: Plan, primary: str) -> dict[str, str]:
    """Return category -> metric that shows it: its tag; the primary metric for what no tagger sees in an answer."""
    unseen = {"duplicate", "conflict", "verbatim"}
    names = dict.fromkeys(edit.category for edit in proven(plan))
    return {name: primary if name in unseen else TAG + name for name in names}


def _beats(plan: Plan, arms: Arms) -> bool:
    """Say whether one metric that the plan aims at got better against the original and the control, by its interval."""
    wanted = {arms.primary, *targets(plan, arms.primary).values()}
    return any(_above(arms.plan, name) and _above(arms.against_random, name) for name in wanted)


def _above(verdict: Verdict, metric: str) -> bool:
    check = check_of(verdict, metric)
    return check is not None and check.ci95 is not None and check.ci95[0] > 0


def check_of(verdict: Verdict, metric: str) -> Check | None:
    """Return the check of one metric; None where neither run has it."""
    return next((check for check in verdict.checks if check.metric == metric), None)


def _effects(plan: Plan, suite: str, arms: Arms, accepted: bool, seeds: int) -> list[Effect]:
    """Return what each kind of edit did; none where it was not measured."""
    metrics = targets(plan, arms.primary)
    kinds: dict[tuple[str, str], int] = {}
    for edit in proven(plan):
        kinds[edit.action, edit.category] = kinds.get((edit.action, edit.category), 0) + 1
    found = []
    for (action, category), count in kinds.items():
        name = metrics[category]
        checks = [check_of(verdict, name) for verdict in (arms.plan, arms.random)]
        changes = [round(check.change, 3) for check in checks if check and check.change is not None]
        if len(changes) == 2:
            change, control = changes
            found.append(Effect(action, category, count, name, change, control, accepted, plan.id, suite, seeds))
    return found


def random_edits(plan: Plan, rows: Sequence[TrainRow], hashes: Mapping[str, str], seed: int) -> list[Edit]:
    """Return as many edits as the plan's arm has, of the same actions, on rows drawn by `seed`.

    A row is removed for a row removed; an answer loses the same share of its words, from its end, for one that was cut.
    """
    draw = random.Random(f"control/{seed}")
    edits = proven(plan)
    chosen = draw.sample(range(len(rows)), len(edits))
    return [_like(edit, rows[at], hashes[rows[at].id]) for edit, at in zip(edits, chosen, strict=True)]


def _like(edit: Edit, row: TrainRow, digest: str) -> Edit:
    words = row.answer.split(" ")
    share = min(1.0, len(edit.after) / max(1, len(edit.before)))
    after = "" if edit.action in REMOVING else " ".join(words[: max(1, round(share * len(words)))])
    return Edit(edit.action, "random", row.id, digest, row.answer, after, "drawn by chance, as a control")


def _edits(arm: str, plan: Plan, raw: bytes, seed: int) -> Sequence[Edit]:
    if arm == "original":
        return ()
    if arm == "plan":
        return proven(plan)
    data = parse_data(raw, Path(plan.path))
    return random_edits(plan, data.rows, data.hashes, seed)


def _trained(settings: SftSettings, place: Path, data: bytes, seed: int, train: Train) -> str:
    """Return the model of a cell, trained unless it is there already."""
    place.mkdir(parents=True, exist_ok=True)
    write_text(place / "train.jsonl", data.decode("utf-8-sig"))
    return train(replace(settings, data=str(place / "train.jsonl"), out=str(place / "model"), seed=seed))


def _sft(settings: SftSettings) -> str:
    out = Path(settings.out)
    if not (out / MANIFEST).is_file():
        if out.exists():
            load("trainkit.sft:resume")(out)
        else:
            load("trainkit.sft:sft")(settings)
    return settings.out


def _ran(model: str, suite: str, place: Path, limit: int | None) -> Run:
    """Return the run of a cell, completed or made unless it is there already."""
    folder = place / f"run-{describe(find_suite(suite)).name}"
    if not (folder / "manifest.json").is_file():
        return run(model, suite, out=folder, limit=limit)
    try:
        return read_run(folder)
    except Unfinished:
        resume(folder)
        return read_run(folder)


def _merged(arm: str, runs: Sequence[Run]) -> Run:
    """Return the runs of several seeds as one run with a trial a seed, so that an item counts once, by its mean."""
    rows = [replace(row, trial=seed * 1000 + row.trial) for seed, found in enumerate(runs) for row in found.rows]
    manifest: dict[str, Any] = {**runs[0].manifest, "id": arm, "made": arm}
    return Run(arm, manifest, tuple(rows), {})


def _check(settings: SftSettings, circle: Circle, digest: str) -> None:
    """Refuse other data than the plan's or read otherwise, and a folder that holds another loop."""
    plan, out = circle.plan, Path(settings.out)
    if digest != plan.digest:
        raise TrainError(
            f"{settings.data}: plan {plan.id} is for another version of the data (sha256 {plan.digest[:12]}, the file "
            f"has {digest[:12]}); give the file it was made from"
        )
    if (settings.input_key, settings.output_key) != ("question", "answer"):
        raise TrainError("--input-key and --output-key: plans are made of `question` and `answer`; rename the keys")
    record = {key: value for key, value in asdict(settings).items() if key not in ("out", "seed")}
    mark = {"hash": settings_hash({**record, "plan": plan.id, "suites": circle.suites, "limit": circle.limit})}
    if (out / "settings.json").is_file():
        if read_json(out / "settings.json") != mark:
            raise TrainError(f"{out}: holds a loop of other settings, plan or suites; choose another --out")
    elif out.exists() and any(out.iterdir()):
        raise TrainError(f"{out}: is not an empty folder; choose another --out")
    else:
        out.mkdir(parents=True, exist_ok=True)
        write_json(out / "settings.json", mark)


def _write(out: Path, outcome: Outcome, command: str, beside: Path) -> None:
    """Write report and plots, and before loop.json the ledger, where a loop that is read again adds no second entry."""
    label = "change in points of 100, 95 % interval; right is better"
    for name, arms in plots(outcome).items():
        load("trainkit.plot:forest_png")(*changes(arms), out / name, label)
    write_text(out / "loop.md", report(outcome, command))
    add_effects(beside, outcome.effects)
    write_json(out / "loop.json", outcome.record())


def prove(settings: SftSettings, plan: str, suites: tuple[str, ...], seeds: int, limit: int | None, command: str,
          say: Say) -> Outcome:  # fmt: skip
    """Read a plan and run its loop; see `loop`."""
    read = read_plan(plan)
    return loop(settings, Circle(read, suites, seeds, limit), command=command, say=say)
