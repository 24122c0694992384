"""Faults 6, 8-13: a run folder is held by one process, checked field by field, and refused when it is damaged."""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import pytest

from evalkit import folder as writing
from evalkit import record
from evalkit.errors import IdentityError, RunError, RunLocked, Stopped
from evalkit.folder import RunFolder, new_run_id, salvage
from evalkit.jsonl import dump
from evalkit.lines import Lines
from evalkit.record import open_run, read_manifest, read_run

IDENTITY = {"suite": "little", "primary": "match", "split": "dev", "suite_digest": "d1"}
MANIFEST: Mapping[str, Any] = {"identity": IDENTITY, "settings": {"model": "m", "max_errors": 0.0}}


def answer(i: int) -> dict[str, Any]:
    return {"id": f"q{i}", "trial": 0, "response": {"text": f"a{i}", "error": None}}


@pytest.fixture
def finished(tmp_path, make_row):
    with RunFolder.create(tmp_path / "run", MANIFEST) as run:
        run.append([answer(0), answer(1)])
        rows = [make_row("q0", tags=[("empty", "major", 0.5)]), make_row("q1", "«hostile» \x1b]52;c\x07 ‮", value=None)]
        run.finish(rows, lambda: {"answers": 2})
    return tmp_path / "run"


def rewrite(folder, **changes):
    """Write another manifest with a checksum that fits."""
    manifest = {**json.loads((folder / "manifest.json").read_bytes()), **changes}
    manifest.pop("check")
    writing._write_manifest(folder, manifest)


def test_a_finished_run_is_read_back(finished, make_row):
    run = read_run(finished)
    assert (run.id, run.suite, run.model, run.summary) == ("run", "little", "m", {"answers": 2})
    assert run.rows[0] == make_row("q0", tags=[("empty", "major", 0.5)])
    assert run.rows[1].response.text == "«hostile» \x1b]52;c\x07 ‮"


def test_rows_are_canonical_lines(finished):
    for line in (finished / "rows.jsonl").read_bytes().splitlines(keepends=True):
        assert line == dump(json.loads(line)).encode() + b"\n"


def test_two_runs_of_one_second_have_names_of_their_own_10():
    names = {new_run_id() for _ in range(50)}
    assert len(names) == 50
    assert all(re.fullmatch(r"\d{8}T\d{6}-[0-9a-f]{6}", name) for name in names)


def test_a_folder_that_is_not_empty_is_refused_and_left_alone_8(tmp_path):
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(RunError, match="the folder is not empty; give another --out, or `evalkit run --resume"):
        RunFolder.create(tmp_path, MANIFEST)
    assert os.listdir(tmp_path) == ["mine.txt"]


def test_an_empty_folder_is_used_and_missing_parents_are_made_8(tmp_path):
    RunFolder.create(tmp_path / "a/b/c", MANIFEST).close()
    (tmp_path / "empty").mkdir()
    RunFolder.create(tmp_path / "empty", MANIFEST).close()
    assert read_manifest(tmp_path / "a/b/c")["id"] == "c"


def test_what_a_process_killed_in_mid_write_left_is_swept_up_1(finished, tmp_path):
    """SIGKILL while the first manifest, or the rows, are written."""
    (tmp_path / "early").mkdir()
    for folder in (tmp_path / "early", finished):
        (folder / ".manifest.json.x1y2z3").write_text("half")
        (folder / ".rows.jsonl.abc").write_text("half")
    (tmp_path / "early/lock").touch()
    RunFolder.create(tmp_path / "early", MANIFEST).close()
    RunFolder.open(finished).close()
    for folder in (tmp_path / "early", finished):
        assert [p.name for p in folder.iterdir() if p.name.startswith(".")] == []


def test_a_file_is_no_place_for_a_run_8(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunError, match="is a file; a run needs a folder"):
        RunFolder.create(tmp_path / "file", MANIFEST)
    with pytest.raises(RunError, match="a run cannot be made here: Not a directory"):
        RunFolder.create(tmp_path / "file" / "run", MANIFEST)
    with pytest.raises(RunError, match="no run here"):
        read_run(tmp_path / "file")


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes into read-only folders")
def test_a_read_only_folder_is_one_line_8(tmp_path, finished):
    finished.chmod(0o555)
    (finished / "lock").chmod(0o444)
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(RunError, match="a run cannot be made here: Permission denied"):
            RunFolder.create(tmp_path / "new", MANIFEST)
        with pytest.raises(RunError, match="cannot be written: Permission denied"):
            RunFolder.open(finished)
    finally:
        tmp_path.chmod(0o755)
        finished.chmod(0o755)


def test_a_folder_that_refuses_writing_is_one_line_8(finished, monkeypatch):
    def refuses(path, *_):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(os, "open", refuses)
    with pytest.raises(RunError, match="cannot be written: Permission denied"):
        RunFolder.open(finished)


