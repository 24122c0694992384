"""Shards and parts: a run cut into parts and merged has the bytes of a run that was never cut."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit import flow
from evalkit.cli import call
from evalkit.engines.shards import MOST, SHARES, halves, shards_of, share_of
from evalkit.errors import EvalkitError, IdentityError, RunError, Unfinished
from evalkit.folder import RunFolder
from evalkit.merge import merge
from evalkit.record import read_manifest, read_run
from evalkit.settings import RunSettings

PLANS = st.lists(st.integers(1, 9), max_size=60).map(
    lambda sizes: [list(range(end - size, end)) for size, end in zip(sizes, itertools.accumulate(sizes), strict=True)]
)


@given(PLANS)
def test_shards_are_consecutive_slices_of_the_plan(plan):
    assert [batch for shard in shards_of(plan) for batch in shard] == plan


@given(PLANS, st.integers(1, 12))
def test_the_shares_of_a_plan_hold_every_shard_once(plan, count):
    shards = shards_of(plan)
    shares = [share_of(shards, (number, count)) for number in range(1, count + 1)]
    assert sorted(shard for share in shares for shard in share) == sorted(shards)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@given(PLANS)
def test_halves_hold_every_request_once_and_end_with_one(plan):
    todo = [plan] if plan else []
    found = []
    while todo:
        parts = halves(todo.pop())
        if len(parts) == 1:
            found.append(parts[0])
        todo += parts if len(parts) > 1 else []
    assert sorted(found) == [[[index]] for batch in plan for index in batch]


def test_a_large_plan_has_shards_of_about_32_requests_and_a_small_one_a_batch_each():
    large = [[index] for index in range(MOST * SHARES * 2)]
    assert {len(shard) for shard in shards_of(large)} == {MOST}
    assert shards_of([[0, 1], [2, 3]]) == [[[0, 1]], [[2, 3]]]


@pytest.fixture
def settings(suite_at, script):
    return RunSettings(model=script(), suites=(str(suite_at(count=30)),))


def parts_of(settings: RunSettings, at: Path, count: int) -> list[Path]:
    return [
        folder
        for number in range(1, count + 1)
        for folder in flow.start(cut(settings, number, count), out=at / f"part{number}")
    ]


def cut(settings: RunSettings, number: int, count: int) -> RunSettings:
    return RunSettings(**{**settings.__dict__, "shard": f"{number}/{count}"})


def results(folder: Path) -> tuple[bytes, bytes]:
    return (folder / "rows.jsonl").read_bytes(), (folder / "summary.json").read_bytes()


@pytest.mark.parametrize("count", [1, 2, 3, 8, 11])
def test_parts_that_are_merged_have_the_bytes_of_a_run_that_was_not_cut(settings, tmp_path, count):
    """Eight batches of four; of eleven parts three are empty."""
    (whole,) = flow.start(settings, out=tmp_path / "whole")
    parts = parts_of(settings, tmp_path, count)
    (merged,) = merge(parts[::-1], tmp_path / "merged")
    assert results(merged) == results(whole)
    kept, before = read_manifest(merged), read_manifest(whole)
    assert kept["identity"] == before["identity"]
    assert kept["settings"] == before["settings"]
    assert kept["rows_sha256"] == before["rows_sha256"]
    assert kept["merged"] == [f"part{number}" for number in range(1, count + 1)]
    assert "warnings" not in kept


def test_a_part_answers_every_third_shard(settings, tmp_path):
    (part,) = flow.start(cut(settings, 2, 3), out=tmp_path / "part")
    asked = [json.loads(line)["r"]["id"] for line in (part / "journal.jsonl").read_bytes().splitlines()]
    assert asked == [f"q{i}" for batch in (1, 4, 7) for i in range(4 * batch, min(30, 4 * batch + 4))]


def test_a_part_is_no_run_and_says_what_makes_one(settings, tmp_path):
    (part,) = flow.start(cut(settings, 2, 3), out=tmp_path / "part")
    with pytest.raises(Unfinished, match=r"part: is part 2/3 of a run; `evalkit merge PART … --out RUN` puts all"):
        read_run(part)
    assert not (part / "rows.jsonl").exists()


def test_a_part_that_was_stopped_is_resumed_to_the_same_answers(settings, tmp_path, monkeypatch):
    (whole,) = flow.start(cut(settings, 1, 2), out=tmp_path / "whole")
    append, calls = RunFolder.append, itertools.count()
    monkeypatch.setattr(
        RunFolder, "append", lambda *a: append(*a) if next(calls) < 2 else (_ for _ in ()).throw(KeyboardInterrupt)
    )
    with pytest.raises(KeyboardInterrupt):
        flow.start(cut(settings, 1, 2), out=tmp_path / "cut")
    monkeypatch.undo()
    (other,) = flow.start(cut(settings, 2, 2), out=tmp_path / "other")
    with pytest.raises(Unfinished, match=r"1 of 2 parts are missing: 1/2 \(.*cut is not finished, resume it\)"):
        merge([tmp_path / "cut", other], tmp_path / "merged")
    flow.resume(tmp_path / "cut")
    assert (tmp_path / "cut/journal.jsonl").read_bytes() == (whole / "journal.jsonl").read_bytes()
    assert merge([tmp_path / "cut", other], tmp_path / "merged") == [tmp_path / "merged"]


def test_missing_parts_are_listed(settings, tmp_path):
    parts = parts_of(settings, tmp_path, 4)
    with pytest.raises(Unfinished, match="suite little: 2 of 4 parts are missing: 1/4, 3/4"):
        merge([parts[1], parts[3]], tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_a_cut_off_journal_is_found(settings, tmp_path):
    parts = parts_of(settings, tmp_path, 2)
    journal = parts[0] / "journal.jsonl"
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[:-1]))
    with pytest.raises(RunError, match=r"answers in none of the parts: 1, the first to 'q27' \(trial 0\)"):
        merge(parts, tmp_path / "merged")


def test_parts_of_another_model_or_cut_are_refused(settings, tmp_path, script, suite_at):
    one, two = parts_of(settings, tmp_path, 2)
    (third,) = flow.start(cut(settings, 3, 3), out=tmp_path / "third")
    with pytest.raises(RunError, match=r"third: is part 3/3, but .*part1 is part 1/2; give the parts of one cut"):
        merge([one, two, third], tmp_path / "merged")
    other = RunSettings(model=script([{"id": "q0", "answer": "else"}], name="other.jsonl"), suites=settings.suites)
    (strange,) = flow.start(cut(other, 2, 2), out=tmp_path / "strange")
    with pytest.raises(IdentityError, match=r"strange: is no part of the same run as .*part1: model.model_digest was"):
        merge([one, strange], tmp_path / "merged")


def test_a_run_is_no_part(settings, tmp_path):
    (whole,) = flow.start(settings, out=tmp_path / "whole")
    with pytest.raises(RunError, match="whole: is no part of a run; `evalkit run --shard K/N` makes parts"):
        merge([whole], tmp_path / "merged")


def test_a_suite_that_changed_since_is_refused(settings, tmp_path):
    parts = parts_of(settings, tmp_path, 2)
    with Path(settings.suites[0], "suite.toml").open("a") as file:
        file.write("[scorer.exact]\nnormalize = false\n")
    with pytest.raises(IdentityError, match=r"part1: cannot be scored here, .*scorers was"):
        merge(parts, tmp_path / "merged")


def changed(part: Path, **response: object) -> Path:
    """Keep another response for the first answer of a part."""
    with RunFolder.open(part) as folder:
        first = next(iter(folder.answered.values()))
        folder.append([{**first, "response": {**first["response"], **response}}])
    return part


def test_equal_copies_of_an_answer_are_one(settings, tmp_path):
    (whole,) = flow.start(settings, out=tmp_path / "whole")
    parts = parts_of(settings, tmp_path, 2)
    (again,) = flow.start(cut(settings, 1, 2), out=tmp_path / "again")
    (merged,) = merge([again, *parts], tmp_path / "merged")
    assert results(merged) == results(whole)
    assert "warnings" not in read_manifest(merged)


def test_unequal_copies_of_an_answer_mark_the_run_and_the_first_counts(settings, tmp_path):
    (whole,) = flow.start(settings, out=tmp_path / "whole")
    parts = parts_of(settings, tmp_path, 2)
    (again,) = flow.start(cut(settings, 1, 2), out=tmp_path / "zagain")
    (merged,) = merge([changed(again, text="else"), *parts], tmp_path / "merged")
    assert read_manifest(merged)["warnings"] == [
        "nondeterministic: copies of answers are not equal, the first to 'q0'; the first copy is kept"
    ]
    assert results(merged)[0] == results(whole)[0]


@pytest.mark.parametrize("failed", ["part1", "again"])
def test_an_error_gives_way_to_an_answer(settings, tmp_path, failed):
    (whole,) = flow.start(settings, out=tmp_path / "whole")
    parts = parts_of(settings, tmp_path, 2)
    flow.start(cut(settings, 1, 2), out=tmp_path / "again")
    changed(tmp_path / failed, text="", finish="error", error="busy")
    (merged,) = merge([tmp_path / "again", *parts], tmp_path / "merged")
    assert results(merged) == results(whole)
    assert "warnings" not in read_manifest(merged)


def test_warnings_of_parts_are_kept_once(settings, tmp_path):
    parts = parts_of(settings, tmp_path, 2)
    for part in parts:
        with RunFolder.open(part) as folder:
            folder.warn(["slow"])
    (merged,) = merge(parts, tmp_path / "merged")
    assert read_manifest(merged)["warnings"] == ["slow"]


def test_a_merged_run_is_resumed_like_any(settings, tmp_path):
    (merged,) = merge(parts_of(settings, tmp_path, 3), tmp_path / "merged")
    before = results(merged)
    (merged / "rows.jsonl").write_bytes(b"damaged")
    flow.resume(merged)
    assert results(merged) == before


def test_several_suites_are_cut_and_merged_together(suite_at, script, tmp_path):
    settings = RunSettings(model=script(), suites=(str(suite_at("two", count=18)), str(suite_at("one", count=5))))
    whole = flow.start(settings, out=tmp_path / "whole")
    for number in (1, 2):
        flow.start(cut(settings, number, 2), out=tmp_path / f"part{number}")
    merged = merge([tmp_path / "part1", tmp_path / "part2"], tmp_path / "merged")
    assert merged == [tmp_path / "merged/two", tmp_path / "merged/one"]
    assert [results(folder) for folder in merged] == [results(folder) for folder in whole]
    (alone,) = merge([tmp_path / "part1/one", tmp_path / "part2/one"], tmp_path / "alone")
    assert results(alone) == results(whole[1])


@pytest.mark.parametrize("shard", ["0/3", "4/3", "3", "1/0", "a/b", "-1/3", "1/3/5", "1 / 3"])
def test_a_shard_that_cannot_be_meant_is_refused(shard):
    with pytest.raises(EvalkitError, match=f"--shard {shard}: expected K/N with K from 1 to N, for instance 2/3"):
        RunSettings(model="m", suites=("s",), shard=shard)


def test_the_commands_run_shard_and_merge(settings, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked = ["run", "--model", settings.model, "--suite", settings.suites[0]]
    assert call([*asked, "--out", "whole"]) == 0
    whole = capsys.readouterr().out
    for number in (1, 2):
        assert call([*asked, "--shard", f"{number}/2", "--out", f"part{number}"]) == 0
    assert capsys.readouterr().out == (
        "part 1/2: 16 answers; `evalkit merge PART … --out RUN` joins all parts\nrun: part1\n"
        "part 2/2: 14 answers; `evalkit merge PART … --out RUN` joins all parts\nrun: part2\n"
    )
    assert call(["report", "part1"]) == 4
    assert capsys.readouterr().err == (
        "evalkit: part1: is part 1/2 of a run; `evalkit merge PART … --out RUN` puts all parts together\n"
    )
    assert call(["merge", "part1", "--out", "whole2"]) == 4
    assert capsys.readouterr().err == "evalkit: suite little: 1 of 2 parts are missing: 2/2\n"
    assert call(["merge", "part1", "part2", "--out", "merged"]) == 0
    assert capsys.readouterr().out == whole.replace("whole", "merged")


def test_too_many_errors_of_a_part_give_its_exit_code(settings, tmp_path, capsys, monkeypatch, script):
    monkeypatch.chdir(tmp_path)
    model = script([{"id": f"q{i}", "answer": "x", **({"error": "busy"} if i == 5 else {})} for i in range(30)])
    asked = ["run", "--model", model, "--suite", settings.suites[0]]
    assert call([*asked, "--shard", "1/2", "--out", "one"]) == 0
    assert call([*asked, "--shard", "2/2", "--out", "two"]) == 4
    assert "evalkit: 1 of 14 requests failed (--max-errors 0), the first: busy;" in capsys.readouterr().err
    assert call(["merge", "one", "two", "--out", "merged"]) == 4
    assert "evalkit: 1 of 30 requests failed (--max-errors 0), the first: busy;" in capsys.readouterr().err
