"""RUN/labels.jsonl: what is said is kept, taken back, survives a cut, and counts for its own answer alone."""

from __future__ import annotations

import json
import multiprocessing
import shutil
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import evalkit
from evalkit.errors import RunError, Unfinished
from evalkit.labels import (
    Label,
    Preference,
    Undo,
    add_record,
    digest_of,
    history,
    read_labels,
    read_preferences,
    record_line,
    record_of,
    run_key,
    standing,
    undo_of,
)
from evalkit.record import read_run


@pytest.fixture
def folder(write_run, make_row):
    return write_run("run", [make_row(f"q{i}", f"answer {i}") for i in range(3)])


@pytest.fixture
def label(folder):
    run = read_run(folder)
    rows = {row.example.id: row for row in run.rows}

    def build(item="q0", labeller="kim", verdict="correct", **more):
        answer = digest_of(rows[item])
        return Label(item, 0, "docs_qa", labeller, run_key(run), answer, verdict, **more)

    return build


def add(folder, *records):
    for record in records:
        add_record(folder, record)
    return folder / "labels.jsonl"


def test_a_run_without_labels_has_none(folder):
    assert read_labels(folder) == ()
    assert not (folder / "labels.jsonl").exists()


def test_what_is_added_is_read(folder, label):
    said = label(category="leak", note="tags in the text", time="2026-11-24T08:00:00Z")
    add(folder, said)
    assert evalkit.read_labels(folder) == (said,)


def test_a_line_is_readable_json(folder, label):
    path = add(folder, label(verdict="wrong", note="한국어"))
    line = json.loads(path.read_text(encoding="utf-8"))
    assert line["k"] == "label"
    assert line["r"] == {
        "kind": "label", "id": "q0", "trial": 0, "suite": "docs_qa", "labeller": "kim", "run": label().run,
        "answer": label().answer, "verdict": "wrong", "category": None, "note": "한국어", "time": "",
    }  # fmt: skip


def test_the_last_label_of_an_answer_counts(folder, label):
    add(folder, label(), label("q1"), label(verdict="wrong"))
    assert [(given.id, given.verdict) for given in read_labels(folder)] == [("q1", "correct"), ("q0", "wrong")]


def test_labellers_stand_side_by_side(folder, label):
    add(folder, label(labeller="kim"), label(labeller="lee", verdict="wrong"))
    assert {given.labeller: given.verdict for given in read_labels(folder)} == {"kim": "correct", "lee": "wrong"}


def test_undo_is_a_line_and_brings_back_what_stood_before(folder, label):
    first, second = label(), label(verdict="wrong")
    path = add(folder, first, second, undo_of(second))
    assert read_labels(folder) == (first,)
    assert path.read_bytes().count(b"\n") == 3
    add(folder, undo_of(first))
    assert read_labels(folder) == ()


def test_undo_takes_back_ones_own_label_alone(folder, label):
    kim, lee = label(labeller="kim"), label(labeller="lee")
    add(folder, kim, lee, undo_of(kim))
    assert read_labels(folder) == (lee,)


def test_undo_of_nothing_changes_nothing(label):
    assert standing([undo_of(label()), label()]) == (label(),)


def test_a_preference_says_where_each_run_stood(folder, label):
    own = label()
    chosen = Preference("q0", 0, "docs_qa", "kim", own.run, "other", own.run, "d0", own.answer, "right")
    add(folder, chosen)
    assert read_preferences(folder) == (chosen,)
    assert read_labels(folder) == ()
    assert (chosen.other, chosen.better_run) == ("other", own.run)
    assert replace(chosen, better="left").better_run == "other"
    assert replace(chosen, better="tie").better_run is None
    add(folder, undo_of(chosen))
    assert read_preferences(folder) == ()


def test_a_file_cut_at_any_byte_keeps_its_whole_lines_and_goes_on(folder, label):
    said = [label(note='"r":{'), label("q1", note="a\nb 한"), label("q2")]
    path = add(folder, *said)
    data = path.read_bytes()
    for size in range(len(data) + 1):
        path.write_bytes(data[:size])
        whole = data[:size].count(b"\n")
        assert read_labels(folder) == tuple(said[:whole])
    path.write_bytes(data[:-9])
    add(folder, said[0])
    assert [given.id for given in read_labels(folder)] == ["q1", "q0"]


