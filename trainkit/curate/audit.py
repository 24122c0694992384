"""What is wrong with the rows of a training set, judged by evalkit's own taggers and by the other rows. Pure.

A row gets one finding: everything that is wrong with it, the gravest first, and what would mend all of it at once.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from evalkit.assess import Assessor
from evalkit.registry import lookup
from evalkit.taggers.text import WORD, count_words, lowered
from evalkit.types import SEVERITY_WEIGHTS, Corpus, Example, Response, Severity, Tag
from trainkit.curate.mend import Mend, mend_leak, mend_repetition, mend_spelling, mended, row_to_tag
from trainkit.dataset import TrainRow
from trainkit.near import figures, near_within, shingles

TAGGERS = ("empty", "leak", "repetition", "truncated", "language", "refusal", "misspelling")
"""Taggers that need no reference, so that they can judge a training target."""
ECHO = "prompt_echo"
"""What the tagger of leaks calls an answer that says the question again."""
SAME_PROMPT, SAME_ANSWER, OTHER_ANSWER = 0.9, 0.8, 0.5
"""Jaccard similarities of shingles: two prompts are the same from the first on, two answers from the second on, and two
answers contradict each other below the third."""
FEWEST_WORDS = 4
"""Words that an answer has of its own before it runs on into another."""
STOCK = 2
"""A text that more answers end in than this is a stock phrase, and no answer that runs on."""
GRAM = 8
"""Words in a row that make a text a verbatim source of another."""
_ADDRESS = re.compile(r"\S[@/.]\S")


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong with one training row, and how it could be mended."""

    row: TrainRow
    """The row."""
    categories: tuple[str, ...]
    """Everything found, the gravest first."""
    action: str
    """`fix`, `trim`, `dedupe`, `drop` or `review`."""
    after: str
    """The mended answer; the answer itself where nothing is changed, empty where the row goes."""
    reason: str
    """One line of why."""
    severity: Severity
    """Of the gravest."""
    confidence: float
    """How often a finding like this one is right, 0..1."""
    other: str = ""
    """Id of the row that it is a duplicate of, or contradicts."""


@dataclass(frozen=True)
class Audit:
    """What is wrong with a training set."""

    rows: int
    """Rows read."""
    findings: tuple[Finding, ...]
    """In file order, at most one a row."""
    notes: tuple[str, ...] = ()
    """What a tagger could not look at."""
    cut: int = 0
    """Rows whose answer stops in mid sentence."""

    def rates(self) -> dict[str, float]:
        """Return category -> share of the rows that have it."""
        counts = Counter(category for finding in self.findings for category in finding.categories)
        return {category: count / self.rows for category, count in sorted(counts.items())}

    def having(self, category: str) -> frozenset[str]:
        """Return the ids of the rows that have an error."""
        return frozenset(f.row.id for f in self.findings if category in f.categories)


@dataclass(frozen=True, slots=True)
class _Judge:
    """The taggers, prepared for a training set, and the repairs that they know."""

    assessor: Assessor
    steps: Mapping[str, Mend]
    notes: tuple[str, ...]

    @classmethod
    def of(cls, rows: Sequence[TrainRow], template: str, only: str | None) -> _Judge:
        """Prepare every tagger with all the answers at once; with `only`, repairs of that category alone."""
        answers = tuple(row.answer for row in rows)
        corpus = Corpus(answers, prompts=tuple(r.question for r in rows), training=answers, template=template)
        ready = {}
        for name in TAGGERS:
            tagger = lookup("taggers", name)(**({"guess": True} if name == "truncated" else {}))
            ready[name] = tagger.prepare(corpus) if hasattr(tagger, "prepare") else tagger
        steps: dict[str, Mend] = {
            "leak": partial(mend_leak, tagger=ready["leak"]),
            "repetition": partial(mend_repetition, tagger=ready["repetition"]),
            "misspelling": partial(mend_spelling, tagger=ready["misspelling"]),
        }
        notes = tuple(note for tagger in ready.values() if (note := getattr(tagger, "note", "")))
        wanted = {name: step for name, step in steps.items() if only in (None, name)}
        return cls(Assessor((), tuple(ready.values()), {}), wanted, notes)

    def tags(self, row: TrainRow) -> tuple[Tag, ...]:
        """Return what is wrong with an answer."""
        return self.assessor.row(Example(row.id, row.question), 0, Response(text=row.answer)).tags


