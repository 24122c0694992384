"""Which scorer to trust: figures worked by hand or by scikit-learn and krippendorff; the command's exact output."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace
from typing import Any, cast

import krippendorff
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score, roc_auc_score

from evalkit import agreement
from evalkit.agreement import _Units, trust_of
from evalkit.analyze import Estimate
from evalkit.cli import call
from evalkit.court import Statement
from evalkit.labels import Label, Preference, labels_of_file, run_key
from evalkit.record import read_run
from evalkit.report import trust
from evalkit.scorers.judge import Judgement
from evalkit.stats import wilson
from evalkit.types import Example, Response, Row, Score

measured: Any = agreement
alpha_of, consistency_of = measured.alpha_of, measured.consistency_of


def agreement_of(name, rows, truth):
    return measured.agreement_of(name, _Units(rows), truth)


def pairs_of(rows, preferences):
    return measured.pairs_of(_Units(rows), preferences)


def row(name: str, value: float | None, text: str = "an answer", scorer: str = "s") -> Row:
    return Row(Example(name, "?"), Response(text), scores=(Score(scorer, value),))


def rows_of(values, texts=None):
    texts = texts or ["an answer"] * len(values)
    return {(f"q{n}", 0): row(f"q{n}", value, text) for n, (value, text) in enumerate(zip(values, texts, strict=True))}


def truth_of(human):
    return {(f"q{n}", 0): right for n, right in enumerate(human)}


def label(name: str, verdict: Any, who: str = "kim") -> Label:
    return Label(name, 0, "s", who, "r", "d", verdict)


def test_a_table_worked_by_hand():
    # 20 both right, 5 right said wrong, 10 wrong said right, 15 both wrong: kappa 0.4 (Cohen 1960's formula)
    human = [True] * 25 + [False] * 25
    said = [1.0] * 20 + [0.0] * 5 + [1.0] * 10 + [0.0] * 15
    found = agreement_of("s", rows_of(said), truth_of(human))
    assert (found.n, found.unscored, found.cut) == (50, 0, 0.5)
    assert found.share.value == 0.7
    assert found.kappa.value == pytest.approx(0.4)
    assert found.kappa.low < 0.4 < found.kappa.high
    assert (found.tpr.value, found.tnr.value) == (0.8, 0.6)
    assert found.auc.value == pytest.approx(0.7)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 4)), min_size=4, max_size=60))
def test_kappa_and_auc_are_those_of_scikit_learn(pairs):
    human, values = [h for h, _ in pairs], [v / 4 for _, v in pairs]
    found = agreement_of("s", rows_of(values), truth_of(human))
    if len(set(human)) < 2:
        assert found.kappa is None
        return
    assert found.auc.value == pytest.approx(roc_auc_score(human, values))
    assert found.auc.low <= found.auc.value <= found.auc.high
    if set(values) <= {0.0, 1.0} and len(set(values)) > 1:
        assert found.kappa.value == pytest.approx(cohen_kappa_score(human, [v >= 0.5 for v in values]))


def test_the_interval_of_kappa_holds_the_truth_as_often_as_it_says():
    generator = np.random.default_rng(3)
    cells = np.array([0.3, 0.1, 0.2, 0.4])  # kappa 0.4
    held = 0
    for _ in range(200):
        human, said = np.divmod(generator.choice(4, size=200, p=cells), 2)
        found = agreement._kappa(human, said, 2)
        held += found.low <= 0.4 <= found.high
    assert 0.90 <= held / 200 <= 0.99


def test_the_interval_of_auc_holds_the_truth_as_often_as_it_says():
    generator = np.random.default_rng(4)
    truth = 0.5 * (1 + math.erf(1 / 2))  # normal scores one standard deviation apart
    held = 0
    for _ in range(200):
        found = agreement._auc(generator.normal(1, 1, 40), generator.normal(0, 1, 60))
        held += found.low <= truth <= found.high
    assert 0.90 <= held / 200 <= 0.99


def test_a_cut_is_never_tried_on_the_answers_it_was_found_on():
    generator = random.Random(5)
    values = [generator.random() for _ in range(400)]
    human = [generator.random() < 0.5 for _ in range(400)]  # nothing to find
    found = agreement_of("s", rows_of(values), truth_of(human))
    assert abs(found.kappa.value) < 0.1
    assert found.trust == "not shown to be better than chance: do not gate on it"


def test_the_cut_is_found_where_right_and_wrong_part():
    values = [0.1, 0.2, 0.3, 0.7, 0.8, 0.9] * 4
    found = agreement_of("s", rows_of(values), truth_of([v > 0.5 for v in values]))
    assert found.cut == 0.5
    assert found.share.value == 1.0
    assert found.auc.value == 1.0


def test_a_scorer_that_likes_length_at_equal_label_is_found_out():
    texts = ["x" * n for n in range(1, 41)]
    values = [n / 40 for n in range(40)]
    human = [n % 2 == 0 for n in range(40)]
    found = agreement_of("s", rows_of(values, texts), truth_of(human))
    assert found.length.value > 0.99
    flat = agreement_of("s", rows_of([0.5, 1.0] * 20, texts), truth_of([n % 4 < 2 for n in range(40)]))
    assert flat.length.low < 0 < flat.length.high


def test_few_answers_are_never_enough_to_gate_on():
    found = agreement_of("s", rows_of([1.0, 1.0, 1.0, 0.0, 0.0]), truth_of([True, True, True, False, False]))
    assert found.kappa.value == 1.0
    assert found.kappa.low < 0.4


def test_a_judge_that_always_says_the_same_is_not_better_than_chance():
    found = agreement_of("s", rows_of([1.0] * 100), truth_of([n % 2 == 0 for n in range(100)]))
    assert found.kappa.value == 0.0
    assert found.kappa.low < 0 < found.kappa.high
    assert found.trust == "not shown to be better than chance: do not gate on it"


@pytest.mark.parametrize(("n", "kappa"), [(20, 0.8), (30, 0.0), (60, 0.9)])
def test_the_interval_of_kappa_holds_the_truth_where_answers_are_few(n, kappa):
    generator = np.random.default_rng(6)
    agree = (1 + kappa) / 2
    cells = [agree / 2, (1 - agree) / 2, (1 - agree) / 2, agree / 2]
    held = 0
    for _ in range(200):
        human, said = np.divmod(generator.choice(4, size=n, p=cells), 2)
        found = agreement._kappa(human, said, 2)
        held += found.low <= kappa <= found.high
    assert held / 200 >= 0.91


@pytest.mark.parametrize(
    ("low", "trust"),
    [(-0.1, "not shown"), (0.0, "not shown"), (0.3, "weak"), (0.5, "moderate"), (0.7, "substantial")],
)
def test_what_a_kappa_allows(low, trust):
    found = agreement.Agreement("s", 9, 0, 0.5, kappa=Estimate(0.8, low, 0.9))
    assert found.trust.startswith(trust)


def test_labellers_agree_as_krippendorff_says():
    said = {"q0": "cc", "q1": "ww", "q2": "cw", "q3": "cc", "q4": "c", "q5": "ww"}
    verdicts = {
        (name, 0): {who: letter == "c" for who, letter in zip(("kim", "lee"), letters, strict=False)}
        for name, letters in said.items()
    }
    data: Any = [[1, 0, 1, 1, 1, 0], [1, 0, 0, 1, math.nan, 0]]
    assert alpha_of(verdicts).value == pytest.approx(krippendorff.alpha(data, level_of_measurement="nominal"))
    assert alpha_of({("q", 0): {"kim": True}}) is None
    assert alpha_of({("q", 0): {"kim": True, "lee": True}}) is None


def test_two_agreements_are_no_certainty():
    both = {("q0", 0): {"kim": True, "lee": True}, ("q1", 0): {"kim": False, "lee": False}}
    found = alpha_of(both)
    assert found.value == 1.0
    assert found.low < 0.3


@pytest.mark.parametrize(("right", "wrong", "low"), [(500, 500, 0.994), (3, 500, 0.0)])
def test_a_perfect_area_is_as_sure_as_the_rarer_label_allows(right, wrong, low):
    found = agreement._auc(np.full(right, 0.9), np.full(wrong, 0.1))
    assert [found.value, found.low, found.high] == [1.0, pytest.approx(low), 1.0]


def test_trials_of_a_question_count_as_one():
    human = [True] * 25 + [False] * 25
    said = [1.0] * 20 + [0.0] * 5 + [1.0] * 10 + [0.0] * 15
    once = agreement_of("s", rows_of(said), truth_of(human))
    keys = [(f"q{n}", trial) for n in range(50) for trial in range(10)]
    rows = {(name, trial): replace(row(name, said[int(name[1:])]), trial=trial) for name, trial in keys}
    often = agreement_of("s", rows, {(name, trial): human[int(name[1:])] for name, trial in keys})
    assert often.n == 500
    for figure in ("share", "kappa", "tpr", "tnr", "auc"):
        one, other = getattr(once, figure), getattr(often, figure)
        assert (other.value, other.low, other.high) == pytest.approx((one.value, one.low, one.high), abs=0.02)


def test_questions_of_a_cluster_count_as_one():
    rows = {
        (f"q{n}", 0): replace(row(f"q{n}", 1.0), example=Example(f"q{n}", "?", meta={"source": n // 10}))
        for n in range(100)
    }
    truth = {key: True for key in rows}
    alone = measured.agreement_of("s", _Units(rows), truth)
    clustered = measured.agreement_of("s", _Units(rows, "source"), truth)
    assert alone.share.low == pytest.approx(wilson(100, 100)[0])
    assert clustered.share.low == pytest.approx(wilson(10, 10)[0])


def test_answers_of_one_cluster_find_their_cut_on_the_other_half_together(monkeypatch):
    rows = {
        (f"q{n}", 0): replace(row(f"q{n}", n / 100), example=Example(f"q{n}", "?", meta={"source": n // 10}))
        for n in range(100)
    }
    seen: list[list[str]] = []

    def crossed(values, human, units):
        seen.append(units)
        return values > 0.5

    monkeypatch.setattr(measured, "_crossed", crossed)
    measured.agreement_of("s", _Units(rows, "source"), {key: int(key[0][1:]) > 50 for key in rows})
    assert seen == [[f"source: {n // 10}" for n in range(100)]]


def test_disputed_and_unsure_answers_are_left_out(make_run):
    rows = [row(f"q{n}", 1.0) for n in range(4)]
    labels = [label("q0", "correct"), label("q1", "wrong"), label("q2", "correct"), label("q2", "wrong", "lee")]
    found = trust_of(make_run(rows), [*labels, label("q3", "unsure")])
    assert (found.labelled, found.disputed, found.labellers) == (2, 2, 2)
    assert found.scorers[0].n == 2
    noted = Label("q0", 0, "s", "ann", "r", "d", None, note="see the manual")
    assert trust_of(make_run(rows), [*labels, noted]).labellers == 2


def test_choices_that_no_judge_made_are_left_out_and_told(make_run):
    found = trust_of(make_run([row("q0", 1.0)]), [preference("q0", "run")])
    assert (found.labelled, found.left_out, found.pairs) == (0, 1, None)
    text = trust.terminal(found)
    assert "no label of an answer, so no scorer can be held against people." in text
    assert "1 choice left out: no judge of pairs has held this run against the same other run." in text


def stated(group: str, verdict: str | None, order: int = 0, repeat: int = 0) -> Statement:
    mode: Any = "pairwise" if verdict in ("A", "B") else "correct"
    return Statement("by", f"{group}{order}{repeat}", mode, "q", group, order, repeat, Judgement(verdict))


def test_a_judge_that_prefers_a_place_is_found_out():
    lines = [stated("g", "A", 0), stated("g", "A", 1), stated("h", "A", 0), stated("h", "B", 1), stated("i", None)]
    found = consistency_of(lines)
    assert (found.cases, found.unparsed) == (5, 1)
    assert found.orders.value == 0.5
    assert found.first.value == 0.75
    assert found.repeats is None


def test_repetitions_that_differ_are_counted():
    lines = [stated("g", "yes"), stated("g", "yes", repeat=1), stated("h", "yes"), stated("h", "no", repeat=1)]
    assert consistency_of(lines).repeats.value == 0.5
    assert consistency_of(lines).orders is None


def preference(name: str, better: str) -> Preference:
    side: Any = {"run": "left", "other": "right"}.get(better, "tie")
    return Preference(name, 0, "s", "kim", "r", "r", "", "d", "", side)


def test_choices_of_pairs_count_ties_as_one_half():
    values = [1.0, 1.0, 0.5, 0.0, 0.0]
    rows = {(f"q{n}", 0): row(f"q{n}", value, scorer="judge") for n, value in enumerate(values)}
    people = ["run", "other", "run", "other", "tie"]
    found = pairs_of(rows, [preference(f"q{n}", better) for n, better in enumerate(people)])
    assert found.n == 5
    assert found.share.value == pytest.approx((1 + 0 + 0.5 + 1) / 4)
    assert (found.tpr.value, found.tnr.value) == (0.5, 0.5)
    said = ["run", "run", "tie", "other", "other"]
    assert found.kappa.value == pytest.approx(cohen_kappa_score(people, said))


# ---- labels from elsewhere, and the command


@pytest.fixture
def run_at(write_run, tmp_path):
    rows = [row(f"q{n}", float(n % 2 == 0), f"answer {n}", scorer="match") for n in range(40)]
    return write_run("run", rows)


def test_labels_from_elsewhere_are_labels_of_the_run(run_at, write_jsonl, tmp_path):
    path = write_jsonl(
        tmp_path / "people.jsonl",
        [
            {"id": "q0", "correct": True},
            {"id": "q1", "verdict": "unsure", "labeller": "lee", "answer": "answer 1"},
            {"id": "q2", "better": "other"},
        ],
    )
    run = read_run(run_at)
    one, two, three = cast(list[Any], labels_of_file(path, run))
    assert (one.verdict, one.labeller, one.run) == ("correct", "people", run_key(run))
    assert (two.verdict, two.labeller) == ("unsure", "lee")
    assert three.better_run == ""


def test_labels_that_are_not_of_the_run_are_refused_by_line(run_at, write_jsonl, tmp_path, capsys):
    lines = [
        {"id": "q99", "correct": True},
        {"id": "q1", "correct": True, "answer": "answer 2"},
        {"id": "q1"},
        {"id": "q1", "correct": "yes"},
        {"id": "q1", "verdict": "right"},
        {"id": "q1", "corect": True},
    ]
    path = write_jsonl(tmp_path / "l.jsonl", lines)
    assert call(["judge-report", str(run_at), "--labels", str(path)]) == 2
    assert capsys.readouterr().err == (
        f"evalkit: {path}: line 1: the run has no answer to 'q99', trial 0; give the labels of this run; "
        "line 2: judges another answer to 'q1' than this run's; "
        "line 3: expected one of correct, verdict and better; line 4: correct = 'yes': expected true or false; "
        "line 5: 'right' is none of correct, wrong, unsure; line 6: unknown key 'corect'; "
        "did you mean 'correct'?\n"
    )


def test_a_run_without_labels_says_how_to_get_some(run_at, capsys):
    assert call(["judge-report", str(run_at)]) == 2
    assert "no label (labels.jsonl); `evalkit review" in capsys.readouterr().err


@pytest.fixture
def labelled(run_at, write_jsonl, tmp_path):
    return write_jsonl(tmp_path / "people.jsonl", [{"id": f"q{n}", "correct": n % 2 == 0 or n > 37} for n in range(40)])


def test_the_report_of_a_terminal(run_at, labelled, capsys):
    assert call(["judge-report", str(run_at), "--labels", str(labelled)]) == 0
    assert capsys.readouterr().out == (
        "docs_qa: trust match most (kappa 0.95, at worst 0.74).\n"
        "scorer   answers           agrees, %               kappa                 AUC\n"
        "────────────────────────────────────────────────────────────────────────────\n"
        "match         40   97.5 [87.1, 99.6]   0.95 [0.74, 0.99]   0.98 [0.85, 1.00]\n"
        "\n"
        "scorer              TPR, %                TNR, %                length    cut\n"
        "─────────────────────────────────────────────────────────────────────────────\n"
        "match    95.2 [77.3, 99.2]   100.0 [83.2, 100.0]   -0.12 [-0.54, 0.34]   0.50\n"
        "\n"
        "TPR, TNR: share of what people call right (wrong) that the scorer calls so; AUC: how often a right\n"
        "answer scores above a wrong one; length: rank correlation of score and length of the answer at equal\n"
        "label; cut: score from which an answer counts as right, best on all answers; in counting, each half\n"
        "of the questions goes by the cut of the other half; in brackets the ends of the 95 % interval, in\n"
        "which answers to one question count as one\n"
        "match: substantial: may gate.\n"
        "40 answers labelled by 1 person.\n"
    )


def test_the_report_as_markdown_and_json(run_at, labelled, tmp_path, capsys):
    out = tmp_path / "trust.md"
    assert call(["judge-report", str(run_at), "--labels", str(labelled), "--format", "md", "-o", str(out)]) == 0
    text = out.read_text()
    assert text.startswith("# docs\\_qa: how far to trust its scorers\n\n**docs\\_qa: trust match most \\(kappa 0.95")
    assert "| match | 40 | 97.5 [" in text
    assert call(["judge-report", str(run_at), "--labels", str(labelled), "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["scorers"][0]["trust"] == "substantial: may gate"
    assert found["scorers"][0]["kappa"]["value"] == pytest.approx(0.95)
