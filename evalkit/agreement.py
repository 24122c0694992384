"""How far to trust a scorer: its scores against what people say of the same answers. Pure.

Knows scorers by their scores alone, so that `match` and a judge are held against the same labels in the same way. A
graded score is turned into right and wrong at the cut that fits best, found on the other half of the questions, so that
no answer helps to choose the cut it is counted by.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from evalkit.analyze import Estimate
from evalkit.court import Statement
from evalkit.labels import Answered, Given, Label, Preference
from evalkit.registry import load
from evalkit.stats import normal_quantile, wilson
from evalkit.types import Row, Run

DRAWS = 1_000
"""Bootstrap draws over answers; their seed is fixed."""
CHANCE, WEAK, MODERATE = 0.0, 0.4, 0.6
"""Bounds on kappa's lower end after Landis and Koch (1977): above 0.4 moderate, above 0.6 substantial agreement."""
OUTCOMES = ("run", "other", "tie")
"""Which run's answer is better."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """One scorer against people, on the answers that have both."""

    scorer: str
    """The scorer's name."""
    n: int
    """Answers with a label and a score."""
    unscored: int
    """Labelled answers without a score."""
    cut: float
    """The score from which an answer counts as right: found on all answers and only shown, see `_crossed`."""
    share: Estimate | None = None
    """Share of answers that it judges as people do."""
    kappa: Estimate | None = None
    """Cohen's kappa: 0 is chance, 1 is full agreement."""
    tpr: Estimate | None = None
    """Share of the answers that people call right that it calls right."""
    tnr: Estimate | None = None
    """Share of the answers that people call wrong that it calls wrong."""
    auc: Estimate | None = None
    """How often a right answer scores above a wrong one, ties one half."""
    length: Estimate | None = None
    """Rank correlation of score and length of the answer at equal label: above 0, longer answers score higher."""

    @property
    def trust(self) -> str:
        """Return what its figures allow, in one sentence."""
        if self.kappa is None:
            return "not measured: labels of both kinds are needed"
        if self.kappa.low <= CHANCE:
            return "not shown to be better than chance: do not gate on it"
        if self.kappa.low <= WEAK:
            return "weak: do not gate on it"
        return "moderate: watch it" if self.kappa.low <= MODERATE else "substantial: may gate"


@dataclass(frozen=True, slots=True)
class Consistency:
    """A judge against itself."""

    cases: int
    """Cases that it was asked about."""
    unparsed: int
    """Cases without a valid verdict."""
    orders: Estimate | None = None
    """Share of pairs that it judges alike in both orders; None where there are none."""
    first: Estimate | None = None
    """Share of its verdicts in pairs that prefer the answer shown first."""
    repeats: Estimate | None = None
    """Share of cases that it judges alike in every repetition; None without repetitions."""


@dataclass(frozen=True, slots=True)
class Trust:
    """Everything that is known of a run's scorers by human labels."""

    suite: str
    """The suite's name."""
    labelled: int
    """Answers that people agree on."""
    disputed: int
    """Answers on which labellers are evenly divided, or unsure; left out."""
    labellers: int
    """People who judged."""
    left_out: int
    """Choices between two answers that no judge of pairs has made."""
    alpha: Estimate | None
    """Krippendorff's alpha between labellers, nominal; None for fewer than two."""
    scorers: tuple[Agreement, ...]
    """The scorers, the most trusted first."""
    consistency: Consistency | None
    """The judge against itself; None where none was asked."""
    pairs: Agreement | None = None
    """A judge's choices between two runs against people's; `tpr` and `tnr` are then the shares won rightly."""


