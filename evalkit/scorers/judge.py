"""The scorer `judge`: what does another model say of the answer? Says what it is asked, and what its replies are worth.

Pure: it asks nobody. `cases` are what is to be asked of one answer; `heard` returns the scorer that has the judgements.
Knows neither the words of the prompt nor how a judge is reached.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from statistics import fmean
from typing import Literal

from evalkit.errors import SuiteError
from evalkit.jsonl import dump
from evalkit.scorers.exact import Exact
from evalkit.scorers.match import Match
from evalkit.types import Example, Response, Score

Mode = Literal["correct", "rubric", "pairwise"]
VERDICTS: Mapping[Mode, tuple[str, ...]] = {
    "correct": ("yes", "no"),
    "rubric": ("1", "2", "3", "4", "5"),
    "pairwise": ("A", "B"),
}
"""What a judge may say, and nothing else."""
_CHOICES = {
    "mode": tuple(VERDICTS),
    "when": ("undecided", "always"),
    "verdict_by": ("auto", "probabilities", "reply"),
}
MAX_REPEATS = 20
Answers = Mapping[str, str]
"""Example id -> answer."""


@dataclass(frozen=True, slots=True)
class Case:
    """One question to a judge. Equal cases are asked once."""

    mode: Mode
    """What is asked."""
    question: str
    """The question that was answered."""
    references: tuple[str, ...]
    """Accepted answers; empty where none is known."""
    answers: tuple[str, ...]
    """The answer to judge; in `pairwise` the two answers as they are shown, A and B."""
    criteria: tuple[str, ...] = ()
    """What a rubric asks of the answer."""
    levels: tuple[str, ...] = ()
    """What each of the five levels of a rubric means; empty: 1 is worst and 5 is best."""
    repeat: int = 0
    """Number of the repetition, from 0; every second one names the verdicts in the other order."""

    @property
    def verdicts(self) -> tuple[str, ...]:
        """Return what the judge may say, in the order in which it is named."""
        known = VERDICTS[self.mode]
        return known[::-1] if self.repeat % 2 and self.mode != "pairwise" else known

    @property
    def group(self) -> str:
        """Return the digest that the repetitions and both orders of one question to the judge share."""
        return replace(self, repeat=0, answers=tuple(sorted(self.answers))).digest

    @property
    def digest(self) -> str:
        """Return 32 hex digits of the content: nobody can write an answer that holds its own."""
        return hashlib.sha256(dump(asdict(self)).encode("utf-8", "surrogatepass")).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a judge said of one case."""

    verdict: str | None
    """What it said, or held to be most probable; None: nothing that could be read (unparsed)."""
    probabilities: tuple[float, ...] = ()
    """Probability of each of `VERDICTS` among them alone, in that order; empty where it wrote its reply."""
    reason: str = ""
    """What it gave as its reason."""
    tries: int = 1
    """How often it was asked."""
    error: str = ""
    """Why it could not be asked; empty where it was."""

    def check(self, known: Sequence[str]) -> None:
        """Refuse what no judge can have said.

        Raises:
            ValueError: the verdict is not among the known ones, or the probabilities are none of theirs.
        """
        shares = self.probabilities
        numbers = all(type(share) in (int, float) and 0 <= share <= 1 for share in shares)
        if self.verdict is not None and self.verdict not in known:
            raise ValueError(f"verdict {self.verdict!r}")
        if shares and not (numbers and len(shares) == len(known) and abs(sum(shares) - 1) < 1e-3):
            raise ValueError(f"probabilities {shares!r}")
        if not isinstance(self.reason, str) or not isinstance(self.error, str):
            raise ValueError("reason and error are texts")

    def value(self, mode: Mode) -> float | None:
        """Return the expected value, 0..1: P(yes), the mean level, or P(A is better); None where it said nothing."""
        if self.verdict is None:
            return None
        known = VERDICTS[mode]
        shares = self.probabilities or tuple(float(v == self.verdict) for v in known)
        worth = [1.0, 0.0] if mode != "rubric" else [level / 4 for level in range(5)]
        return sum(share * value for share, value in zip(shares, worth, strict=True))


