"""The gate's vocabulary: what is judged (`MetricPair`) and what is said about it (`Check`, `Verdict`).

Changes, bounds and margins are in points of 100, positive is better; shares are 0..1 and say so. Nothing here decides.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Outcome = Literal["PASS", "FAIL", "INCONCLUSIVE", "ERROR", "WAIVED"]
Role = Literal["gate", "watch"]
Direction = Literal["up", "down"]
Against = Literal["baseline", "anchor"]

UNSCORED = "no item of either run has a value"
"""Reason of a check that has nothing to judge."""
EXIT_CODES = {"PASS": 0, "FAIL": 1, "INCONCLUSIVE": 3, "ERROR": 4}
"""What `evalkit gate` exits with."""

Scores: TypeAlias = "Sequence[float | None] | NDArray[np.float64]"
"""A score of each item; None, or NaN in an array, where there is none."""


@dataclass(frozen=True, slots=True)
class MetricPair:
    """One metric of two runs, item by item."""

    suite: str
    """The suite's name."""
    metric: str
    """A score's name, or `tag:` and a category."""
    baseline: Scores
    """Score of each item in 0..1, the mean over its trials."""
    candidate: Scores
    """The same items in the same order."""
    margin: float | None = None
    """Points of 100 that may be lost; None: by kind and number of items."""
    clusters: Sequence[Hashable] | None = None
    """Label of each item's cluster, None for an item on its own; None: every item is on its own."""
    kind: str = "binary"
    """`binary`, `graded` (0..1) or `judge` (a 1-5 scale mapped to 0..1). It sets the default margin; scores that are
    all 0 or 1 are always tested as binary."""
    direction: Direction = "up"
    """`up`: more is better; `down`: less is better, as for the share of answers with an error."""
    role: Role = "gate"
    """`gate`: counts for the verdict; `watch`: is only reported."""
    against: Against = "baseline"
    """Which pinned run the candidate is held against."""
    lost_trials: tuple[float, float] = (0.0, 0.0)
    """Trials without a score in items that still have one, in items, of baseline and candidate."""

    @property
    def key(self) -> tuple[str, str, str]:
        """Return what must be unique among the pairs of one gate."""
        return self.suite, self.metric, self.against


@dataclass(frozen=True, slots=True)
class Check:
    """The verdict on one metric with the numbers behind it."""

    suite: str
    """The suite's name."""
    metric: str
    """The metric's name."""
    verdict: Outcome
    """What is shown; of a `watch` metric it never counts."""
    role: Role = "gate"
    """Whether it counts."""
    against: Against = "baseline"
    """Which pinned run it was held against."""
    direction: Direction = "up"
    """Whether more is better, or less."""
    n: int = 0
    """Items compared."""
    clusters: int = 0
    """Independent groups of items; equal to n where every item is on its own."""
    baseline: float | None = None
    """The baseline's mean, in points."""
    candidate: float | None = None
    """The candidate's mean, in points."""
    change: float | None = None
    """Mean change in points, turned so that positive is better."""
    ci95: tuple[float, float] | None = None
    """Two-sided 95 % interval of the change, in points."""
    lower: float | None = None
    """The worst plausible change, one-sided at 1 - alpha, in points; PASS is `lower > -margin`."""
    upper: float | None = None
    """The best plausible change, one-sided at 1 - alpha, in points."""
    margin: float = 0.0
    """Points that may be lost."""
    p: float | None = None
    """One-sided p-value of a drop."""
    p_adj: float | None = None
    """The same, adjusted for all gating metrics (Holm), or all watched ones (Benjamini-Hochberg)."""
    method: str = ""
    """The interval and the test that were used."""
    broken: int = 0
    """Items that got worse."""
    fixed: int = 0
    """Items that got better."""
    flip_rate: float = 0.0
    """Share of items that changed at all."""
    mde: float | None = None
    """The smallest drop, in points, that this many items detect with 80 % power."""
    n_needed: int | None = None
    """Items with which an unchanged model passes at this margin with 80 % power."""
    reason: str = ""
    """What else a reader must know, in one line."""
    waiver: str | None = None
    """Reason, owner and expiry of the waiver that covers a FAIL."""
    top: str = ""
    """The error category that grew most, with its growth in items."""

    @property
    def unscored(self) -> bool:
        """Say whether neither run has a value, so that there is nothing to judge."""
        return self.verdict == "ERROR" and self.reason == UNSCORED

    @property
    def name(self) -> str:
        """Return `suite/metric`, and which run it was held against where that is the anchor."""
        return f"{self.suite}/{self.metric}" + (" vs anchor" if self.against == "anchor" else "")


@dataclass(frozen=True, slots=True)
class Verdict:
    """The gate's answer: may the candidate replace the baseline?"""

    verdict: Outcome
    """PASS, FAIL, INCONCLUSIVE or ERROR over all gating checks."""
    checks: tuple[Check, ...]
    """One per metric, in the order given."""
    alpha: float = 0.05
    """Chance of a false FAIL over all gating metrics, and of a false PASS of each."""
    adjust: str = "holm"
    """How p-values of gating metrics are adjusted."""
    on_inconclusive: str = "fail"
    """`fail`: INCONCLUSIVE exits 3; `warn`: it exits 0."""
    baseline: str = ""
    """Id of the baseline run."""
    candidate: str = ""
    """Id of the candidate run."""
    anchor: str = ""
    """Id of the anchor run; empty where there is none."""
    attempts: int = 1
    """How often this checkpoint has been judged against this baseline, this time included."""
    notes: tuple[str, ...] = ()
    """Waivers that are unused or expired and other remarks, a line each."""

    @property
    def exit_code(self) -> int:
        """Return the exit code of `evalkit gate`."""
        if self.verdict == "INCONCLUSIVE" and self.on_inconclusive == "warn":
            return 0
        return EXIT_CODES[self.verdict]

    @property
    def gating(self) -> tuple[Check, ...]:
        """Return the checks that count."""
        return tuple(c for c in self.checks if c.role == "gate")

    @property
    def watched(self) -> tuple[Check, ...]:
        """Return the checks that are only reported."""
        return tuple(c for c in self.checks if c.role == "watch")
