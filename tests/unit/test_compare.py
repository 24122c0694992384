from dataclasses import replace
from datetime import date

import pytest

from evalkit.columns import score_of
from evalkit.compare import Comparison, compare_runs, pair_of
from evalkit.errors import EvalkitError, NotComparable
from evalkit.evaluate import evaluate
from evalkit.policy import parse_policy
from evalkit.types import Example, Response, Row, Run, Score, Tag

IDENTITY = {"suite": "qa", "data_digest": "d1", "scorers": "[exact]", "taggers": "[repetition]", "template": "t"}
TODAY = date(2026, 1, 15)


def row(
    name: str,
    value: float | None,
    *,
    tags: tuple[str, ...] = (),
    trial: int = 0,
    error: str | None = None,
    topic: str = "a",
) -> Row:
    return Row(
        Example(name, f"question {name}", ("yes",), (), {"topic": topic}),
        Response(f"answer {value}", error=error),
        trial,
        (Score("exact", value), Score("fuzzy", value)),
        tuple(Tag(t, "major", f"{t} found") for t in tags),
    )


def run(run_id: str, rows: list[Row], **identity: str) -> Run:
    whole = {**IDENTITY, "primary": "exact", **identity}
    return Run(run_id, {"identity": whole, "settings": {"model": f"models/{run_id}"}}, tuple(rows))


def compared(before: list[Row], after: list[Row], **identity: str) -> Comparison:
    return compare_runs(run("base", before, **identity), run("cand", after, **identity))


def known(scores) -> list[float | None]:
    return [None if score != score else float(score) for score in scores]


def many(count: int, broken: int = 0, fixed: int = 0, tag: str = "") -> Comparison:
    before = [row(f"q{i}", 0.0 if i < fixed else 1.0) for i in range(count)]
    after = [
        row(f"q{i}", 0.0 if count - i <= broken else 1.0, tags=(tag,) if tag and count - i <= broken else ())
        for i in range(count)
    ]
    return compared(before, after)


@pytest.mark.parametrize("field", ["suite", "data_digest", "scorers", "taggers", "template", "judge"])
def test_runs_that_were_asked_or_judged_differently_are_refused(field: str) -> None:
    base, cand = run("base", [row("q", 1.0)]), run("cand", [row("q", 1.0)], **{field: "other"})
    with pytest.raises(NotComparable, match="runs base and cand differ in") as caught:
        compare_runs(base, cand)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 4


def test_runs_without_a_common_example_are_refused() -> None:
    with pytest.raises(NotComparable, match="share no example"):
        compared([row("a", 1.0)], [row("b", 1.0)])


def test_an_answer_that_stands_there_twice_is_refused() -> None:
    with pytest.raises(NotComparable, match=r"cand: example 'a', trial 0, stands there twice"):
        compared([row("a", 1.0)], [row("a", 1.0), row("a", 0.0)])


def test_a_run_is_not_judged_by_itself() -> None:
    with pytest.raises(NotComparable, match="given twice"):
        compare_runs(run("x", [row("a", 1.0)]), run("x", [row("a", 1.0)]))


def test_what_may_explain_a_change_is_remarked() -> None:
    base = run("base", [row("a", 1.0)], generation="greedy", **{"model.sha": "1"})
    cand = run("cand", [row("a", 1.0)], generation="sampled", **{"model.sha": "2"})
    assert compare_runs(base, cand).remarks == ("generation: greedy and sampled",)


def test_items_align_by_id_in_any_order() -> None:
    found = compared([row("a", 1.0), row("b", 0.0)], [row("b", 1.0), row("a", 0.0)])
    assert [i.example.id for i in found.broken] == ["a"]
    assert [i.example.id for i in found.fixed] == ["b"]


