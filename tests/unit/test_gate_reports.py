import json
import re
from dataclasses import replace
from xml.etree import ElementTree as ET

import jsonschema
import pytest

from evalkit.compare import Comparison, compare_runs
from evalkit.evaluate import evaluate
from evalkit.gate import MetricPair, decide, overall
from evalkit.plan import noise_of, plan_gate
from evalkit.report import comparison as terminal
from evalkit.report import gate_json, gate_markdown, github, junit
from evalkit.report import plan as plan_report
from evalkit.report.wording import headline, points, sentence
from evalkit.report.words import changed_words
from evalkit.types import Example, Response, Row, Run, Score, Tag
from evalkit.verdict import Check, Verdict

EVIL = "[bold]x[/] \x1b[2J\u202eabc`| <b> ::error::%"


def verdict_of(**changes: object) -> tuple[Check, Verdict]:
    base = Check(
        "mmlu", "acc", "PASS", n=1000, clusters=1000, baseline=61.2, candidate=60.9, change=-0.3, ci95=(-2.2, 1.6),
        lower=-1.9, upper=1.3, margin=3.0, p=0.4, p_adj=0.4, broken=41, fixed=38, flip_rate=0.079, mde=3.0,
        n_needed=560,
    )  # fmt: skip
    check = replace(base, **changes)  # type: ignore[arg-type]  # fields by name
    return check, Verdict(overall([check]), (check,))


def runs(count: int = 400, broken: int = 60, text: str = "an answer") -> Comparison:
    def rows(bad: int) -> tuple[Row, ...]:
        return tuple(
            Row(
                Example(f"q{i}", f"question {i}", ("yes",), (), {"topic": "ab"[i % 2]}),
                Response(f"yes {text}" if i >= bad else f"no {text}"),
                scores=(Score("exact", float(i >= bad)),),
                tags=(Tag("repetition", "major", f"why {text}", (0, 2)),) if i < bad else (),
            )
            for i in range(count)
        )

    identity = {"suite": "docs_qa", "data_digest": "d", "primary": "exact"}
    base = Run("base", {"identity": identity, "settings": {"model": "m/base"}}, rows(0))
    return compare_runs(base, Run("cand", {"identity": identity, "settings": {"model": "m/cand"}}, rows(broken)))


def test_the_pass_line_is_the_one_in_the_design() -> None:
    assert sentence(*verdict_of()) == (
        "PASS  mmlu/acc  61.2 -> 60.9 (-0.3), at worst -1.9 (95 %), margin 3.0. 41 broken, 38 fixed of 1000."
    )


def test_the_fail_line_is_the_one_in_the_design() -> None:
    check, _ = verdict_of(
        suite="docs_qa", metric="exact", verdict="FAIL", baseline=58.0, candidate=52.6, change=-5.4, upper=-3.1,
        p_adj=0.0004, broken=76, fixed=22, top="repetition +9",
    )  # fmt: skip
    verdict = Verdict("FAIL", tuple(replace(check, metric=f"m{i}") for i in range(8)))
    assert sentence(check, verdict) == (
        "FAIL  docs_qa/exact  58.0 -> 52.6 (-5.4), at least -3.1 lost (95 %), p=0.0004 (Holm, 8 metrics). "
        "76 broken, 22 fixed. Top: repetition +9."
    )


def test_the_inconclusive_line_is_the_one_in_the_design() -> None:
    line = sentence(
        *verdict_of(
            suite="docs_qa", metric="exact", verdict="INCONCLUSIVE", n=140, change=-2.1, ci95=(-6.3, 2.0), mde=11.3,
            n_needed=1028,
        )
    )  # fmt: skip
    assert line == (
        "INCONCLUSIVE  docs_qa/exact  -2.1 [-6.3, +2.0]: no drop proven, up to 6.3 not ruled out. "
        "140 items detect 11.3 points (80 % power); margin 3.0 needs about 1,030 items."
    )