Judgements = Mapping[str, Judgement]
"""Digest of a case -> what was said of it."""


@dataclass(frozen=True)
class Judge:
    """How answers are judged by another model."""

    mode: Mode = "correct"
    """`correct`: right by the accepted answers? `rubric`: a level by criteria; `pairwise`: against another run."""
    criteria: tuple[str, ...] = ()
    """What a rubric asks of the answer, a sentence each."""
    levels: tuple[str, ...] = ()
    """What the levels 1 to 5 mean, a sentence each."""
    when: Literal["undecided", "always"] = "undecided"
    """`undecided`: in the mode `correct`, do not ask about what `exact` or `match` call right, or what is empty."""
    verdict_by: Literal["auto", "probabilities", "reply"] = "auto"
    """`auto`: by the probabilities of the verdicts where the judge gives them, else by its written reply."""
    repeats: int = 1
    """How often each case is asked; the score is the mean. At temperature 0, only the order of the verdicts differs."""
    tries: int = 3
    """How often a reply that cannot be read is asked for, in all."""
    max_chars: int = 8_000
    """Characters of each text that are shown to the judge; the middle of a longer one is left out."""
    temperature: float = 0.0
    """Of written replies."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        for key, known in _CHOICES.items():
            if getattr(self, key) not in known:
                raise _wrong(key, getattr(self, key), f"one of {', '.join(known)}")
        for key, low, high in (("repeats", 1, MAX_REPEATS), ("tries", 1, 10), ("max_chars", 100, 1_000_000)):
            value = getattr(self, key)
            if type(value) is not int or not low <= value <= high:
                raise _wrong(key, value, f"a whole number from {low} to {high:,}")
        for key in ("criteria", "levels"):
            if not isinstance(getattr(self, key), tuple) or not all(isinstance(t, str) for t in getattr(self, key)):
                raise _wrong(key, getattr(self, key), "a list of texts")
        if type(self.temperature) not in (int, float) or not 0 <= self.temperature <= 100:
            raise _wrong("temperature", self.temperature, "a number from 0 to 100")
        if (self.mode == "rubric") != bool(self.criteria):
            raise _wrong("criteria", self.criteria, "some in the mode rubric, none in the others")
        if self.levels and (self.mode != "rubric" or len(self.levels) != 5):
            raise _wrong("levels", self.levels, "five in the mode rubric, or none")

    def __call__(self, example: Example, response: Response) -> Score:
        """Judge by rules alone; what they leave open is unscored, since nobody was asked."""
        return self.heard({})(example, response)

    def heard(self, judgements: Judgements, others: Answers | None = None) -> Heard:
        """Return the scorer that has judgements, and in `pairwise` the other run's answers."""
        return Heard(self, judgements, others or {})

    def decided(self, example: Example, response: Response, other: str | None = None) -> Score | None:
        """Return the score that needs no judge; None where one is to be asked."""
        if response.error is not None:
            return Score("judge", None, why="no answer: the request failed")
        if response.choice_logprobs:
            return Score("judge", None, why="not judged: a choice, not a written answer")
        if self.mode == "pairwise":
            if other is None:
                return Score("judge", None, why="not judged: the other run has no answer to it")
            return Score("judge", 0.5, why="tie: both answers are the same") if other == response.text else None
        if not response.text.strip():
            return Score("judge", 0.0, why="decided by rule: empty answer")
        if self.mode == "correct" and not example.target:
            return Score("judge", None, why="not judged: no accepted answer is known")
        if self.mode == "correct" and self.when == "undecided":
            return _by_rules(example, response)
        return None

    def cases(self, example: Example, response: Response, other: str | None = None) -> tuple[Case, ...]:
        """Return what is to be asked of one answer: for each repetition one case, in `pairwise` one for each order."""
        other = other if self.mode == "pairwise" else None
        if self.decided(example, response, other) is not None:
            return ()
        shown = [(response.text,)] if other is None else [(response.text, other), (other, response.text)]
        return tuple(
            Case(self.mode, _asked(example), example.target, answers, self.criteria, self.levels, repeat)
            for repeat in range(self.repeats)
            for answers in shown
        )


