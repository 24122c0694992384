"""The decision: paired scores of metrics in, a Verdict out. Pure; the rule and its reasons are in docs/gate.md.

PASS is looked at first and needs the interval, FAIL needs the test, and neither is ever the default. Knows nothing of
runs, rows or policies; `policy` and `compare` bring those.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from evalkit.errors import EvalkitError
from evalkit.evidence import Evidence, Paired, gather, pair_up
from evalkit.stats import benjamini_hochberg, holm
from evalkit.verdict import UNSCORED, Check, MetricPair, Outcome, Verdict

__all__ = ["ADJUSTMENTS", "MetricPair", "Rule", "decide", "default_margin", "overall"]

FEWEST_CLUSTERS = 10
"""With fewer clusters nothing passes: their spread is not known well enough."""
WATCH_RATE = 0.10
"""Share of false alarms that is accepted among watched metrics (Benjamini-Hochberg)."""
ADJUSTMENTS = ("holm", "none")
"""How p-values of gating metrics may be adjusted."""


@dataclass(frozen=True, slots=True)
class Rule:
    """The settings of a decision."""

    alpha: float = 0.05
    """Chance of a false FAIL over all gating metrics, and of a false PASS of each."""
    adjust: str = "holm"
    """`holm`, or `none` where one p-value stands for itself."""
    max_missing: float = 0.01
    """Share of items without a score, on either side, above which a metric is an ERROR."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if not 0 < self.alpha < 0.5:
            raise EvalkitError(f"alpha must lie between 0 and 0.5, got {self.alpha}")
        if self.adjust not in ADJUSTMENTS:
            raise EvalkitError(f"adjust must be one of {', '.join(ADJUSTMENTS)}, got {self.adjust!r}")
        if not 0 <= self.max_missing < 1:
            raise EvalkitError(f"missing max_share must lie in 0..1, got {self.max_missing}")


def decide(
    pairs: Sequence[MetricPair], alpha: float = 0.05, *, adjust: str = "holm", max_missing: float = 0.01
) -> Verdict:
    """Judge every metric and the whole; the order of metrics and of items changes nothing.

    Raises:
        EvalkitError: where a metric is given twice, its lists differ in length, or a margin is not in 0..100.
    """
    rule = Rule(alpha, adjust, max_missing)
    _refuse_contradictions(pairs)
    gating = sum(p.role == "gate" for p in pairs)
    drafts = [_measure(pair, rule, max(1, gating)) for pair in pairs]
    checks = _settle(drafts, "gate", rule) | _settle(drafts, "watch", rule)
    ordered = tuple(checks[i] for i in range(len(pairs)))
    return Verdict(verdict=overall(ordered), checks=ordered, alpha=alpha, adjust=adjust)


def overall(checks: Sequence[Check]) -> Outcome:
    """Return the verdict over all gating checks; a gate that checks nothing is an ERROR, never a PASS."""
    found = {c.verdict for c in checks if c.role == "gate"}
    worst: tuple[Outcome, ...] = ("FAIL", "ERROR", "INCONCLUSIVE")
    return next((v for v in worst if v in found), "PASS" if found else "ERROR")


def default_margin(kind: str, n: int) -> float:
    """Return the points that may be lost where nobody says: by kind of score and number of items."""
    if kind == "judge":
        return 0.15 / 4 * 100  # 0.15 on a scale from 1 to 5
    if kind == "graded":
        return 3.0
    return 3.0 if n >= 1000 else 5.0 if n >= 300 else 10.0


def _refuse_contradictions(pairs: Sequence[MetricPair]) -> None:
    for pair in pairs:
        lengths = {
            len(pair.baseline),
            len(pair.candidate),
            len(pair.baseline if pair.clusters is None else pair.clusters),
        }
        if len(lengths) > 1:
            raise EvalkitError(
                f"{pair.suite}/{pair.metric}: scores and clusters of {sorted(lengths)} items do not align"
            )
        if pair.margin is not None and not 0 < pair.margin <= 100:
            raise EvalkitError(
                f"{pair.suite}/{pair.metric}: a margin is above 0 and at most 100 points, got {pair.margin}"
            )
    twice = [key for key, count in Counter(p.key for p in pairs).items() if count > 1]
    if twice:
        raise EvalkitError(f"{'/'.join(twice[0][:2])} is given twice; a metric is judged once")


