"""The loop: three arms with the same settings, a fair control, one verdict; a script trains in place of a model."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from evalkit.cli import call as evalkit_call
from evalkit.evaluate import evaluate
from trainkit import loop as looping
from trainkit.cli import call
from trainkit.curate.edits import Edit, Plan
from trainkit.curate.effects import read_effects
from trainkit.curate.lines import read_data
from trainkit.errors import TrainError
from trainkit.loop import Circle, loop, random_edits
from trainkit.looped import changes, headline, plots
from trainkit.settings import SftSettings

ITEMS = 30
LOOP = "It is so." + " It is really so, as everybody here knows." * 6
SETTINGS = 'taggers = ["repetition"]\nscorers = ["exact"]\nprimary = "exact"\n'


@pytest.fixture
def train(tmp_path, write_jsonl):
    words = ["amber", "bridge", "candle", "desert", "engine", "forest", "guitar", "harbor", "island", "jungle"]
    rows = [{"id": f"r{i}", "question": f"What is a {w}?", "answer": LOOP if i < 3 else f"A {w} is what we call a {w}."}
            for i, w in enumerate(words)]  # fmt: skip
    return write_jsonl(tmp_path / "data" / "rows.jsonl", rows)


@pytest.fixture
def plan(train) -> Plan:
    data = read_data(train)
    edits = tuple(Edit("trim", "repetition", row.id, data.hashes[row.id], row.answer, "It is so.")
                  for row in data.rows if row.answer == LOOP)  # fmt: skip
    return Plan(str(train), data.sha256, len(data.rows), 0.5, edits)


@pytest.fixture
def exam(suite_at):
    return suite_at("exam", SETTINGS, count=ITEMS)


def scripted(settings: SftSettings) -> str:
    """Answer as rows do: as many of ten answers loop as rows do, the others are right."""
    rows = [json.loads(line) for line in Path(settings.data).read_text().splitlines()]
    looped = sum(row["answer"] == LOOP for row in rows)
    script = Path(settings.data).with_name("script.jsonl")
    answers = [{"id": f"q{i}", "answer": LOOP if i % 10 < looped else f"a{i}"} for i in range(ITEMS)]
    script.write_text("".join(json.dumps(a) + "\n" for a in answers))
    return f"scripted:{script}"


def settings_at(tmp_path: Path, train: Path) -> SftSettings:
    return SftSettings(model="tiny", data=str(train), out=str(tmp_path / "loop"))


def test_a_plan_that_beats_the_original_and_the_control_is_accepted(tmp_path, train, plan, exam):
    done = loop(settings_at(tmp_path, train), Circle(plan, (str(exam),), seeds=2), train=scripted)
    assert done.accepted
    arms = done.arms["exam"]
    before_after = {c.metric: (c.baseline, c.candidate) for c in arms.plan.checks}
    assert before_after["exact"] == pytest.approx((70.0, 100.0))
    assert before_after["tag:repetition"] == pytest.approx((30.0, 0.0))
    assert (arms.plan.verdict, arms.random.verdict) == ("PASS", "PASS")


def test_every_arm_and_seed_has_its_own_rows(tmp_path, train, plan, exam):
    loop(settings_at(tmp_path, train), Circle(plan, (str(exam),), seeds=2), train=scripted)
    files = {p.parent.name: p.read_bytes() for p in (tmp_path / "loop").glob("*/train.jsonl")}
    assert sorted(files) == ["original-0", "original-1", "plan-0", "plan-1", "random-0", "random-1"]
    assert files["original-0"] == files["original-1"] == train.read_bytes()
    assert files["plan-0"] == files["plan-1"] != files["original-0"]
    assert files["random-0"] != files["random-1"]


def test_the_report_and_the_ledger_are_written(tmp_path, train, plan, exam):
    loop(settings_at(tmp_path, train), Circle(plan, (str(exam),), seeds=1), train=scripted, command="trainkit loop x")
    text = (tmp_path / "loop/loop.md").read_text()
    assert f"Plan {plan.id} is accepted: it beat the original rows and the random edits." in text
    assert "Made by `trainkit loop x`." in text
    assert "| tag:repetition | 30.0 | 0.0 |" in text
    assert "![changes by metric and error](loop-1.png)" in text
    assert (tmp_path / "loop/loop-1.png").read_bytes().startswith(b"\x89PNG")
    (effect,) = read_effects(train.parent)
    assert (effect.action, effect.category, effect.edits, effect.metric) == ("trim", "repetition", 3, "tag:repetition")
    assert (effect.accepted, effect.suite) == (True, "exam")
    assert effect.change == pytest.approx(30.0)


def test_a_plot_shows_each_sides_change_with_its_interval(tmp_path, train, plan, exam):
    done = loop(settings_at(tmp_path, train), Circle(plan, (str(exam),), seeds=1), train=scripted)
    names, sides = changes(done.arms["exam"])
    assert names == ["exact", "tag:repetition"]
    assert list(sides) == ["plan against original", "random against original", "plan against random"]
    found = sides["plan against original"][1]
    assert found is not None
    change, low, high = found
    assert change == pytest.approx(30.0)
    assert low < 30.0 < high  # better is positive for errors too
    assert list(plots(done)) == ["loop-1.png"]


def test_evalkit_report_writes_a_loop_with_its_plots_beside_it(tmp_path, train, plan, exam, capsys):
    loop(settings_at(tmp_path, train), Circle(plan, (str(exam),), seeds=1), train=scripted)
    out = tmp_path / "shown"
    out.mkdir()
    assert evalkit_call(["report", str(tmp_path / "loop"), "--format", "md", "-o", str(out / "page.md")]) == 0
    assert (out / "page.md").read_bytes() == (tmp_path / "loop/loop.md").read_bytes()
    assert (out / "loop-1.png").read_bytes() == (tmp_path / "loop/loop-1.png").read_bytes()
    assert evalkit_call(["report", str(tmp_path / "loop"), "--format", "html"]) == 2
    assert capsys.readouterr().err == (
        f"evalkit: --format html shows runs; {tmp_path}/loop holds loop.md, which --format md writes\n"
    )
    (tmp_path / "loop/loop-1.png").unlink()
    assert evalkit_call(["report", str(tmp_path / "loop"), "--format", "md", "-o", str(out / "page.md")]) == 2
    assert "loop.md: cannot be read whole" in capsys.readouterr().err


def test_a_loop_that_is_called_again_trains_nothing_and_adds_no_ledger_entry(tmp_path, train, plan, exam):
    settings = settings_at(tmp_path, train)
    first = loop(settings, Circle(plan, (str(exam),), seeds=1), train=scripted)
    again = loop(settings, Circle(plan, (str(exam),), seeds=1), train=lambda s: "scripted:nowhere.jsonl")
    assert again == first
    assert len(read_effects(train.parent)) == 1


def test_a_plan_that_changes_nothing_in_the_answers_is_not_accepted(tmp_path, train, plan, exam):
    done = loop(settings_at(tmp_path, train), Circle(plan, (str(exam),), seeds=1),
                train=lambda s: scripted_always(s))  # fmt: skip
    assert not done.accepted
    assert "nothing it aims at beat both" in (tmp_path / "loop/loop.md").read_text()


def scripted_always(settings: SftSettings) -> str:
    script = Path(settings.data).with_name("script.jsonl")
    script.write_text("".join(json.dumps({"id": f"q{i}", "answer": f"a{i}"}) + "\n" for i in range(ITEMS)))
    return f"scripted:{script}"


def test_the_control_has_the_same_actions_on_other_rows_and_cuts_as_much(train, plan):
    data = read_data(train)
    edits = random_edits(plan, data.rows, data.hashes, 0)
    assert [e.action for e in edits] == ["trim"] * 3
    assert len({e.row_id for e in edits}) == 3
    share = len("It is so.") / len(LOOP)
    for edit in edits:
        assert len(edit.after.split(" ")) == max(1, round(share * len(edit.before.split(" "))))
    assert edits == random_edits(plan, data.rows, data.hashes, 0)
    assert edits != random_edits(plan, data.rows, data.hashes, 1)


def test_rows_that_are_held_out_questions_are_never_trained(tmp_path, train, plan, exam, monkeypatch):
    monkeypatch.setattr(looping, "held_out_questions", lambda names=(): {"exam/q0": "what is a harbor"})

    def never(settings: SftSettings) -> str:
        raise AssertionError("trained on the test")

    with pytest.raises(TrainError, match="1 rows are held-out questions or nearly so"):
        loop(settings_at(tmp_path, train), Circle(plan, (str(exam),)), train=never)


def test_rows_that_are_questions_of_the_suite_that_judges_are_never_trained(tmp_path, train, plan, suite_at):
    near = suite_at("near", SETTINGS, count=1, input="what is a harbor")
    with pytest.raises(TrainError, match=r"1 rows are held-out questions or nearly so \(row r7 is near/q0"):
        loop(settings_at(tmp_path, train), Circle(plan, (str(near),)), train=scripted)


def test_rows_that_must_go_go_from_every_arm_and_are_not_what_is_proven(tmp_path, train, plan, suite_at):
    exam = suite_at("exam", SETTINGS, count=ITEMS)
    data = read_data(train)
    drop = Edit("drop", "held_out", "r7", data.hashes["r7"], data.named["r7"].answer)
    both = replace(plan, edits=(drop, *plan.edits))
    done = loop(settings_at(tmp_path, train), Circle(both, (str(exam),), seeds=1), train=scripted)
    files = {p.parent.name: read_data(p).hashes for p in (tmp_path / "loop").glob("*/train.jsonl")}
    assert {name: len(rows) for name, rows in files.items()} == {"original-0": 9, "plan-0": 9, "random-0": 9}
    assert not any("r7" in rows for rows in files.values())
    assert [(e.category, e.edits, e.plan) for e in done.effects] == [("repetition", 3, both.id)]


def test_a_plan_that_only_takes_out_what_must_go_has_nothing_to_prove(train, plan, exam):
    drop = Edit("drop", "empty", "r7", read_data(train).hashes["r7"])
    with pytest.raises(TrainError, match="changes no row but held-out and empty ones"):
        Circle(replace(plan, edits=(drop,)), (str(exam),))


@pytest.mark.parametrize("verdict", ["FAIL", "ERROR"])
def test_a_gate_that_fails_or_cannot_tell_refuses_a_plan(tmp_path, train, plan, exam, verdict, monkeypatch):
    monkeypatch.setattr(looping, "evaluate", lambda pairs: replace(evaluate(pairs), verdict=verdict))
    done = loop(settings_at(tmp_path, train), Circle(plan, (str(exam),), seeds=1), train=scripted)
    assert not done.accepted
    assert headline(done) == f"plan {plan.id} is not accepted: exam fails the gate"


def test_what_was_not_measured_is_no_effect(tmp_path, train, plan, exam):
    other = replace(plan, edits=tuple(replace(edit, category="leak") for edit in plan.edits))
    done = loop(settings_at(tmp_path, train), Circle(other, (str(exam),), seeds=1), train=scripted)
    assert done.effects == read_effects(train.parent) == ()


def test_a_ledger_that_was_not_written_is_written_when_the_loop_is_called_again(
    tmp_path, train, plan, exam, monkeypatch
):
    circle = Circle(plan, (str(exam),), seeds=1)

    def stopped(folder, effects):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(looping, "add_effects", stopped)
        with pytest.raises(KeyboardInterrupt):
            loop(settings_at(tmp_path, train), circle, train=scripted)
    assert not (tmp_path / "loop/loop.json").exists()
    loop(settings_at(tmp_path, train), circle, train=scripted)
    assert len(read_effects(train.parent)) == 1


def test_a_dev_suite_gives_no_verdict(plan, suite_at):
    dev = suite_at("dev", 'split = "dev"\n' + SETTINGS)
    with pytest.raises(TrainError, match="rows are chosen by those, the verdict is read on held-out ones"):
        Circle(plan, (str(dev),))


def test_a_plan_that_changes_no_row_cannot_be_proven(plan, exam):
    with pytest.raises(TrainError, match="there is nothing to prove"):
        Circle(Plan(plan.path, plan.digest, plan.rows, 0.5, ()), (str(exam),))


def test_other_data_than_the_plans_is_refused(tmp_path, train, plan, exam):
    train.write_bytes(train.read_bytes() + b"\n")
    with pytest.raises(TrainError, match="is for another version of the data"):
        loop(settings_at(tmp_path, train), Circle(plan, (str(exam),)), train=scripted)


@pytest.mark.parametrize("keys", [("text", "answer"), ("question", "text")])
def test_rows_are_read_as_the_plan_read_them(tmp_path, train, plan, exam, keys):
    other = replace(settings_at(tmp_path, train), input_key=keys[0], output_key=keys[1])
    with pytest.raises(TrainError, match="plans are made of `question` and `answer`"):
        loop(other, Circle(plan, (str(exam),), seeds=1), train=scripted)


def test_a_folder_of_another_loop_is_refused(tmp_path, train, plan, exam):
    loop(settings_at(tmp_path, train), Circle(plan, (str(exam),), seeds=1), train=scripted)
    with pytest.raises(TrainError, match="holds a loop of other settings, plan or suites"):
        loop(settings_at(tmp_path, train), Circle(plan, (str(exam),), seeds=1, limit=3), train=scripted)


def test_the_command_prints_the_verdict_and_where_the_report_is(tmp_path, train, plan, exam, monkeypatch, capsys):
    (tmp_path / "plan.json").write_text(json.dumps(plan.record()))
    monkeypatch.setattr(looping, "_sft", scripted)
    out = tmp_path / "loop"
    arguments = ["loop", "--plan", str(tmp_path / "plan.json"), "--suite", str(exam), "--seeds", "1",
                 "--model", "tiny", "--data", str(train), "--out", str(out)]  # fmt: skip
    assert call(arguments) == 0
    said = capsys.readouterr()
    assert said.out == (
        f"plan {plan.id} is accepted: it beat the original rows and the random edits\nreport: {out}/loop.md\n"
    )
    assert said.err == "original, seed 0: done\nplan, seed 0: done\nrandom, seed 0: done\n"
