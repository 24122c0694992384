"""Reading an answer: pieces, words, sentences and masks that keep every offset."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.errors import SuiteError
from evalkit.taggers import text as t

ANY = st.text(alphabet=st.characters(), max_size=300)  # lone surrogates included
quick = settings(max_examples=60, deadline=None, database=None)


def test_a_short_text_is_read_whole():
    assert t.pieces("one two") == (t.Piece(0, "one two"),)


def test_a_long_text_is_read_at_both_ends():
    head, tail = t.pieces("word " * 100_000)
    assert head.start == 0
    assert tail.start + len(tail.text) == 500_000


def test_a_long_text_is_cut_between_words():
    head, tail = t.pieces("word " * 100_000)
    assert head.text.endswith("word")
    assert tail.text.startswith("word")


def test_a_long_text_without_space_is_cut_all_the_same():
    assert [len(p.text) for p in t.pieces("x" * 300_000)] == [t.CAP, t.CAP]


def test_the_words_of_a_text_too_long_to_read_are_estimated():
    assert t.count_words("word " * 100_000) == pytest.approx(100_000, rel=0.01)


def test_a_word_keeps_its_apostrophe():
    assert t.words("Don't stop, it's 12.") == ("don't", "stop", "it's", "12")


def test_each_character_of_a_script_without_spaces_is_a_word():
    assert t.words("模型 model") == ("模", "型", "model")


def test_korean_words_are_words():
    assert t.words("모델은 파일을") == ("모델은", "파일을")


def test_accents_do_not_break_a_word():
    assert t.words("naïve café") == ("naïve", "café")


def test_fenced_code_is_blanked_and_the_rest_stays_in_place():
    text = "a\n```py\nx = 1\n```\nb"
    masked = t.mask_blocks(text)
    assert masked.split() == ["a", "b"]
    assert masked.index("b") == text.index("b", 10)


def test_an_unclosed_fence_reaches_the_end():
    assert t.fences("a\n```\nx = 1") == [(2, 11, False)]


def test_a_fence_in_one_line_is_no_block():
    assert t.fences("```x = 1``` and more") == []


@pytest.mark.parametrize("row", ["| a | b |", "a | b | c", "----------", "* * * *"])
def test_tables_and_rulers_are_blanked(row):
    assert t.mask_blocks(row).strip() == ""


@pytest.mark.parametrize(
    "hidden",
    ["`teh`", "https://teh.org/x", "me@teh.org", "<b class='teh'>", "$teh + 1$", "\\teh{x}", "[[teh]]", "www.teh.org"],
)
def test_what_is_no_prose_is_blanked(hidden):
    assert "teh" not in t.mask_prose(f"see {hidden} there")


def test_prices_are_no_formulas():
    assert t.mask_prose("from $5 to $10 a day") == "from $5 to $10 a day"


def test_a_link_keeps_its_text():
    assert "the docs" in t.mask_prose("[the docs](https://x.org/teh)")


def test_sentences_have_exact_places():
    text = 'One two. "Three!" Four\n\nfive'
    assert [text[s:e] for s, e in t.sentences(text)] == ["One two.", '"Three!"', "Four", "five"]


def test_a_korean_full_stop_ends_a_sentence():
    text = "모델입니다. 파일입니다."
    assert [text[s:e] for s, e in t.sentences(text)] == ["모델입니다.", "파일입니다."]


def test_lower_case_keeps_places_where_it_would_be_longer():
    assert t.lowered("İA") == "İa"


def test_a_setting_that_makes_no_sense_is_named():
    with pytest.raises(SuiteError, match=r"\[tagger\.length\] ratio = 0: expected a number above 1"):
        t.require(False, "length", "ratio", 0, "a number above 1")


@quick
@given(ANY)
def test_masks_keep_the_length(text):
    assert len(t.mask_blocks(text)) == len(t.mask_prose(text)) == len(t.lowered(text)) == len(text)


@quick
@given(ANY)
def test_sentences_are_in_order_and_not_blank(text):
    last = 0
    for start, end in t.sentences(text):
        assert last <= start < end <= len(text)
        assert text[start:end].strip()
        last = end


@quick
@given(ANY)
def test_the_quick_patterns_find_what_the_full_one_finds(text):
    assert t.tokens(text) == t.TOKEN.findall(text)
