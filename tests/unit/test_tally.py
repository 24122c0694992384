"""Rows one at a time become columns of numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.analyze import Lens, analyze
from evalkit.report import pick
from evalkit.report.pick import evidence, evidence_of
from evalkit.tally import Column, Tally
from evalkit.types import Example, Response, Row, Score, Severity, Tag

SEVERITIES: tuple[Severity, ...] = ("info", "minor", "critical")
TAG = st.builds(
    Tag,
    category=st.sampled_from("abc"),
    severity=st.sampled_from(SEVERITIES),
    why=st.just("why"),
    span=st.none(),
    confidence=st.sampled_from([0.25, 0.5, 1.0]),
)


def test_an_item_counts_once_by_the_mean_of_its_values():
    column = Column()
    for item, value in ((0, 1.0), (1, 0.0), (0, 0.0), (2, 0.5)):
        column.add(item, value)
    assert list(column.means()) == [0.5, 0.0, 0.5]


def test_what_is_counted_of_a_row():
    tally = Tally("m", lambda tag: 4.0 if tag.severity == "critical" else 1.0)
    tags = (Tag("a", "minor", "w", None, 1.0), Tag("a", "critical", "w", None, 0.5), Tag("b", "info", "w", None, 1.0))
    scores = (Score("m", 0.25), Score("n", None), Score("m", 1.0))
    rows = [
        Row(Example("q", "?"), Response("x"), 0, scores, tags, "a"),
        Row(Example("q", "?"), Response("y"), 1, (Score("m", None),)),
        Row(Example("r", "?"), Response(error="busy"), 0, (Score("m", None),)),
    ]
    assert list(tally.watched(rows)) == rows
    assert (tally.rows, tally.answers, tally.clean, tally.scored, tally.items) == (3, 2, 1, 1, {"q": 0, "r": 1})
    assert {name: list(column.values) for name, column in tally.scores.items()} == {"m": [0.25], "n": []}
    a, b = tally.categories["a"], tally.categories["b"]
    assert (list(a.costs), list(a.confidences), dict(a.severities), a.primary) == ([2.0], [0.5], {"critical": 1}, 1)
    assert (list(b.lost), b.primary) == ([0.75], 0)


def test_values_of_several_tasks_are_kept_apart():
    tally = Tally("m", lambda tag: 1.0)
    for task, value in (("one", 1.0), ("one", 0.0), ("two", 1.0), ("two", None)):
        tally.add(Row(Example(task, "?", meta={"task": task}), Response("x"), 0, (Score("m", value),)))
    assert {task: list(values) for task, values in tally.tasks.items()} == {"one": [1.0, 0.0], "two": [1.0]}


def test_wrong_answers_are_found_again_by_their_places(make_row):
    rows = [make_row(f"q{i}", value=float(i % 2)) for i in range(6)]
    wrong = analyze(rows, Lens("match")).unclassified
    assert (len(wrong), wrong[1], wrong[-1], list(wrong[:2])) == (3, rows[2], rows[4], [rows[0], rows[2]])


@given(st.lists(st.lists(TAG, max_size=3), max_size=40), st.integers(0, 5))
def test_evidence_held_a_few_at_a_time_is_that_of_all(found, count):
    """Sorted at once: the clearest first, in the order of the rows, and as the last one the least clear."""
    rows = [Row(Example(str(i), "?"), Response("x"), tags=tuple(tags)) for i, tags in enumerate(found)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pick, "MANY", 2)
        few = evidence_of(rows, "abc", count)
    for category in "abc":
        gravest = [
            (row, max((t for t in row.tags if t.category == category), key=pick._clarity))
            for row in rows
            if any(t.category == category for t in row.tags)
        ]
        ranked = sorted(gravest, key=lambda pair: pick._clarity(pair[1]), reverse=True)
        want = ranked if len(ranked) <= count else [*ranked[: count - 1], ranked[-1]] if count > 1 else ranked[:count]
        assert few[category] == want == evidence(rows, category, count)