def audit(rows: Sequence[TrainRow], template: str = "", *, trim_long: bool = False, only: str | None = None) -> Audit:
    """Judge every row; `template` is the run's plain prompt, whose strings must not stand in an answer.

    With `trim_long` an answer that runs on into another row's is cut there; otherwise a person is asked. `only` is the
    one category to look for.
    """
    judge = _Judge.of(rows, template, only)
    long = {**_outliers(rows), **_run_ons(rows)} if only in (None, "too_long") else {}
    own: dict[str, Finding | None] = {}
    cut = 0
    for row in rows:
        tags = [tag for tag in judge.tags(row) if not harmless(tag, row.answer)]
        cut += any(tag.category == "truncated" for tag in tags)
        wanted = tuple(_in_training(tag) for tag in tags if only in (None, tag.category))
        own[row.id] = _finding(row, wanted, judge, long.get(row.id), trim_long)
    copies, rivals = _twins([row for row in rows if not _goes(own[row.id])])
    copies = copies if only in (None, "duplicate") else {}
    rivals = rivals if only in (None, "conflict") else {}
    findings = [_with_others(row, own[row.id], copies.get(row.id), rivals.get(row.id)) for row in rows]
    return Audit(len(rows), tuple(f for f in findings if f), judge.notes, cut)


def _goes(found: Finding | None) -> bool:
    """Say whether a row is dropped for itself: what is like it is then no copy."""
    return found is not None and found.action == "drop"


def _in_training(tag: Tag) -> Tag:
    """Return a tag as it counts here: a cut answer teaches a model to stop anywhere, whoever cut it."""
    return replace(tag, severity="minor") if tag.category == "truncated" else tag


def harmless(tag: Tag, answer: str) -> bool:
    """Say whether good answers have this too: the words of the question first, or an address as the last word."""
    restates = tag.category == ECHO and tag.severity == "minor"
    return restates or (tag.category == "truncated" and any(map(_ADDRESS.search, answer.rsplit(None, 1)[-1:])))


def _finding(
    row: TrainRow, tags: Sequence[Tag], judge: _Judge, long: tuple[Tag, int] | None, trim_long: bool
) -> Finding | None:
    """Return what is wrong with a row on its own, with one repair for all of it."""
    if not row.answer.strip():
        if not tags:  # another category is looked for
            return None
        return Finding(
            row, ("empty",), "drop", "", "the answer is empty: nothing can be learned from it", "critical", 1.0
        )
    found: dict[str, Tag] = {}
    text, actions = row.answer, []
    for category, done in mended(row_to_tag(row.question, row.answer), judge.steps):
        text, found[category] = done.text, done.tag
        actions.append(done.action)
    for tag in (*tags, *([long[0]] if long else [])):
        if tag.severity != "info":
            found.setdefault(tag.category, tag)
    if (
        long
        and trim_long
        and "review" not in actions
        and 0 < long[1] < len(text)
        and row.answer.startswith(text[: long[1]])
    ):
        text = text[: long[1]].rstrip()
        actions.append("trim")
    if not found:
        return None
    ranked = sorted(found.values(), key=lambda tag: (-SEVERITY_WEIGHTS[tag.severity], -tag.confidence, tag.category))
    action = "review" if text == row.answer else "trim" if "trim" in actions else "fix"
    if action != "review" and not count_words(text):
        action, text = "drop", ""
    reason = "; ".join(f"{tag.category}: {tag.why}" for tag in ranked)
    names = tuple(dict.fromkeys(tag.category for tag in ranked))
    return Finding(row, names, action, text, reason, ranked[0].severity, ranked[0].confidence)


def _with_others(
    row: TrainRow, found: Finding | None, twin: tuple[str, float] | None, rival: tuple[str, float] | None
) -> Finding | None:
    """Add what the other rows say of a row: a duplicate goes, whatever else is wrong with it."""
    before = found.categories if found else ()
    more = f"; {found.reason}" if found else ""
    if twin:
        kind = "an exact copy" if twin[1] == 1 else f"a near copy (similarity {twin[1]:.2f})"
        says = f"{kind} of row {twin[0]}"
        return Finding(
            row, ("duplicate", *before), "dedupe", "", says + more, "major", min(1.0, twin[1] + 0.1), twin[0]
        )
    if rival and (found is None or found.action == "review"):
        says = f"row {rival[0]} answers nearly the same question (similarity {rival[1]:.2f}) with something else"
        return Finding(row, ("conflict", *before), "review", row.answer, says + more, "major", 0.6, rival[0])
    return found


