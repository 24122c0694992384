"""The report of the faults job: every fault, what became of it, and its proofs. Knows only reports of tests."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.faults.catalogue import AWAY, TITLES

SUMS = ("tries", "rows lost", "bytes differing")
"""Properties of a test that are added up; a test without `tries` counts as one."""


@dataclass(eq=False)  # pytest keeps its plug-ins in sets
class Proofs:
    """What every proof gave; a plug-in of pytest."""

    target: Path | None = None
    """File of the page; None: only the sum is told."""
    outcomes: dict[str, str] = field(default_factory=dict)
    """Test -> passed, failed or skipped."""
    proven: dict[int, list[str]] = field(default_factory=dict)
    """Fault -> its tests."""
    sums: Counter[str] = field(default_factory=Counter)
    """Tries, rows lost, bytes differing."""
    why: dict[str, str] = field(default_factory=dict)
    """Test -> why it was skipped."""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep a test's outcome: a failure of any phase is its failure."""
        numbers = [int(str(value)) for name, value in report.user_properties if name == "fault"]
        if not numbers or (report.when != "call" and report.passed):
            return
        self.outcomes[report.nodeid] = report.outcome
        if report.skipped and isinstance(report.longrepr, tuple):
            self.why[report.nodeid] = str(report.longrepr[2]).removeprefix("Skipped: ")
        for number in numbers:
            found = self.proven.setdefault(number, [])
            if report.nodeid not in found:
                found.append(report.nodeid)
        if report.when == "call" and not report.skipped:
            told = [(name, int(str(value))) for name, value in report.user_properties if name in SUMS]
            for name, value in told if "tries" in dict(told) else [*told, ("tries", 1)]:
                self.sums[name] += value

    def pytest_sessionfinish(self) -> None:
        """Write the page."""
        if self.target:
            self.target.write_text(self.page(), encoding="utf-8")

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say what became of the faults that were tried."""
        if self.outcomes:
            terminalreporter.write_line(self.line())

    def line(self) -> str:
        """Return the sum in one line."""
        counts = Counter(map(self._result, TITLES))
        tried = counts["survived"] + counts["NOT SURVIVED"]
        sums = ", ".join(f"{self.sums[name]} {name}" for name in ("rows lost", "bytes differing"))
        return f"faults: {tried} tried in {self.sums['tries']:,} tries, {counts['survived']} survived, {sums}"

    def page(self) -> str:
        """Return the page as Markdown."""
        results = {number: self._result(number) for number in TITLES}
        counts = Counter(results.values())
        failed = sorted(node for node, outcome in self.outcomes.items() if outcome == "failed")
        lines = [
            "# Faults",
            "",
            "`make faults` injects every fault of the list and writes this page. A proof is a test; a test may try a",
            "fault many times, such as a kill at every write of a run.",
            "",
            "| | |",
            "|---|---|",
            f"| faults of the list | {len(TITLES)} |",
            f"| survived | {counts['survived']} |",
            f"| not survived | {counts['NOT SURVIVED']} |",
            f"| not tried here | {counts['not tried']} |",
            f"| tests | {len(self.outcomes)}, {len(failed)} failed |",
            f"| tries | {self.sums['tries']:,} |",
            f"| rows lost | {self.sums['rows lost']} |",
            f"| bytes differing after completion | {self.sums['bytes differing']} |",
            "",
            *(f"- failed: `{node}`" for node in failed),
            *([""] if failed else []),
            "| # | fault | result | proof |",
            "|---|---|---|---|",
            *(f"| {n} | {title} | {results[n]} | {self._proof(n)} |" for n, title in TITLES.items()),
            "",
            *self._skips(),
        ]
        return "\n".join(lines).rstrip() + "\n"

    def _result(self, number: int) -> str:
        outcomes = {self.outcomes[node] for node in self.proven.get(number, ())}
        if "failed" in outcomes:
            return "NOT SURVIVED"
        return "survived" if "passed" in outcomes else "not tried"

    def _proof(self, number: int) -> str:
        """Return the tests of a fault, with how many forms each has."""
        forms = Counter(node.partition("[")[0] for node in self.proven.get(number, ()))
        shown = [f"`{name.removeprefix('tests/')}`{f' ({n})' if n > 1 else ''}" for name, n in forms.items()]
        return "<br>".join(shown) or AWAY.get(number, "no test")

    def _skips(self) -> list[str]:
        if not self.why:
            return []
        return ["Skipped on this machine:", "", *(f"- `{node}`: {why}" for node, why in sorted(self.why.items()))]