def test_a_damaged_line_before_the_last_is_refused_by_number(folder, label):
    path = add(folder, label(), label("q1"))
    path.write_bytes(path.read_bytes().replace(b'"correct"', b'"perfect"', 1))
    with pytest.raises(RunError, match=r"line 1 is corrupt.*move the file away"):
        read_labels(folder)
    with pytest.raises(RunError, match="line 1 is corrupt"):
        add(folder, label())


def test_labels_of_another_run_are_refused(folder, label, write_run, make_row):
    path, other = add(folder, label()), write_run("other", [make_row(f"q{i}", f"answer {i}") for i in range(3)])
    shutil.copy(path, other)
    with pytest.raises(RunError, match=rf"labels.jsonl: line 1 judges run {label().run}, this is run .*; labels count"):
        read_labels(other)


def test_a_moved_run_keeps_its_labels(folder, label, tmp_path):
    add(folder, label())
    assert read_labels(folder.rename(tmp_path / "moved")) == (label(),)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"answer": "0" * 16}, "judges another answer to 'q0'"), ({"id": "q9"}, "judges example 'q9', trial 0, which")],
)
def test_a_label_of_another_answer_is_refused(folder, label, change, message):
    add(folder, replace(label(), **change))
    with pytest.raises(RunError, match=message):
        read_labels(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "opinion"},
        {"verdict": "perfect"},
        {"trial": "0"},
        {"note": ["x"]},
        {"mood": "good"},
    ],
    ids=str,
)
def test_a_line_that_is_no_label_is_refused(folder, label, change):
    from evalkit.journal import Journal

    Journal(folder / "labels.jsonl", 0).append([record_line(label()) | change])
    with pytest.raises(RunError, match="line 1 is no label"):
        read_labels(folder)


def test_half_a_character_in_a_name_becomes_a_sign_that_can_be_written(folder, label):
    add(folder, label(labeller="k\udcff", note="\ud800"))
    assert [(given.labeller, given.note) for given in read_labels(folder)] == [("k\ufffd", "\ufffd")]


def test_labels_of_an_unfinished_run_are_not_read(write_run, make_row):
    with pytest.raises(Unfinished):
        read_labels(write_run("half", [make_row()], finished=False))


def test_a_symbolic_link_is_never_written_through(folder, label, tmp_path):
    other = tmp_path / "other"
    other.write_text("mine")
    (folder / "labels.jsonl").symlink_to(other)
    with pytest.raises(RunError, match=r"labels.jsonl: cannot be written"):
        add(folder, label())
    assert other.read_text() == "mine"


def test_labellers_may_add_at_the_same_time(folder, label):
    context = multiprocessing.get_context("fork")
    people = [
        context.Process(target=add, args=(folder, *(label(labeller=name, note=str(i)) for i in range(20))))
        for name in ("kim", "lee")
    ]
    for person in people:
        person.start()
    for person in people:
        person.join()
    assert (folder / "labels.jsonl").read_bytes().count(b"\n") == 40
    assert {given.labeller: given.note for given in read_labels(folder)} == {"kim": "19", "lee": "19"}


def test_choices_are_part_of_the_answers_digest(make_row):
    row = make_row(answer="")
    chosen = replace(row, response=replace(row.response, choice_logprobs=(-1.0, -2.0)))
    assert digest_of(row) != digest_of(chosen)


def said(label: Label) -> st.SearchStrategy[Label]:
    return st.builds(
        replace, st.just(label), id=st.sampled_from("ab"), labeller=st.sampled_from("kl"), note=st.text(max_size=3)
    )


LABELS = said(Label("a", 0, "s", "k", "r", "d"))
RECORDS = st.lists(st.one_of(LABELS, LABELS.map(undo_of)), max_size=12)


@given(RECORDS, LABELS)
def test_undo_right_after_a_label_leaves_no_trace(records, label):
    assert history([*records, label, undo_of(label)]) == history(records)


@given(RECORDS)
def test_what_stands_is_the_last_of_each_key(records):
    kept = history(records)
    assert {given.key: given for given in kept} == {given.key: given for given in standing(records)}


@given(RECORDS)
def test_a_record_survives_its_line(records):
    lines = [json.loads(json.dumps(record_line(record))) for record in records]
    assert [record_of(line) for line in lines] == records
    assert all(
        isinstance(record, Undo) == (line["kind"] == "undo") for record, line in zip(records, lines, strict=True)
    )
