"""Reports of a small run built by hand, byte for byte. EVALKIT_GOLDEN=write writes the files anew: read the diff."""

from __future__ import annotations

import json
import os
import re
import unicodedata
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from rich.cells import cell_len

from evalkit.registry import lookup
from evalkit.report.pick import View
from evalkit.types import Example, Response, Row, Run, Score, Tag

HERE = Path(__file__).parent
LOOP = "LoRA trains adapters. It is small. It is small. It is small. It is small. It is small. It is small."
HOSTILE = "\x1b]52;c;ZXZpbA==\x07\x9b2J\u202e[/][red]:smile:<b>&amp;`|*_#\u200b\r\n$(id)" + "e" + "\u0301" * 50


def row(number: int, answer: str, value: float | None, *tags: Tag, **more: object) -> Row:
    return Row(
        example=Example(
            f"q{number:02}",
            f"What is the answer to question {number}?",
            ("LoRA trains small adapter matrices.",),
            meta={"topic": "tuning" if number % 2 else "scoring"},
        ),
        response=Response(answer, tokens=len(answer.split()), target_tokens=(5,), **more),  # type: ignore[arg-type]
        scores=(Score("match", value), Score("fuzzy", None if value is None else 0.25 + value / 2)),
        tags=tags,
        primary=tags[0].category if tags else None,
    )


def worked_run() -> Run:
    """24 questions: loops, misspellings of two grades, an unexplained failure, a failed request, two slices."""
    repeats = Tag("repetition", "critical", "'It is small.' 6 times in a row, 72 % of the answer", (22, 99), 0.97)
    known = Tag("misspelling", "minor", "'seperate': separate", (10, 18), 0.95)
    likely = Tag("misspelling", "minor", "'adaptr', perhaps adapter", (0, 6), 0.7)
    rows = [row(i, "LoRA trains small adapter matrices.", 1.0) for i in range(14)]
    rows += [row(i, LOOP, 0.0, repeats) for i in (14, 15, 16)]
    rows += [row(17, "These are seperate weights.", 1.0, known), row(18, "adaptr weights", 1.0, likely)]
    rows += [
        row(19, "It freezes everything and trains nothing.", 0.0),
        row(20, "", 0.0, Tag("empty", "major", "no text")),
    ]
    rows += [row(i, "Yes, with a rank.", 1.0) for i in (21, 22)]
    rows += [row(23, "", None, finish="error", error="the request timed out after 60 s")]
    return run_of(rows, "docs", "runs/tuned", {"references": {"misspelling": 0.2}, "training": {"repetition": 0.01}})


def hostile_run() -> Run:
    """The same kind of run, with an attack in every text that a model, suite or run folder can set."""
    tag = Tag(HOSTILE, "critical", HOSTILE, (3, 40), 0.9)
    example = Example(HOSTILE, HOSTILE, (HOSTILE,), meta={HOSTILE: HOSTILE})
    rows = [
        Row(
            example,
            Response(HOSTILE, sent=HOSTILE),
            i,
            (Score(HOSTILE, i % 2, HOSTILE, HOSTILE),),
            (tag,) if i > 3 else (),
            HOSTILE,
        )
        for i in range(12)
    ]
    rows += [Row(Example("plain", "Plain?", meta={HOSTILE: "other"}), Response(HOSTILE), i) for i in range(12)]
    return run_of(rows, HOSTILE, HOSTILE, {}, primary=HOSTILE, split=HOSTILE, name=HOSTILE)


def run_of(rows, suite, model, rates, primary="match", split="held_out", name="20260101T000000-abcdef") -> Run:
    manifest = {
        "identity": {"suite": suite, "primary": primary, "split": split},
        "settings": {"model": model, "max_errors": 0},
    }
    return Run(name, manifest, tuple(rows), {"rates": rates})


def compare(name: str, text: str) -> None:
    path = HERE / name
    if os.environ.get("EVALKIT_GOLDEN") == "write":
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


@pytest.mark.parametrize(("form", "ending"), [("terminal", "txt"), ("md", "md"), ("json", "json")])
@pytest.mark.parametrize(("name", "run"), [("run", worked_run()), ("hostile", hostile_run())])
def test_a_report_is_as_it_was(form, ending, name, run):
    compare(f"{name}.{ending}", lookup("reports", form)(run, View()))


def test_a_category_and_a_slice_are_as_they_were():
    render = lookup("reports", "terminal")
    compare("category.txt", render(worked_run(), View(category="misspelling", examples=1)))
    compare("slice.txt", render(worked_run(), View(top=0, slice_key="topic", costs={"misspelling": 100.0})))


def test_a_coloured_report_says_the_same():
    render = lookup("reports", "terminal")
    plain = render(worked_run(), View()).replace("«", "").replace("»", "")
    coloured = re.sub(r"\x1b\[[0-9;]*m", "", render(worked_run(), View(), color=True))
    assert coloured.split() == plain.split()


@pytest.mark.parametrize("form", ["terminal", "md", "json", "svg"])
def test_no_attack_survives_in_a_report(form):
    text = lookup("reports", form)(hostile_run(), View())
    hidden = {c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") and c not in "\n"}
    assert hidden == set()
    assert text.count("\u0301" * 5) == 0


def test_markup_and_emoji_codes_of_an_answer_are_printed_as_they_are():
    text = lookup("reports", "terminal")(hostile_run(), View())
    assert "[/][red]:smile:<b>" in text


def test_the_terminal_report_fits_into_a_hundred_columns():
    for run in (worked_run(), hostile_run()):
        for line in lookup("reports", "terminal")(run, View()).splitlines():
            assert cell_len(line) <= 100


def test_markdown_holds_foreign_text_in_code_spans_or_escaped():
    text = lookup("reports", "md")(hostile_run(), View())
    outside = re.sub(r"(?<!`)(`+)(?!`).*?(?<!`)\1(?!`)", "", text.replace("\\`", ""))
    assert "<b>" not in outside.replace("\\<b\\>", "")
    assert "[red]" not in outside


def test_json_is_exact_and_in_ascii():
    text = lookup("reports", "json")(hostile_run(), View())
    assert text.isascii()
    record = json.loads(text)
    assert record["suite"] == HOSTILE
    assert record["categories"][0]["name"] == HOSTILE


def test_a_picture_is_xml_and_fetches_nothing():
    text = lookup("reports", "svg")(hostile_run(), View())
    ET.fromstring(text)
    assert set(re.findall(r"https?://[^\"'<\s]+", text)) <= {"http://www.w3.org/2000/svg", "https://www.textualize.io"}
    assert "url(http" not in text.replace('"', "")


def test_a_run_without_answers_has_a_report():
    run = run_of([row(0, "", None, finish="error", error="down")], "docs", "m", {})
    assert "docs match not scored · 0 answers" in lookup("reports", "terminal")(run, View())
    assert "nan" not in lookup("reports", "md")(run, View()).lower()
    assert json.loads(lookup("reports", "json")(run, View()))["answers"] == 0