def trust_of(run: Run, given: Sequence[Given], statements: Sequence[Statement] = ()) -> Trust:
    """Hold every scorer of a run against its labels, and a judge of pairs against the preferences."""
    rows = {(row.example.id, row.trial): row for row in run.rows}
    identity = run.manifest["identity"]
    pairwise = any(line.mode == "pairwise" for line in statements)
    labels = [label for label in given if isinstance(label, Label) and label.verdict]
    preferences = [choice for choice in given if isinstance(choice, Preference)]
    ours = [choice for choice in preferences if pairwise and choice.other in ("", identity.get("judge_against"))]
    verdicts = _verdicts(labels)
    truth = {key: said > 0 for key, said in _balance(verdicts).items() if said}
    names = dict.fromkeys(score.name for row in run.rows for score in row.scores)
    units = _Units(rows, identity.get("cluster_key", ""))
    found = [agreement_of(name, units, truth) for name in names if not (pairwise and name == "judge")] if truth else []
    return Trust(
        suite=run.suite,
        labelled=len(truth),
        disputed=len({label_key(label) for label in labels}) - len(truth),
        labellers=len({label.labeller for label in labels} | {choice.labeller for choice in ours}),
        left_out=len(preferences) - len(ours),
        alpha=alpha_of(verdicts),
        scorers=tuple(sorted(found, key=lambda a: -(a.kappa.low if a.kappa else -math.inf))),
        consistency=consistency_of(statements) if statements else None,
        pairs=pairs_of(units, ours) if ours else None,
    )


@dataclass(frozen=True, slots=True)
class _Units:
    """The answers of a run, and which of them stand and fall together: trials of a question, questions of a cluster."""

    rows: Mapping[Answered, Row]
    cluster_key: str = ""

    def weight(self, keys: Sequence[Answered]) -> float:
        """Return how much one answer counts, as if answers of one unit were one answer: units over answers."""
        return len({self.of(key) for key in keys}) / len(keys) if keys else 1.0

    def of(self, key: Answered) -> str:
        """Return the unit of an answer."""
        meta = self.rows[key].example.meta
        return f"{self.cluster_key}: {meta[self.cluster_key]!r}" if self.cluster_key in meta else key[0]


def label_key(label: Label) -> Answered:
    """Return which answer a label judges."""
    return label.id, label.trial


def agreement_of(name: str, units: _Units, truth: Mapping[Answered, bool]) -> Agreement:
    """Return how one scorer agrees with people on the answers that they agree on."""
    rows = units.rows
    scored = [(key, score.value) for key in truth if (score := rows[key].score(name)) and score.value is not None]
    bare = Agreement(name, len(scored), len(truth) - len(scored), 0.5)
    if not scored:
        return bare
    human = np.array([truth[key] for key, _ in scored])
    values = np.array([value for _, value in scored])
    weight = units.weight([key for key, _ in scored])
    graded = not set(values.tolist()) <= {0.0, 1.0}
    said = _crossed(values, human, [units.of(key) for key, _ in scored]) if graded else values >= 0.5
    lengths = np.array([len(rows[key].response.text) for key, _ in scored])
    both = 0 < human.sum() < len(human)
    return replace(
        bare,
        cut=_best_cut(values, human) if graded else 0.5,
        share=_share(int((said == human).sum()), len(human), weight),
        kappa=_kappa(human.astype(int), said.astype(int), 2, weight) if both else None,
        tpr=_share(int((said & human).sum()), int(human.sum()), weight),
        tnr=_share(int((~said & ~human).sum()), int((~human).sum()), weight),
        auc=_auc(values[human], values[~human], weight) if both else None,
        length=_at_equal_label(values, lengths, human, weight),
    )


def pairs_of(units: _Units, preferences: Sequence[Preference]) -> Agreement:
    """Return how a judge's choices agree with people's; the share and the rates leave out people's ties."""
    truth, rows = _preferred(preferences), units.rows
    scored = [(key, score.value) for key in truth if (score := rows[key].score("judge")) and score.value is not None]
    if not scored:
        return Agreement("judge", 0, len(truth), 0.5)
    weight = units.weight([key for key, _ in scored])
    human = [truth[key] for key, _ in scored]
    said = ["run" if value > 0.5 else "other" if value < 0.5 else "tie" for _, value in scored]
    points = [0.5 if s == "tie" else float(s == h) for h, s in zip(human, said, strict=True) if h != "tie"]
    numbers = [np.array([OUTCOMES.index(o) for o in each]) for each in (human, said)]
    won = {o: [s == o for h, s in zip(human, said, strict=True) if h == o] for o in ("run", "other")}
    return Agreement(
        "judge",
        len(scored),
        len(truth) - len(scored),
        0.5,
        share=_share(sum(points), len(points), weight),
        kappa=_kappa(numbers[0], numbers[1], 3, weight) if len(set(human)) > 1 else None,
        tpr=_share(sum(won["run"]), len(won["run"]), weight),
        tnr=_share(sum(won["other"]), len(won["other"]), weight),
    )


