"""What a loop found, and how it is told: one Markdown report with every change and its interval. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
    """Return the whole report as Markdown."""
    lines = ["# Loop", "", f"{headline(outcome)[:1].upper()}{headline(outcome)[1:]}.", ""]
    if command:
        lines += [f"Made by {code(command)}.", ""]
    lines += [
        f"{outcome.seeds} trainings of each arm with the same settings and seeds. Values are means over items and "
        "seeds, in points of 100; changes are paired by item, with 95 % intervals, and positive is better.",
        "",
    ]
    for suite, arms in outcome.arms.items():
        lines += [f"## {plain(suite)}", "", _verdicts(arms), "", *grid(HEADER, _rows(arms)), ""]
    lines += ["## Ledger", "", *grid(*_ledger(outcome)), ""]
    return "\n".join(lines)


def _verdicts(arms: Arms) -> str:
    told = (("plan against original", arms.plan), ("random against original", arms.random),
            ("plan against random", arms.against_random))  # fmt: skip
    return "Gate: " + ", ".join(f"{name} {verdict.verdict}" for name, verdict in told) + "."


def _rows(arms: Arms) -> Iterator[tuple[str, ...]]:
    """Yield a row for each metric and error category; slices are left to `evalkit compare`."""
    by = [{c.metric: c for c in verdict.checks} for verdict in (arms.plan, arms.random, arms.against_random)]
    for name in dict.fromkeys(metric for checks in by for metric in checks):
        if "[" in name:
            continue
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
    if check is None or check.change is None or check.ci95 is None:
        return "-"
    return f"{check.change:+.1f} ({check.ci95[0]:+.1f} to {check.ci95[1]:+.1f})"


def _ledger(outcome: Outcome) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    header = ("edits", "suite", "metric", "change", "random control")
    return header, [
        (f"{e.edits} {e.action} for {plain(e.category)}", plain(e.suite), plain(e.metric), f"{e.change:+.1f}",
         f"{e.control:+.1f}")
        for e in outcome.effects
    ]  # fmt: skip
