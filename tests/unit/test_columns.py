"""Columns of a run: what they say of items equals what the rows say one by one, wherever the rows are."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from evalkit.columns import NAMED, Examples, Labels, columns_of, score_of, tag_of
from evalkit.compare import Comparison, compare_runs, pair_of
from evalkit.errors import NotComparable
from evalkit.lines import Drawn
from evalkit.types import Example, Response, Row, Run, Score, Tag

IDENTITY = {"suite": "qa", "primary": "match", "data_digest": "d", "template": "t"}
Figure = Callable[[Row], float | None]


def run(name: str, rows: list[Row]) -> Run:
    return Run(name, {"identity": IDENTITY, "settings": {"model": name}}, tuple(rows))


@st.composite
def rows(draw: st.DrawFn) -> list[Row]:
    """Rows of up to six examples in any order, each asked up to three times: failed, unscored, graded, tagged."""
    keys = draw(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2)), min_size=1, max_size=14, unique=True))
    return [
        Row(
            Example(f"q{number}", "?", ("yes",) if number % 2 else (), meta={"topic": "ab"[number % 2]}),
            Response("yes", error=draw(st.sampled_from((None, None, None, "down")))),
            trial,
            (Score("match", draw(st.sampled_from((None, 0.0, 0.25, 1.0)))), Score("fuzzy", 0.5)),
            tuple(Tag(name, "minor", "x") for name in draw(st.lists(st.sampled_from("lm"), max_size=2))),
        )
        for number, trial in keys
    ]


def by_example(found: list[Row]) -> dict[str, list[Row]]:
    return {row.example.id: [r for r in found if r.example.id == row.example.id] for row in found}


def mean(found: list[Row], figure: Figure, worst: float | None) -> float | None:
    values = [figure(row) for row in found]
    known = [v for v in values if v is not None]
    if not known:
        return None
    filled = known if worst is None else known + [worst] * (len(values) - len(known))
    return sum(filled) / len(filled)


def value(row: Row) -> float | None:
    return None if row.response.error else row.scores[0].value


def tagged(row: Row) -> float | None:
    return None if row.response.error else float(any(tag.category == "l" for tag in row.tags))


def expected(
    before: list[Row], after: list[Row], figure: Figure, worst: float
) -> list[tuple[float | None, float | None]]:
    one, other = by_example(before), by_example(after)
    found = []
    for key in {**one, **other}:
        sides = one.get(key, []), other.get(key, [])
        every = [row for side in sides for row in side]
        answered = all(sides) and not any(row.response.error for row in every)
        if every[0].example.target or not answered or any(figure(row) is not None for row in every):
            found.append((mean(sides[0], figure, None), mean(sides[1], figure, worst)))
    return found


def known(scores) -> list[float | None]:
    return [None if score != score else float(score) for score in scores]


@given(rows(), rows(), st.sampled_from((0.0, 1.0)))
def test_paired_scores_are_the_means_over_each_items_trials(before, after, worst):
    assume(by_example(before).keys() & by_example(after).keys())
    compared = compare_runs(run("a", before), run("b", after))
    for read, figure in ((score_of("match"), value), (tag_of("l"), tagged)):
        pair = pair_of(compared, "m", read, worst=worst)
        wanted = expected(before, after, figure, worst)
        for column, scores in enumerate((pair.baseline, pair.candidate)):
            assert known(scores) == pytest.approx([sides[column] for sides in wanted])


@given(rows(), rows())
def test_items_hold_the_rows_of_both_runs_and_what_changed_is_what_their_scores_say(before, after):
    one, other = by_example(before), by_example(after)
    assume(one.keys() & other.keys())
    compared = compare_runs(run("a", before), run("b", after))
    assert [(list(i.baseline), list(i.candidate)) for i in compared.items] == [
        (one.get(key, []), other.get(key, [])) for key in {**one, **other}
    ]
    change = {key: (mean(one[key], value, None), mean(other.get(key, []), value, 0.0) or 0.0) for key in one}
    fell = {key: b - a for key, (a, b) in change.items() if a is not None and b - a < -1e-9}
    new = {item.example.id: len(item.new_tags) for item in compared.items}
    assert [item.example.id for item in compared.broken] == sorted(fell, key=lambda key: (-new[key], fell[key]))


@given(rows(), rows())
def test_answered_items_are_those_with_an_answer_in_both_runs(before, after):
    one, other = by_example(before), by_example(after)
    assume(one.keys() & other.keys())
    answered = compare_runs(run("a", before), run("b", after)).answered()
    good = [{key: [r for r in found if not r.response.error] for key, found in side.items()} for side in (one, other)]
    both = [key for key in one if good[0][key] and good[1].get(key)]
    assert [(list(i.baseline), list(i.candidate)) for i in answered.items] == [
        (good[0][key], good[1][key]) for key in both
    ]
    assert list(answered.before) == [row for row in before if row.example.id in both and not row.response.error]


class OnDisk(Drawn[Row]):
    """Rows that are made anew whenever they are asked for, as those of a large run."""

    def __init__(self, found: list[Row]) -> None:
        self._found = found

    def __len__(self) -> int:
        return len(self._found)

    def _item(self, index: int) -> Row:
        row = self._found[index]
        return Row(row.example, row.response, row.trial, row.scores, row.tags, row.primary)


def test_rows_may_stay_on_disk(make_row):
    before = [make_row(f"q{i}", value=1.0) for i in range(30)]
    after = [make_row(f"q{i}", value=float(i > 2), tags=[Tag("loop", "minor", "x")]) for i in range(30)]
    held = compare_runs(run("a", before), run("b", after))
    base, cand = (Run(r.id, r.manifest, OnDisk(list(r.rows))) for r in (run("a", before), run("b", after)))
    assert list(compare_runs(base, cand).broken) == list(held.broken)
    assert len(held.broken) == 3


def test_an_answer_that_stands_there_twice_is_refused(make_row):
    for trial in (0, 7):
        row = make_row("q", trial=trial)
        with pytest.raises(NotComparable, match=f"run x: example 'q', trial {trial}, stands there twice"):
            columns_of(run("x", [make_row("q", trial=1), row, row]), Examples())


def test_labels_know_who_has_none_and_what_no_slice_is_named_by():
    labels = Labels()
    for number, label in ((1, "a"), (3, 2), (4, 0.5), (5, "a"), (6, ""), (8, "0.5"), (9, "x" * 201)):
        labels.put(number, label)
    every = np.arange(11)
    clusters = labels.clusters(every)
    assert [label is None for label in clusters] == [n in (0, 2, 7, 10) for n in range(11)]
    assert clusters[1] == clusters[5]
    assert clusters[4] == clusters[8]  # 0.5 as a number and as a text
    assert len(set(clusters)) == 5 + 1
    assert labels.counts(every) == {"a": 2, "2": 1, "0.5": 1}
    assert labels.counts(np.array([5])) == {"a": 1}
    assert np.flatnonzero(labels.marks(every) == labels.mark("0.5")).tolist() == [8]


def test_a_key_of_very_many_values_names_no_slice_and_still_makes_clusters():
    labels = Labels()
    for number in range(2 * NAMED):
        labels.put(number, f"page {number // 2}")
    labels.put(2 * NAMED, "one more")
    labels.put(2 * NAMED + 1, "and another")
    every = np.arange(2 * NAMED + 2)
    assert labels.counts(every) == {}
    assert len(set(labels.clusters(every))) == NAMED + 2


def test_a_part_of_a_comparison_keeps_its_order(make_row):
    found: Comparison = compare_runs(
        run("a", [make_row(f"q{i}") for i in (3, 1, 2)]), run("b", [make_row(f"q{i}") for i in (9, 2, 3)])
    )
    assert [item.example.id for item in found.items] == ["q3", "q1", "q2", "q9"]
    part = found.without(["q1", "gone"])
    assert [item.example.id for item in part.items] == ["q3", "q2", "q9"]
    assert (part.holds("q1"), part.holds("q9"), part.holds("gone")) == (False, True, False)
