"""Sequences that hold no objects give what lists would, however often they are gone through."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.lines import Lines, Parts, Texts

CONTENT = b"\xef\xbb\xbfone\r\n\n \r\ntwo\n\xe2\x82\xac\r\n\nlast"


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    return path


def test_lines_are_those_that_are_not_blank_without_mark_and_ends(path):
    lines = Lines(path, bytes.decode)
    assert (len(lines), list(lines), list(lines)) == (4, ["one", "two", "€", "last"], ["one", "two", "€", "last"])
    assert (lines[0], lines[-1], lines[1:3], lines[::-2]) == ("one", "last", ["two", "€"], ["last", "two"])
    with pytest.raises(IndexError):
        lines[4]


def test_a_file_of_blank_lines_has_none_and_a_missing_one_is_told(tmp_path):
    path = tmp_path / "blank"
    path.write_bytes(b"\xef\xbb\xbf\n\r\n  ")
    assert list(Lines(path, bytes.decode)) == []
    with pytest.raises(FileNotFoundError):
        Lines(tmp_path / "none", bytes.decode)


def test_every_byte_is_watched_once_so_that_a_digest_needs_no_other_pass(path):
    digest = hashlib.sha256()
    Lines(path, bytes.decode, digest.update)
    assert digest.digest() == hashlib.sha256(CONTENT).digest()


def test_a_line_is_parsed_when_it_is_asked_for(path):
    asked: list[bytes] = []
    lines = Lines(path, asked.append)
    assert asked == []
    _ = lines[1]
    assert asked == [b"two"]


@given(st.lists(st.text(st.characters(codec=None))), st.slices(8))
def test_packed_texts_are_the_texts_lone_surrogates_too(texts, part):
    packed = Texts(texts)
    assert (len(packed), list(packed), packed[part]) == (len(texts), texts, texts[part])
    assert [packed[-1 - i] for i in range(len(texts))] == texts[::-1]


def test_parts_are_drawn_from_the_whole():
    whole = ["ab", "cd", "ef"]
    parts = Parts(whole, str.upper)
    assert (len(parts), list(parts), parts[1], parts[1:]) == (3, ["AB", "CD", "EF"], "CD", ["CD", "EF"])
