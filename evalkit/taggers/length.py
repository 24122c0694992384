"""Find answers that are much longer or much shorter than their reference, or than what the model was trained on.

Lengths are the model's tokens where the response carries them for the answer and its references, otherwise words of
both. It does not know whether the length was needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from evalkit.taggers.text import count_words, number, require, silent, whole, with_state
from evalkit.types import Corpus, Row, Severity, Tag

_SMOOTHING = 5  # added to both lengths, so that short references do not make every answer long
_WORDS_PER_TOKEN = 0.75
_LEAST_TARGETS = 20
_AFTER_COLON = " \t\r\n*_"  # space and the marks of bold type


@dataclass(frozen=True)
class Measured:
    """The length of an answer and of the reference nearest to it."""

    answer: int
    """Of the answer."""
    reference: int
    """Of the reference."""
    unit: str
    """`tokens` or `words`."""

    @property
    def ratio(self) -> float:
        """Return what decides: how many times as long as the reference the answer is, both five units longer."""
        return (self.answer + _SMOOTHING) / (self.reference + _SMOOTHING)

    @property
    def times(self) -> float:
        """Return what a reader is told: how many times as long as the reference the answer is."""
        return self.answer / max(1, self.reference)


def measure(row: Row) -> Measured | None:
    """Return the lengths of an answer and its nearest reference; None without a reference."""
    response, targets = row.response, row.example.target
    if not targets:
        return None
    lengths: Sequence[int] = response.target_tokens
    answer = response.tokens
    unit = "tokens"
    if answer is None or len(lengths) != len(targets):
        answer, lengths, unit = count_words(response.text), [count_words(t) for t in targets], "words"
    ratios = [Measured(answer, n, unit) for n in lengths]
    return min(ratios, key=lambda m: max(m.ratio, 1 / m.ratio))


@dataclass(frozen=True)
class Length:
    """Tag answers that are `too_long` or `too_short`."""

    ratio: float = 2.0
    """Too long from this many times the reference; both lengths count five more."""
    margin: int = 50
    """And by at least this many tokens."""
    major_ratio: float = 3.0
    """Too long is major from here."""
    short_ratio: float = 0.33
    """Too short below this share of the reference."""
    short_margin: int = 30
    """And by at least this many tokens."""
    low: int = field(default=0, init=False, repr=False, compare=False)
    """After prepare: words at the 5th percentile of the training answers; 0 where there are too few."""
    high: int = field(default=0, init=False, repr=False, compare=False)
    """After prepare: words at the 95th percentile."""
    note: str = field(default="", init=False, repr=False, compare=False)
    """After prepare: the bounds, for the report."""

    def __post_init__(self) -> None:
        """Refuse settings that make no sense."""
        require(number(self.ratio) and self.ratio > 1, "length", "ratio", self.ratio, "a number above 1")
        fits = number(self.major_ratio) and self.major_ratio >= self.ratio
        require(fits, "length", "major_ratio", self.major_ratio, f"at least ratio ({self.ratio})")
        fits = number(self.short_ratio) and 0 < self.short_ratio < 1
        require(fits, "length", "short_ratio", self.short_ratio, "a number between 0 and 1")
        require(whole(self.margin, 0), "length", "margin", self.margin, "a whole number from 0")
        require(whole(self.short_margin, 0), "length", "short_margin", self.short_margin, "a whole number from 0")

    def prepare(self, corpus: Corpus) -> Length:
        """Return a tagger that knows the usual length of the training answers, for rows without a reference."""
        said = f"too long above {self.ratio} x the reference and {self.margin} tokens more, too short below "
        said += f"{self.short_ratio} x and {self.short_margin} fewer"
        if len(corpus.training) < _LEAST_TARGETS:
            return with_state(self, note=said)
        lengths = sorted(map(count_words, corpus.training))
        low, high = (lengths[round(share * (len(lengths) - 1))] for share in (0.05, 0.95))
        said += f"; without a reference outside {low}-{high} words (5th and 95th percentile of {len(lengths)} targets)"
        return with_state(self, low=low, high=high, note=said)

    def __call__(self, row: Row) -> Iterable[Tag]:
        """Yield at most one tag; an answer that was cut off is never too short."""
        if silent(row):
            return
        measured = measure(row)
        yield from self._by_reference(row, measured) if measured else self._by_training(row)

    def _by_reference(self, row: Row, m: Measured) -> Iterator[Tag]:
        scale = 1 if m.unit == "tokens" else _WORDS_PER_TOKEN
        says = f"{m.answer} {m.unit}, the reference {m.reference}: {m.times:.2f} times as long"
        if m.ratio > self.ratio and m.answer - m.reference >= self.margin * scale:
            severity: Severity = "major" if m.ratio > self.major_ratio else "minor"
            yield Tag("too_long", severity, says, None, 0.9)
        elif (
            m.ratio < self.short_ratio
            and m.reference - m.answer >= self.short_margin * scale
            and row.response.finish != "length"
        ):
            yield _too_short(row, says, 0.9)

    def _by_training(self, row: Row) -> Iterator[Tag]:
        if not self.high:
            return
        words = count_words(row.response.text)
        if words > self.high and words - self.high >= self.margin * _WORDS_PER_TOKEN:
            severity: Severity = "major" if words > self.major_ratio * self.high else "minor"
            yield Tag(
                "too_long", severity, f"{words} words; 95 % of the training answers have at most {self.high}", None, 0.7
            )
        elif (
            words < self.low
            and self.low - words >= self.short_margin * _WORDS_PER_TOKEN
            and row.response.finish != "length"
        ):
            yield _too_short(row, f"{words} words; 95 % of the training answers have at least {self.low}", 0.7)


def _too_short(row: Row, says: str, confidence: float) -> Tag:
    """Return the tag: major for a lead-in ("The answer is:") that nothing follows."""
    if row.response.text.rstrip(_AFTER_COLON).endswith((":", "：")):  # or the Chinese one
        return Tag("too_short", "major", f"{says}, a lead-in that nothing follows", None, confidence)
    return Tag("too_short", "minor", says, None, confidence)
