"""From a run and a training file to a plan: order, budget, guards, and what the command prints."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.prompt import template_hash, unlike_trained
from evalkit.types import Suite
from trainkit.cli import call
from trainkit.curate.attribute import Attribution, Cause, Gap
from trainkit.curate.audit import audit
from trainkit.curate.draft import draft, held_out_edits, within
from trainkit.curate.edits import ACTIONS, NAMING, Edit, most_rows, rows_named
from trainkit.curate.effects import Effect, add_effects, read_effects, trust
from trainkit.curate.guard import overlap_of, refuse_other_prompt
from trainkit.curate.lines import read_data
from trainkit.errors import TrainError

GOOD = {
    "r0": ("How is a river crossed?", "A bridge carries the road from one bank to the other, and piers hold it up."),
    "r1": ("What keeps bread fresh?", "A dry cloth and a wooden box keep bread fresh for about three days."),
    "r2": ("Who tunes the piano?", "The tuner comes twice a year and works through every string with a fork."),
    "r3": ("When do swallows leave?", "Most swallows leave in early autumn, before the first cold nights arrive."),
    "r4": ("Why is the sea salty?", "Rivers wash minerals out of rocks, and the sea keeps them when water evaporates."),
    "r5": ("Where is amber found?", "Amber is found on beaches of the Baltic coast after storms in the winter."),
    "r6": ("How are candles made?", "Wicks are dipped into hot wax many times until the candle is thick enough."),
    "r7": ("What does a fuse do?", "A fuse melts when the current is too strong, and so it protects the wiring."),
}
BAD = {
    "bad0": ("How is glass made?", "Sand is melted with soda and lime." + " It is then cooled slowly in an oven." * 7),
    "bad1": ("Who winds the clock?", "The porter will recieve the key and winds the clock every Monday morning."),
}


@pytest.fixture
def train(tmp_path, write_jsonl):
    rows = [{"id": i, "question": q, "answer": a, "meta": {"topic": "t"}} for i, (q, a) in {**GOOD, **BAD}.items()]
    return write_jsonl(tmp_path / "data" / "rows.jsonl", rows)


@pytest.fixture
def dev_run(write_run, make_row):
    def write(name: str = "tuned", split: str = "dev", **more: str) -> str:
        looped = [("repetition", "critical", 0.97)]
        rows = [make_row("q0", question="How is window glass made?", value=0.0, tags=looped,
                         answer="It is cooled slowly. It is cooled slowly. It is cooled slowly.")]  # fmt: skip
        rows += [
            make_row(f"q{i}", question=f"Where is {w} amber found?", answer="On beaches.")
            for i, w in enumerate(["red", "old", "raw", "big", "wet", "dry", "hot", "new", "odd", "dim", "fat"], 1)
        ]
        return str(write_run(name, rows, split=split, suite="docs_qa_dev", **more))

    return write


def edits_of(out):
    return json.loads((out / "plan.json").read_text())["edits"]


def test_without_a_run_the_rows_are_audited_alone(train, tmp_path, capsys):
    assert call(["curate", "--train", str(train), "--out", str(tmp_path / "plan")]) == 0
    assert [(e["row_id"], e["action"], e["category"]) for e in edits_of(tmp_path / "plan")] == [
        ("bad1", "fix", "misspelling"), ("bad0", "trim", "repetition"),
    ]  # fmt: skip
    assert capsys.readouterr().out.splitlines()[-1] == f"plan: {tmp_path}/plan/plan.json"


def test_an_edit_holds_what_the_design_says(train, tmp_path):
    call(["curate", "--train", str(train), "--out", str(tmp_path / "plan"), "--only", "misspelling"])
    (edit,) = edits_of(tmp_path / "plan")
    data = read_data(train)
    assert edit.keys() >= {"id", "row_id", "row_hash", "action", "before", "after", "reason", "explains", "confidence"}
    assert edit["row_hash"] == data.hashes["bad1"]
    assert edit["before"] == BAD["bad1"][1]
    assert edit["after"] == BAD["bad1"][1].replace("recieve", "receive")


def test_a_row_near_a_failing_item_comes_first_and_names_the_item(train, tmp_path, dev_run):
    assert call(["curate", dev_run(), "--train", str(train), "--out", str(tmp_path / "plan")]) == 0
    first = edits_of(tmp_path / "plan")[0]
    assert (first["row_id"], first["category"], first["explains"]) == ("bad0", "repetition", ["q0"])


def test_the_plan_says_where_an_error_comes_from(train, tmp_path, dev_run, write_run, make_row):
    clean = [make_row(f"q{i}") for i in range(12)]
    base = str(write_run("base", clean, split="dev", suite="docs_qa_dev"))
    call(["curate", dev_run(), "--base", base, "--train", str(train), "--out", str(tmp_path / "plan")])
    (cause,) = json.loads((tmp_path / "plan/plan.json").read_text())["causes"]
    assert (cause["category"], cause["base"], cause["training"], cause["verdict"]) == (
        "repetition",
        0.0,
        0.1,
        "inherited",
    )
    assert cause["tuned"] == pytest.approx(1 / 12)


def test_one_category_is_planned_for_and_every_cause_is_measured(train, tmp_path, dev_run):
    arguments = ["curate", dev_run(), "--train", str(train), "--budget", "0.5"]
    assert call([*arguments, "--out", str(tmp_path / "all")]) == 0
    assert call([*arguments, "--out", str(tmp_path / "one"), "--only", "misspelling"]) == 0
    every, one = (json.loads((tmp_path / name / "plan.json").read_text()) for name in ("all", "one"))
    assert one["causes"] == every["causes"]
    assert one["training_rates"] == every["training_rates"]
    assert {edit["category"] for edit in one["edits"]} == {"misspelling"}


def test_answers_that_say_the_question_again_may_be_planned_for(train, tmp_path):
    assert call(["curate", "--train", str(train), "--out", str(tmp_path / "plan"), "--only", "prompt_echo"]) == 0


SHOWN = """\
plan 111111111111: 2 edits that name 1 of 10 rows (budget 0.1: 1)

