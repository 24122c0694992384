from __future__ import annotations

import csv
import io
import json
import re

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.cli import call
from evalkit.frames import parquet_of
from evalkit.registry import lookup
from evalkit.report import export
from evalkit.types import Example, Response, Row, Score

FORMULAS = [
    '=HYPERLINK("http://x","y")', "=1+1", "+1+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", " =1", "|calc", "-",
    "=cmd|' /C calc'!A0", "-2+3+cmd|' /C calc'!A0", "\x00=1", "＝1+1", "＋1", "－1+1", "＠SUM(1)", "-1.5.2", "+٣",
]  # fmt: skip
NUMBERS = ["-1.5", "+3", "-0", "1e-5", "-1.5E+10", "-.5", "2.", "0"]
PLAIN = ["", "a=b", "1-2", "it's", "x@y", "[-1]"]


@pytest.mark.parametrize("text", FORMULAS)
def test_a_cell_that_a_spreadsheet_would_run_gets_an_apostrophe(text):
    assert export.cell(text) == f"'{text}"


@pytest.mark.parametrize("text", NUMBERS + PLAIN)
def test_a_number_and_a_plain_text_stay_as_they_are(text):
    assert export.cell(text) == text


@settings(deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_number_is_exported_exactly(number):
    assert float(export.cell(number)) == number


@settings(deadline=None)
@given(st.text())
def test_no_exported_text_begins_like_a_formula_unless_it_is_a_number(text):
    shown = export.cell(text)
    assert not re.match(r"[=+\-@\t\r]", shown) or float(shown) is not None


@pytest.fixture
def run(make_run):
    example = Example("-1.5", "=1+1", ('a "quoted", one',), (), {"=key": "@x", "n": -2})
    second = Example("b", "Why?", ())
    rows = [
        Row(example, Response("+1,\nnext", tokens=3), 0, (Score("match", 1.0),)),
        Row(second, Response(error="down")),
    ]
    return make_run(rows, id="r1")


def test_csv_reads_back_with_formulas_made_harmless(run):
    table = list(csv.DictReader(io.StringIO(lookup("reports", "csv")(run), newline="")))
    first = table[0]
    assert (first["id"], first["question"], first["answer"]) == ("-1.5", "'=1+1", "'+1,\nnext")
    assert (first["meta.=key"], first["meta.n"], first["match"]) == ("'@x", "-2", "1.0")
    assert json.loads(first["target"]) == ['a "quoted", one']
    assert (table[1]["error"], table[1]["match"]) == ("down", "")


def test_json_lines_keep_every_text_as_it_is(run):
    first, second = map(json.loads, lookup("reports", "jsonl")(run).splitlines())
    assert (first["run"], first["question"], first["answer"]) == ("r1", "=1+1", "+1,\nnext")
    assert second["error"] == "down"


def test_parquet_reads_back(run, make_run, make_row):
    mixed = make_run(
        [make_row("q0", meta={"k": 1}), make_row("q1", meta={"k": "x"}), make_row("q2", meta={"k": {"a": 1}})]
    )
    table = pd.read_parquet(io.BytesIO(lookup("reports", "parquet")(run)))
    assert list(table["answer"]) == ["+1,\nnext", ""]
    assert list(pd.read_parquet(io.BytesIO(export.parquet_of([mixed])))["meta.k"]) == ["1", '"x"', '{"a":1}']


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, "x", None], ["1", '"x"', None]),
        ([{"a": 1}, None, {}], ['{"a":1}', None, "{}"]),
        ([["a"], [1], None], ['["a"]', "[1]", None]),
        ([[{}], None], ["[{}]", None]),
        ([2**63, None, 1], ["9223372036854775808", None, "1"]),
        ([1.5, 2**64, None], ["1.5", "18446744073709551616", None]),
        ([True, 1, None], ["true", "1", None]),
        ([True, None, False], [True, None, False]),
        ([2**63 - 1, 0.5], [float(2**63 - 1), 0.5]),
        (["a", None], ["a", None]),
        ([None, None], [None, None]),
    ],
)
def test_a_parquet_column_of_unlike_values_is_json_text(make_run, make_row, values, expected):
    rows = [make_row(f"q{i}", meta={"k": value}) for i, value in enumerate(values)]
    absent = make_run([make_row("last")])
    found = pd.read_parquet(io.BytesIO(export.parquet_of([make_run(rows), absent])))["meta.k"]
    assert [None if pd.isna(value) else value for value in found] == [*expected, None]


def test_parquet_keeps_lists_of_text_and_whole_numbers_beside_missing_ones(make_run, make_row):
    rows = [make_row("a", meta={"list": ["x", "y"], "n": 2**53 + 1}), make_row("b", meta={"list": []}), make_row("c")]
    file = io.BytesIO(export.parquet_of([make_run(rows)]))
    table = pd.read_parquet(file, dtype_backend="numpy_nullable")
    assert [list(value) for value in table["meta.list"][:2]] == [["x", "y"], []]
    assert table["meta.n"][0] == 2**53 + 1
    assert table[["meta.list", "meta.n"]].isna().to_numpy().tolist() == [[False, False], [False, True], [True, True]]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@settings(deadline=None)
@given(values=st.lists(VALUES, min_size=1, max_size=4))
def test_any_values_become_a_parquet_column(values):
    table = pd.read_parquet(io.BytesIO(parquet_of([{"k": value} for value in values])))
    assert list(table["k"].isna()) == [value is None for value in values]


def test_rows_of_several_runs_go_into_one_table(write_run, make_row, tmp_path, monkeypatch, capfdbinary):
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        write_run(name, [make_row("q0")])
    assert call(["report", "a", "b", "--format", "csv"]) == 0
    assert [line.split(b",")[0] for line in capfdbinary.readouterr().out.splitlines()] == [b"run", b"a", b"b"]
    assert call(["report", "a", "b", "--format", "parquet", "-o", "rows.parquet"]) == 0
    assert list(pd.read_parquet("rows.parquet")["run"]) == ["a", "b"]
