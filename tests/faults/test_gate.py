"""Fault 44, and what several processes share: baselines, caches, the count of attempts, the files of a gate."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from evalkit.baseline import find_baseline, history
from evalkit.errors import RunError
from tests.faults.processes import ran, started


@pytest.fixture
def runs(write_run, make_row) -> Callable[..., list[Path]]:
    """Two runs of many items, the second one as good as the first."""

    def make(count: int = 400) -> list[Path]:
        rows = [make_row(f"q{i}", value=float(i % 2)) for i in range(count)]
        return [write_run("base", rows), write_run("cand", rows, **{"model.name": "cand"})]

    return make


@pytest.mark.fault(44)
@pytest.mark.parametrize(("count", "code", "word"), [(1, 3, "INCONCLUSIVE"), (400, 0, "PASS")])
def test_equal_runs_pass_only_where_there_are_enough_items(runs, count, code, word):
    base, cand = runs(count)
    done = ran("gate", "--baseline", base, "--candidate", cand)
    assert (done.returncode, done.stdout.split()[0]) == (code, word)


@pytest.mark.fault(44)
@pytest.mark.parametrize("name", ["none", "../base", "", "%2e%2e", "a\n"])
def test_a_baseline_that_is_not_there_is_one_line(runs, tmp_path, name):
    _, cand = runs(10)
    done = ran("gate", "--baseline", name, "--candidate", cand, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1


def test_a_baseline_set_by_many_processes_at_once_holds_whole_rows_and_every_reason(runs, tmp_path):
    base, cand = runs(2000)
    running = [
        started("baseline", "set", "prod", run, "--reason", f"{run.name} {i}", cwd=tmp_path)
        for i in range(4)
        for run in (base, cand)
    ]
    for process in running:
        _, err = process.communicate(timeout=120)
        assert (process.returncode, err) == (0, "")
    store = tmp_path / "baselines"
    assert sorted(entry.reason for entry in history("prod", store)) == sorted(
        f"{run.name} {i}" for i in range(4) for run in (base, cand)
    )
    assert (find_baseline("prod", store) / "rows.jsonl").read_bytes() in {
        (run / "rows.jsonl").read_bytes() for run in (base, cand)
    }
    assert sorted(path.name for path in (store / "prod").iterdir()) == ["base", "cand", "log.jsonl"]


def test_a_baseline_whose_log_was_cut_keeps_what_was_whole_and_can_be_set_again(runs, tmp_path):
    base, cand = runs(10)
    for run in (base, cand):
        assert ran("baseline", "set", "prod", run, "--reason", "why", cwd=tmp_path).returncode == 0
    log = tmp_path / "baselines/prod/log.jsonl"
    log.write_bytes(log.read_bytes()[:-5])
    assert [entry.run for entry in history("prod", tmp_path / "baselines")] == ["base"]
    assert ran("baseline", "set", "prod", cand, "--reason", "again", cwd=tmp_path).returncode == 0
    assert [entry.reason for entry in history("prod", tmp_path / "baselines")] == ["why", "again"]
    log.write_bytes(b"{" + log.read_bytes())
    with pytest.raises(RunError, match="damaged"):
        history("prod", tmp_path / "baselines")


def test_gates_at_once_count_every_candidate(runs, write_run, make_row, tmp_path):
    base, _ = runs(50)
    assert ran("baseline", "set", "prod", base, "--reason", "first", cwd=tmp_path).returncode == 0
    rows = [make_row(f"q{i}") for i in range(50)]
    candidates = [write_run(f"c{i}", rows, **{"model.name": "cand"}) for i in range(6)]
    running = [started("gate", "--baseline", "prod", "--candidate", c, cwd=tmp_path) for c in candidates]
    for process in running:
        process.communicate(timeout=120)
        assert process.returncode in (0, 1, 3)
    lines = (tmp_path / "baselines/prod/attempts.jsonl").read_text().splitlines()
    assert len({json.loads(line)["run"] for line in lines}) == 6


@pytest.mark.fault(1)
def test_a_gate_that_is_killed_leaves_whole_files_or_none(runs, tmp_path):
    base, cand = runs(2000)
    files = ("--json", "v.json", "--junit", "v.xml", "--markdown", "v.md")
    for delay in (0.2, 0.4, 0.6, 0.8, 1.0):
        process = started("gate", "--baseline", base, "--candidate", cand, *files, cwd=tmp_path)
        try:
            process.communicate(timeout=delay)
        except Exception:
            process.send_signal(signal.SIGKILL)
            process.communicate()
        if (tmp_path / "v.json").is_file():
            assert json.loads((tmp_path / "v.json").read_text())["verdict"] == "PASS"
        if (tmp_path / "v.xml").is_file():
            assert (tmp_path / "v.xml").read_text().rstrip().endswith("</testsuites>")