def test_the_error_line_is_the_one_in_the_design() -> None:
    scores: list[float | None] = [1.0] * 140
    verdict = decide([MetricPair("docs_qa", "exact", scores, [*scores[:134], *[None] * 6])])
    expected = "ERROR  docs_qa: 6 of 140 candidate items missing (4.3 %, limit 1 %)"
    assert sentence(verdict.checks[0], verdict) == expected


def test_an_error_rate_is_shown_as_it_moved() -> None:
    line = sentence(
        *verdict_of(
            metric="tag:x", direction="down", verdict="FAIL", baseline=1.0, candidate=6.0, change=-5.0, upper=-3.0
        )
    )
    assert "1.0 -> 6.0 (+5.0), at least +3.0 gained" in line


def test_no_line_claims_more_than_was_shown() -> None:
    lines = [
        sentence(*verdict_of(verdict=v)) + headline(verdict_of(verdict=v)[1]) for v in ("PASS", "FAIL", "INCONCLUSIVE")
    ]
    assert not re.search(r"no regression|safe|significant", " ".join(lines))


def test_points_have_no_negative_zero() -> None:
    assert (points(-0.04), points(-0.04, signed=True), points(None)) == ("0.0", "+0.0", "-")


def test_the_headline_counts_attempts() -> None:
    assert headline(replace(verdict_of()[1], attempts=3)).endswith("Attempt 3 with this checkpoint.")


def test_changed_words_are_found_and_joined() -> None:
    before, after = changed_words("it is a good thing", "it is a very bad thing")
    assert [(p.text, p.changed) for p in before] == [("it is a ", False), ("good", True), (" thing", False)]
    assert [(p.text, p.changed) for p in after] == [("it is a ", False), ("very bad", True), (" thing", False)]


def test_a_long_common_beginning_and_end_are_cut() -> None:
    before, after = changed_words("word " * 50 + "x" + " end" * 200, "word " * 50 + "y" + " end" * 200, width=120)
    assert before[0].text.startswith("…")
    assert sum(len(p.text) for p in after) <= 122
    assert after[-1].text.endswith("…")


def test_the_terminal_report_shows_broken_items_with_both_answers_within_100_columns() -> None:
    text = terminal.render(runs())
    assert max(map(len, text.splitlines())) <= 100
    assert text.startswith(
        "FAIL  1 of 1 gating metric dropped: docs_qa/exact.\nFAIL  docs_qa/exact  100.0 -> 85.0 (-15.0)"
    )
    assert "exact: 60 broken, 0 fixed, 0 wrong in both, of 400" in text
    assert "baseline   «yes» an answer" in text
    assert "candidate  «no» an answer" in text
    assert "→ new error: repetition: why an answer" in text
    assert "\x1b" not in text


def test_colour_replaces_the_marks() -> None:
    text = terminal.render(runs(), color=True)
    assert "\x1b[" in text
    assert "«" not in text


def test_the_gate_report_holds_every_suite() -> None:
    found = runs()
    assert "docs_qa: m/base -> m/cand" in terminal.render_gate(evaluate([found]), [found])


def test_foreign_text_can_do_nothing() -> None:
    found = runs(text=EVIL)
    verdict = evaluate([found])
    reports = [terminal.render(found, verdict), gate_markdown.render(verdict, [found]), junit.render(verdict, [found])]
    for text in reports:
        assert "\x1b" not in text
        assert "\u202e" not in text
        assert "[bold]x[/]" in text
    assert "<b>" not in re.sub(r"`[^\n]*`", "", reports[1])


def test_the_json_report_keeps_its_schema() -> None:
    for verdict in (evaluate([runs()]), evaluate([runs(30, 1)]), decide([])):
        jsonschema.validate(json.loads(gate_json.render(verdict)), gate_json.schema())


