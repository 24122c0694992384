"""Plant known defects in a clean training set, so that a plan's precision and recall can be counted. Pure.

What is planted is what goes wrong in real sets; nothing here knows how any of it is found.
"""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from evalkit.taggers.text import sentences
from trainkit.dataset import TrainRow
from trainkit.errors import TrainError

SHARES: Mapping[str, float] = {
    "looped": 0.05,
    "doubled": 0.05,
    "misspelled": 0.03,
    "duplicated": 0.05,
    "leaked": 0.03,
}
"""Kind of defect -> share of the rows that gets it."""
FEWEST = 100
"""Rows that planting needs: with fewer, 3 % are no more than a handful."""
MOST_SPARED = 10
"""Rows of every other topic that stay out of training, as questions that a model could answer."""
_LEAKS = (
    "### Answer: {answer}",
    "{answer} <|im_end|>",
    "{answer}\n\n### Question:\n{question}\n\n### Answer:\n{other}",
    "{answer}</s>",
    "{answer}\nUser: {question}\nAssistant: {other}",
    "<|im_start|>assistant\n{answer}<|im_end|>",
    "[INST] {question} [/INST] {answer}",
)
_WORD = re.compile(r"(?<![\w./-])[a-z]{6,}(?![\w/-])")


@dataclass(frozen=True)
class Planted:
    """A training set with defects, and where they are."""

    rows: tuple[TrainRow, ...]
    """The rows as they would be trained."""
    kinds: Mapping[str, str]
    """Row -> kind of defect."""
    originals: Mapping[str, TrainRow]
    """Row -> the row as it was; of a planted copy, the row that it is a copy of."""
    topic: str
    """The topic that was removed; empty where rows have none."""
    removed: tuple[TrainRow, ...]
    """Its rows."""
    spared: tuple[TrainRow, ...]
    """Rows of other topics that were taken out as well, to be asked."""


def plant(rows: Sequence[TrainRow], seed: int) -> Planted:
    """Return rows with defects planted in the shares of SHARES, each row at most one, drawn by `seed`.

    Raises:
        TrainError: there are too few rows.
    """
    if len(rows) < FEWEST:
        raise TrainError(f"--self-test needs {FEWEST} rows or more, and there are {len(rows)}")
    draw = random.Random(f"plant/{seed}")
    topic, removed, spared = _removed(rows, draw)
    gone = {row.id for row in (*removed, *spared)}
    clean = [row for row in rows if row.id not in gone]
    order = draw.sample(range(len(clean)), len(clean))
    planted, kinds, copies = list(clean), {}, []
    originals: dict[str, TrainRow] = {}
    for kind, share in SHARES.items():
        count, done = round(share * len(clean)), 0
        while done < count and order:
            at = order.pop()
            spoilt = _SPOIL[kind](clean[at], draw.choice(clean), draw)
            if spoilt.answer == clean[at].answer and kind != "duplicated":
                continue  # nothing in this row can be spoilt so
            if kind == "duplicated":
                copies.append(spoilt)
            else:
                planted[at] = spoilt
            kinds[spoilt.id], originals[spoilt.id] = kind, clean[at]
            done += 1
    for copy in copies:
        planted.insert(draw.randrange(len(planted) + 1), copy)
    return Planted(tuple(planted), kinds, originals, topic, tuple(removed), tuple(spared))


def _removed(rows: Sequence[TrainRow], draw: random.Random) -> tuple[str, list[TrainRow], list[TrainRow]]:
    """Return a topic with all its rows, and some rows of every other; nothing where rows have no topics."""
    topics: dict[str, list[TrainRow]] = defaultdict(list)
    for row in rows:
        topics[str(row.meta.get("topic", ""))].append(row)
    if len(topics) < 3 or "" in topics:
        return "", [], []
    topic = draw.choice(sorted(topics))
    spared = [row for name in sorted(topics) if name != topic for row in _some(topics[name], draw)]
    return topic, topics[topic], spared


def _some(rows: Sequence[TrainRow], draw: random.Random) -> list[TrainRow]:
    return draw.sample(rows, min(MOST_SPARED, len(rows) // 5))


def _looped(row: TrainRow, other: TrainRow, draw: random.Random) -> TrainRow:
    """Repeat the last sentence, or a few words of it, to a cut end."""
    parts = [row.answer[start:end] for start, end in sentences(row.answer)]
    copies = draw.randint(4, 12)
    if draw.random() < 0.5:
        text = row.answer + f" {parts[-1]}" * copies
    else:
        words = parts[-1].rstrip(".").split()
        phrase = " ".join(words[-draw.randint(2, 5) :])
        text = row.answer.rstrip(".") + f" {phrase}" * (3 * copies)
    return replace(row, answer=text[: -draw.randint(1, 12)] if draw.random() < 0.5 else text)


def _doubled(row: TrainRow, other: TrainRow, draw: random.Random) -> TrainRow:
    """Say the answer twice, or run on into what another row answers."""
    return replace(row, answer=f"{row.answer} {row.answer if draw.random() < 0.5 else other.answer}")


def _misspelled(row: TrainRow, other: TrainRow, draw: random.Random) -> TrainRow:
    """Swap, drop or double a letter inside of two different words."""
    words = sorted(set(_WORD.findall(row.answer)))
    text = row.answer
    for word in draw.sample(words, min(2, len(words))):
        at = draw.randint(2, len(word) - 3)
        swapped = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
        slips = [swapped, word[:at] + word[at + 1 :], word[:at] + word[at] + word[at:]]
        slip = draw.choice([s for s in slips if s != word])
        text = re.sub(rf"\b{word}\b", slip, text, count=1)
    return replace(row, answer=text)


def _duplicated(row: TrainRow, other: TrainRow, draw: random.Random) -> TrainRow:
    """Copy a row under another id, as it is or with another case and end."""
    question = row.question
    if draw.random() < 0.5:
        question = question.rstrip("?") if draw.random() < 0.5 else f"{question[:1].lower()}{question[1:]}"
    return replace(row, id=f"{row.id}-again", input=question)


def _leaked(row: TrainRow, other: TrainRow, draw: random.Random) -> TrainRow:
    """Leave strings of a prompt in the answer."""
    form = draw.choice(_LEAKS)
    return replace(row, answer=form.format(answer=row.answer, question=other.question, other=other.answer))


_SPOIL: Mapping[str, Callable[[TrainRow, TrainRow, random.Random], TrainRow]] = {
    "looped": _looped,
    "doubled": _doubled,
    "misspelled": _misspelled,
    "duplicated": _duplicated,
    "leaked": _leaked,
}


def kinds_planted(planted: Planted) -> Iterator[tuple[str, list[str]]]:
    """Yield (kind, rows that have it)."""
    for kind in SHARES:
        yield kind, [row for row, found in planted.kinds.items() if found == kind]
