"""What a loop found, and how it is told: one Markdown report with every change and its interval. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from evalkit.report.markdown import code, grid, plain
from evalkit.verdict import Check, Verdict
from trainkit.curate.effects import Effect

HEADER = ("metric", "original", "plan", "random", "plan - original", "random - original", "plan - random")


@dataclass(frozen=True, slots=True)
class Arms:
    """The three arms on one suite, by their paired changes; positive is better everywhere."""

    primary: str
    """The metric that decides."""
    plan: Verdict
    """The planned edits against the original rows."""
    random: Verdict
    """Random edits against the original rows."""
    against_random: Verdict
    """The planned edits against the random ones."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a loop found."""

    plan: str
    """Id of the plan."""
    seeds: int
    """Trainings of each arm."""
    arms: Mapping[str, Arms]
    """Suite -> its arms."""
    accepted: bool
    """Whether the plan beat the original and the random control, and nothing that gates failed."""
    effects: tuple[Effect, ...]
    """What goes into the ledger."""

    def record(self) -> dict[str, Any]:
        """Return the content of loop.json."""
        return {
            "plan": self.plan,
            "seeds": self.seeds,
            "accepted": self.accepted,
            "suites": {suite: asdict(arms) for suite, arms in self.arms.items()},
            "effects": [asdict(effect) for effect in self.effects],
        }


def fails(arms: Arms) -> bool:
    """Say whether a gate fails on the plan's arm, or cannot tell."""
    return not {"FAIL", "ERROR"}.isdisjoint((arms.plan.verdict, arms.against_random.verdict))


def headline(outcome: Outcome) -> str:
    """Return the outcome in one sentence."""
    if outcome.accepted:
        return f"plan {outcome.plan} is accepted: it beat the original rows and the random edits"
    failed = [suite for suite, arms in outcome.arms.items() if fails(arms)]
    if failed:
        return f"plan {outcome.plan} is not accepted: {', '.join(failed)} fails the gate"
    return f"plan {outcome.plan} is not accepted: nothing it aims at beat both the original rows and the random edits"


def report(outcome: Outcome, command: str = "") -> str:
    """Return the whole report as Markdown; it shows the plots that `plots` names, as files beside it."""
    lines = ["# Loop", "", f"{headline(outcome)[:1].upper()}{headline(outcome)[1:]}.", ""]
    if command:
        lines += [f"Made by {code(command)}.", ""]
    lines += [
        f"{outcome.seeds} trainings of each arm with the same settings and seeds. Values are means over items and "
        "seeds, in points of 100; changes are paired by item, with 95 % intervals, and positive is better.",
        "",
    ]
    for (suite, arms), plot in zip(outcome.arms.items(), plots(outcome), strict=True):
        lines += [f"## {plain(suite)}", "", _verdicts(arms), "", f"![changes by metric and error]({plot})", ""]
        lines += [*grid(HEADER, _rows(arms)), ""]
    lines += ["## Ledger", "", *grid(*_ledger(outcome)), ""]
    return "\n".join(lines)


def plots(outcome: Outcome) -> dict[str, Arms]:
    """Return file name -> the arms that it shows, a plot a suite, in the suites' order."""
    return {f"loop-{number}.png": arms for number, arms in enumerate(outcome.arms.values(), 1)}


def changes(arms: Arms) -> tuple[list[str], dict[str, list[tuple[float, float, float] | None]]]:
    """Return the metrics and errors of a plot, and each side's changes with their intervals in points."""
    by = {side: {c.metric: c for c in verdict.checks} for side, verdict in _told(arms)}
    names = _names(by.values())
    return names, {side: [_interval(checks.get(name)) for name in names] for side, checks in by.items()}


def _interval(check: Check | None) -> tuple[float, float, float] | None:
    if check is None or check.change is None or check.ci95 is None:
        return None
    return check.change, check.ci95[0], check.ci95[1]


def _told(arms: Arms) -> tuple[tuple[str, Verdict], ...]:
    return (("plan against original", arms.plan), ("random against original", arms.random),
            ("plan against random", arms.against_random))  # fmt: skip


def _names(sides: Iterable[Mapping[str, Check]]) -> list[str]:
    """Return the metrics of several sides in order, without slices, which are left to `evalkit compare`."""
    return [name for name in dict.fromkeys(metric for checks in sides for metric in checks) if "[" not in name]


def _verdicts(arms: Arms) -> str:
    return "Gate: " + ", ".join(f"{side} {verdict.verdict}" for side, verdict in _told(arms)) + "."


def _rows(arms: Arms) -> Iterator[tuple[str, ...]]:
    """Yield a row for each metric and error category."""
    by = [{c.metric: c for c in verdict.checks} for _, verdict in _told(arms)]
    for name in _names(by):
        plan, control, last = (checks.get(name) for checks in by)
        first = plan or control
        values = (
            first.baseline if first else None,
            plan.candidate if plan else None,
            control.candidate if control else None,
        )
        mark = " (decides)" if name == arms.primary else ""
        yield (plain(name) + mark, *map(_value, values), *map(_change, (plan, control, last)))


def _value(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _change(check: Check | None) -> str:
    found = _interval(check)
    return "-" if found is None else "{:+.1f} ({:+.1f} to {:+.1f})".format(*found)


def _ledger(outcome: Outcome) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    header = ("edits", "suite", "metric", "change", "random control")
    return header, [
        (f"{e.edits} {e.action} for {plain(e.category)}", plain(e.suite), plain(e.metric), f"{e.change:+.1f}",
         f"{e.control:+.1f}")
        for e in outcome.effects
    ]  # fmt: skip
