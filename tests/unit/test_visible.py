"""No character of foreign text hides, moves or reorders what a terminal shows."""

from __future__ import annotations

import io
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text

from evalkit.report.visible import one_line, visible

MENACING = st.text(
    st.sampled_from([*"a[/]x \n\t\u0301\x1b\x07\x9b\x85\x00\u202e\u200b\ufe0f\u2764\U000e0041"]), max_size=30
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, 한국어, é, 😀", "plain, 한국어, é, 😀"),
        ("tab\tand\nline", "tab\tand\nline"),
        ("\x1b[2J", "\\x1b[2J"),
        ("\x1b]52;c;ZXZpbA==\x07", "\\x1b]52;c;ZXZpbA==\\x07"),
        ("\x1b]8;;http://evil\x1b\\click", "\\x1b]8;;http://evil\\x1b\\click"),
        ("\x9b31m", "\\x9b31m"),
        ("a\rb", "a\\x0db"),
        ("a\x0bb\x0cc\x85d", "a\\x0bb\\x0cc\\x85d"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\u2066x\u2069", "\\u2066x\\u2069"),
        ("a\u200bb\u200db\ufeff", "a\\u200bb\\u200db\\ufeff"),
        ("soft\u00adhyphen", "soft\\xadhyphen"),
        ("a\u2028b", "a\\u2028b"),
        ("\ud800", "\\ud800"),
        ("\U000e0041\U000e0042", "\\U000e0041\\U000e0042"),
        ("x\ufe00\ufe0fy", "x\\ufe00\\ufe0fy"),
        ("❤\ufe0f stays", "❤\ufe0f stays"),
        ("\U0001d173", "\\U0001d173"),
        ("\uffff", "\\uffff"),
        ("[/] [red]x[/red] :smile:", "[/] [red]x[/red] :smile:"),
    ],
    ids=ascii,
)
def test_what_is_shown(text, shown):
    assert visible(text) == shown


def test_a_flood_of_marks_is_cut_to_four():
    assert visible("e" + "\u0301" * 10_000 + "x") == "e" + "\u0301" * 4 + "x"
    assert visible("e" + "\u20dd" * 100) == "e" + "\u20dd" * 4  # enclosing marks have combining class 0


def test_words_of_many_scripts_are_left_alone():
    text = "नमस्ते สวัสดี שָׁלוֹם مرحبا Việt Ελλάδα"
    assert visible(text) == text


@given(st.text() | MENACING)
def test_no_hidden_character_survives(text):
    shown = visible(text)
    for before, char in zip(" " + shown, shown, strict=False):
        if char in "\n\t" or (char == "\ufe0f" and ord(before) >= 0xA9):
            continue
        assert unicodedata.category(char) not in ("Cc", "Zl", "Zp", "Cs")
        assert unicodedata.bidirectional(char) not in (
            "LRE",
            "RLE",
            "PDF",
            "LRO",
            "RLO",
            "LRI",
            "RLI",
            "FSI",
            "PDI",
            "BN",
        )


@given(st.text() | MENACING)
def test_visible_text_is_left_as_it_is(text):
    assert visible(visible(text)) == visible(text)


@given(st.text() | MENACING, st.integers(2, 40))
def test_one_line_is_one_line_within_its_width(text, width):
    line = one_line(text, width)
    assert len(line.splitlines()) <= 1
    assert len(line) <= width
    assert line == line.strip()


def test_one_line_says_that_it_was_cut():
    assert one_line("abcdef", 6) == "abcdef"
    assert one_line("abcdefg", 6) == "abcde…"
    assert one_line("a" + " " * 1000 + "b", 10) == "a…"
    assert one_line("  a \n b\t c ") == "a b c"


@given(MENACING)
def test_rich_prints_visible_text_and_adds_nothing(text):
    console = Console(file=io.StringIO(), width=200, force_terminal=False, markup=False, highlight=False, emoji=False)
    console.print(Text(one_line(text)))
    assert isinstance(console.file, io.StringIO)
    assert "\x1b" not in console.file.getvalue()
    assert "\x9b" not in console.file.getvalue()


def test_ten_megabytes_are_shown_in_time_30():
    assert len(one_line("é" * 5_000_000, 100)) == 100
