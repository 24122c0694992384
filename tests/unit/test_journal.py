"""Faults 1, 6, 11: the journal survives a cut at every byte, refuses what is corrupt, and a full disk cuts it back."""

from __future__ import annotations

import errno
import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.errors import RunError, Stopped
from evalkit.journal import Journal, read_journal

RECORDS = [
    {"id": "q0", "trial": 0, "response": {"text": "short"}},
    {"id": 'q"r":1', "trial": 0, "response": {"text": 'line\nbreak, "r":{"v":2}, 한국어'}},
    {"id": "q2", "trial": 1, "response": {"text": ""}},
]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal.jsonl"


def write(path, *batches):
    book = Journal(path, read_journal(path)[1])
    for batch in batches:
        book.append(batch)
    book.close()
    return path.read_bytes()


def test_what_is_appended_is_read(path):
    data = write(path, RECORDS[:2], RECORDS[2:])
    assert read_journal(path) == (RECORDS, len(data), 0)
    assert data.count(b"\n") == 3


def test_a_journal_that_is_not_there_is_empty(path):
    assert read_journal(path) == ([], 0, 0)


def test_a_line_is_as_the_design_says(path):
    line = json.loads(write(path, RECORDS[:1]))
    assert line == {"v": 1, "k": "row", "c": line["c"], "r": RECORDS[0]}
    assert len(line["c"]) == 8


def test_a_tail_torn_at_any_byte_loses_only_that_line_1(path):
    data = write(path, RECORDS)
    ends = [i + 1 for i, byte in enumerate(data) if byte == ord("\n")]
    for size in range(len(data) + 1):
        path.write_bytes(data[:size])
        whole = sum(end <= size for end in ends)
        records, good, torn = read_journal(path)
        assert records == RECORDS[:whole]
        assert good == ([0, *ends])[whole]
        assert torn == size - good


def test_a_torn_tail_is_cut_off_and_the_journal_goes_on_1(path):
    data = write(path, RECORDS[:2])
    path.write_bytes(data[:-7])
    write(path, RECORDS[1:])
    assert read_journal(path)[0] == RECORDS


def test_zeros_after_a_power_cut_are_a_torn_tail(path):
    data = write(path, RECORDS)
    path.write_bytes(data + b"\0" * 100)
    assert read_journal(path) == (RECORDS, len(data), 100)


def test_a_flipped_bit_in_a_middle_line_is_refused_with_the_line_11(path):
    data = write(path, RECORDS)
    start, end = data.index(b"\n") + 1, data.index(b"\n", data.index(b"\n") + 1)
    kind = range(start + data[start:].index(b'"k"'), start + data[start:].index(b'"c"'))  # read by nobody
    for position in set(range(start, end)) - set(kind):
        for bit in (1, 32):
            path.write_bytes(data[:position] + bytes([data[position] ^ bit]) + data[position + 1 :])
            with pytest.raises(RunError, match=r"line 2 is (corrupt|of journal version)") as caught:
                read_journal(path)
            assert "--keep-prefix" in str(caught.value) or "version" in str(caught.value)


def test_the_lines_before_a_corrupt_one_can_be_had(path):
    data = write(path, RECORDS)
    path.write_bytes(data.replace(b"break", b"brake"))
    assert read_journal(path, prefix=True)[0] == RECORDS[:1]


def test_a_newer_version_is_refused_by_name_12(path):
    path.write_bytes(write(path, RECORDS).replace(b'{"v":1', b'{"v":2'))
    with pytest.raises(RunError, match="line 1 is of journal version 2, this evalkit reads 1"):
        read_journal(path)


def test_nesting_beyond_recursion_is_a_corrupt_line(path):
    path.write_bytes(b"[" * 100_000 + b"\n" + write(path, RECORDS))
    with pytest.raises(RunError, match="line 1 is corrupt"):
        read_journal(path)


def test_short_writes_are_completed_6(path, monkeypatch):
    real = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: real(handle, data[:5]))
    write(path, RECORDS)
    monkeypatch.undo()
    assert read_journal(path)[0] == RECORDS


def test_a_full_disk_cuts_back_to_the_last_batch_and_can_go_on_6(path, monkeypatch):
    book = Journal(path, 0)
    book.append(RECORDS[:1])
    before, real, calls = path.read_bytes(), os.write, []

    def fills_up(handle, data):
        calls.append(handle)
        if len(calls) > 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(handle, data[:20])

    monkeypatch.setattr(os, "write", fills_up)
    with pytest.raises(Stopped, match=r"journal.jsonl: No space left on device while \d+ bytes were written") as caught:
        book.append(RECORDS[1:])
    assert caught.value.exit_code == 4
    assert path.read_bytes() == before
    monkeypatch.undo()
    book.append(RECORDS[1:])
    book.close()
    assert read_journal(path)[0] == RECORDS


def test_a_failed_sync_is_not_committed_6(path, monkeypatch):
    def fails(handle):
        raise OSError(errno.EIO, "Input/output error")

    book = Journal(path, 0)
    monkeypatch.setattr(os, "fdatasync", fails)
    with pytest.raises(Stopped, match="Input/output error"):
        book.append(RECORDS)
    book.close()
    assert path.read_bytes() == b""


def test_a_file_size_limit_stops_the_run_6(path):
    import resource
    import signal

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    book = Journal(path, 0)
    book.append(RECORDS[:1])
    before = path.read_bytes()
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 10, hard))
        with pytest.raises(Stopped, match="File too large"):
            book.append(RECORDS[1:])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, old)
    assert path.read_bytes() == before
    book.close()


def test_a_symbolic_link_is_never_written_through(path, tmp_path):
    other = tmp_path / "other"
    other.write_text("mine")
    path.symlink_to(other)
    with pytest.raises(RunError, match="cannot be written"):
        Journal(path, 0)
    assert other.read_text() == "mine"


@given(
    st.lists(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), max_size=3), max_size=4), st.data()
)
def test_any_texts_in_any_batches_survive_any_cut(tmp_path_factory, batches, data):
    path = tmp_path_factory.mktemp("journal") / "journal.jsonl"
    records = [[{"id": text, "trial": i} for i, text in enumerate(batch)] for batch in batches]
    content = write(path, *records)
    flat = [record for batch in records for record in batch]
    size = data.draw(st.integers(0, len(content)))
    path.write_bytes(content[:size])
    kept, good, torn = read_journal(path)
    assert kept == flat[: content[:size].count(b"\n")]
    assert good + torn == size