def test_the_second_process_on_a_run_gets_75_and_the_first_ones_pid_9(tmp_path):
    code = (
        "import sys; from evalkit.folder import RunFolder; from pathlib import Path\nRunFolder.open(Path(sys.argv[1]))"
    )
    with RunFolder.create(tmp_path / "run", MANIFEST):
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "run")], capture_output=True, text=True, check=False
        )
        assert f"RunLocked: {tmp_path}/run: another process works on this run (pid {os.getpid()}, since " in done.stderr
    assert RunLocked.exit_code == 75
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "run")], check=True)


def test_a_run_that_is_closed_or_failed_to_open_can_be_opened_again(tmp_path):
    with RunFolder.create(tmp_path / "run", MANIFEST) as run:
        run.append([answer(0), answer(1), answer(2)])
    whole = (tmp_path / "run/journal.jsonl").read_bytes()
    (tmp_path / "run/journal.jsonl").write_bytes(whole.replace(b"a1", b"b1"))
    for _ in range(2):
        with pytest.raises(RunError, match="line 2 is corrupt"):
            RunFolder.open(tmp_path / "run")
    (tmp_path / "run/journal.jsonl").write_bytes(whole)
    RunFolder.open(tmp_path / "run").close()


def test_two_processes_cannot_make_the_same_run_9(tmp_path, monkeypatch):
    RunFolder.create(tmp_path / "run", MANIFEST).close()
    monkeypatch.setattr(writing, "_refuse_content", lambda path, calls=[]: calls.append(path) or _only_first(calls))
    with pytest.raises(RunError, match="seen under the lock"):
        RunFolder.create(tmp_path / "run", {**MANIFEST, "identity": {**IDENTITY, "suite": "other"}})
    assert read_manifest(tmp_path / "run")["identity"]["suite"] == "little"


def _only_first(calls):
    if len(calls) > 1:
        raise RunError("seen under the lock")


def test_a_torn_tail_is_cut_off_and_reported_1(tmp_path, caplog):
    with RunFolder.create(tmp_path / "run", MANIFEST) as run:
        run.append([answer(0)])
    with (tmp_path / "run/journal.jsonl").open("ab") as file:
        file.write(b'{"v":1,"k":"row"')
    with caplog.at_level(logging.WARNING), RunFolder.open(tmp_path / "run") as run:
        assert set(run.answered) == {("q0", 0)}
    assert "16 bytes of a torn line were cut off" in caplog.text


def test_equal_identities_pass_and_every_difference_is_named_13(finished):
    with RunFolder.open(finished) as run:
        run.check_identity(IDENTITY)
        with pytest.raises(IdentityError) as caught:
            run.check_identity({**IDENTITY, "suite_digest": "d2", "model.digest": "x" * 99, "split": "held_out"})
    message = str(caught.value)
    assert "suite_digest was d1, is d2" in message
    assert f"model.digest was None, is {'x' * 57}…" in message
    assert "split was dev, is held_out" in message
    assert "primary" not in message


def test_a_flipped_bit_in_any_byte_of_the_manifest_is_refused_11(finished):
    path = finished / "manifest.json"
    data = path.read_bytes()
    for position in range(len(data)):
        path.write_bytes(data[:position] + bytes([data[position] ^ 1 << position % 8]) + data[position + 1 :])
        with pytest.raises(RunError, match=r"manifest\.json: (damaged|run schema)"):
            read_manifest(finished)


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"{}", b'{"schema":{}}', b"\xff", b"[" * 100_000])
def test_a_manifest_of_another_form_is_refused_11(finished, content):
    (finished / "manifest.json").write_bytes(content)
    with pytest.raises(RunError, match=r"manifest\.json: damaged"):
        read_run(finished)


def test_a_newer_schema_is_refused_by_name_12(finished):
    rewrite(finished, schema=2)
    with pytest.raises(RunError, match="run schema 2 is newer than this evalkit's 1; update evalkit"):
        read_run(finished)


def test_a_manifest_without_what_every_run_has_is_refused_11(finished):
    rewrite(finished, settings={"model": "m"})
    with pytest.raises(RunError, match=r"damaged \(no settings\.max_errors\)"):
        read_run(finished)
    rewrite(finished, identity=3)
    with pytest.raises(RunError, match=r"damaged \(no identity\.suite\)"):
        read_run(finished)