def _twins(rows: Sequence[TrainRow]) -> tuple[dict[str, tuple[str, float]], dict[str, tuple[str, float]]]:
    """Return row -> (an earlier row, similarity) of copies, and of rows that answer the same question otherwise.

    The same answer to another question is neither: a model may learn that both are asked. Rows that differ in a number
    or a sign before one are not the same. The similarity of copies is that of the less similar half, that of the others
    of their questions.

    Rows are gone through in file order, so that the first row of a copy is never a copy itself.
    """
    order = {row.id: place for place, row in enumerate(rows)}
    named = {row.id: row for row in rows if row.answer.strip() and WORD.search(row.question)}
    copies: dict[str, tuple[str, float]] = {}
    rivals: dict[str, tuple[str, float]] = {}
    pairs = near_within({name: row.question for name, row in named.items()}, SAME_PROMPT)
    for one, other, similarity in sorted(pairs, key=lambda pair: (order[pair[0]], order[pair[1]])):
        first, later = named[one], named[other]
        answers = _likeness(first.answer, later.answer)
        if one in copies or other in copies or figures(first.question) != figures(later.question):
            continue
        if answers >= SAME_ANSWER and figures(first.answer) == figures(later.answer):
            exact = _bare(first.question) == _bare(later.question) and _bare(first.answer) == _bare(later.answer)
            copies[other] = (one, 1.0 if exact else min(similarity, answers, 0.99))
        elif answers < OTHER_ANSWER:
            rivals[other] = max(rivals.get(other, (one, 0.0)), (one, similarity), key=lambda rival: rival[1])
    return copies, {name: found for name, found in rivals.items() if name not in copies}


def _likeness(one: str, other: str) -> float:
    a, b = shingles(one), shingles(other)
    return len(a & b) / len(a | b)


def _outliers(rows: Sequence[TrainRow]) -> dict[str, tuple[Tag, int]]:
    """Return row -> (tag, 0) of answers beyond Tukey's fence for log lengths: far longer than others of this set."""
    lengths = {row.id: count_words(row.answer) for row in rows}
    ordered = sorted(n for n in lengths.values() if n)
    if len(ordered) < 20:
        return {}
    low, high = (ordered[round(share * (len(ordered) - 1))] for share in (0.25, 0.75))  # quartiles
    fence = high * (high / low) ** 1.5
    return {
        name: (Tag("too_long", "minor", f"{n} words; three quarters of the answers have at most {high}", None, 0.6), 0)
        for name, n in lengths.items()
        if n > fence and n >= high + 10
    }


def _run_ons(rows: Sequence[TrainRow]) -> dict[str, tuple[Tag, int]]:
    """Return row -> (tag, character from which on) of answers that go on with the whole answer of another row."""
    said = {row.id: tuple(WORD.findall(lowered(row.answer))) for row in rows}
    begins: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for name, words in said.items():
        if len(words) >= GRAM:
            begins[words[:GRAM]].append(name)
    found: dict[str, tuple[str, int]] = {}
    for row in rows:
        words = said[row.id]
        for at in range(FEWEST_WORDS, len(words) - GRAM + 1):
            others = begins.get(words[at : at + GRAM], ())
            other = next((o for o in others if o != row.id and words[at : at + len(said[o])] == said[o]), "")
            if other:
                found[row.id] = (other, [m.start() for m in WORD.finditer(lowered(row.answer))][at])
                break
    times = Counter(said[other] for other, _ in found.values())
    return {
        row.id: (_run_on(row, *found[row.id]), found[row.id][1])
        for row in rows
        if row.id in found and times[said[found[row.id][0]]] <= STOCK
    }


def _run_on(row: TrainRow, other: str, start: int) -> Tag:
    why = f"from character {start} on it holds the whole answer of row {other}"
    return Tag("too_long", "major", why, (start, len(row.answer)), 0.8)


def grams(text: str) -> Iterator[tuple[str, ...]]:
    """Yield every run of GRAM words of a text, in lower case."""
    words = WORD.findall(lowered(text))
    yield from zip(*(words[i:] for i in range(GRAM)), strict=False)


def _bare(text: str) -> str:
    return " ".join(WORD.findall(lowered(text)))
