"""The planted-defect self-test: what is planted, how a plan is graded, and how good it is on docs_qa."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from trainkit.cli import call
from trainkit.curate.lines import read_data
from trainkit.curate.plant import SHARES, plant
from trainkit.curate.selftest import self_test

TRAIN = Path(__file__).parents[2] / "suites/docs_qa/train.jsonl"


@pytest.fixture(scope="module")
def rows():
    return read_data(TRAIN).rows


def test_defects_are_planted_in_their_shares_and_a_topic_goes(rows):
    planted = plant(rows, 0)
    clean = len(rows) - len(planted.removed) - len(planted.spared)
    assert Counter(planted.kinds.values()) == {kind: round(share * clean) for kind, share in SHARES.items()}
    assert not {row.meta["topic"] for row in planted.rows} & {planted.topic}
    assert len(planted.rows) == clean + round(SHARES["duplicated"] * clean)


def test_every_planted_row_differs_from_what_it_was_and_no_other_does(rows):
    planted = plant(rows, 1)
    before = {row.id: row for row in rows}
    for row in planted.rows:
        if row.id not in planted.kinds:
            assert row == before[row.id]
        elif planted.kinds[row.id] != "duplicated":
            assert row.answer != before[row.id].answer


def test_the_same_seed_plants_the_same(rows):
    assert plant(rows, 2) == plant(rows, 2)
    assert plant(rows, 2) != plant(rows, 3)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_plan_finds_what_was_planted_in_docs_qa(seed):
    """Precision at least 0.85 and recall at least 0.80 over all rows and for each kind."""
    for grade in self_test(TRAIN, seed).grades:
        assert grade.precision is not None
        assert grade.recall is not None
        assert grade.precision >= 0.85, grade
        assert grade.recall >= 0.80, grade


def test_the_self_test_prints_a_table(capsys):
    assert call(["curate", "--self-test", "--train", str(TRAIN), "--seed", "0"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["kind", "planted", "found", "recall", "named", "right", "precision", "restored"]
    assert [line.split()[0] for line in lines[2:8]] == [*SHARES, "all"]
    assert lines[8].startswith("topic ")


def test_the_planted_rows_are_written_for_a_loop(tmp_path, rows, capsys):
    arguments = ["curate", "--self-test", "--train", str(TRAIN), "--seed", "1", "--out", str(tmp_path / "planted")]
    assert call(arguments) == 0
    planted = plant(rows, 1)
    written = read_data(tmp_path / "planted/train.jsonl").rows
    assert [(row.id, row.question, row.answer) for row in written] == [
        (row.id, row.question, row.answer) for row in planted.rows
    ]
    assert json.loads((tmp_path / "planted/planted.json").read_text())["rows"] == planted.kinds
    assert call(arguments) == 2
    assert "holds rows already" in capsys.readouterr().err
