from pathlib import Path

import pytest

from evalkit.baseline import count_attempt, find_baseline, history, list_baselines, set_baseline
from evalkit.errors import RunError, Unfinished
from evalkit.folder import RunFolder
from evalkit.types import Example, Response, Row, Run
from evalkit.verdict import Verdict


def folder(path: Path, run_id: str, *, finished: bool = True) -> Path:
    identity = {"suite": "qa", "primary": "exact", "split": "dev"}
    manifest = {"id": run_id, "identity": identity, "settings": {"model": "m", "max_errors": 0}}
    with RunFolder.create(path, manifest) as run:
        if finished:
            run.finish([Row(Example("q", "why?"), Response("so"))], dict)
    return path


def test_a_baseline_keeps_the_rows_and_the_reason(tmp_path: Path) -> None:
    run, store = folder(tmp_path / "runs" / "r1", "r1"), tmp_path / "baselines"
    pinned = set_baseline("main", run, "first release", store)
    assert (pinned.run, pinned.reason) == ("r1", "first release")
    assert (find_baseline("main", store) / "rows.jsonl").read_bytes() == (run / "rows.jsonl").read_bytes()
    assert list_baselines(store) == (pinned,)


def test_setting_it_again_keeps_what_was(tmp_path: Path) -> None:
    store = tmp_path / "baselines"
    set_baseline("main", folder(tmp_path / "a", "r1"), "one", store)
    set_baseline("main", folder(tmp_path / "b", "r2"), "two", store)
    assert [(p.run, p.reason) for p in history("main", store)] == [("r1", "one"), ("r2", "two")]
    assert (store / "main" / "r1" / "rows.jsonl").is_file()
    assert find_baseline("main", store).name == "r2"


def test_a_path_stands_for_itself(tmp_path: Path) -> None:
    run = folder(tmp_path / "r1", "r1")
    assert find_baseline(str(run), tmp_path / "none") == run


def test_rows_that_were_changed_are_refused(tmp_path: Path) -> None:
    store = tmp_path / "baselines"
    set_baseline("main", folder(tmp_path / "a", "r1"), "one", store)
    (store / "main" / "r1" / "rows.jsonl").write_text("{} \n")
    with pytest.raises(RunError, match="not those that were pinned"):
        find_baseline("main", store)


def test_what_cannot_be_pinned_is_refused(tmp_path: Path) -> None:
    run, store = folder(tmp_path / "a", "r1"), tmp_path / "baselines"
    with pytest.raises(RunError, match="with a reason"):
        set_baseline("main", run, " ", store)
    with pytest.raises(RunError, match="expected letters"):
        set_baseline("../main", run, "r", store)
    with pytest.raises(RunError, match="no run here"):
        set_baseline("main", tmp_path, "r", store)
    with pytest.raises(Unfinished, match=r"`evalkit run --resume .*/half` completes it"):
        set_baseline("main", folder(tmp_path / "half", "r3", finished=False), "r", store)
    set_baseline("main", run, "r", store)
    with pytest.raises(RunError, match=r"did you mean 'main'"):
        find_baseline("mian", store)


def test_runs_of_one_checkpoint_are_counted_once_each(tmp_path: Path) -> None:
    path, verdict = tmp_path / "b" / "attempts.jsonl", Verdict("FAIL", (), baseline="base")

    def candidate(run_id: str, weights: str) -> Run:
        return Run(run_id, {"identity": {"model.sha": weights}}, ())

    given = [("r1", "w"), ("r1", "w"), ("r2", "w"), ("r3", "other"), ("r4", "w")]
    assert [count_attempt(path, candidate(*pair), verdict) for pair in given] == [1, 1, 2, 1, 3]
