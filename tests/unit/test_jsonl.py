"""Faults 17, 21-25: JSON lines are read strictly, and a file is written whole or not at all."""

from __future__ import annotations

import errno
import gzip
import io
import json
import os
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.errors import EvalkitError, SuiteError
from evalkit.jsonl import dump, parse_object, read_jsonl, scrub, write_atomic

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def read(tmp_path: Path, content: bytes) -> list[tuple[int, dict[str, object]]]:
    path = tmp_path / "file.jsonl"
    path.write_bytes(content)
    return read_jsonl(path, SuiteError)


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        pytest.param(b"", [], id="empty file"),
        pytest.param(b"\n \n\t\n", [], id="only blank lines"),
        pytest.param(b'{"a":1}', [(1, {"a": 1})], id="21: no newline at the end"),
        pytest.param(b'{"a":1}\r\n\r\n{"b":2}\r\n', [(1, {"a": 1}), (3, {"b": 2})], id="21: CRLF"),
        pytest.param(b'\xef\xbb\xbf{"a":1}\n', [(1, {"a": 1})], id="21: byte order mark"),
        pytest.param('{"a":"x\u2028y\x85z"}\n'.encode(), [(1, {"a": "x\u2028y\x85z"})], id="22: U+2028 ends no line"),
        pytest.param(b'{"a":"\\u0000"}', [(1, {"a": "\0"})], id="22: escaped NUL"),
        pytest.param(b'{"a":"\\ud800x"}', [(1, {"a": "\ufffdx"})], id="22: lone surrogate"),
        pytest.param(b'{"a":"x\\uDC00"}', [(1, {"a": "x\ufffd"})], id="22: lone surrogate, upper case"),
        pytest.param(
            b'{"a":"\\ud83d\\ude00"}', [(1, {"a": "\U0001f600"})], id="22: a pair of surrogates is a character"
        ),
    ],
)
def test_what_is_read(tmp_path, content, rows):
    assert read(tmp_path, content) == rows


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        pytest.param(b'{"a":1,}', "column 8: ", id="17: trailing comma"),
        pytest.param(b'{"a":1', "column 7: Expecting ',' delimiter", id="17: cut off"),
        pytest.param(b"[1]", "column 1: list, not an object", id="17: a list"),
        pytest.param(b"null", "column 1: NoneType, not an object", id="17: null"),
        pytest.param(b'{"a":"\xff"}', "column 7: not UTF-8", id="17: not UTF-8"),
        pytest.param(b'{"a":"\xed\xa0\x80"}', "column 7: not UTF-8", id="22: surrogate as bytes"),
        pytest.param(b'{"a":"\x00"}', "column 7: Invalid control character at", id="22: NUL"),
        pytest.param(b'{"a":NaN}', "column 1: NaN is not JSON", id="23: NaN"),
        pytest.param(b'{"a":-Infinity}', "column 1: -Infinity is not JSON", id="23: Infinity"),
        pytest.param(b'{"a":1e999}', "column 1: number 1e999 is too large", id="23: a number that overflows"),
        pytest.param(b'{"a":' + b"9" * 5000 + b"}", "Exceeds the limit", id="23: 5,000 digits"),
        pytest.param(b'{"a":' + b"[" * 100_000, "column 1: nested too deeply", id="23: nested beyond recursion"),
        pytest.param(
            b'{"a":' + b"[" * 100 + b"]" * 100 + b"}", "column 1: nested too deeply", id="23: nested 101 deep"
        ),
        pytest.param(b'{"a":1,"b":2,"a":3}', "column 1: key 'a' stands twice", id="23: the same key twice"),
    ],
)
def test_a_bad_line_is_named_with_line_and_column(tmp_path, line, fault):
    with pytest.raises(SuiteError) as caught:
        read(tmp_path, b'{"ok":1}\n' + line + b"\n")
    assert str(caught.value).startswith(f"{tmp_path}/file.jsonl: expected one JSON object a line: line 2, ")
    assert fault in str(caught.value)


def test_depth_100_is_read(tmp_path):
    assert read(tmp_path, b'{"a":' + b"[" * 99 + b"]" * 99 + b"}")[0][0] == 1
    assert len(read(tmp_path, b'{"a":[' + b"{}," * 500 + b"{}]}")) == 1


def test_at_most_twenty_faults_are_listed_17(tmp_path):
    with pytest.raises(SuiteError) as caught:
        read(tmp_path, b"x\n" * 50)
    assert str(caught.value).count("line ") == 20
    assert str(caught.value).endswith("; and more")


@pytest.mark.parametrize(
    ("content", "name"),
    [
        pytest.param(gzip.compress(b'{"a":1}'), "gzip; unpack it first (gunzip)", id="25: gzip"),
        pytest.param('{"a":1}'.encode("utf-16"), "UTF-16; save it as UTF-8", id="21: UTF-16 LE"),
        pytest.param(b"\xfe\xff" + '{"a":1}'.encode("utf-16-be"), "UTF-16; save it as UTF-8", id="21: UTF-16 BE"),
    ],
)
def test_another_format_is_refused_by_name(tmp_path, content, name):
    with pytest.raises(SuiteError, match="expected JSON lines in UTF-8, found ") as caught:
        read(tmp_path, content)
    assert str(caught.value).endswith(name)


def test_a_zip_archive_is_refused_by_name_25(tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a", "b")
    with pytest.raises(SuiteError, match="a zip archive"):
        read(tmp_path, buffer.getvalue())


def test_a_file_that_cannot_be_read_is_one_line(tmp_path):
    with pytest.raises(EvalkitError, match="cannot be read: No such file"):
        read_jsonl(tmp_path / "absent")
    with pytest.raises(EvalkitError, match="cannot be read: Is a directory"):
        read_jsonl(tmp_path)


@given(st.dictionaries(st.text(), VALUES, max_size=4))
def test_what_dump_writes_parse_reads(value):
    try:
        data = dump(value).encode()
    except UnicodeEncodeError:
        data = dump(scrub(value)).encode()
        value = scrub(value)
    assert b"\n" not in data
    assert parse_object(data) == value


@given(st.text(alphabet=st.characters(codec=None, categories=["Cs", "Lu", "So"])))
def test_scrubbed_text_fits_into_utf8_and_is_left_as_it_is(text):
    assert scrub(text).encode().decode() == scrub(text)
    assert scrub(scrub(text)) == scrub(text)


def test_dump_is_canonical():
    assert dump({"b": "ä", "a": [1.0, None]}) == '{"a":[1.0,null],"b":"ä"}'
    with pytest.raises(ValueError, match="not JSON compliant"):
        dump(float("nan"))


def test_write_atomic_keeps_the_old_file_when_the_disk_is_full_7(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomic(path, [b"old"])

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomic(path, [b"new"])
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_write_atomic_leaves_nothing_behind_when_a_chunk_fails(tmp_path):
    def chunks():
        yield b"one"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomic(tmp_path / "file", chunks())
    assert os.listdir(tmp_path) == []


def test_write_atomic_writes_a_readable_file(tmp_path):
    write_atomic(tmp_path / "file", [b"a", b"b"])
    assert (tmp_path / "file").read_bytes() == b"ab"
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o644


def test_ten_megabytes_in_one_line_are_read_24(tmp_path):
    text = "word " * 2_000_000
    assert read(tmp_path, json.dumps({"a": text}).encode())[0][1]["a"] == text