def _measure(pair: MetricPair, rule: Rule, gating: int) -> Check:
    """Return a check with its numbers, its verdict still open: ERROR, or INCONCLUSIVE for `_settle` to decide."""
    n = len(pair.baseline)
    margin = pair.margin if pair.margin is not None else default_margin(pair.kind, n)
    draft = Check(
        pair.suite,
        pair.metric,
        "ERROR",
        role=pair.role,
        against=pair.against,
        direction=pair.direction,
        n=n,
        margin=margin,
    )
    paired = pair_up(pair)
    reason = UNSCORED if n and not paired.valued else _data_problem(paired, rule.max_missing)
    if reason:
        return replace(draft, reason=reason)
    return _with_numbers(draft, paired, gather(paired, rule.alpha, gating, margin / 100))


def _data_problem(paired: Paired, limit: float) -> str:
    """Return why these scores cannot be judged, in the words of the ERROR line; empty where they can."""
    if paired.n == 0:
        return "no items to compare"
    if paired.out_of_range:
        return f"{paired.out_of_range} scores are not numbers in 0..1"
    for side, lost in (("candidate", paired.lost_candidate), ("baseline", paired.lost_baseline)):
        if lost > limit * paired.n + 1e-9:
            count = math.ceil(lost - 1e-9)
            share = f"{100 * lost / paired.n:.1f} %, limit {100 * limit:g} %"
            return f"{count} of {paired.n} {side} items missing ({share})"
    return ""


def _with_numbers(draft: Check, paired: Paired, found: Evidence) -> Check:
    lost = [(side, n) for side, n in (("candidate", paired.lost_candidate), ("baseline", paired.lost_baseline)) if n]
    return replace(
        draft,
        verdict="INCONCLUSIVE",
        clusters=found.clusters,
        baseline=100 * paired.baseline_mean,
        candidate=100 * paired.candidate_mean,
        change=100 * found.change,
        ci95=(100 * found.ci95[0], 100 * found.ci95[1]),
        lower=100 * found.lower,
        upper=100 * found.upper,
        p=found.p,
        method=found.method,
        broken=paired.broken,
        fixed=paired.fixed,
        flip_rate=(paired.broken + paired.fixed) / paired.n,
        mde=100 * found.detectable,
        n_needed=found.items_needed,
        reason="; ".join(
            f"{n:.3g} {side} {'item' if n == 1 else 'items'} missing, {_COUNTED_AS[side]}" for side, n in lost
        ),
    )


_COUNTED_AS = {"candidate": "counted as wrong", "baseline": "counted as unchanged"}


def _settle(drafts: Sequence[Check], role: str, rule: Rule) -> dict[int, Check]:
    """Return position -> check with its verdict, for all checks of one role; an ERROR keeps its place in the family."""
    family = [i for i, d in enumerate(drafts) if d.role == role]
    p_values = [1.0 if (p := drafts[i].p) is None else p for i in family]
    if role == "watch":
        adjusted, level = benjamini_hochberg(p_values), WATCH_RATE
    else:
        adjusted, level = (holm(p_values) if rule.adjust == "holm" else p_values), rule.alpha
    return {i: _conclude(drafts[i], p, level) for i, p in zip(family, adjusted, strict=True)}


def _conclude(draft: Check, p_adj: float, level: float) -> Check:
    if draft.verdict == "ERROR" or draft.lower is None:
        return draft
    notes = [draft.reason] if draft.reason else []
    dropped = p_adj <= level
    outcome: Outcome = "INCONCLUSIVE"
    if draft.lower > -draft.margin and draft.clusters >= FEWEST_CLUSTERS:
        outcome = "PASS"
        word = "drop" if draft.direction == "up" else "rise"
        notes += [f"a {word} is shown, but a smaller one than the margin"] * dropped
    elif dropped:
        outcome = "FAIL"
    elif draft.clusters < FEWEST_CLUSTERS:
        notes.append(f"{draft.clusters} clusters, at least {FEWEST_CLUSTERS} are needed to pass")
    return replace(draft, verdict=outcome, p_adj=p_adj, reason="; ".join(notes))