def test_a_run_that_is_not_finished_is_not_read_but_says_how_to_go_on(tmp_path):
    RunFolder.create(tmp_path / "run", MANIFEST).close()
    with pytest.raises(RunError, match=rf"the run is not finished; `evalkit run --resume {tmp_path}/run` completes it"):
        read_run(tmp_path / "run")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"value":1.0', b'"value":2.0'),
        (b'"value":1.0', b'"value":NaN'),
        (b'"severity":"major"', b'"severity":"awful"'),
        (b'"confidence":0.5', b'"confidence":"x"'),
        (b'"span":null', b'"span":[1]'),
        (b'"example":{', b'"exmple":{'),
        (b'"meta":{}', b'"meta":3'),
        (b'"scores":[{', b'"scores":[3,{'),
    ],
    ids=str,
)
def test_a_damaged_row_is_refused_with_its_line_11(finished, old, new):
    path = finished / "rows.jsonl"
    path.write_bytes(path.read_bytes().replace(old, new, 1))
    with pytest.raises(RunError, match=r"rows\.jsonl: line 1 is damaged .*; `evalkit run --resume .*` writes it anew"):
        read_run(finished)


def test_a_changed_row_that_still_reads_is_refused_by_the_digest_11(finished):
    path = finished / "rows.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"value":1.0', b'"value":0.0'))
    with pytest.raises(RunError, match="its sha256 is not the manifest's"):
        read_run(finished)


@pytest.mark.parametrize("content", [None, b"", b"{", b"3"])
def test_a_damaged_summary_is_refused_11(finished, content):
    path = finished / "summary.json"
    path.write_bytes(content) if content is not None else path.unlink()
    with pytest.raises(RunError, match=r"summary\.json: damaged"):
        read_run(finished)


def test_an_opened_run_is_the_one_that_is_read_and_many_rows_stay_on_disk(finished, monkeypatch):
    assert isinstance(open_run(finished).rows, tuple)
    monkeypatch.setattr(record, "HELD", 1)
    opened, whole = open_run(finished), read_run(finished)
    assert (opened.id, opened.manifest, opened.summary) == (whole.id, whole.manifest, whole.summary)
    assert isinstance(opened.rows, Lines)
    assert list(opened.rows) == list(whole.rows)
    assert (opened.rows[-1], opened.rows[:1]) == (whole.rows[-1], list(whole.rows[:1]))


def test_an_opened_run_that_is_damaged_is_refused_as_one_that_is_read(finished, monkeypatch):
    monkeypatch.setattr(record, "HELD", 1)
    rows = finished / "rows.jsonl"
    rows.write_bytes(rows.read_bytes().replace(b'"trial"', b'"trail"', 1))
    with pytest.raises(RunError, match=r"rows\.jsonl: line 1 is damaged"):
        open_run(finished)
    rows.unlink()
    with pytest.raises(RunError, match=r"rows\.jsonl: cannot be read"):
        open_run(finished)


def test_rows_that_are_gone_are_refused(finished):
    (finished / "rows.jsonl").unlink()
    with pytest.raises(RunError, match=r"rows\.jsonl: cannot be read"):
        read_run(finished)


def test_a_full_disk_at_the_end_stops_the_run_and_keeps_the_old_rows_7(finished, make_row, monkeypatch):
    before = (finished / "rows.jsonl").read_bytes()
    with RunFolder.open(finished) as run:

        def full(*_):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(writing, "write_atomic", full)
        with pytest.raises(Stopped, match="No space left on device while the rows were written"):
            run.finish([make_row()], dict)
    assert (finished / "rows.jsonl").read_bytes() == before


@pytest.mark.parametrize("name", ["lock", "journal.jsonl", "telemetry.jsonl"])
def test_a_run_with_symbolic_links_is_not_resumed(finished, tmp_path, name):
    """A folder from others must not make us cut or append to a file of the user's."""
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (finished / name).unlink(missing_ok=True)
    (finished / name).symlink_to(victim)
    with pytest.raises(RunError, match="is a symbolic link"):
        RunFolder.open(finished)
    assert victim.read_text() == "mine"


def test_salvage_makes_a_new_run_of_the_good_lines_and_leaves_the_old_one_11(finished):
    journal = finished / "journal.jsonl"
    with pytest.raises(RunError, match="its journal is whole; resume it without --keep-prefix"):
        salvage(finished)
    journal.write_bytes(journal.read_bytes().replace(b"a1", b"b1") + journal.read_bytes())
    damaged = {p.name: p.read_bytes() for p in finished.iterdir() if p.name != "lock"}
    new = salvage(finished)
    assert new == finished.with_name("run-prefix")
    assert {p.name: p.read_bytes() for p in finished.iterdir() if p.name != "lock"} == damaged
    with RunFolder.open(new) as run:
        assert set(run.answered) == {("q0", 0)}
        assert not run.complete
        assert (run.manifest["id"], run.manifest["prefix_of"]) == ("run-prefix", "run")
        run.check_identity(IDENTITY)
    with pytest.raises(RunError, match="the folder is not empty"):
        salvage(finished)
