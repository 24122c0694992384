"""The scorer `semantic` against people's judgements of right and wrong; writes a Markdown page and its plot.

    python -m tests.benchmarks.semantic --data evouna_NQ.jsonl -o reports/benchmarks/semantic.md

The data is EVOUNA's: answers of several systems to questions of Natural Questions, each called right or wrong by a
person, a line `{"question", "targets", "answer", "system", "human_correct"}`. Without `--data` it is looked for as
`human_correctness/evouna_NQ.jsonl` under EVALKIT_DATA_DIR. The curve is fitted on a half of the questions and all else
is measured on the other half; intervals draw questions, not answers.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from matplotlib.figure import Figure
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from evalkit.report.markdown import grid
from evalkit.scorers.fuzzy import Fuzzy
from evalkit.scorers.match import Match
from evalkit.scorers.semantic import CURVES, Semantic
from evalkit.types import Answer, Example, Response, Score
from tests.benchmarks.speed import processor, write_page

DATA = "human_correctness/evouna_NQ.jsonl"
DRAWS, SEED = 1000, 1
RIVALS = ("semantic", "whole", "fuzzy", "match")
EDGES = (-1.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0001)
"""Where the bins of cosines begin and end."""
THRESHOLDS = (0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
TRAPS = (
    ("The museum opens at 5 pm.", "You can get in from five in the afternoon.", True),
    ("The museum opens at 5 pm.", "The museum opens at 6 pm.", False),
    ("The drug is safe for children.", "Kids can take it without risk.", True),
    ("The drug is safe for children.", "The drug is not safe for children.", False),
    ("Use a smaller learning rate.", "Reduce the step size of the optimizer.", True),
    ("Use a smaller learning rate.", "Use a larger learning rate.", False),
    ("Alice sued Bob.", "Alice took Bob to court.", True),
    ("Alice sued Bob.", "Bob sued Alice.", False),
    ("It is free of charge.", "You do not have to pay.", True),
    ("Paris", "London", False),
    ("1969", "1968", False),
    ("Yes", "No", False),
)
"""A target, an answer, and whether it is right."""

Numbers = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Judged:
    """Answers as columns: what people said of them, and what scorers do."""

    question: Numbers
    """A number per question; several answers share one."""
    system: Numbers
    right: Numbers
    length: Numbers
    scores: dict[str, Numbers]
    """`semantic`, `cosine`, `whole` (the cosine of whole answers), `fuzzy` and `match`; the unscored count as 0."""

    def where(self, mask: Numbers) -> Judged:
        """Return some of the answers."""
        kept = {name: column[mask] for name, column in self.scores.items()}
        return Judged(self.question[mask], self.system[mask], self.right[mask], self.length[mask], kept)


def answers_of(rows: Sequence[dict[str, Any]]) -> list[Answer]:
    """Return rows as answers to score."""
    return [
        (Example(str(i), row["question"], tuple(row["targets"])), 0, Response(row["answer"]))
        for i, row in enumerate(rows)
    ]


def judged_of(rows: Sequence[dict[str, Any]]) -> tuple[Judged, float]:
    """Score every answer; return them and the answers embedded per second."""
    answers, names = answers_of(rows), {row["question"]: i for i, row in enumerate(rows)}
    began = time.perf_counter()
    semantic = Semantic().prepare(answers)
    pace = len(answers) / (time.perf_counter() - began)
    scorers: dict[str, Callable[[Example, Response], Any]] = {"semantic": semantic, "fuzzy": Fuzzy(), "match": Match()}
    found = {name: [scorer(e, response) for e, _, response in answers] for name, scorer in scorers.items()}
    scores = {name: np.array([score.value or 0.0 for score in column]) for name, column in found.items()}
    scores["cosine"] = np.array([cosine_of(score) for score in found["semantic"]])
    scores["whole"] = np.array([whole_of(score) for score in found["semantic"]])
    return Judged(
        question=np.array([names[row["question"]] for row in rows]),
        system=np.array([row["system"] for row in rows]),
        right=np.array([row["human_correct"] for row in rows]),
        length=np.array([len(row["answer"].split()) for row in rows]),
        scores=scores,
    ), pace


def cosine_of(score: Score) -> float:
    """Return the cosine that a score gives as its reason; -1 for an empty answer."""
    found = re.match(r"cosine (-?\d\.\d+) with", score.why)
    return float(found[1]) if found else -1.0


def whole_of(score: Score) -> float:
    """Return the cosine of the whole answer."""
    found = re.search(r"; the whole answer (-?\d\.\d+)", score.why)
    return float(found[1]) if found else cosine_of(score)


def is_fitted_on(question: str) -> bool:
    """Say whether a question's answers fit the curve; the others measure it."""
    return hashlib.sha256(question.encode()).digest()[0] % 2 == 0


def curve_of(judged: Judged) -> tuple[float, float]:
    """Return intercept and slope of the logistic curve from cosine to share of right answers."""
    fit = LogisticRegression(C=1e6).fit(judged.scores["cosine"][:, None], judged.right)
    return float(fit.intercept_[0]), float(fit.coef_[0, 0])


