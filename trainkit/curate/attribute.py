"""Which training rows failing items point at, and whether training is to blame at all. Pure.

Four kinds of evidence: an error's rate in training, base and tuned answers (inheritance); defective rows among the
nearest training rows of failing items against those of passing ones (lift); questions unlike anything that was trained
(gaps); and answers that repeat a training row word for word (verbatim).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
from numpy.typing import NDArray

from evalkit.analyze import failed
from evalkit.types import Run
from trainkit.curate.audit import ECHO, TAGGERS, Audit, grams, harmless
from trainkit.curate.neighbours import clusters, nearest
from trainkit.dataset import TrainRow

NEAREST = 20
"""Training rows that count as near an item."""
PERMUTATIONS = 999
"""Shuffles of which items fail, behind a lift's p-value."""
FEWEST_PASSING = 10
"""Passing items that a gap needs to be measured against."""
THIN = 0.25
"""Share of the median topic's rows below which a topic is hardly trained."""
COMMON = 5
"""A run of words that more rows hold than this is nobody's own."""
NOT_DATA, LOW = 0.75, 0.25
"""Shares of the tuned rate: a base model at the first has the error without this training; training rows below the
second do not show it."""
MEASURED = (*TAGGERS, ECHO)
"""Errors that are told in rows as in answers; `too_long` is not: it is told by a reference, or by the other rows."""
_SEED = 20_240_601


@dataclass(frozen=True, slots=True)
class Item:
    """One question of a run and what was wrong with its answer."""

    id: str
    """Id of the example."""
    question: str
    """What was asked."""
    answer: str
    """What was answered, in its first trial."""
    given: str
    """Question and references: what an answer may repeat."""
    categories: frozenset[str]
    """Errors above `info` that an audit of rows would count as well, in any trial."""
    wrong: bool
    """Whether the primary metric calls it wrong, in any trial."""
    topic: str = ""
    """Its `topic` in meta; empty where it has none."""


@dataclass(frozen=True, slots=True)
class Cause:
    """What the evidence says of one error category."""

    category: str
    """The category."""
    failing: int
    """Items that have it."""
    tuned: float
    """Their share, 0..1."""
    base: float | None
    """The same of the base model's answers; None without a base run."""
    training: float | None
    """Share of the training answers that have it; None where it cannot be told in rows as in answers."""
    verdict: str
    """`inherited`, `possibly inherited` (no base run), `base model`, `coverage or optimisation`, `not seen in rows`."""
    odds: float | None
    """Odds of a defective row near failing items against those near passing ones; None without defective rows."""
    p: float | None
    """One-sided permutation p-value of that lift."""
    rows: Mapping[str, tuple[str, ...]]
    """Defective row -> failing items that it is near to."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Failing questions that training says little about."""

    about: str
    """Their topic, or their commonest words."""
    items: tuple[str, ...]
    """Ids of the items."""
    why: str
    """One line of why, with its numbers."""


@dataclass(frozen=True, slots=True)
class Attribution:
    """All evidence of a run against a training set."""

    causes: tuple[Cause, ...]
    """A category each, the most frequent first."""
    gaps: tuple[Gap, ...]
    """The largest first."""
    sources: Mapping[str, tuple[str, ...]]
    """Row -> wrong items whose answers repeat eight or more words of it."""


def items_of(run: Run) -> list[Item]:
    """Return a run's items; failed requests are neither failing nor passing."""
    primary = str(run.manifest["identity"]["primary"])
    found: dict[str, Item] = {}
    for row in run.rows:
        if row.response.error is not None:
            continue
        text = row.response.text
        categories = frozenset(t.category for t in row.tags if t.severity != "info" and not harmless(t, text))
        before = found.get(row.example.id)
        if before:
            categories |= before.categories
        found[row.example.id] = Item(
            id=row.example.id,
            question=row.example.question,
            answer=before.answer if before else text,
            given="\n".join((row.example.question, *row.example.target)),
            categories=categories,
            wrong=failed(row, primary) or bool(before and before.wrong),
            topic=str(row.example.meta.get("topic", "")),
        )
    return list(found.values())


def attribute(
    rows: Sequence[TrainRow], audit: Audit, items: Sequence[Item], base: Sequence[Item] | None
) -> Attribution:
    """Return what failing items say of the rows that the model was trained on."""
    if not items:
        return Attribution((), (), {})
    near, _ = nearest(
        [_both(r.question, r.answer) for r in rows], [_both(i.question, i.answer) for i in items], NEAREST
    )
    names = np.array([row.id for row in rows], dtype=object)
    counts: dict[str, int] = defaultdict(int)
    for item in items:
        for category in item.categories:
            counts[category] += 1
    order = sorted(counts, key=lambda name: (-counts[name], name))
    rates = audit.rates()
    causes = tuple(_cause(name, items, base, rates, audit.having(name), names[near]) for name in order)
    return Attribution(causes, gaps_of(rows, items), sources_of(rows, items))


def _both(question: str, answer: str) -> str:
    return f"{question}\n{answer}"