@dataclass(frozen=True)
class Heard:
    """A judge with what it said: the scorer that gives scores."""

    judge: Judge
    """How is judged."""
    judgements: Judgements = field(default_factory=dict, repr=False)
    """What was said."""
    others: Answers = field(default_factory=dict, repr=False)
    """The other run's answers."""

    @property
    def note(self) -> str:
        """Return how much was asked, and how much of it got no verdict; empty where nothing was asked."""
        said = tuple(self.judgements.values())
        failed = sum(bool(judgement.error) for judgement in said)
        unparsed = sum(judgement.verdict is None for judgement in said) - failed
        lean = "; their answers are left out of the mean, which leans towards what rules decide"
        counts = f"judge: {len(said)} cases asked, {unparsed} unparsed, {failed} failed"
        return f"{counts}{lean if failed or unparsed else ''}" if said else ""

    def __call__(self, example: Example, response: Response) -> Score:
        """Return what the judge said of one answer."""
        other = self.others.get(example.id) if self.judge.mode == "pairwise" else None
        decided = self.judge.decided(example, response, other)
        if decided is not None:
            return decided
        said = [self.judgements.get(case.digest) for case in self.judge.cases(example, response, other)]
        known = [judgement for judgement in said if judgement is not None]
        if len(known) < len(said):
            return Score("judge", None, why="not judged: no judge was asked (--judge MODEL)")
        if errors := [judgement.error for judgement in known if judgement.error]:
            return Score("judge", None, why=f"not judged: {errors[0]}")
        if any(judgement.verdict is None for judgement in known):
            tries = max(judgement.tries for judgement in known)
            return Score("judge", None, why=f"unparsed: no valid verdict in {tries} tries")
        if self.judge.mode == "pairwise":
            return _pairwise(known)
        values = [value for judgement in known if (value := judgement.value(self.judge.mode)) is not None]
        return Score("judge", fmean(values), why=_why(self.judge.mode, known))


def _asked(example: Example) -> str:
    """Return the question as the judge sees it; a chat with all its turns."""
    if isinstance(example.input, str) or len(example.input) == 1:
        return example.question
    return "\n".join(f"{turn.role}: {turn.content}" for turn in example.input)


def _pairwise(said: Sequence[Judgement]) -> Score:
    """Score both orders of each repetition: better in both 1, worse in both 0, anything else a tie, one half."""
    points, expected = [], []
    for first, second in zip(said[::2], said[1::2], strict=True):
        won = (first.verdict == "A", second.verdict == "B")
        points.append(fmean(won))
        expected.append(((first.value("pairwise") or 0.0) + 1 - (second.value("pairwise") or 0.0)) / 2)
    outcome = {1.0: "better in both orders", 0.0: "worse in both orders", 0.5: "tie: the two orders disagree"}
    why = outcome[points[0]] if len(set(points)) == 1 else "repetitions disagree"
    return Score("judge", fmean(points), why=f"{why}; expected {fmean(expected):.2f}{_reason(said)}")


def _why(mode: Mode, said: Sequence[Judgement]) -> str:
    verdicts = ", ".join(
        f"{j.verdict} ({max(j.probabilities):.2f})" if j.probabilities else str(j.verdict) for j in said
    )
    return f"{'level ' if mode == 'rubric' else ''}{verdicts}{_reason(said)}"


def _reason(said: Sequence[Judgement]) -> str:
    reason = next((" ".join(j.reason.split()) for j in said if j.reason.strip()), "")
    return f": {reason if len(reason) <= 300 else reason[:299] + '…'}" if reason else ""


def _by_rules(example: Example, response: Response) -> Score | None:
    for scorer in (Exact(), Match()):
        score = scorer(example, response)
        if score.value == 1.0:
            return Score("judge", 1.0, why=f"decided by rule: {score.name}")
    return None


def _wrong(key: str, value: object, expected: str) -> SuiteError:
    return SuiteError(f"scorer judge: {key} is {value!r}, expected {expected}; change [scorer.judge] in suite.toml")
