"""Checkpoints side by side: the runs of each, suite by suite, and how every later one differs from the first. Pure.

What the HTML page shows is computed here with `analyze`, `compare` and `shift`; nothing is formatted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from evalkit.analyze import Analysis, Metric, analyze, lens_of
from evalkit.compare import Comparison, compare_runs
from evalkit.errors import NotComparable
from evalkit.evaluate import TAG, evaluate
from evalkit.policy import Policy
from evalkit.report.visible import one_line
from evalkit.shift import Shift, shifts_in
from evalkit.types import Run
from evalkit.verdict import Check, Verdict

Costs = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One column of the page: a model, with a run per suite."""

    name: str
    """The model, and the run where several have the same model."""
    runs: Mapping[str, Run]
    """Suite -> run."""


@dataclass(frozen=True, slots=True)
class Change:
    """How one checkpoint differs from the first on one suite."""

    column: int
    """Number of the later checkpoint among the columns; the first has 0."""
    comparison: Comparison
    """Both runs, item by item."""
    checks: tuple[Check, ...]
    """The judged and watched metrics; none where the runs were asked differently, so that nothing is judged."""
    shifts: tuple[Shift, ...]
    """The error categories, the costliest first."""
    flips: Mapping[str, str]
    """Example id -> `broken` or `fixed`, by the primary metric; other examples are unchanged."""

    @property
    def metrics(self) -> tuple[Check, ...]:
        """Return the checks of whole scores."""
        return tuple(c for c in self.checks if not c.metric.startswith(TAG) and "[" not in c.metric)

    @property
    def slices(self) -> tuple[Check, ...]:
        """Return the checks of slices, the most fallen first."""
        found = (c for c in self.checks if not c.metric.startswith(TAG) and "[" in c.metric)
        return tuple(sorted(found, key=lambda c: (c.change or 0.0, c.metric)))

    def count(self, flip: str) -> int:
        """Return how many examples are `broken` or `fixed`."""
        return sum(found == flip for found in self.flips.values())


@dataclass(frozen=True, slots=True)
class Part:
    """One suite on the page."""

    suite: str
    """The suite's name."""
    runs: tuple[Run | None, ...]
    """The run of each checkpoint; None where it was not asked this suite."""
    found: tuple[Analysis | None, ...]
    """What the rows of each run say."""
    changes: tuple[Change, ...]
    """Each later checkpoint against the first."""

    @property
    def primary(self) -> str:
        """Return the metric that decides."""
        return next(found.primary for found in self.found if found)

    @property
    def metrics(self) -> Mapping[str, tuple[tuple[int, Metric], ...]]:
        """Return name of a score -> (column, metric) of every checkpoint that has it; what decides comes first."""
        columns = [(i, metric) for i, found in enumerate(self.found) if found for metric in found.metrics]
        names = sorted(dict.fromkeys(metric.name for _, metric in columns), key=lambda name: name != self.primary)
        return {name: tuple(c for c in columns if c[1].name == name) for name in names}

    def metric(self, column: int) -> Metric | None:
        """Return the primary metric of one checkpoint."""
        found = self.found[column]
        return next((m for m in found.metrics if m.name == found.primary), None) if found else None


@dataclass(frozen=True, slots=True)
class Board:
    """Everything the page shows of its checkpoints."""

    checkpoints: tuple[Checkpoint, ...]
    """The columns, the first one being the baseline."""
    parts: tuple[Part, ...]
    """The suites, in the order in which they are met."""
    verdicts: tuple[tuple[str, Verdict], ...]
    """Later checkpoint -> may it replace the first one? Not given where the runs were asked differently."""


def checkpoints_of(given: Sequence[Sequence[Run]]) -> tuple[Checkpoint, ...]:
    """Name the columns: by model, by run where two columns have one model, by number where even these are equal.

    Raises:
        NotComparable: one column holds two runs of a suite, or a run is given twice.
    """
    _refuse_repeats([run for runs in given for run in runs])
    for runs in given:
        if len({run.suite for run in runs}) < len(runs):
            raise NotComparable("a folder holds two runs of one suite; name the run to show")
    models = [
        ", ".join(dict.fromkeys(one_line(_called(run.model), 80) or "unnamed model" for run in runs)) for runs in given
    ]
    ids = [", ".join(one_line(run.id, 40) for run in runs) for runs in given]
    names = _told_apart(models, [f" ({each})" for each in ids])
    names = _told_apart(names, [f" #{number}" for number in range(1, len(names) + 1)])
    return tuple(Checkpoint(name, {run.suite: run for run in runs}) for name, runs in zip(names, given, strict=True))


def _refuse_repeats(runs: Sequence[Run]) -> None:
    """Refuse a run that is given twice; runs of equally named folders differ in when they were made."""
    seen = set()
    for run in runs:
        key = (run.id, run.manifest.get("made"), run.suite)
        if key in seen:
            raise NotComparable(f"run {run.id} is given twice")
        seen.add(key)


def _called(model: str) -> str:
    """Return how a page calls a model: a folder by its name alone; where it lies stands at the end of the page."""
    return one_line(Path(model).name if Path(model).is_absolute() else model, 80)


def _told_apart(names: Sequence[str], endings: Sequence[str]) -> list[str]:
    """Return the names, with its ending where another has the same name."""
    return [name + end if names.count(name) > 1 else name for name, end in zip(names, endings, strict=True)]


def board_of(given: Sequence[Sequence[Run]], costs: Costs | None = None, policy: Policy | None = None) -> Board:
    """Analyse every run and compare every later checkpoint with the first, suite by suite.

    Raises:
        NotComparable: two runs of a suite were not asked the same questions and judged alike; prompts may differ.
    """
    checkpoints = checkpoints_of(given)
    suites = tuple(dict.fromkeys(suite for checkpoint in checkpoints for suite in checkpoint.runs))
    first, changes, verdicts = checkpoints[0], [], []
    for column, later in enumerate(checkpoints[1:], 1):
        shared = [suite for suite in suites if suite in first.runs and suite in later.runs]
        pairs = {s: compare_runs(first.runs[s], later.runs[s], tolerate=("template",)) for s in shared}
        judged = [pair for pair in pairs.values() if not pair.unlike]
        verdict = evaluate(judged, policy) if judged else None
        verdicts += [(later.name, verdict)] if verdict else []
        for suite, pair in pairs.items():
            checks = tuple(c for c in verdict.checks if c.suite == suite) if verdict else ()
            shifts = shifts_in(pair, first.runs[suite], later.runs[suite], costs).shifts
            changes.append((suite, Change(column, pair, checks, shifts, _flips(pair))))
    return Board(
        checkpoints,
        tuple(_part(suite, checkpoints, [c for s, c in changes if s == suite], costs) for suite in suites),
        tuple(verdicts),
    )


def _part(suite: str, checkpoints: Sequence[Checkpoint], changes: Sequence[Change], costs: Costs | None) -> Part:
    runs = tuple(checkpoint.runs.get(suite) for checkpoint in checkpoints)
    found = tuple(analyze(run.rows, lens_of(run, costs)) if run else None for run in runs)
    return Part(suite, runs, found, tuple(changes))


def _flips(pair: Comparison) -> dict[str, str]:
    return dict.fromkeys(pair.broken.ids, "broken") | dict.fromkeys(pair.fixed.ids, "fixed")