def consistency_of(statements: Sequence[Statement]) -> Consistency:
    """Return how a judge agrees with itself: between the two orders of a pair, and between repetitions."""
    spoken = [line for line in statements if line.judgement.verdict is not None]
    orders: dict[tuple[str, int], dict[int, str]] = {}
    repeats: dict[tuple[str, int], list[str]] = {}
    for line in spoken:
        verdict = str(line.judgement.verdict)
        orders.setdefault((line.group, line.repeat), {})[line.order] = verdict
        repeats.setdefault((line.group, line.order), []).append(verdict)
    pairs = [said for said in orders.values() if len(said) == 2]
    again = [said for said in repeats.values() if len(said) > 1]
    return Consistency(
        cases=len(statements),
        unparsed=len(statements) - len(spoken),
        orders=_share(sum(said[0] != said[1] for said in pairs), len(pairs)),
        first=_share(sum(v == "A" for said in pairs for v in said.values()) / 2, len(pairs)),
        repeats=_share(sum(len(set(said)) == 1 for said in again), len(again)),
    )


def alpha_of(verdicts: Mapping[Answered, Mapping[str, bool]]) -> Estimate | None:
    """Return Krippendorff's alpha (2011) between labellers; None where no answer has two labels, or all are equal."""
    counts = np.array([[sum(said.values()), len(said) - sum(said.values())] for said in verdicts.values()])
    counts = counts[counts.sum(axis=1) > 1] if len(counts) else counts
    if not len(counts) or not counts.any(axis=0).all():
        return None
    alpha = load("krippendorff:alpha")

    def value(taken: np.ndarray[Any, Any]) -> float:
        return float(alpha(value_counts=taken, level_of_measurement="nominal")) if taken.any(axis=0).all() else math.nan

    pool = np.vstack([counts, [1, 1]])  # one dispute more, so that a few agreements are no certainty
    found = _bootstrapped(value(counts), len(counts), len(pool), lambda drawn: value(pool[drawn]))
    return replace(found, low=min(found.low, found.value), high=max(found.high, found.value))


def _verdicts(labels: Iterable[Label]) -> dict[Answered, dict[str, bool]]:
    """Return answer -> labeller -> right; those who are unsure say nothing."""
    found: dict[Answered, dict[str, bool]] = {}
    for label in labels:
        if label.verdict in ("correct", "wrong"):
            found.setdefault(label_key(label), {})[label.labeller] = label.verdict == "correct"
    return found


def _balance(verdicts: Mapping[Answered, Mapping[str, bool]]) -> dict[Answered, int]:
    """Return answer -> labellers who call it right less those who call it wrong."""
    return {key: sum(1 if right else -1 for right in said.values()) for key, said in verdicts.items()}


def _preferred(preferences: Iterable[Preference]) -> dict[Answered, str]:
    """Return answer -> what most people prefer; a tie where they are evenly divided."""
    said: dict[Answered, Counter[str]] = {}
    last = {(choice.id, choice.trial, choice.labeller): choice for choice in preferences}
    for choice in last.values():
        outcome = "tie" if choice.better_run is None else "run" if choice.better_run == choice.run else "other"
        said.setdefault((choice.id, choice.trial), Counter())[outcome] += 1
    lead = {key: votes["run"] - votes["other"] for key, votes in said.items()}
    return {key: "run" if ahead > 0 else "other" if ahead < 0 else "tie" for key, ahead in lead.items()}


def _crossed(values: Any, human: Any, units: Sequence[str]) -> Any:
    """Return right or wrong for each score, by the cut that fits the other half of the questions best."""
    half = np.array([hashlib.sha256(unit.encode("utf-8", "surrogatepass")).digest()[0] % 2 == 0 for unit in units])
    said = np.zeros(len(values), dtype=bool)
    for own in (half, ~half):
        said[own] = values[own] >= _best_cut(values[~own], human[~own])
    return said


