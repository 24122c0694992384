"""Markdown that fits into a comment: what is folded, left out and escaped."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from evalkit.cli import call
from evalkit.record import read_run
from evalkit.report import markdown, terminal
from evalkit.types import Score, Tag


def test_parts_that_do_not_fit_are_left_out_and_counted():
    text = markdown.fitted([["head"], ["a" * 50], ["b" * 500], ["c" * 50]], limit=300)
    assert text == "head\n" + "a" * 50 + "\n" + "c" * 50 + "\n\n1 part left out, to keep this short.\n"


def test_a_first_part_that_does_not_fit_is_cut_at_a_line():
    text = markdown.fitted([["head", "é" * 40, "é" * 40, "a"], ["b" * 50]], limit=200)
    assert text == "head\n" + "é" * 40 + "\n\n2 lines and 1 part left out, to keep this short.\n"
    assert len(text.encode()) <= 200


def test_a_heading_that_does_not_fit_is_cut():
    text = markdown.fitted([["# é" + "é" * 400, "a"]], limit=200)
    assert text == "# " + "é" * 47 + "…\n\n1 line left out, to keep this short.\n"


def test_a_report_of_very_many_scores_fits_into_a_comment(make_run, make_row):
    scores = tuple(Score(f"score {i} {'é' * 60}", 1.0) for i in range(1000))
    text = markdown.render(make_run([replace(make_row(), scores=(Score("match", 1.0), *scores))]))
    assert text.startswith("# little: some/model\n")
    assert len(text.encode()) <= markdown.LIMIT
    assert "left out, to keep this short." in text


def test_what_is_empty_is_not_folded():
    assert markdown.folded("title", []) == markdown.folded("title", [""]) == []


def test_a_folded_title_is_read_neither_as_html_nor_as_markdown():
    title = markdown.folded("<b>[x](y)`*", ["line"])[1]
    assert title == "<details><summary>&#60;b&#62;&#91;x&#93;(y)&#96;&#42;</summary>"


def test_a_report_of_many_long_answers_and_slices_fits_into_a_comment(
    write_run, make_row, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        rows = []
        for i in range(600):
            tags = [Tag(f"category {k}", "major", "why " * 60, (0, 2000)) for k in range(i % 20)]
            meta = {f"key {k}": f"value {i % 20} " * 30 for k in range(15)}
            rows.append(
                make_row(f"q{i}", f"{name} answer " * 500, float((i % 7 > 1) == (name == "a")), tags, meta=meta)
            )
        write_run(name, rows)
    for given in (["a"], ["a", "b"]):
        assert call(["report", *given, "--format", "md", "--examples", "20"]) == 0
        text = capsys.readouterr().out
        assert 10_000 < len(text.encode()) <= 60_000
        assert text.count("<details>") == text.count("</details>") > 0


def test_a_runs_warnings_stand_in_its_reports(write_run, make_row, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_run("a", [make_row("q1", "x", 1.0)])
    run = read_run(Path("a"))
    warned = replace(run, manifest={**run.manifest, "warnings": ["choices are scored the plain way (no mask)"]})
    for render in (markdown.render, terminal.render):
        assert "choices are scored the plain way" in render(warned)
        assert "the plain way" not in render(run)
