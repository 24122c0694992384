"""Training files as lines: rows need ids, and edits write into the bytes they were made for and no others."""

from __future__ import annotations

import pytest

from trainkit.curate.edits import Edit, Plan, most_rows, plan_of
from trainkit.curate.lines import line_hash, lines_of, parse_data, rewritten, with_answer
from trainkit.errors import TrainError

ONE = b'{"answer": "yes",  "id": "a", "question": "A?"}'
TWO = b'{"id": "b", "question": "B?", "answer": "no"}\r\n'


def edit(action: str, row: str, line: bytes, after: str = "") -> Edit:
    return Edit(action, "leak", row, line_hash(line), after=after)


def data(raw: bytes):
    from pathlib import Path

    return parse_data(raw, Path("rows.jsonl"))


@pytest.mark.parametrize("raw", [b"", b"a", b"a\n", b"a\n\nb", b"\r\n\n", b"\n"])
def test_lines_joined_are_the_file(raw):
    assert b"".join(lines_of(raw)) == raw


def test_a_row_with_an_empty_answer_is_a_row_here():
    assert data(b'{"id": "a", "question": "A?", "answer": " "}').rows[0].answer == " "


def test_rows_without_ids_are_refused_with_how_to_get_them():
    with pytest.raises(TrainError, match=r"2 rows have no id \(line 2 first\).*trainkit prepare rows.jsonl --out DIR"):
        data(ONE + b'\n{"question": "B?", "answer": "no"}\n{"id": "", "question": "C?", "answer": "no"}')


def test_an_id_that_stands_twice_is_refused():
    with pytest.raises(TrainError, match="line 2: id 'a' stands there twice"):
        data(ONE + b"\n" + ONE)


def test_a_line_without_an_answer_is_named():
    with pytest.raises(TrainError, match="line 1: no answer in it"):
        data(b'{"id": "a", "question": "A?"}')


def test_a_fix_changes_its_own_line_alone():
    raw = b"\n" + ONE + b"\n" + TWO
    assert rewritten(raw, [edit("fix", "b", TWO, "maybe")]) == (
        b"\n" + ONE + b'\n{"id": "b", "question": "B?", "answer": "maybe"}\r\n'
    )


def test_a_dropped_line_goes_with_its_end():
    assert rewritten(ONE + b"\n" + TWO, [edit("drop", "a", ONE)]) == TWO


@pytest.mark.parametrize("action", ["review", "config", "add_request"])
def test_what_is_for_a_person_changes_nothing(action):
    assert rewritten(ONE, [edit(action, "a", ONE, "other")]) == ONE


def test_an_edit_of_another_line_is_refused():
    with pytest.raises(TrainError, match="row 'a' is not as it was"):
        rewritten(ONE, [edit("fix", "a", TWO, "maybe")])


def test_an_edit_of_a_row_that_is_gone_is_refused():
    with pytest.raises(TrainError, match="no row 'a' is there"):
        rewritten(ONE, [edit("drop", "a", ONE), edit("fix", "a", ONE, "maybe")])


def test_the_answer_of_a_chat_is_its_last_turn():
    line = b'{"id": "c", "messages": [{"role": "user", "content": "C?"}, {"role": "assistant", "content": "x"}]}\n'
    assert with_answer(line, "y").endswith(b'{"role": "assistant", "content": "y"}]}\n')


def test_the_answer_of_an_alpaca_row_is_its_output():
    line = '{"id": "d", "instruction": "D", "output": "é"}'.encode()
    assert with_answer(line, "ü") == '{"id": "d", "instruction": "D", "output": "ü"}'.encode()


def test_the_answer_that_is_read_is_the_one_that_is_written():
    line = b'{"id": "d", "instruction": "D", "output": "read", "answer": "not read"}'
    assert data(line).rows[0].answer == "read"
    assert data(with_answer(line, "new")).rows[0].answer == "new"


def test_an_edit_has_the_same_id_whenever_it_is_proposed():
    assert edit("fix", "a", ONE, "x").id == Edit("fix", "leak", "a", line_hash(ONE), "?", "x", "why", ("q1",), 0.4).id
    assert edit("fix", "a", ONE, "x").id != edit("fix", "a", ONE, "y").id


def test_edits_are_ranked_by_items_times_severity_times_confidence_and_then_the_mildest_comes_first():
    far = Edit("drop", "x", "r1", explains=("q1", "q2"), severity="minor", confidence=0.5)  # 2 x 1 x .5 = 1
    near = Edit("drop", "x", "r2", explains=("q1",), severity="critical", confidence=0.5)  # 1 x 4 x .5 = 2
    none = [Edit(action, "x", "r3") for action in ("drop", "add_request", "dedupe", "fix")]
    assert [e.row_id for e in sorted([far, near], key=lambda e: e.rank)] == ["r2", "r1"]
    assert [e.action for e in sorted(none, key=lambda e: e.rank)] == ["fix", "dedupe", "add_request", "drop"]


@pytest.mark.parametrize(("rows", "budget", "most"), [(100, 0.2, 20), (9, 0.1, 0), (10, 0.3, 3), (7, 1.0, 7)])
def test_a_budget_is_a_share_of_the_rows_rounded_down(rows, budget, most):
    assert most_rows(rows, budget) == most


def test_a_plan_comes_back_from_its_record():
    plan = Plan("rows.jsonl", "d" * 64, 2, 0.5, (edit("fix", "a", ONE, "x"), edit("drop", "b", TWO)), 3)
    assert plan_of(plan.record(), "plan.json") == plan


def test_an_edit_may_be_taken_out_of_a_plan_but_not_changed():
    record = Plan("rows.jsonl", "d" * 64, 2, 0.5, (edit("fix", "a", ONE, "x"), edit("drop", "b", TWO))).record()
    kept = {**record, "edits": record["edits"][:1]}
    assert [e.row_id for e in plan_of(kept, "plan.json").edits] == ["a"]
    kept["edits"][0]["after"] = "y"
    with pytest.raises(TrainError, match="was changed by hand"):
        plan_of(kept, "plan.json")


@pytest.mark.parametrize("record", [{}, {"schema": 2}, {"schema": 1, "data": []}])
def test_what_is_no_plan_is_refused(record):
    with pytest.raises(TrainError, match=r"plan.json: no plan of `trainkit curate`"):
        plan_of(record, "plan.json")
