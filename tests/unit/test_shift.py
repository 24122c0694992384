"""Errors of two runs side by side: what counts, what is noted, what fits into the table."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from rich.cells import cell_len

from evalkit.cli import call
from evalkit.compare import compare_runs
from evalkit.errors import NotComparable
from evalkit.evaluate import TAG, evaluate
from evalkit.report import comparison as compared
from evalkit.report import shifts as shown
from evalkit.report.pick import View
from evalkit.shift import shifts_of
from evalkit.taggers import PRECEDENCE
from evalkit.types import Example, Response, Row, Run, Score, Tag
from evalkit.verdict import Check, Verdict

OWN = [category for group in PRECEDENCE for category in group]
IDENTITY = {"suite": "qa", "primary": "match", "split": "dev", "data_digest": "d", "taggers": "[t]", "template": "t"}


def row(number: int, *tags: str, error: str | None = None, trial: int = 0, severity: str = "major") -> Row:
    return Row(
        Example(f"q{number}", f"question {number}", ("yes",)),
        Response("yes" if error is None else "", sent=f"ask {number}", error=error),
        trial,
        (Score("match", 1.0),),
        tuple(Tag(t, severity, f"{t} found", (0, 2)) for t in tags),  # type: ignore[arg-type]  # by name
        tags[0] if tags else None,
    )


def run(name: str, rows: list[Row], **identity: str) -> Run:
    manifest = {"identity": {**IDENTITY, **identity}, "settings": {"model": f"models/{name}", "max_errors": 0}}
    return Run(name, manifest, tuple(rows))


def test_a_category_has_shares_a_paired_change_and_what_came_and_went():
    before = [row(i, *["repetition"] * (i < 30)) for i in range(100)]
    after = [row(i, *["repetition"] * (25 <= i < 35)) for i in range(100)]
    (shift,) = shifts_of(run("a", before), run("b", after)).shifts
    c = shift.check
    assert (c.baseline, c.candidate, c.broken, c.fixed) == (30.0, 10.0, 5, 25)
    assert c.change == pytest.approx(20.0)  # positive is better
    assert shift.sign == -1


def test_answers_that_gained_an_error_or_lost_one_are_told_apart():
    before = [row(i, *["leak"] * (i < 4)) for i in range(10)]
    after = [row(i, *["leak"] * (2 <= i < 9)) for i in range(10)]
    found = shifts_of(run("a", before), run("b", after))
    assert [r.example.id for r in found.gained("leak")] == ["q4", "q5", "q6", "q7", "q8"]
    assert [r.example.id for r in found.lost("leak")] == ["q0", "q1"]
    assert (len(found.gained("empty")), found.clean) == (0, (6, 3))


def test_the_costliest_category_comes_first_whichever_run_has_it():
    before = [row(i, *["empty"] * (i < 20)) for i in range(100)]
    after = [row(i, *["leak"] * (i < 30)) for i in range(100)]
    found = shifts_of(run("a", before), run("b", after))
    assert [s.category for s in found.shifts] == ["leak", "empty"]
    costs = {"empty": 50.0}
    assert [s.category for s in shifts_of(run("a", before), run("b", after), costs).shifts] == ["empty", "leak"]


def test_questions_that_a_run_did_not_answer_are_left_out_and_counted():
    before = [row(i, "repetition") for i in range(50)]
    after = [row(i, "repetition", error="down" if i < 20 else None) for i in range(49)]
    found = shifts_of(run("a", before), run("b", after))
    assert (found.left_out, len(found.comparison.items)) == (21, 29)
    assert (found.shifts[0].check.baseline, found.shifts[0].check.candidate) == (100.0, 100.0)


def test_a_trial_that_failed_is_left_out_of_its_item():
    before = [row(i, trial=t) for i in range(20) for t in (0, 1)]
    after = [row(i, "leak", trial=t, error="down" if t else None) for i in range(20) for t in (0, 1)]
    assert shifts_of(run("a", before), run("b", after)).shifts[0].check.candidate == 100.0


def test_runs_without_a_common_answer_are_refused():
    with pytest.raises(NotComparable, match="runs a and b share no answered question"):
        shifts_of(run("a", [row(0)]), run("b", [row(0, error="down")]))


def test_other_prompts_are_allowed_and_named():
    found = shifts_of(
        run("a", [row(0, "leak")]), run("b", [replace(row(0), response=Response("x", sent="other"))], template="u")
    )
    assert found.comparison.unlike == ("the prompt template: ask 0 and other",)
    assert "note: the runs differ in the prompt template: ask 0 and other" in shown.render(found)
    assert "- note: the runs differ in the prompt template: ask 0 and other" in shown.markdown(found)


def test_prompts_that_are_not_known_differ_by_their_hash():
    before = [replace(row(0), response=Response("x"))]
    found = shifts_of(run("a", before), run("b", before, template="u"))
    assert found.comparison.unlike == ("the prompt template: t and u",)


@pytest.mark.parametrize("field", ["suite", "data_digest", "taggers", "scorers"])
def test_other_questions_or_taggers_are_refused(field):
    with pytest.raises(NotComparable, match="differ in"):
        shifts_of(run("a", [row(0)]), run("b", [row(0)], **{field: "other"}))


def test_nothing_is_judged_where_the_prompts_differ():
    unlike = compare_runs(run("a", [row(0)]), run("b", [row(0)], template="u"), tolerate=("template",))
    with pytest.raises(NotComparable, match="the runs differ in the prompt template: t and u; nothing can be judged"):
        evaluate([unlike])
    with pytest.raises(NotComparable, match="differ in the prompt template"):
        compare_runs(run("a", [row(0)]), run("b", [row(0)], template="u"))


def test_runs_without_any_error_have_no_table():
    text = shown.render(shifts_of(run("a", [row(0)]), run("b", [row(0)])))
    assert text == "qa: 1 question, without any error 1 -> 1\nmodels/a -> models/b\nruns a -> b\n"


def test_all_our_categories_fit_into_a_hundred_columns_uncut():
    before = [row(i, *OWN) for i in range(400)]
    after = [row(i, severity="critical") for i in range(400)]
    for text in (
        shown.render(shifts_of(run("a", before), run("b", after))),
        compared.render(compare_runs(run("a", before), run("b", after))),
    ):
        assert max(cell_len(line) for line in text.splitlines()) <= 100
        for category in OWN:
            assert sum(line.startswith(f"{category} ") for line in text.splitlines()) == 1
    assert "100.0 -> 0.0   -100.0" in text


def test_a_gated_category_fits_with_its_longest_verdict():
    widest = Check(
        "qa", "", "INCONCLUSIVE", direction="down", n=100_000, baseline=100.0, candidate=100.0, change=-100.0,
        ci95=(-100.0, 100.0), lower=-1.0, p_adj=1e-9, broken=54_321, fixed=45_678,
    )  # fmt: skip
    checks = tuple(replace(widest, metric=TAG + name) for name in OWN)
    found = compare_runs(run("a", [row(0)]), run("b", [row(0)]))
    text = compared.render(found, Verdict("INCONCLUSIVE", checks))
    table = text[text.index("errors, share") :].splitlines()
    assert max(map(cell_len, table)) <= 100
    for name in OWN:
        assert any(line.startswith(f"{name} ") and line.endswith("INCONCLUSIVE") for line in table), name


def test_a_foreign_category_is_folded_and_never_cut():
    name = "a_category_of_forty_letters_from_a_plugin"[:40]
    found = shifts_of(run("a", [row(i) for i in range(400)]), run("b", [row(i, name) for i in range(400)]))
    text = shown.render(found, View(top=0))
    assert max(map(cell_len, text.splitlines())) <= 100
    assert name in text


def test_colour_says_the_same():
    found = shifts_of(run("a", [row(i, "leak") for i in range(40)]), run("b", [row(i) for i in range(40)]))
    assert "\x1b[" in shown.render(found, color=True)
    assert "«ye»s" in shown.render(found)


def test_foreign_text_can_do_nothing():
    evil = "[bold]x[/] \x1b[2J\u202eabc`| <b>"
    rows = [
        replace(row(i), response=Response(evil, sent=evil), tags=(Tag(evil, "major", evil, (0, 3)),)) for i in range(9)
    ]
    found = shifts_of(run(evil, rows), run("b", [row(i) for i in range(9)], template="u"))
    for text in (shown.render(found), shown.markdown(found)):
        assert "\x1b" not in text
        assert "\u202e" not in text
    outside = re.sub(r"(?<!`)(`+)(?!`).*?(?<!`)\1(?!`)", "", shown.markdown(found).replace("\\`", ""))
    assert "<b>" not in outside


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (
            ("errors", "a", "b", "--category", "leek"),
            2,
            "no answer of a or b has the error 'leek'; did you mean 'leak'?",
        ),
        (("errors", "a", "b", "--slice", "topic"), 2, "--slice goes with one run"),
        (("errors", "a", "none"), 2, "none: no run here"),
        (("errors", "a", "a"), 4, "a is given twice"),
        (
            ("report", "a", "b", "--format", "svg"),
            2,
            "--format svg shows one run; for two give one of terminal, md, json",
        ),
        (("report", "a", "c", "--format", "json"), 4, "runs a and c differ in the prompt template"),
        (("compare", "a", "c"), 4, "runs a and c differ in the prompt template"),
    ],
    ids=str,
)
def test_bad_input_is_one_line(write_run, tmp_path, monkeypatch, capsys, arguments, code, message):
    monkeypatch.chdir(tmp_path)
    write_run("a", [row(0, "leak")])
    write_run("b", [row(0)])
    write_run("c", [row(0)], template="t2")
    assert call([*arguments]) == code
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert message in err


def test_one_category_is_shown_alone(write_run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_run("a", [row(i, "leak", "empty") for i in range(40)])
    write_run("b", [row(i) for i in range(40)])
    assert call(["errors", "a", "b", "--category", "leak", "--examples", "0"]) == 0
    out = capsys.readouterr().out
    assert "\nleak " in out
    assert "empty" not in out
