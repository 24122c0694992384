"""How far to trust a run's scorers, as text for a terminal and as Markdown."""

from __future__ import annotations

import json
from dataclasses import asdict

from rich.console import RenderableType
from rich.text import Text

from evalkit.agreement import Agreement, Consistency, Trust
from evalkit.analyze import Estimate
from evalkit.report.markdown import grid, plain
from evalkit.report.table import empty_table, printed
from evalkit.report.visible import one_line
from evalkit.report.wording import count

AGREES = ("scorer", "answers", "agrees, %", "kappa", "AUC")
RATES = ("scorer", "TPR, %", "TNR, %", "length", "cut")
LEGEND = (
    "TPR, TNR: share of what people call right (wrong) that the scorer calls so; AUC: how often a right answer scores "
    "above a wrong one; length: rank correlation of score and length of the answer at equal label; cut: score from "
    "which an answer counts as right, best on all answers; in counting, each half of the questions goes by the cut of "
    "the other half; in brackets the ends of the 95 % interval, in which answers to one question count as one"
)


def terminal(trust: Trust, *, color: bool = False, width: int = 100) -> str:
    """Return the report for a terminal."""
    first, *others = _sentences(trust)
    shown: list[RenderableType] = []
    for header, cells in ((AGREES, _agrees), (RATES, _rates)):
        table = empty_table(header, header[:1])
        for found in trust.scorers:
            table.add_row(one_line(found.scorer, 30), *cells(found))
        shown += [table, Text()] if trust.scorers else []
    shown += [Text(LEGEND, "dim")] if shown else []
    lines = [Text(one_line(line)) for line in others]
    return printed(Text(one_line(first), "bold"), *shown, *lines, color=color, width=width)


def markdown(trust: Trust) -> str:
    """Return the report as Markdown."""
    first, *others = (plain(line, 2_000) for line in _sentences(trust))
    rows = [(plain(found.scorer), *_agrees(found), *_rates(found)) for found in trust.scorers]
    table = [*grid((*AGREES, *RATES[1:]), rows), "", f"{LEGEND}.", ""] if rows else []
    return "\n".join([f"# {plain(trust.suite)}: how far to trust its scorers", "", f"**{first}**", "", *table, *(
        f"- {line}" for line in others)]) + "\n"  # fmt: skip


def as_json(trust: Trust) -> str:
    """Return every figure as JSON."""
    content = asdict(trust)
    for found, record in zip(trust.scorers, content["scorers"], strict=True):
        record["trust"] = found.trust
    if trust.pairs:
        content["pairs"]["trust"] = trust.pairs.trust
    return json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n"


def _sentences(trust: Trust) -> list[str]:
    """Return what the figures mean, the most important first."""
    lines = [_advice(trust), *(f"{found.scorer}: {found.trust}." for found in trust.scorers)]
    if trust.pairs:
        lines += _pairs(trust.pairs)
    judged = [count(trust.labelled, "answer")] if trust.labelled or not trust.pairs else []
    judged += [count(trust.pairs.n + trust.pairs.unscored, "pair")] if trust.pairs else []
    people = f"{' and '.join(judged)} labelled by {count(trust.labellers, 'person')}"
    people += f", {trust.disputed} more disputed or unsure and left out" if trust.disputed else ""
    alpha = f"; alpha between them {_signed(trust.alpha)}" if trust.alpha else ""
    lines.append(f"{people}{alpha}.")
    if trust.left_out:
        left_out = count(trust.left_out, "choice")
        lines.append(f"{left_out} left out: no judge of pairs has held this run against the same other run.")
    unscored = [f"{found.scorer} {found.unscored}" for found in trust.scorers if found.unscored]
    lines += [f"Labelled answers without a score: {', '.join(unscored)}."] if unscored else []
    return lines + (_consistency(trust.consistency) if trust.consistency else [])


def _advice(trust: Trust) -> str:
    known = [found for found in trust.scorers if found.kappa]
    if not known:
        if trust.pairs:
            return f"{trust.suite}: the judge of pairs is {trust.pairs.trust}."
        if not trust.labelled:
            return f"{trust.suite}: no label of an answer, so no scorer can be held against people."
        return f"{trust.suite}: people call all answers right, or all wrong; no scorer can be held against that."
    best = known[0]
    assert best.kappa
    doubtful = [found.scorer for found in known if "do not gate" in found.trust]
    if best.scorer in doubtful:
        return f"{trust.suite}: no scorer is shown to agree with people well enough to gate on."
    warned = f" Do not gate on {' or '.join(doubtful)}." if doubtful else ""
    kappa = f"kappa {best.kappa.value:.2f}, at worst {best.kappa.low:.2f}"
    return f"{trust.suite}: trust {best.scorer} most ({kappa}).{warned}"


def _pairs(found: Agreement) -> list[str]:
    """Return how a judge of pairs did."""
    line = f"judge in pairs: {_percent(found.share)} % of {count(found.n, 'choice')} as people choose, a tie one half"
    line += f"; kappa {_signed(found.kappa)}" if found.kappa else ""
    return [f"{line}: {found.trust}."]


def _consistency(found: Consistency) -> list[str]:
    parts = [f"The judge was asked about {count(found.cases, 'case')}: {found.unparsed} unparsed"]
    if found.orders:
        parts.append(f"both orders of a pair agree in {_percent(found.orders)} %")
        parts.append(f"{_percent(found.first)} % of its verdicts prefer the answer shown first")
    if found.repeats:
        parts.append(f"repetitions agree in {_percent(found.repeats)} %")
    return [f"{'; '.join(parts)}."]


def _agrees(found: Agreement) -> tuple[str, ...]:
    return str(found.n), _percent(found.share), _signed(found.kappa), _signed(found.auc)


def _rates(found: Agreement) -> tuple[str, ...]:
    return _percent(found.tpr), _percent(found.tnr), _signed(found.length), f"{found.cut:.2f}"


def _percent(figure: Estimate | None) -> str:
    if figure is None:
        return "-"
    return f"{100 * figure.value:.1f} [{100 * figure.low:.1f}, {100 * figure.high:.1f}]"


def _signed(figure: Estimate | None) -> str:
    if figure is None:
        return "-"
    return f"{figure.value:.2f} [{figure.low:.2f}, {figure.high:.2f}]"