def _cause(
    name: str, items: Sequence[Item], base: Sequence[Item] | None, rates: Mapping[str, float],
    defective: frozenset[str], near: NDArray[np.object_],
) -> Cause:  # fmt: skip
    failing = np.array([name in item.categories for item in items])
    tuned = float(failing.mean())
    before = sum(name in item.categories for item in base) / len(base) if base else None
    training = rates.get(name, 0.0) if name in MEASURED else None
    hits = np.array([[row in defective for row in found] for found in near], dtype=bool)
    odds, p = lift(hits, failing) if defective else (None, None)
    rows: dict[str, list[str]] = defaultdict(list)
    for place in np.flatnonzero(failing).tolist():
        for row in near[place][hits[place]]:
            rows[row].append(items[place].id)
    return Cause(
        name, int(failing.sum()), tuned, before, training, verdict_of(tuned, before, training), odds, p,
        {row: tuple(found) for row, found in rows.items()},
    )  # fmt: skip


def verdict_of(tuned: float, base: float | None, training: float | None) -> str:
    """Say where an error comes from, by its rates in tuned answers, base answers and training answers."""
    if base is not None and base >= NOT_DATA * tuned:
        return "base model"
    if training is None:
        return "not seen in rows"
    if training < LOW * tuned:
        return "coverage or optimisation"
    return "inherited" if base is not None else "possibly inherited"


def lift(hits: NDArray[np.bool_], failing: NDArray[np.bool_]) -> tuple[float | None, float | None]:
    """Return odds ratio and one-sided permutation p of defective rows near failing items.

    `hits` is (items, rows near each): whether the row is defective. Half a row is added to each of the four counts
    (Haldane 1940), so that the ratio is finite. None where all items fail, or none does.
    """
    if failing.all() or not failing.any():
        return None, None
    a, c = float(hits[failing].sum()), float(hits[~failing].sum())
    b, d = hits[failing].size - a, hits[~failing].size - c
    odds = (a + 0.5) * (d + 0.5) / ((b + 0.5) * (c + 0.5))
    shares, count = hits.mean(axis=1), int(failing.sum())
    random = np.random.default_rng(_SEED)
    seen = np.array([random.permutation(shares)[:count].sum() for _ in range(PERMUTATIONS)])
    above = int(np.count_nonzero(seen >= shares[failing].sum() - 1e-9))
    return odds, (1 + above) / (1 + PERMUTATIONS)


def gaps_of(rows: Sequence[TrainRow], items: Sequence[Item]) -> tuple[Gap, ...]:
    """Return the failing questions that training says little about: whole topics first, then by their words."""
    return (*thin_topics(rows, items), *far_items(rows, items))


def thin_topics(rows: Sequence[TrainRow], items: Sequence[Item]) -> tuple[Gap, ...]:
    """Return the topics of wrong items of which training has less than THIN of the rows of its median topic."""
    counts = Counter(str(row.meta["topic"]) for row in rows if row.meta.get("topic"))
    failing: dict[str, list[str]] = defaultdict(list)
    for item in items:
        if item.wrong and item.topic:
            failing[item.topic].append(item.id)
    if not counts or not failing:
        return ()
    usual = median(counts.values())
    thin = sorted((counts[t], t) for t in failing if counts[t] < THIN * usual)
    return tuple(
        Gap(topic, tuple(failing[topic]), f"{count} training rows have this topic, the median topic has {usual:g}")
        for count, topic in thin
    )


def far_items(rows: Sequence[TrainRow], items: Sequence[Item]) -> tuple[Gap, ...]:
    """Return wrong items less like their NEAREST training rows than nine of ten passing items are, clustered.

    Compared are question and reference against question and answer: in questions alone, words say hardly anything.
    """
    passing = [i for i, item in enumerate(items) if not item.wrong]
    if len(passing) < FEWEST_PASSING:
        return ()
    _, similar = nearest([_both(r.question, r.answer) for r in rows], [item.given for item in items], NEAREST)
    mean = similar.mean(axis=1)
    bound = float(np.percentile(mean[passing], 10))
    far = [i for i, item in enumerate(items) if item.wrong and mean[i] < bound]
    if not far:
        return ()
    why = f"less like the nearest training rows than 90 % of the passing questions (mean similarity below {bound:.2f})"
    return tuple(
        Gap(about, tuple(items[far[m]].id for m in members), why)
        for about, members in clusters([items[i].question for i in far])
    )


def sources_of(rows: Sequence[TrainRow], items: Iterable[Item]) -> dict[str, tuple[str, ...]]:
    """Return row -> wrong items whose answers hold eight words in a row of it that question and reference do not."""
    wanted: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for item in items:
        if item.wrong:
            for gram in set(grams(item.answer)) - set(grams(item.given)):
                wanted[gram].add(item.id)
    holders: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for row in rows:
        for gram in wanted.keys() & set(grams(row.answer)):
            holders[gram].add(row.id)
    found: dict[str, set[str]] = defaultdict(set)
    for gram, names in holders.items():
        if len(names) <= COMMON:
            for name in names:
                found[name] |= wanted[gram]
    return {row.id: tuple(sorted(found[row.id])) for row in rows if row.id in found}
