"""The sentences of the gate. Every report says a verdict in these words, so that a log can be searched for them."""

from __future__ import annotations

from evalkit.gate import WATCH_RATE
from evalkit.verdict import Check, Verdict


def headline(verdict: Verdict) -> str:
    """Return the verdict over all gating metrics, in one line."""
    gating = verdict.gating
    named = [c.name for c in gating if c.verdict == verdict.verdict]
    of = f"{len(named)} of {count(len(gating), 'gating metric')}"
    waived = [c.name for c in gating if c.verdict == "WAIVED"]
    names = ", ".join(named)
    text = {
        "PASS": f"PASS  {of} {'is' if len(named) == 1 else 'are'} shown to lose less than the margin",
        "FAIL": f"FAIL  {of} dropped: {names}",
        "ERROR": f"ERROR  {of} cannot be judged: {names}",
        "INCONCLUSIVE": f"INCONCLUSIVE  {of}: no drop beyond the margin is proven, and none is ruled out: {names}",
    }[verdict.verdict if gating else "ERROR"]
    text = text if gating else "ERROR  no metric gates, so nothing is judged"
    text = text if named or not gating else "PASS  every drop that was shown is waived"
    text += f"; {len(waived)} waived: {', '.join(waived)}" if waived else ""
    return f"{text}." + (f" Attempt {verdict.attempts} with this checkpoint." if verdict.attempts > 1 else "")


def sentence(check: Check, verdict: Verdict) -> str:
    """Return the line of one metric: what happened, how sure it is, and what would make it surer."""
    if check.verdict == "ERROR" or check.lower is None:
        return f"ERROR  {check.suite}: {check.reason}"
    body = {"PASS": _passed, "INCONCLUSIVE": _inconclusive}.get(check.verdict, _failed)(check, verdict)
    extra = f" {check.reason[0].upper()}{check.reason[1:]}." if check.reason else ""
    waiver = f" Waiver: {check.waiver}." if check.waiver else ""
    return f"{check.verdict}  {check.name}  {body}{extra}{waiver}"


def points(value: float | None, *, signed: bool = False) -> str:
    """Return points of 100 with one decimal, and never a negative zero."""
    if value is None:
        return "-"
    rounded = round(value, 1) + 0.0
    return f"{rounded:+.1f}" if signed else f"{rounded:.1f}"


def shown_change(check: Check) -> str:
    """Return the change as the metric itself moved: a tag rate that grew is positive."""
    return points(None if check.change is None else _turn(check, check.change), signed=True)


def shown_interval(check: Check) -> str:
    """Return the 95 % interval of the change as the metric itself moved."""
    if check.ci95 is None:
        return "-"
    low, high = sorted(_turn(check, end) for end in check.ci95)
    return f"[{points(low, signed=True)}, {points(high, signed=True)}]"


def stands_out(check: Check) -> bool:
    """Say whether a watched metric is shown to have got worse, at the rate of false alarms that is accepted."""
    return check.p_adj is not None and check.p_adj <= WATCH_RATE


def margin(value: float) -> str:
    """Return a margin in points, with as many decimals as it needs."""
    return f"{value:.1f}" if abs(value - round(value, 1)) < 1e-9 else f"{value:.4g}"


def p_value(p: float | None) -> str:
    """Return a p-value with one or two significant digits."""
    return "-" if p is None else "<0.0001" if p < 0.0001 else f"{p:.4f}" if p < 0.01 else f"{p:.2f}"


def _passed(check: Check, verdict: Verdict) -> str:
    worst = f"at worst {_signed(check, check.lower)} ({_level(verdict)}), margin {margin(check.margin)}"
    return f"{_moved(check)}, {worst}. {_flips(check)} of {check.n}."


def _failed(check: Check, verdict: Verdict) -> str:
    at_least = min(check.upper or 0.0, 0.0)
    lost = "lost" if check.direction == "up" else "gained"
    p = p_value(check.p_adj)
    proof = f"p{p if p[0] == '<' else '=' + p} ({_adjustment(verdict)})"
    body = f"{_moved(check)}, at least {_signed(check, at_least)} {lost} ({_level(verdict)}), {proof}. {_flips(check)}."
    return body + (f" Top: {check.top}." if check.top else "")


def _inconclusive(check: Check, verdict: Verdict) -> str:
    assert check.ci95 is not None
    drop = "drop" if check.direction == "up" else "rise"
    worst = points(max(0.0, -check.ci95[0]))
    head = f"{shown_change(check)} {shown_interval(check)}: no {drop} proven, up to {worst} not ruled out."
    needed = check.n_needed
    if needed is not None and needed > check.n:
        more = f"margin {margin(check.margin)} needs about {_rounded(needed):,} items"
    else:
        more = f"the change is too near margin {margin(check.margin)} to tell"
    return f"{head} {check.n} items detect {points(check.mde)} points (80 % power); {more}."


def _moved(check: Check) -> str:
    return f"{points(check.baseline)} -> {points(check.candidate)} ({shown_change(check)})"


def _flips(check: Check) -> str:
    return f"{check.broken} broken, {check.fixed} fixed"


def _signed(check: Check, value: float | None) -> str:
    return points(None if value is None else _turn(check, value), signed=True)


def _turn(check: Check, value: float) -> float:
    return value if check.direction == "up" else -value


def _level(verdict: Verdict) -> str:
    return f"{100 * (1 - verdict.alpha):g} %"


def _adjustment(verdict: Verdict) -> str:
    return f"Holm, {count(len(verdict.gating), 'metric')}" if verdict.adjust == "holm" else "not adjusted"


def _rounded(n: int) -> int:
    """Return a number of items to three digits: more would claim too much."""
    step = int(10 ** max(0, len(str(n)) - 3))
    return -(-n // step) * step


def count(n: int, noun: str) -> str:
    """Return a number with its noun, in the plural unless it is one."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
