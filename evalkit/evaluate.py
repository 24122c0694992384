"""A policy applied to comparisons: which metrics gate, which are watched, what is waived. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime

from evalkit.columns import score_of, tag_of
from evalkit.compare import Comparison, measure, pair_in, pair_of
from evalkit.errors import EvalkitError, NotComparable
from evalkit.gate import decide, overall
from evalkit.policy import ANY, PRIMARY, MetricPolicy, Policy, Waiver
from evalkit.registry import did_you_mean
from evalkit.verdict import Check, MetricPair, Verdict

TAG = "tag:"
"""Beginning of the name of a metric that is the share of answers with an error."""


def evaluate(
    comparisons: Sequence[Comparison],
    policy: Policy | None = None,
    *,
    anchors: Sequence[Comparison] = (),
    today: date | None = None,
) -> Verdict:
    """Judge one candidate: a comparison per suite against the baseline, and optionally against the anchor.

    Raises:
        NotComparable: the runs were asked differently, and were only aligned to be looked at.
        EvalkitError: the policy names a metric that a suite does not have, or a suite is given twice.
    """
    for unlike in (difference for c in (*comparisons, *anchors) for difference in c.unlike):
        raise NotComparable(f"the runs differ in {unlike}; nothing can be judged")
    policy, today = policy or Policy(), today or datetime.now(UTC).date()
    live = tuple(w for w in policy.waivers if w.until >= today)
    pairs: list[MetricPair] = []
    for comparison in comparisons:
        pairs += _pairs(_without_waived(comparison, live), policy)
    for comparison in anchors:
        pairs += [
            replace(p, against="anchor") for p in _pairs(_without_waived(comparison, live), policy) if p.role == "gate"
        ]
    rule = policy.rule
    verdict = decide(pairs, rule.alpha, adjust=rule.adjust, max_missing=rule.max_missing)
    checks = _waive(_with_top(verdict.checks), live)
    return replace(
        verdict,
        verdict=overall(checks),
        checks=checks,
        on_inconclusive=policy.on_inconclusive,
        baseline=_one(c.baseline for c in comparisons),
        candidate=_one(c.candidate for c in comparisons),
        anchor=_one(c.baseline for c in anchors),
        notes=_notes(comparisons, policy, checks, today),
    )


def _one(ids: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(ids))


def _pairs(comparison: Comparison, policy: Policy) -> list[MetricPair]:
    """Return the metrics of one suite, its error categories and, watched, its slices."""
    _refuse_unknown(comparison, policy)
    key = policy.cluster_key(comparison.suite, comparison.cluster_key)
    pairs = []
    for name in comparison.metrics:
        asked = policy.metric(comparison.suite, name, comparison.primary)
        worst = 0.0 if asked.direction == "up" else 1.0
        margin = comparison.margin if asked.margin is None and name == comparison.primary else asked.margin
        pairs.append(_asked(pair_of(comparison, name, score_of(name), key, worst), asked, margin))
    for category in dict.fromkeys((*comparison.categories, *policy.tags)):
        asked = policy.tag(category)
        pairs.append(_asked(pair_of(comparison, TAG + category, tag_of(category), key, worst=1.0), asked, asked.margin))
    return pairs + _slices(comparison, key)


def _asked(pair: MetricPair, asked: MetricPolicy, margin: float | None) -> MetricPair:
    return replace(pair, role=asked.role, direction=asked.direction, margin=margin)


def _slices(comparison: Comparison, key: str) -> list[MetricPair]:
    """Return the primary metric over every slice, watched."""
    name = comparison.primary
    found = measure(comparison, score_of(name))
    return [
        replace(pair_in(part, f"{name}[{meta}={v}]", found, key if key != meta else ""), role="watch")
        for meta in comparison.slices
        for v, part in comparison.by(meta).items()
    ]


def _refuse_unknown(comparison: Comparison, policy: Policy) -> None:
    asked = policy.suites.get(comparison.suite)
    for name in asked.metrics if asked else ():
        if name not in (*comparison.metrics, PRIMARY):
            known = did_you_mean(name, comparison.metrics)
            raise EvalkitError(f"[suites.{comparison.suite}.metrics.{name}]: the runs have no such metric{known}")
    gated = [category for category, tag in policy.tags.items() if tag.role == "gate"]
    if gated and not comparison.tagged:
        raise EvalkitError(f"the policy gates [tags.{gated[0]}], but no tagger ran on {comparison.suite}")


def _with_top(checks: Sequence[Check]) -> tuple[Check, ...]:
    """Add to every FAIL the error category of its suite that grew most."""
    grown: dict[tuple[str, str], list[tuple[int, str]]] = {}
    for c in checks:
        if c.metric.startswith(TAG) and c.direction == "down" and c.broken > c.fixed:
            grown.setdefault((c.suite, c.against), []).append((c.broken - c.fixed, c.metric.removeprefix(TAG)))
    tops = {key: max(found, key=lambda entry: (entry[0], entry[1])) for key, found in grown.items()}

    def top(c: Check) -> str:
        growth, category = tops.get((c.suite, c.against), (0, ""))
        return f"{category} +{growth}" if growth and c.verdict == "FAIL" and not c.metric.startswith(TAG) else ""

    return tuple(replace(c, top=top(c)) for c in checks)


def _without_waived(comparison: Comparison, live: Sequence[Waiver]) -> Comparison:
    ids = [i for w in live if w.items and w.covers(comparison.suite) for i in w.items]
    return comparison.without(ids) if ids else comparison


def _waive(checks: Sequence[Check], live: Sequence[Waiver]) -> tuple[Check, ...]:
    """Turn a FAIL into WAIVED where a waiver covers it and the worst plausible drop is still above its limit."""
    found = []
    for check in checks:
        waiver = next((w for w in live if _covers(w, check)), None)
        found.append(replace(check, verdict="WAIVED", waiver=str(waiver)) if waiver else check)
    return tuple(found)


def _covers(waiver: Waiver, check: Check) -> bool:
    if check.verdict != "FAIL" or check.role != "gate" or check.lower is None:
        return False
    return waiver.metric == check.metric and waiver.covers(check.suite) and check.lower > -waiver.max_drop


def _notes(comparisons: Sequence[Comparison], policy: Policy, checks: Sequence[Check], today: date) -> tuple[str, ...]:
    suites = {c.suite: c for c in comparisons}
    notes = [f"{c.suite}: the runs also differ in {remark}" for c in comparisons for remark in c.remarks]
    notes += [
        f"no run of suite {name} was given, so what the policy asks of it is not checked"
        for name in policy.suites
        if name not in (*suites, ANY)
    ]
    for waiver in policy.waivers:
        found = {i for suite, c in suites.items() if waiver.covers(suite) for i in waiver.items if c.holds(i)}
        if waiver.until < today:
            notes.append(f"waiver expired: {waiver}")
        elif waiver.items and found:
            notes.append(f"waiver in use, {len(found)} of {len(waiver.items)} items left out: {waiver}")
        elif not any(c.waiver == str(waiver) for c in checks):
            notes.append(f"waiver not used: {waiver}")
    return tuple(notes)
