"""Faults 6-8, 11, 12: disks that are full for a moment or for good, in reality and at every single write; old runs."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from evalkit.errors import RunError
from evalkit.journal import read_journal
from evalkit.record import read_run
from tests.faults.processes import EVALKIT, crashed, environment, here, ran

OLD = Path(__file__).parent / "old"


@pytest.mark.fault(6)
@pytest.mark.parametrize("how", ["full", "stays full"])
def test_a_disk_that_is_full_at_any_write_is_one_line_and_the_run_resumes(command, tmp_path, noted, how):
    noted(crashed(tmp_path / "crash", how, *command), 20)


@pytest.mark.fault(6)
@pytest.mark.stress
def test_a_disk_that_is_full_again_while_resuming_is_one_line_and_resumes(command, tmp_path, noted):
    noted(crashed(tmp_path / "crash", "full", *command, times="twice"), 80)


def limited(size: int):
    """Return what gives a process files of at most `size` bytes: a disk that is full after so many."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return limit


@pytest.mark.fault(6)
@pytest.mark.parametrize("size", [0, 700, 1800, 2300])
def test_files_that_may_not_grow_stop_the_run_which_resumes(command, tmp_path, equal, size):
    assert here(*command, "--out", tmp_path / "whole") == 0
    done = ran(*command, "--out", tmp_path / "cut", preexec_fn=limited(size))
    assert done.returncode in (2, 4)
    assert "File too large" in done.stderr.splitlines()[-1]
    assert str(tmp_path / "cut") in done.stderr.splitlines()[-1]
    resumable = (tmp_path / "cut/manifest.json").is_file()
    assert ("stopped; to go on: evalkit run --resume " in done.stderr) == resumable
    mend = ("run", "--resume", tmp_path / "cut") if resumable else (*command, "--out", tmp_path / "cut")
    assert here(*mend) == 0
    equal(tmp_path / "whole", tmp_path / "cut")


ON_A_SMALL_DISK = """
set -e
mount -t tmpfs -o size=64k none "$1"
shift
place=$1
shift
"$@" --out "$place/run" 2>"$place.said" || echo "code $?" >>"$place.said"
cp -r "$place/run" "$place.kept"
"""


@pytest.mark.fault(6)
def test_a_small_disk_that_fills_up_keeps_what_was_answered(suite_at, script, tmp_path, equal):
    """The disk is a real one of 64 kB, in a mount namespace of the process's own."""
    rows = [{"id": f"q{i}", "answer": f"a{i} " * 1000} for i in range(40)]
    command = ("run", "--model", script(rows), "--suite", suite_at(count=40))
    place = tmp_path / "disk"
    place.mkdir()
    shell = ("unshare", "--mount", "--map-root-user", "sh", "-c", ON_A_SMALL_DISK, "sh", str(place), str(place))
    done = subprocess.run(
        [*shell, *EVALKIT, *map(str, command)], env=environment(), capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"no disk may be mounted here: {done.stderr.splitlines()[-1]}")
    said = (tmp_path / "disk.said").read_text().splitlines()
    assert said[-1] == "code 4"
    assert "No space left on device while " in said[-2]
    assert said[-3].startswith("stopped; to go on: evalkit run --resume ")
    kept, _, torn = read_journal(tmp_path / "disk.kept/journal.jsonl")
    assert len(kept) >= 8
    assert torn == 0
    assert here(*command, "--out", tmp_path / "whole") == 0
    assert here("run", "--resume", tmp_path / "disk.kept") == 0
    equal(tmp_path / "whole", tmp_path / "disk.kept")


@pytest.mark.fault(7)
@pytest.mark.parametrize("form", ["md", "json", "html"])
def test_a_report_that_does_not_fit_leaves_the_old_file_whole(command, tmp_path, form):
    assert here(*command, "--out", tmp_path / "run") == 0
    target = tmp_path / f"report.{form}"
    target.write_text("the old report\n")
    done = ran("report", tmp_path / "run", "--format", form, "-o", target, preexec_fn=limited(100))
    assert (done.returncode, done.stderr) == (2, f"evalkit: {target}: cannot be written: File too large\n")
    assert target.read_text() == "the old report\n"
    assert sorted(path.name for path in tmp_path.glob(".*")) == []


BOUND = ("setpriv", "--bounding-set", "-dac_override") if os.geteuid() == 0 else ()
"""What takes from root the right to write where its own files forbid it."""


@pytest.mark.fault(8)
@pytest.mark.skipif(bool(BOUND) and shutil.which("setpriv") is None, reason="no setpriv, and root may write anywhere")
def test_a_run_in_a_folder_that_is_read_only_is_read_and_not_written(command, tmp_path):
    place = tmp_path / "place"
    assert here(*command, "--out", place / "run") == 0
    (place / "run").chmod(0o555)
    place.chmod(0o555)
    program = (*BOUND, *EVALKIT)
    try:
        assert ran("report", place / "run", program=program).returncode == 0
        for arguments in (("run", "--resume", place / "run"), (*command, "--out", place / "other")):
            done = ran(*arguments, program=program)
            assert done.returncode in (2, 4)
            assert "Permission denied" in done.stderr.splitlines()[-1]
    finally:
        place.chmod(0o755)
        (place / "run").chmod(0o755)


@pytest.mark.fault(11)
def test_a_flipped_bit_anywhere_in_a_journal_is_refused_or_changes_nothing(command, tmp_path):
    assert here(*command, "--out", tmp_path / "whole") == 0
    data = (tmp_path / "whole/journal.jsonl").read_bytes()
    whole, refused = read_journal(tmp_path / "whole/journal.jsonl")[0], 0
    for place in range(0, len(data), 97):
        cut = tmp_path / "cut.jsonl"
        cut.write_bytes(data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :])
        try:
            records, _, _ = read_journal(cut)
        except RunError:
            refused += 1
        else:
            assert records == whole[: len(records)]
    assert refused > 10


@pytest.mark.fault(12)
@pytest.mark.parametrize("folder", sorted(OLD.iterdir()), ids=lambda folder: folder.name)
def test_a_run_of_every_schema_still_loads(folder):
    run = read_run(folder)
    assert (len(run.rows), run.summary["answers"], run.suite) == (3, 3, "old")
    assert [row.primary for row in run.rows] == [None, "repetition", "empty"]
    for shows in ("report", "errors"):
        done = ran(shows, folder)
        assert (done.returncode, done.stderr) == (0, "")
    assert folder.name == f"schema-{run.manifest['schema']}"
