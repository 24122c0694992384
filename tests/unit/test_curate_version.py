"""Versions of a training set: applied once, taken back to the byte, and never with a held-out question in them."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainkit.curate.edits import Edit, Plan
from trainkit.curate.guard import refuse_overlap
from trainkit.curate.lines import parse_data, read_data
from trainkit.curate.version import ALL, apply, read_lineage, undone
from trainkit.errors import TrainError

ROWS = [
    {"id": f"r{i}", "question": f"{w} was it?", "answer": f"It is thing {i}."}
    for i, w in enumerate(["What color", "Whose house", "Which street", "How far away"])
]


@pytest.fixture
def train(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"".join(json.dumps(row).encode() + b"\n" for row in ROWS))
    return path


def plan_for(path: Path, *changes: tuple[str, str, str]) -> Plan:
    """Build a plan of (action, row, new answer)."""
    data = read_data(path)
    edits = tuple(Edit(a, "leak", row, data.hashes[row], data.named[row].answer, after) for a, row, after in changes)
    return Plan(str(path), data.sha256, len(data.rows), 1.0, edits)


def answers(path: Path) -> dict[str, str]:
    return {row.id: row.answer for row in read_data(path).rows}


def test_a_plan_is_written_into_a_new_version_and_the_old_one_stays(train):
    before = train.read_bytes()
    done = apply(plan_for(train, ("fix", "r0", "New."), ("drop", "r1", "")), {})
    assert done.path == train.with_name("rows.v2.jsonl")
    assert answers(done.path) == {"r0": "New.", "r2": "It is thing 2.", "r3": "It is thing 3."}
    assert train.read_bytes() == before


def test_the_lineage_says_what_came_from_what(train):
    plan = plan_for(train, ("fix", "r0", "New."))
    done = apply(plan, {})
    (version,) = read_lineage(train)
    assert (version.number, version.file, version.parent, version.plan) == (2, "rows.v2.jsonl", "rows.jsonl", plan.id)
    assert (version.parent_sha256, version.sha256) == (plan.digest, read_data(done.path).sha256)
    assert [edit.id for edit in version.edits] == [edit.id for edit in plan.edits]


def test_versions_of_a_linked_file_stand_beside_the_file_itself(train, tmp_path):
    link = tmp_path / "elsewhere" / "link.jsonl"
    link.parent.mkdir()
    link.symlink_to(train)
    second = apply(plan_for(link, ("fix", "r0", "New.")), {})
    assert second.path == train.with_name("rows.v2.jsonl")
    third = apply(plan_for(second.path, ("fix", "r1", "New.")), {})
    assert (third.path.name, read_lineage(link)) == ("rows.v3.jsonl", (second.version, third.version))


def test_a_plan_is_applied_once(train):
    plan = plan_for(train, ("fix", "r0", "New."))
    apply(plan, {})
    with pytest.raises(TrainError, match=rf"plan {plan.id} was applied already, on .*rows.v2.jsonl"):
        apply(plan, {})


def test_a_plan_that_was_taken_back_may_be_applied_to_the_newest_version(train):
    plan = plan_for(train, ("fix", "r0", "New."), ("drop", "r1", ""))
    second = apply(plan, {}).path
    third = undone(second, [ALL]).path
    with pytest.raises(TrainError, match=r"rows.v2.jsonl was made from it; rows.v3.jsonl has the same bytes: --train "):
        apply(plan, {})
    fourth = apply(plan, {}, third).path
    assert fourth.read_bytes() == second.read_bytes()
    assert undone(fourth, [plan.id]).path.read_bytes() == train.read_bytes()


def test_a_plan_that_was_taken_back_in_part_may_not(train):
    plan = plan_for(train, ("fix", "r0", "New."), ("drop", "r1", ""))
    third = undone(apply(plan, {}).path, [plan.edits[1].id]).path
    with pytest.raises(TrainError, match="is for another version of the data"):
        apply(plan, {}, third)
    with pytest.raises(TrainError, match="was applied already"):
        apply(plan, {})


def test_a_set_that_has_a_number_in_its_name_goes_on_from_there(train):
    numbered = train.rename(train.with_name("set.v2.jsonl"))
    third = apply(plan_for(numbered, ("fix", "r0", "New.")), {})
    assert (third.path.name, third.version.number, third.version.origin) == ("set.v3.jsonl", 3, "set.v2.jsonl")
    assert undone(third.path, [ALL]).path.name == "set.v4.jsonl"


def test_two_plans_of_one_version_conflict_and_the_rows_of_both_are_named(train):
    mine, theirs = (
        plan_for(train, ("fix", "r0", "Mine."), ("drop", "r2", "")),
        plan_for(train, ("fix", "r0", "Theirs.")),
    )
    apply(theirs, {})
    with pytest.raises(TrainError) as fault:
        apply(mine, {})
    said = str(fault.value)
    assert said.startswith(f"conflict: plan {theirs.id} made rows.v2.jsonl from rows.jsonl on ")
    assert f"plan {mine.id} is for rows.jsonl too; both change 1 rows (r0): plan anew with --train " in said


def test_a_plan_for_another_version_is_refused(train):
    plan = plan_for(train, ("fix", "r0", "New."))
    train.write_bytes(train.read_bytes() + b"\n")
    with pytest.raises(TrainError, match="is for another version of the data"):
        apply(plan, {})


def test_one_edit_is_taken_back_and_the_other_stays(train):
    plan = plan_for(train, ("fix", "r0", "New."), ("drop", "r1", ""))
    done = undone(apply(plan, {}).path, [plan.edits[1].id])
    assert done.path.name == "rows.v3.jsonl"
    assert answers(done.path)["r1"] == "It is thing 1."
    assert answers(done.path)["r0"] == "New."


@pytest.mark.parametrize("how", ["edits", "plan", ALL])
def test_taking_every_edit_back_gives_the_same_bytes(train, how):
    plan = plan_for(train, ("fix", "r0", "New."), ("dedupe", "r1", ""), ("trim", "r3", "It"))
    ids = {"edits": [e.id for e in plan.edits], "plan": [plan.id], ALL: [ALL]}[how]
    assert undone(apply(plan, {}).path, ids).path.read_bytes() == train.read_bytes()


def test_edits_of_two_plans_one_upon_the_other_are_taken_back_in_order(train):
    second = apply(first := plan_for(train, ("fix", "r0", "New.")), {}).path
    third = apply(top := plan_for(second, ("fix", "r0", "Newer."), ("drop", "r1", "")), {}).path
    with pytest.raises(TrainError, match=r"row 'r0' is not as it was"):
        undone(third, [first.id])
    fourth = undone(third, [top.id]).path
    assert fourth.read_bytes() == second.read_bytes()
    assert undone(fourth, [first.id]).path.read_bytes() == train.read_bytes()


def test_an_older_version_cannot_be_undone(train):
    second = apply(plan_for(train, ("fix", "r0", "New.")), {}).path
    apply(plan_for(second, ("drop", "r1", "")), {})
    with pytest.raises(TrainError, match=r"rows.v3.jsonl was made from it; undo there"):
        undone(second, [ALL])


def test_an_unknown_edit_is_refused(train):
    done = apply(plan_for(train, ("fix", "r0", "New.")), {})
    with pytest.raises(TrainError, match=r"no edit 'nothing' is in force in rows.v2.jsonl"):
        undone(done.path, ["nothing"])


def test_nothing_can_be_undone_where_nothing_was_done(train):
    with pytest.raises(TrainError, match="no edit is in force here"):
        undone(train, [ALL])


def test_undoing_needs_the_first_version_as_it_was(train):
    done = apply(plan_for(train, ("fix", "r0", "New.")), {})
    train.write_bytes(b"{}")
    with pytest.raises(TrainError, match=r"is no longer the file that rows.v2.jsonl came from"):
        undone(done.path, [ALL])


@pytest.mark.parametrize("how", ["apply", "undo"])
def test_a_version_that_was_changed_by_hand_is_left_alone(train, how):
    second = apply(plan_for(train, ("fix", "r0", "New.")), {}).path
    second.write_bytes(second.read_bytes().replace(b"thing 2", b"thing two"))
    with pytest.raises(TrainError, match=r"was changed by hand.*copy it to a name of its own and plan anew"):
        apply(plan_for(second, ("drop", "r1", "")), {}) if how == "apply" else undone(second, [ALL])
    assert not train.with_name("rows.v3.jsonl").exists()


def test_a_plan_without_a_change_is_not_applied(train):
    with pytest.raises(TrainError, match="changes no row"):
        apply(plan_for(train, ("review", "r0", "")), {})


def test_a_version_with_a_held_out_question_in_it_is_refused(train):
    plan = plan_for(train, ("fix", "r0", "New."))
    with pytest.raises(TrainError, match=r"1 rows are held-out questions or nearly so \(row r1 is exam/q9"):
        apply(plan, {"exam/q9": "whose house was it"})
    assert not train.with_name("rows.v2.jsonl").exists()


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=12).filter(str.strip)
LINES = st.lists(st.tuples(TEXT, TEXT, st.sampled_from(["\n", "\r\n", "\n\n"]), st.booleans()), min_size=1, max_size=6)
CHANGE = st.sampled_from(["", "fix", "trim", "dedupe", "drop"])


@settings(max_examples=40, deadline=None)
@given(LINES, st.lists(CHANGE, min_size=6, max_size=6), st.booleans(), st.data())
def test_undoing_every_edit_restores_any_file(lines, changes, bom, data):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "any.jsonl")
        raw = b"\xef\xbb\xbf" * bom
        for i, (question, answer, end, ascii_only) in enumerate(lines):
            record = {"id": f"r{i}", "question": question, "answer": answer}
            raw += (json.dumps(record, ensure_ascii=ascii_only) + end).encode()
        path.write_bytes(raw)
        wanted = [(c, f"r{i}", f"new {i}") for i, c in zip(range(len(lines)), changes, strict=False) if c]
        removed = {row for action, row, _ in wanted if action in ("dedupe", "drop")}
        if not wanted or len(removed) == len(lines):
            return
        plan = plan_for(path, *wanted)
        newest = apply(plan, {}).path
        ids = data.draw(st.permutations([edit.id for edit in plan.edits]))
        for name in ids:
            newest = undone(newest, [name]).path
        assert newest.read_bytes() == raw


@settings(max_examples=40, deadline=None)
@given(st.sets(st.integers(0, 9), min_size=1), st.sets(st.integers(0, 9), max_size=3), st.integers(0, 9))
def test_held_out_questions_never_enter_a_version(trained, held, edited):
    """Whatever is trained and whatever is held out: a version either has no such row, or is not written."""
    words = ["apple", "bridge", "candle", "desert", "engine", "forest", "guitar", "harbor", "island", "jungle"]
    questions = {f"exam/{i}": f"Tell me what a {words[i]} is" for i in held}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "rows.jsonl")
        lines = [{"id": f"r{i}", "question": f"tell me what a {words[i]} is?", "answer": "A thing."} for i in trained]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        row = f"r{sorted(trained)[edited % len(trained)]}"
        try:
            written = apply(plan_for(path, ("fix", row, "A new thing.")), questions).path
        except TrainError:
            assert trained & held
            assert not path.with_name("rows.v2.jsonl").exists()
        else:
            assert not trained & held
            refuse_overlap(parse_data(written.read_bytes(), written), questions)