def test_broken_items_with_new_errors_come_first() -> None:
    before = [row(x, 1.0, tags=("spelling",)) for x in "abc"]
    after = [row("a", 0.0, tags=("spelling",)), row("b", 0.0, tags=("loop", "empty")), row("c", 0.0, tags=("loop",))]
    found = compared(before, after)
    assert [i.example.id for i in found.broken] == ["b", "c", "a"]
    assert [i.new_tags for i in found.broken] == [("loop", "empty"), ("loop",), ()]


def test_items_wrong_in_both_runs_are_known() -> None:
    found = compared([row("a", 0.0), row("b", 1.0)], [row("a", 0.0), row("b", 0.0)])
    assert [i.example.id for i in found.both_wrong] == ["a"]


def test_an_item_scores_the_mean_over_its_trials() -> None:
    before = [row("a", v, trial=t) for t, v in enumerate((1.0, 1.0, 0.0, 0.0))]
    after = [row("a", v, trial=t) for t, v in enumerate((1.0, 0.0, 0.0, None))]
    pair = pair_of(compared(before, after), "exact", score_of("exact"))
    assert (known(pair.baseline), known(pair.candidate)) == ([0.5], [0.25])  # the lost trial counts as wrong
    assert pair.lost_trials == (0.0, 0.25)
    assert pair.kind == "graded"


def test_a_failed_request_is_missing_and_not_wrong() -> None:
    pair = pair_of(compared([row("a", 1.0)], [row("a", 0.0, error="timeout")]), "exact", score_of("exact"))
    assert known(pair.candidate) == [None]


def test_an_item_that_only_one_run_has_is_missing() -> None:
    pair = pair_of(compared([row("a", 1.0), row("b", 1.0)], [row("a", 1.0)]), "exact", score_of("exact"))
    assert known(pair.candidate) == [1.0, None]


def test_an_example_without_a_target_that_no_run_can_score_is_left_out() -> None:
    open_row = replace(row("b", None), example=Example("b", "say something"))
    pair = pair_of(compared([row("a", 1.0), open_row], [row("a", 1.0), open_row]), "exact", score_of("exact"))
    assert known(pair.baseline) == [1.0]


def test_of_two_scores_of_one_name_the_first_counts() -> None:
    twice = replace(row("a", 1.0), scores=(Score("exact", 1.0), Score("exact", 0.0)))
    unscored = replace(row("b", 1.0), scores=(Score("exact", None), Score("exact", 0.0)))
    pair = pair_of(compared([twice, unscored], [twice, unscored]), "exact", score_of("exact"))
    assert known(pair.baseline) == [1.0, None]


def test_scores_and_errors_of_items_that_are_left_out_do_not_count() -> None:
    rare = replace(row("c", 1.0, tags=("loop",)), scores=(Score("exact", 1.0), Score("rare", 1.0)))
    found = compared([row("a", 1.0), rare], [row("a", 1.0), rare])
    assert (found.metrics, found.categories) == (("exact", "fuzzy", "rare"), ("loop",))
    part = found.without(["c"])
    assert (part.metrics, part.categories) == (("exact", "fuzzy"), ())
    policy = parse_policy({"suites": {"*": {"metrics": {"rare": {"role": "gate"}}}}})
    assert {c.metric for c in evaluate([part], policy, today=TODAY).gating} == {"exact"}


def test_trials_that_were_lost_count_where_their_items_do() -> None:
    rows = [row(x, 1.0, trial=t) for x in "ab" for t in (0, 1)]
    found = compared(rows, [*rows[:2], rows[2], row("b", None, trial=1)])
    assert pair_of(found, "exact", score_of("exact")).lost_trials == (0.0, 0.5)
    assert pair_of(found.without(["b"]), "exact", score_of("exact")).lost_trials == (0.0, 0.0)