def drawn(judged: Judged, figure: Callable[[Judged], float | Sequence[float]]) -> Numbers:
    """Return a figure of DRAWS samples of the questions, drawn with replacement (DRAWS, …)."""
    numbers, rng = np.unique(judged.question), np.random.default_rng(SEED)
    rows = {number: np.flatnonzero(judged.question == number) for number in numbers}
    picks = (rng.choice(numbers, len(numbers)) for _ in range(DRAWS))
    return np.array([figure(judged.where(np.concatenate([rows[number] for number in pick]))) for pick in picks])


def interval(values: Numbers) -> str:
    """Return the middle 95 % of draws."""
    low, high = np.percentile(values, (2.5, 97.5))
    return f"[{low:.3f}, {high:.3f}]"


def aucs(judged: Judged) -> list[float]:
    """Return the area under the ROC curve of each of RIVALS."""
    return [float(roc_auc_score(judged.right, judged.scores[name])) for name in RIVALS]


def leads(found: Any) -> list[Any]:
    """Return how far the first of RIVALS stands before the others."""
    return [found[0] - other for other in found[1:]]


def auc_rows(held: Judged) -> list[Sequence[str]]:
    """Return a row per part of the answers: each scorer's AUC, and how far semantic stands from the others."""
    parts = {
        "all answers": held.right == held.right,
        "of 1 to 5 words": held.length <= 5,
        "of more than 5 words": held.length > 5,
        "called wrong by `match`": held.scores["match"] < 0.5,
    }
    rows: list[Sequence[str]] = []
    for name, mask in parts.items():
        part = held.where(mask)
        draws = drawn(part, aucs)
        values = [f"{v:.3f} {interval(d)}" for v, d in zip(aucs(part), draws.T, strict=True)]
        gaps = [f"{v:+.3f} {interval(d)}" for v, d in zip(*map(leads, (aucs(part), draws.T)), strict=True)]
        rows.append((name, f"{len(part.right)}", f"{part.right.mean():.3f}", *values, *gaps))
    return rows


def bins_of(held: Judged) -> list[Numbers]:
    """Return which answers are in each bin of cosines."""
    cosine = held.scores["cosine"]
    return [(low <= cosine) & (cosine < high) for low, high in pairwise(EDGES)]


def curve_rows(held: Judged) -> list[Sequence[str]]:
    """Return a row per bin of cosines: how many people called right, and what the curve says."""
    rows: list[Sequence[str]] = []
    for (low, high), mask in zip(pairwise(EDGES), bins_of(held), strict=True):
        part = held.where(mask)
        shown = "below 0.1" if low < 0 else f"{low:.2f} to {min(high, 1):.2f}"
        share = f"{part.right.mean():.3f} {interval(drawn(part, lambda j: float(j.right.mean())))}"
        rows.append((shown, f"{mask.sum()}", share, f"{part.scores['semantic'].mean():.3f}"))
    return rows


def threshold_rows(held: Judged) -> list[Sequence[str]]:
    """Return a row per way to say right or wrong: how often it agrees with people, and what it lets through."""
    match = held.scores["match"] >= 0.5
    verdicts = {"`match`": match} | {f"`semantic` from {b}": held.scores["semantic"] >= b for b in THRESHOLDS}
    verdicts |= {f"`match`, or `semantic` from {b}": match | (held.scores["semantic"] >= b) for b in THRESHOLDS[-3:]}
    rows: list[Sequence[str]] = []
    for name, said in verdicts.items():
        figures = (said == held.right).mean(), held.right[said].mean(), said[held.right].mean(), said.mean()
        rows.append((name, *(f"{figure:.3f}" for figure in figures)))
    return rows


def errors_of(fitted: Judged, held: Judged) -> list[Sequence[str]]:
    """Return mean squared error and calibration error of the curve, of an isotonic one, and of no curve at all."""
    isotonic = IsotonicRegression(out_of_bounds="clip").fit(fitted.scores["cosine"], fitted.right)
    values = {
        "logistic, two numbers": held.scores["semantic"],
        "isotonic, many steps": isotonic.predict(held.scores["cosine"]),
        "one share for all": np.full(len(held.right), fitted.right.mean()),
    }
    return [
        (name, f"{((v - held.right) ** 2).mean():.4f}", f"{calibration_error(v, held):.4f}")
        for name, v in values.items()
    ]


def calibration_error(values: Numbers, held: Judged) -> float:
    """Return the mean distance of what is said and what is, over the bins, weighted by their answers."""
    gaps = [mask.mean() * abs(values[mask].mean() - held.right[mask].mean()) for mask in bins_of(held) if mask.any()]
    return float(sum(gaps))


def trap_rows() -> list[Sequence[str]]:
    """Return a row per made-up pair: what it is, its cosine and its score."""
    scorer = Semantic()
    rows: list[Sequence[str]] = []
    for target, answer, right in TRAPS:
        score = scorer(Example("q", "?", (target,)), Response(answer))
        rows.append((target, answer, "right" if right else "wrong", f"{cosine_of(score):.3f}", f"{score.value:.2f}"))
    return rows