def _best_cut(values: Any, human: Any) -> float:
    """Return the cut with the greatest Youden index (TPR + TNR - 1), half way between two scores; 0.5 where none is."""
    if not 0 < human.sum() < len(human):
        return 0.5
    order = np.argsort(values, kind="stable")
    ranked, right = values[order], human[order]
    wrong_below, right_below = np.cumsum(~right), np.cumsum(right)
    index = wrong_below / (~human).sum() - right_below / human.sum()
    places = np.flatnonzero(np.diff(ranked) > 0)
    if not len(places):
        return 0.5
    best = places[int(np.argmax(index[places]))]
    return float((ranked[best] + ranked[best + 1]) / 2)


def _kappa(one: Any, other: Any, kinds: int, weight: float = 1.0) -> Estimate:
    """Return Cohen's kappa with a credible interval from a Dirichlet posterior on the cells of the table.

    A bootstrap would call five right of five a certainty; the prior of two answers spread over the cells does not.
    """
    cells = np.bincount(one * kinds + other, minlength=kinds * kinds)
    value = float(_kappas(cells.reshape(1, kinds, kinds))[0])
    drawn = np.random.default_rng(0).dirichlet(weight * cells + 2 / len(cells), size=10 * DRAWS)
    low, high = np.quantile(_kappas(drawn.reshape(-1, kinds, kinds)), (0.025, 0.975))
    return Estimate(value, min(value, float(low)), max(value, float(high)))


def _kappas(tables: Any) -> Any:
    """Return kappa of each table (D, K, K) of counts; 0 where one side always says the same, which shows nothing."""
    shares = tables / tables.sum(axis=(1, 2), keepdims=True)
    observed = np.trace(shares, axis1=1, axis2=2)
    expected = (shares.sum(axis=1) * shares.sum(axis=2)).sum(axis=1)
    return np.where(expected < 1, (observed - expected) / np.where(expected < 1, 1 - expected, 1), 0.0)


def _auc(right: Any, wrong: Any, weight: float = 1.0) -> Estimate:
    """Return the area under the ROC curve with its interval after DeLong et al. (1988), on the logit scale."""
    rank = load("scipy.stats:rankdata")
    m, n = len(right), len(wrong)
    ranks = rank(np.concatenate([right, wrong]))
    above = (ranks[:m] - rank(right)) / n
    below = 1 - (ranks[m:] - rank(wrong)) / m
    value = float(above.mean())
    spread = sum(float(v.var(ddof=1)) / (weight * len(v)) for v in (above, below) if len(v) > 1)
    if not 0 < value < 1 or min(m, n) < 2:
        reach = min(1.0, 3 / (weight * min(m, n)))  # the rule of three, by the rarer label
        return Estimate(value, max(0.0, value - reach), min(1.0, value + reach))
    center, width = math.log(value / (1 - value)), normal_quantile(0.975) * math.sqrt(spread) / (value * (1 - value))
    return Estimate(value, *(1 / (1 + math.exp(-min(max(center + sign * width, -700), 700))) for sign in (-1, 1)))


def _at_equal_label(values: Any, lengths: Any, human: Any, weight: float = 1.0) -> Estimate | None:
    """Return Spearman's correlation of score and length within each label, pooled by Fisher's z; None where too few."""
    rank = load("scipy.stats:rankdata")
    total, known = 0.0, 0.0
    for part in (human, ~human):
        if part.sum() < 10 or len(set(values[part])) < 2 or len(set(lengths[part])) < 2:
            continue
        rho = float(np.corrcoef(rank(values[part]), rank(lengths[part]))[0, 1])
        total += (part.sum() - 3) * math.atanh(min(max(rho, -0.999999), 0.999999))
        known += float(part.sum() - 3)
    if not known:
        return None
    center, width = total / known, normal_quantile(0.975) * math.sqrt(1.06 / (weight * known))
    return Estimate(*(math.tanh(center + sign * width) for sign in (0, -1, 1)))


def _share(k: float, n: int, weight: float = 1.0) -> Estimate | None:
    return Estimate(k / n, *wilson(weight * k, weight * n)) if n else None


def _bootstrapped(value: float, n: int, pool: int, figure: Callable[[Any], float]) -> Estimate:
    """Return a figure with its percentile interval over `n` answers drawn from a pool."""
    random = np.random.default_rng(0)
    drawn = [figure(random.integers(0, pool, n)) for _ in range(DRAWS)]
    known = [v for v in drawn if not math.isnan(v)]
    low, high = np.quantile(known, (0.025, 0.975)) if known else (-1.0, 1.0)
    return Estimate(value, float(low), float(high))
