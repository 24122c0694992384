"""What is wrong with the rows of a training set, judged by evalkit's own taggers and by the other rows. Pure.

A row gets one finding: everything that is wrong with it, the gravest first, and what would mend all of it at once.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from evalkit.assess import Assessor
from evalkit.registry import lookup
from evalkit.taggers.text import WORD, count_words, lowered
from evalkit.types import SEVERITY_WEIGHTS, Corpus, Example, Response, Severity, Tag
from trainkit.curate.mend import LEAST_WORDS, Mend, mend_leak, mend_repetition, mend_spelling, mended, row_to_tag
from trainkit.dataset import TrainRow
from trainkit.near import near_within, shingles

TAGGERS = ("empty", "leak", "repetition", "truncated", "language", "refusal", "misspelling")
"""Taggers that need no reference, so that they can judge a training target."""
SAME_ROW, SAME_PROMPT, OTHER_ANSWER = 0.8, 0.9, 0.5
"""Jaccard similarities: two rows are duplicates from the first on, two prompts are the same from the second on, and
two answers contradict each other below the third."""
GRAM = 8
"""Words in a row that make a text a verbatim source of another."""
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


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
    alike = _duplicates(rows) if only in (None, "duplicate", "conflict") else {}
    conflicts = _conflicts(rows, alike) if only in (None, "conflict") else {}
    alike = {} if only == "conflict" else alike
    long = {**_outliers(rows), **_run_ons(rows)} if only in (None, "too_long") else {}
    findings, cut = [], 0
    for row in rows:
        tags = judge.tags(row)
        cut += any(tag.category == "truncated" for tag in tags)
        wanted = tuple(tag for tag in tags if only in (None, tag.category))
        found = _finding(row, wanted, judge, long.get(row.id), trim_long)
        findings.append(_with_others(row, found, alike.get(row.id), conflicts.get(row.id)))
    return Audit(len(rows), tuple(f for f in findings if f), judge.notes, cut)


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
    if long and trim_long and 0 < long[1] < len(text) and row.answer.startswith(text[: long[1]]):
        text = text[: long[1]].rstrip()
        actions.append("trim")
    if not found:
        return None
    ranked = sorted(found.values(), key=lambda tag: (-SEVERITY_WEIGHTS[tag.severity], -tag.confidence, tag.category))
    action = "review" if text == row.answer else "trim" if "trim" in actions else "fix"
    if count_words(text) < LEAST_WORDS and action != "review" and count_words(row.answer) >= LEAST_WORDS:
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


def _duplicates(rows: Sequence[TrainRow]) -> dict[str, tuple[str, float]]:
    """Return row -> (the first row that it is a copy of, similarity 0..1); rows with other numbers are no copies."""
    place = {row.id: i for i, row in enumerate(rows)}
    texts = {row.id: f"{row.question}\n{row.answer}" for row in rows if row.answer.strip()}
    found: dict[str, tuple[str, float]] = {}
    for one, other, similarity in near_within(texts, SAME_ROW):
        if one in found or other in found:
            continue
        first, later = rows[place[one]], rows[place[other]]
        if sorted(_NUMBER.findall(texts[one])) == sorted(_NUMBER.findall(texts[other])):
            same = _bare(first.question) == _bare(later.question) and _bare(first.answer) == _bare(later.answer)
            found[other] = (one, 1.0 if same else min(similarity, 0.99))
    return found


def _conflicts(rows: Sequence[TrainRow], alike: Mapping[str, object]) -> dict[str, tuple[str, float]]:
    """Return row -> (an earlier row with nearly the same question and another answer, similarity of the questions)."""
    place = {row.id: i for i, row in enumerate(rows) if row.id not in alike}
    prompts = {name: rows[i].question for name, i in place.items()}
    found: dict[str, tuple[str, float]] = {}
    for one, other, similarity in near_within(prompts, SAME_PROMPT):
        if other not in found:
            first, later = rows[place[one]], rows[place[other]]
            a, b = shingles(first.answer), shingles(later.answer)
            same_numbers = sorted(_NUMBER.findall(first.question)) == sorted(_NUMBER.findall(later.question))
            if same_numbers and len(a & b) < OTHER_ANSWER * len(a | b):
                found[other] = (one, similarity)
    return found


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
    found: dict[str, tuple[Tag, int]] = {}
    for row in rows:
        words = said[row.id]
        for at in range(LEAST_WORDS, len(words) - GRAM + 1):
            others = begins.get(words[at : at + GRAM], ())
            other = next((o for o in others if o != row.id and words[at : at + len(said[o])] == said[o]), "")
            if other:
                start = [m.start() for m in WORD.finditer(lowered(row.answer))][at]
                why = f"from character {start} on it holds the whole answer of row {other}"
                found[row.id] = (Tag("too_long", "major", why, (start, len(row.answer)), 0.8), start)
                break
    return found


def grams(text: str) -> Iterator[tuple[str, ...]]:
    """Yield every run of GRAM words of a text, in lower case."""
    words = WORD.findall(lowered(text))
    yield from zip(*(words[i:] for i in range(GRAM)), strict=False)


def _bare(text: str) -> str:
    return " ".join(WORD.findall(lowered(text)))