def plot(held: Judged, curve: tuple[float, float], path: Path) -> None:
    """Draw the curve over the shares of the bins."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    parts = [held.where(mask) for mask in bins_of(held)]
    x, y = [p.scores["cosine"].mean() for p in parts], [p.right.mean() for p in parts]
    draws = [np.percentile(drawn(p, lambda j: float(j.right.mean())), (2.5, 97.5)) for p in parts]
    spread = [
        [v - low for v, (low, _) in zip(y, draws, strict=True)],
        [high - v for v, (_, high) in zip(y, draws, strict=True)],
    ]
    axes.errorbar(x, y, yerr=spread, fmt="o", label="people, held half, 95 %")
    grid_x = np.linspace(min(x), 1, 200)
    axes.plot(grid_x, 1 / (1 + np.exp(-curve[0] - curve[1] * grid_x)), label="the scorer's curve")
    axes.set(xlabel="cosine with the nearest target", ylabel="share of right answers", ylim=(0, 1))
    axes.legend()
    figure.savefig(path, metadata={"Date": None})


PAGE = """\
# Semantic likeness and people

Written by `python -m tests.benchmarks.semantic --data evouna_NQ.jsonl -o reports/benchmarks/semantic.md`. The data is
EVOUNA's (Apache-2.0): answers of {systems} to questions of Natural Questions, each called
right or wrong by a person. The curve is fitted on {fitted} answers to {fitted_questions} questions; all figures
below are of the {held} answers to the {held_questions} other questions, of which people called {right:.1f} % right.
Intervals are the middle 95 % of {draws} draws of questions.

Model: all-MiniLM-L6-v2, digest `{digest}`. The curve: value = 1 / (1 + exp(-({intercept:.3f} + {slope:.3f} cosine))).

## The curve

{curve}

![share of right answers by cosine](semantic.svg)

{errors}

Squared error is the mean of (value - right)², calibration error the mean distance of value and share in the bins above.

## Does it tell right from wrong?

The area under the ROC curve: how often a right answer scores above a wrong one; 0.5 is a coin. `whole` is the cosine of
whole answers, without their parts.

{auc}

## As a verdict

{thresholds}

## Where it fails

{traps}

## Speed

{pace:.0f} answers a second, with their targets embedded, {words:.0f} words an answer; {processor}, {threads}.
"""


def page(fitted: Judged, held: Judged, pace: float) -> str:
    """Return the page."""
    curve, threads = curve_of(fitted), torch.get_num_threads()
    return PAGE.format(
        systems=", ".join(sorted(set(held.system))),
        fitted=len(fitted.right),
        fitted_questions=len(set(fitted.question)),
        held=len(held.right),
        held_questions=len(set(held.question)),
        right=100 * held.right.mean(),
        draws=DRAWS,
        digest=Semantic().digest,
        intercept=curve[0],
        slope=curve[1],
        curve="\n".join(grid(("cosine", "answers", "called right by people", "the curve's value"), curve_rows(held))),
        errors="\n".join(grid(("curve", "squared error", "calibration error"), errors_of(fitted, held))),
        auc="\n".join(
            grid(
                ("answers", "n", "right", *RIVALS, *(f"semantic - {rival}" for rival in RIVALS[1:])),
                auc_rows(held),
            )
        ),
        thresholds="\n".join(
            grid(
                ("verdict", "agrees with people", "right of those it passes", "passed of the right", "passes"),
                threshold_rows(held),
            )
        ),
        traps="\n".join(grid(("target", "answer", "it is", "cosine", "score"), trap_rows())),
        pace=pace,
        words=np.concatenate([fitted.length, held.length]).mean(),
        processor=processor(),
        threads=f"{threads} thread{'s' if threads > 1 else ''}",
    )


def data_file(given: Path | None) -> Path:
    """Return the file of judgements, or say where it was looked for."""
    path = given or Path(os.environ.get("EVALKIT_DATA_DIR", ""), DATA)
    if not path.is_file():
        raise click.UsageError(f"no data at {path}; give --data FILE, or set EVALKIT_DATA_DIR to a folder with {DATA}")
    return path


@click.command()
@click.option("--data", type=click.Path(path_type=Path), help="The file of judgements.")
@click.option("-o", "--output", type=click.Path(path_type=Path))
def main(data: Path | None, output: Path | None) -> None:
    """Score all answers, fit on a half of the questions, measure on the other."""
    rows = [json.loads(line) for line in data_file(data).read_text(encoding="utf-8").splitlines()]
    judged, pace = judged_of(rows)
    half = np.array([is_fitted_on(row["question"]) for row in rows])
    fitted, held = judged.where(half), judged.where(~half)
    curve, kept = curve_of(fitted), CURVES[Semantic().digest]
    if not np.allclose(curve, kept, atol=1e-3):
        raise click.ClickException(f"the data gives the curve {curve}, evalkit/scorers/semantic.py has {kept}")
    write_page(page(fitted, held, pace), output)
    if output:
        plot(held, curve, output.with_suffix(".svg"))


if __name__ == "__main__":
    main()