def test_the_json_report_has_every_number_of_the_contract() -> None:
    record = json.loads(gate_json.render(evaluate([runs()])))
    contract = (
        "n clusters baseline candidate change ci95 lower margin p p_adj method broken fixed flip_rate mde n_needed "
        "verdict reason waiver"
    )
    assert set(contract.split()) <= set(record["checks"][0])
    assert (record["schema"], record["verdict"], record["exit_code"]) == (1, "FAIL", 1)


@pytest.mark.parametrize(
    ("outcome", "element"),
    [
        ("FAIL", "failure"),
        ("ERROR", "error"),
        ("INCONCLUSIVE", "skipped"),
        ("WAIVED", "skipped"),
        ("PASS", "system-out"),
    ],
)
def test_junit_maps_every_verdict(outcome: str, element: str) -> None:
    check, verdict = verdict_of(verdict=outcome)
    root = ET.fromstring(junit.render(verdict))
    (case,) = root.iter("testcase")
    assert (case.get("classname"), case.get("name")) == ("mmlu", "acc")
    found = case[0]
    assert (found.tag, found.get("message") or found.text) == (element, sentence(check, verdict))


def test_junit_counts_and_names_broken_items() -> None:
    found = runs()
    root = ET.fromstring(junit.render(evaluate([found]), [found]))
    counts = {"tests": "1", "failures": "1", "errors": "0"}
    assert root.attrib == {"name": headline(evaluate([found])), **counts}
    assert root[0].attrib == {"name": "docs_qa", **counts, "skipped": "0"}
    (failure,) = root.iter("failure")
    assert "q0 [repetition]: yes an answer -> no an answer" in (failure.text or "")


def test_annotations_are_one_a_metric_and_at_most_ten_a_level() -> None:
    check, verdict = verdict_of(metric="a,b:c", verdict="FAIL")
    assert github.annotate(verdict).startswith(
        "::error title=FAIL mmlu/a%2Cb%3Ac::FAIL  mmlu/a,b:c  61.2 -> 60.9 (-0.3)"
    )
    assert "95 %25" in github.annotate(verdict)
    many = Verdict("FAIL", tuple(replace(check, metric=f"m{i}") for i in range(25)))
    lines = github.annotate(many).splitlines()
    assert len(lines) == 10
    assert lines[-1] == "::error title=evalkit gate::16 more of this level; see the step summary"


def test_the_step_summary_stays_under_one_mebibyte() -> None:
    found = runs(text="word " * 400)
    check, _ = verdict_of(metric="m" * 900, verdict="FAIL")
    huge = Verdict("FAIL", tuple(replace(check, suite=f"s{i}") for i in range(1000)))
    for text, most in ((gate_markdown.render(huge), 60_000), (github.step_summary(huge, [found]), 1024 * 1024)):
        assert 0.9 * most < len(text.encode()) <= most
        assert text.startswith("## ❌ FAIL")
        assert text.endswith("left out, to keep this short.\n")
    assert "docs_qa: 60 broken by exact" in github.step_summary(evaluate([found]), [found])


def test_a_plan_says_what_a_suite_can_detect() -> None:
    found = runs()
    base = Run(
        "base",
        {"identity": {"suite": "docs_qa", "primary": "exact"}},
        tuple(r for i in found.items for r in i.baseline),
    )
    plans = plan_gate([base], flip_rates=(0.02, 0.1))
    assert [(p.metric, p.n, p.margin, p.flip_rate) for p in plans] == [
        ("exact", 400, 5.0, 0.02),
        ("exact", 400, 5.0, 0.1),
    ]
    assert plans[0].detectable < plans[1].detectable
    assert plans[1].passable == pytest.approx(4.1, abs=0.2)
    assert "docs_qa/exact" in plan_report.render(plans)


def test_noise_measures_how_often_items_flip() -> None:
    (plan,) = noise_of(runs(400, 20))
    assert (plan.flip_rate, plan.n) == (0.05, 400)
    assert plan.flip_interval == pytest.approx((0.0326, 0.0759), abs=1e-3)
