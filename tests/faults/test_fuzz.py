"""A few hundred broken files of every kind, and every find of the fuzzer: an error of ours, or nothing at all."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evalkit.cli import call
from tests.faults.broken import TARGETS, mutant, tried

QUICK = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.fault(17, 20, 23)
@pytest.mark.parametrize("name", TARGETS)
@QUICK
@given(seed=st.integers(0, 2**64), raw=st.binary(max_size=40))
def test_no_file_from_others_gives_anything_but_an_error_of_ours(name, tmp_path, seed, raw):
    target = TARGETS[name]
    for content in (mutant(target.good, random.Random(seed)), raw):
        assert "\n" not in tried(target, content, tmp_path / "case")


@pytest.mark.parametrize("name", TARGETS)
def test_a_good_file_is_read(name, tmp_path):
    assert tried(TARGETS[name], TARGETS[name].good.encode(), tmp_path / "case") == ""


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("suite", "version = 1", f"version = {'9' * 5000}"),
        ("suite", '"critical"', "[]"),
        ("suite", "seed = 1", f"seed = {'[' * 2000}"),
        ("policy", "alpha = 0.05", f"alpha = {'9' * 5000}"),
        ("sft", "epochs = 2", f"epochs = {'9' * 5000}"),
        ("manifest", '"schema":1', '"schema":Infinity'),
        ("manifest", '"suite":"little"', '"suite":{}'),
        ("manifest", '"max_errors":0', '"max_errors":"x"'),
        ("summary", '"rates":{', '"rates":"x","other":{'),
        ("summary", '"notes":["a note"]', '"notes":true'),
        ("summary", '"notes":["a note"]', '"notes":[{}]'),
        ("summary", '{"repetition":0.1}', "[]"),
        ("summary", '"repetition":0.1', '"repetition":{}'),
        ("summary", '"repetition":0.1', '"repetition":1e999'),
        ("plan", '"budget":0.1', '"budget":Infinity'),
        ("plan", '"after":"believe"', '"after":"\\ud800"'),
        ("journal", '"trial":0', '"trial":[]'),
        ("journal", '"response":', '"reply":'),
        ("rows", '"category":"repetition"', '"category":[]'),
        ("rows", '"text":"I."', '"text":{}'),
        ("rows", '"text":"I."', '"text":["a"]'),
        ("rows", '"truncated_tokens":0', '"truncated_tokens":"x"'),
        ("rows", '"id":"q0"', '"id":["q0"]'),
        ("rows", '"name":"match"', '"name":[]'),
        ("rows", '"name":"match"', '"name":5'),
        ("rows", '"span":[0,20]', '"span":[]'),
        ("rows", '"span":[0,20]', '"span":""'),
        ("rows", '"span":[0,20]', '"span":0'),
        ("rows", '"tokens":8', '"tokens":"8"'),
        ("rows", "[-1.0,-2.0]", "[-1.0,[]]"),
        ("rows", '"finish":"stop"', '"finish":"later"'),
        ("log", '"resps":', '"resp":'),
        ("log", '"target":1', '"goal":1'),
        ("log", '["acc","acc_norm"]', "[[]]"),
        ("log", '["acc","acc_norm"]', "0.5"),
        ("log", '"doc":{', '"doc":"x","dog":{'),
        ("log", '["-1.0","True"]', '["minus one","True"]'),
        ("log", '["-1.0","True"]', '["nan","True"]'),
        ("log", '["-1.0","True"]', '[["-1.0"],"True"]'),
        ("log", '{"arg_0":"Q: Why?","arg_1":" a"}', "{}"),
        ("results", '"config":{', '"config":0.5,"other":{'),
        ("results", '"configs":{', '"configs":"x","other":{'),
        ("results", '"model_name":"m"', '"model_name":5'),
        ("results", '"model_name":"m"', f'"model_name":"{"x" * 3000}"'),
        ("results", '"model_name":"m"', '"model_name"'),
    ],
)
def test_what_the_fuzzer_found_is_an_error_of_ours_or_is_read(name, old, new, tmp_path):
    target = TARGETS[name]
    assert old in target.good
    assert "\n" not in tried(target, target.good.replace(old, new).encode(), tmp_path / "case")


def test_a_path_that_is_too_long_is_one_line_and_exit_2(capsys):
    assert call(["report", "x" * 3000]) == 2
    assert capsys.readouterr().err == f"evalkit: {'x' * 60}…: File name too long\n"


def test_a_packed_log_that_is_none_is_one_line(tmp_path, capsys):
    log = tmp_path / "samples_arc_2026-01-01T00-00-00.000000.jsonl.gz"
    for content in (b"x", b"\x1f\x8b\x08\0\0\0\0\0\0\3", b"\x1f\x8b\x08\0\0\0\0\0\0\3\xff\xff\xff"):
        log.write_bytes(content)
        assert call(["import", "lm-eval", str(tmp_path), "--out", str(tmp_path / "run")]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1