def test_clusters_are_those_of_the_items_that_can_be_scored() -> None:
    open_row = replace(row("b", None), example=Example("b", "say something", meta={"topic": "b"}))
    rows = [row("a", 1.0, topic="x"), open_row, row("c", 1.0, topic="x"), row("d", 1.0, topic="y")]
    clusters = pair_of(compared(rows, rows), "exact", score_of("exact"), "topic").clusters
    assert clusters is not None
    assert [label == clusters[0] for label in clusters] == [True, True, False]


def test_a_key_without_a_value_is_no_slice_and_every_item_of_it_stands_on_its_own() -> None:
    rows = [
        replace(r, example=replace(r.example, meta={"topic": None})) for r in (row(f"q{i}", 1.0) for i in range(30))
    ]
    mixed = [*rows, *(row(f"r{i}", 1.0, topic="ab"[i % 2]) for i in range(30))]
    found = compared(mixed, mixed)
    assert found.slices == {"topic": ("a", "b")}
    assert set(pair_of(compared(rows, rows), "exact", score_of("exact"), "topic").clusters or ()) == {None}


def test_slices_are_counted_over_what_is_compared() -> None:
    rows = [row(f"q{i}", 1.0, topic="ab"[i < 12]) for i in range(30)]
    found = compared(rows, rows)
    assert found.slices == {"topic": ("a", "b")}
    assert found.without(f"q{i}" for i in range(5)).slices == {"topic": ("a",)}
    assert {value: len(part.items) for value, part in found.by("topic").items()} == {"a": 18, "b": 12}


def test_where_every_request_failed_the_primary_metric_stands_for_all() -> None:
    failed = [replace(row(f"q{i}", None, error="down"), scores=()) for i in range(3)]
    assert compared(failed, failed).metrics == ("exact",)


def test_the_primary_metric_gates_and_the_rest_is_watched() -> None:
    verdict = evaluate([many(1000)], today=TODAY)
    roles = {c.metric: c.role for c in verdict.checks}
    assert roles == {"exact": "gate", "fuzzy": "watch"}
    assert (verdict.verdict, verdict.baseline, verdict.candidate) == ("PASS", "base", "cand")


def test_a_fail_names_the_error_that_grew_most() -> None:
    verdict = evaluate([many(1000, broken=60, tag="repetition")], today=TODAY)
    assert verdict.verdict == "FAIL"
    assert verdict.gating[0].top == "repetition +60"
    tag = next(c for c in verdict.checks if c.metric == "tag:repetition")
    assert (tag.role, tag.broken, tag.direction, tag.margin) == ("watch", 60, "down", 1.0)


def test_a_policy_gates_an_error_rate() -> None:
    policy = parse_policy({"tags": {"repetition": {"role": "gate"}}})
    verdict = evaluate([many(1000, broken=30, tag="repetition")], policy, today=TODAY)
    assert {c.metric: c.verdict for c in verdict.gating}["tag:repetition"] == "FAIL"


def test_an_error_rate_gates_even_where_nobody_has_the_error() -> None:
    policy = parse_policy({"tags": {"repetition": {"role": "gate"}}})
    assert {c.metric for c in evaluate([many(1000)], policy, today=TODAY).gating} == {"exact", "tag:repetition"}


def test_an_error_rate_cannot_gate_where_no_tagger_ran() -> None:
    policy = parse_policy({"tags": {"repetition": {"role": "gate"}}})
    blind = compared([row("a", 1.0)], [row("a", 1.0)], taggers="[]")
    with pytest.raises(EvalkitError, match="no tagger ran on qa"):
        evaluate([blind], policy, today=TODAY)


def test_more_than_one_percent_missing_is_an_error_unless_the_policy_allows_it() -> None:
    before = [row(f"q{i}", 1.0) for i in range(140)]
    found = compared(before, before[:134])
    assert evaluate([found], today=TODAY).verdict == "ERROR"
    lax = parse_policy({"missing": {"max_share": 0.05}})
    assert evaluate([found], lax, today=TODAY).verdict != "ERROR"