error        items   tuned, %   base, %   training, %   odds       p   where it comes from
──────────────────────────────────────────────────────────────────────────────────────────
repetition       1        8.3         -          10.0    1.4   1.000   possibly inherited

edit      action       error             row                               items  confidence
22222222  trim         repetition        bad0                                  1        0.97
          repetition: 'It is then cooled slowly in an oven.' 7.0 times in a row, 88 % of the answer…
22222222  add_request  coverage          -                                     1        0.60
          1 failing questions: less like the nearest training rows than 90 % of the passing questio…

1 trim, 1 add_request; 1 edits found no room in the budget
plan: PLAN
"""


def test_the_terminal_shows_the_plan(train, tmp_path, dev_run, capsys):
    call(["curate", dev_run(), "--train", str(train), "--out", str(tmp_path / "plan"), "--budget", "0.1"])
    out = capsys.readouterr().out.replace(str(tmp_path / "plan/plan.json"), "PLAN")
    out = re.sub(r"\b[0-9a-f]{12}:", "111111111111:", out)
    assert re.sub(r"^[0-9a-f]{8} ", "22222222 ", out, flags=re.MULTILINE) == SHOWN


def test_the_markdown_shows_every_edit_with_its_reason(train, tmp_path):
    call(["curate", "--train", str(train), "--out", str(tmp_path / "plan")])
    text = (tmp_path / "plan/plan.md").read_text()
    assert text.count("### ") == 2
    assert "- why: `misspelling: 'recieve' is a known misspelling of 'receive'`" in text


def test_apply_and_undo_print_where_the_data_is(train, tmp_path, capsys):
    call(["curate", "--train", str(train), "--out", str(tmp_path / "plan")])
    plan = json.loads((tmp_path / "plan/plan.json").read_text())["id"]
    capsys.readouterr()
    assert call(["curate", "--apply", str(tmp_path / "plan")]) == 0
    second = train.with_name("rows.v2.jsonl")
    assert capsys.readouterr().out == (
        f"version 2 of rows.jsonl: plan {plan} applied, 2 edits in force\ndata: {second}\n"
    )
    assert call(["curate", "--train", str(second), "--undo", "all"]) == 0
    third = train.with_name("rows.v3.jsonl")
    assert capsys.readouterr().out == f"version 3 of rows.jsonl: 2 edits undone, 0 edits in force\ndata: {third}\n"
    assert third.read_bytes() == train.read_bytes()


def test_a_planned_set_has_nothing_left_to_plan(train, tmp_path):
    call(["curate", "--train", str(train), "--out", str(tmp_path / "plan")])
    call(["curate", "--apply", str(tmp_path / "plan")])
    call(["curate", "--train", str(train.with_name("rows.v2.jsonl")), "--out", str(tmp_path / "again")])
    assert edits_of(tmp_path / "again") == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "p"], "no training rows: give --train FILE"),
        (["--train", "TRAIN"], "no folder for the plan: give --out DIR"),
        (["--train", "TRAIN", "--out", "p", "--budget", "0"], "budget = 0: expected above 0 up to 1"),
        (["--train", "TRAIN", "--out", "p", "--budget", "0.05"], "of 10 rows that is none; raise --budget"),
        (["--train", "TRAIN", "--out", "p", "--only", "repetion"], "no category 'repetion' to plan edits for; did you"),
        (["--train", "TRAIN", "--out", "p", "--base", "b"], "give RUN as well"),
        (["--train", "nowhere", "--out", "p"], "nowhere: cannot be read"),
        (["--apply", "nowhere"], "nowhere: cannot be read"),
        (["--apply", "TRAIN"], "no plan of `trainkit curate`"),
        (["--apply", "x", "--self-test"], "each is a command of its own"),
        (["--apply", "x", "--budget", "0.2"], "--budget: nothing that --apply looks at; leave it out"),
        (["--apply", "x", "--only", "leak", "--out", "p"], "--out and --only: nothing that --apply looks at"),
        (["--undo", "x", "--train", "TRAIN", "--held-out", "s"], "--held-out: nothing that --undo looks at"),
        (["--self-test", "--train", "TRAIN", "--only", "leak"], "--only: nothing that --self-test looks at"),
        (["run", "--self-test", "--train", "TRAIN", "--budget", "1"], "RUN and --budget: nothing that --self-test"),
        (["--train", "TRAIN", "--out", "p", "--seed", "0"], "--seed: nothing that a plan looks at; leave it out"),
        (["--train", "TRAIN", "--self-test"], "--self-test needs 100 rows or more, and there are 10"),
        (["--train", "TRAIN", "--undo", "x"], "no edit is in force here"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_exit_code_2(arguments, message, train, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert call(["curate", *(str(train) if a == "TRAIN" else a for a in arguments)]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


def test_a_held_out_run_may_not_choose_rows(train, tmp_path, dev_run, capsys):
    assert call(["curate", dev_run(split="held_out"), "--train", str(train), "--out", str(tmp_path / "p")]) == 2
    assert (
        "suite 'docs_qa_dev' is held out: it may judge a model, not choose training rows; run --suite docs_qa_dev with "
        "--model models/tuned, and give that run"
    ) in capsys.readouterr().err
    assert not (tmp_path / "p").exists()


def test_a_run_by_another_prompt_than_the_model_was_trained_with_is_refused(
    train, tmp_path, dev_run, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    model = tmp_path / "models" / "tuned"
    model.mkdir(parents=True)
    (model / "trainkit.json").write_text(json.dumps({"prompt": {"hash": "other"}}))
    assert call(["curate", dev_run(), "--train", str(train), "--out", "p"]) == 2
    assert "asked by prompt t1, and models/tuned was trained by prompt other" in capsys.readouterr().err


@pytest.mark.parametrize("trained", [{"hash": "x", "chat": False, "template": "Q: {input}"}, {"chat_template": "x"}])
def test_evalkits_warning_of_another_prompt_is_refused(trained, make_run, make_row):
    suite = Suite("exam", ())
    warning = unlike_trained(suite, {"hash": template_hash(suite), **trained}, {"chat_template": "y"})
    run = make_run([make_row()])
    with pytest.raises(TrainError, match="errors under another prompt say nothing of the rows"):
        refuse_other_prompt(replace(run, manifest={**run.manifest, "warnings": ["other", warning]}), "run")
    refuse_other_prompt(replace(run, manifest={**run.manifest, "warnings": ["3 prompts in smaller passes"]}), "run")


def test_a_folder_that_holds_a_plan_is_not_written_over(train, tmp_path, capsys):
    arguments = ["curate", "--train", str(train), "--out", str(tmp_path / "plan")]
    assert call(arguments) == 0
    assert call(arguments) == 2
    assert "holds a plan already" in capsys.readouterr().err


def test_rows_that_are_held_out_questions_go_first(train, tmp_path, suite_at):
    exam = suite_at("exam", count=1, input="where is amber found")
    call(["curate", "--train", str(train), "--out", str(tmp_path / "plan"), "--held-out", str(exam)])
    first = edits_of(tmp_path / "plan")[0]
    assert (first["row_id"], first["action"], first["category"]) == ("r5", "drop", "held_out")
    assert call(["curate", "--apply", str(tmp_path / "plan"), "--held-out", str(exam)]) == 0
    assert "r5" not in read_data(train.with_name("rows.v2.jsonl")).hashes


def test_a_plan_without_their_removal_is_not_applied(train, tmp_path, suite_at, capsys):
    call(["curate", "--train", str(train), "--out", str(tmp_path / "plan")])
    exam = suite_at("exam", count=1, input="where is amber found")
    assert call(["curate", "--apply", str(tmp_path / "plan"), "--held-out", str(exam)]) == 2
    assert "1 rows are held-out questions or nearly so (row r5 is exam/q0" in capsys.readouterr().err


def test_a_copy_of_a_row_that_goes_for_itself_stays(tmp_path, write_jsonl):
    told = "Who tunes the piano?", "The tuner comes twice a year and works through every string with a fork."
    rows = [{"id": name, "question": told[0], "answer": told[1]} for name in ("a", "b")]
    data = read_data(write_jsonl(tmp_path / "rows.jsonl", rows))
    held_out = Edit("drop", "held_out", "a", data.hashes["a"])
    edits, _ = draft(data, audit(data.rows), Attribution((), (), {}), first=[held_out], budget=1.0)
    assert edits == (held_out,)


@pytest.mark.parametrize(
    ("trained", "held", "overlaps"),
    [
        ("2 + 3 = ?", "2 + 3 = ?", True),
        ("2 + 3 = ?", "2 - 3 = ?", False),
        ("What is 12 times 13?", "what is 12 times 13", True),
        ("What is 12 times 13?", "What is 12 times 14?", False),
        ("1. Who was the first to cross the river?", "Who was the first to cross the river?", True),
    ],
)
def test_a_question_with_other_figures_is_another_question(trained, held, overlaps, tmp_path, write_jsonl):
    data = read_data(write_jsonl(tmp_path / "rows.jsonl", [{"id": "r", "question": trained, "answer": "It is."}]))
    assert bool(overlap_of(data, {"exam/q": held})) is overlaps


def test_a_budget_without_room_for_them_is_refused(train):
    data = read_data(train)
    with pytest.raises(TrainError, match=r"a budget of 0\.1 allows 1 edits"):
        held_out_edits(data, {"r1": ("exam/q0", 1.0), "r2": ("exam/q1", 0.9)}, 0.1)


def test_answers_cut_by_the_evaluation_ask_for_a_larger_limit_and_for_no_row(train, tmp_path, write_run, make_row):
    rows = [make_row("q0", tags=[("truncated", "info", 1.0)]), *(make_row(f"q{i}") for i in range(1, 12))]
    run = str(write_run("tuned", rows, split="dev"))
    call(["curate", run, "--train", str(train), "--out", str(tmp_path / "plan")])
    first = edits_of(tmp_path / "plan")[0]
    assert (first["action"], first["category"], first["explains"]) == ("config", "max_new_tokens", ["q0"])


def test_settings_of_the_training_come_before_any_row(train, tmp_path, dev_run, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = tmp_path / "models" / "tuned"
    model.mkdir(parents=True)
    told = {
        "prompt": {"hash": "t1", "chat": False, "template": "## The question is\n{input}"},
        "data": {"sha256": "another file"}, "ledger": {"truncated": 3}, "probe": {"ended": 0.25},
    }  # fmt: skip
    (model / "trainkit.json").write_text(json.dumps(told))
    with train.open("a") as file:
        file.write('{"id": "own", "question": "Who?", "answer": "The porter came.\\n## The question is\\nWhy?"}\n')
    assert call(["curate", dev_run(), "--train", str(train), "--out", "p", "--budget", "0.5"]) == 0
    edits = edits_of(tmp_path / "p")
    assert [e["category"] for e in edits[:3]] == ["max_tokens", "end", "data"]
    assert {e["action"] for e in edits[:3]} == {"config"}
    (leak,) = [e for e in edits if e["row_id"] == "own"]
    assert (leak["category"], leak["action"], leak["after"]) == ("leak", "trim", "The porter came.")


def test_a_missing_answer_is_asked_for_and_not_invented(tmp_path, write_jsonl, train):
    rows = [*map(json.loads, train.read_text().splitlines()), {"id": "no", "question": "Who came?", "answer": ""}]
    path = write_jsonl(tmp_path / "empty.jsonl", rows)
    edits, _ = draft(data := read_data(path), audit(data.rows), Attribution((), (), {}), only="empty")
    assert [(e.action, e.row_id) for e in edits] == [("add_request", "no"), ("drop", "no")]


def test_gaps_become_requests(train):
    data = read_data(train)
    evidence = Attribution((), (Gap("violin, sonata", ("q1", "q2"), "none is like it"),), {})
    (request, *_), _ = draft(data, audit(data.rows), evidence)
    assert (request.action, request.explains) == ("add_request", ("q1", "q2"))
    assert request.after == "rows about: violin, sonata; other wordings than the suite's"


def test_an_error_of_the_base_model_halves_the_confidence(train):
    data = read_data(train)
    found = audit(data.rows)
    cause = Cause("misspelling", 1, 0.1, 0.1, 0.1, "base model", None, None, {})
    plain, halved = (draft(data, found, Attribution(c, (), {}), only="misspelling")[0][0] for c in ((), (cause,)))
    assert halved.confidence == pytest.approx(plain.confidence / 2, abs=1e-3)


def test_no_topic_loses_more_than_the_budgets_share_by_drops(train):
    """Ten rows of one topic, a budget of 0.2: two may be dropped, the third is reviewed."""
    data = read_data(train)
    found = audit(data.rows)
    drops = tuple(replace(found.findings[0], row=data.named[f"r{i}"], action="drop", after="") for i in range(3))
    edits, _ = draft(data, replace(found, findings=drops), Attribution((), (), {}), budget=0.2)
    assert [e.action for e in edits] == ["drop", "drop"]
    edits, _ = draft(data, replace(found, findings=drops), Attribution((), (), {}), budget=0.25)
    assert sorted(e.action for e in edits) == ["drop", "drop"]


EDITS = st.lists(
    st.builds(Edit, st.sampled_from(list(ACTIONS)), st.just("x"), st.sampled_from([f"r{i}" for i in range(8)])),
    max_size=20,
)


@given(EDITS, st.integers(1, 12), st.floats(0.01, 1.0))
def test_a_plan_never_names_more_rows_than_its_budget(edits, rows, budget):
    most = most_rows(rows, budget)
    kept, left = within(edits, most)
    assert len(rows_named(kept)) <= most <= rows * budget + 1e-9
    assert left == len(edits) - len(kept)
    assert [e for e in edits if e.action not in NAMING] == [e for e in kept if e.action not in NAMING]


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 60), st.floats(0.05, 1.0))
def test_a_whole_plan_never_names_more_rows_than_its_budget(bad, budget):
    from trainkit.curate.lines import parse_data

    lines = [{"id": f"r{i}", "question": f"q {i * 7919}", "answer": "Say it again now." * (9 if i < bad else 1)}
             for i in range(60)]  # fmt: skip
    data = parse_data("\n".join(map(json.dumps, lines)).encode(), Path("x.jsonl"))
    edits, _ = draft(data, audit(data.rows), Attribution((), (), {}), budget=budget)
    assert len(rows_named(edits)) <= 60 * budget


def test_measured_effects_change_the_trust_in_later_edits(tmp_path):
    won = Effect("trim", "repetition", 4, "tag:repetition", 5.0, 1.0, True, "p", "exam")
    lost = replace(won, change=0.5, plan="q")
    path = add_effects(tmp_path, [won])
    assert add_effects(tmp_path, [lost]) == path == tmp_path.resolve() / "ledger.jsonl"
    effects = read_effects(tmp_path)
    assert effects == (won, lost)
    assert trust(effects, Edit("trim", "repetition")) == pytest.approx(2 / 3)
    assert trust(effects, Edit("fix", "misspelling")) == 1.0


def test_a_ledger_holds_one_measurement_of_a_plan_by_a_suite_and_seeds(tmp_path):
    first = Effect("trim", "repetition", 4, "tag:repetition", 5.0, 1.0, True, "p", "exam", 3)
    others = [replace(first, suite="other"), replace(first, seeds=5), replace(first, plan="q")]
    for effect in (first, *others, again := replace(first, change=2.0)):
        add_effects(tmp_path, [effect])
    assert read_effects(tmp_path) == (*others, again)