def test_clusters_come_from_the_suite_or_from_the_policy() -> None:
    rows = [row(f"q{i}", float(i % 2), topic=f"t{i % 20}") for i in range(400)]
    by_suite = compared(rows, rows, cluster_key="topic")
    assert evaluate([by_suite], today=TODAY).gating[0].clusters == 20
    policy = parse_policy({"suites": {"*": {"cluster_key": ""}}})
    assert evaluate([by_suite], policy, today=TODAY).gating[0].clusters == 400


def test_slices_of_the_primary_metric_are_watched() -> None:
    rows = [row(f"q{i}", 1.0, topic="ab"[i % 2]) for i in range(40)]
    checks = evaluate([compared(rows, rows)], today=TODAY).watched
    assert [(c.metric, c.n) for c in checks if "[" in c.metric] == [("exact[topic=a]", 20), ("exact[topic=b]", 20)]


def test_an_anchor_catches_what_every_step_hides() -> None:
    step, whole = many(1000, broken=12, fixed=2), many(1000, broken=60)
    verdict = evaluate([step], anchors=[whole], today=TODAY)
    assert [(c.name, c.verdict) for c in verdict.gating] == [("qa/exact", "PASS"), ("qa/exact vs anchor", "FAIL")]
    assert verdict.verdict == "FAIL"


WAIVER = {"suite": "qa", "metric": "exact", "max_drop": 9.0, "until": "2026-02-01", "reason": "known", "owner": "ann"}


def test_a_waiver_turns_a_fail_into_waived() -> None:
    verdict = evaluate([many(1000, broken=60)], parse_policy({"waivers": [WAIVER]}), today=TODAY)
    assert (verdict.verdict, verdict.gating[0].verdict) == ("PASS", "WAIVED")
    assert verdict.gating[0].waiver == "qa/exact until 2026-02-01: known (ann)"
    assert verdict.notes == ()


@pytest.mark.parametrize(
    ("change", "note"),
    [
        ({"max_drop": 6.5}, "waiver not used"),
        ({"until": "2026-01-14"}, "waiver expired"),
        ({"metric": "fuzzy"}, "waiver not used"),
        ({"suite": "other"}, "waiver not used"),
    ],
)
def test_a_waiver_ends_with_its_limit_and_its_day(change: dict[str, object], note: str) -> None:
    policy = parse_policy({"waivers": [{**WAIVER, **change}]})
    verdict = evaluate([many(1000, broken=60)], policy, today=TODAY)
    assert verdict.verdict == "FAIL"
    assert verdict.notes[0].startswith(note)


def test_an_item_waiver_leaves_the_item_out_of_both_runs() -> None:
    waiver = {"suite": "qa", "items": ["q999", "gone"], "until": "2026-02-01", "reason": "wrong target"}
    verdict = evaluate([many(1000, broken=1)], parse_policy({"waivers": [waiver]}), today=TODAY)
    assert (verdict.gating[0].n, verdict.gating[0].broken) == (999, 0)
    assert verdict.notes[0].startswith("waiver in use, 1 of 2 items left out")


def test_a_metric_that_the_runs_do_not_have_is_refused() -> None:
    policy = parse_policy({"suites": {"qa": {"metrics": {"exakt": {}}}}})
    with pytest.raises(EvalkitError, match="did you mean 'exact'"):
        evaluate([many(10)], policy, today=TODAY)


def test_a_suite_of_the_policy_that_was_not_run_is_noted() -> None:
    policy = parse_policy({"suites": {"mmlu": {"metrics": {"acc": {}}}}})
    assert evaluate([many(10)], policy, today=TODAY).notes[0].startswith("no run of suite mmlu was given")


def test_inconclusive_may_be_a_warning() -> None:
    found = many(20)
    assert evaluate([found], today=TODAY).exit_code == 3
    assert evaluate([found], parse_policy({"on_inconclusive": "warn"}), today=TODAY).exit_code == 0
