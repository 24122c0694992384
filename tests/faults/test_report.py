"""Fault 43: reports of very many rows, and of runs, suites and models whose names are attacks."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.faults.processes import here

NAMES = [
    "<img src=x onerror=alert(1)>", "a b;rm -rf ~", "'\"`$(touch x)", "\u202egnp.exe", "=cmd|' C calc'!A0", "-o",
    "[red]x[]",
]  # fmt: skip


@pytest.mark.fault(43)
@pytest.mark.parametrize("name", NAMES)
def test_a_run_in_a_folder_with_a_hostile_name_is_read_shown_and_resumed(suite_at, script, tmp_path, capsys, name):
    run = tmp_path / name
    assert here("run", "--model", script(), "--suite", suite_at(), "--out", run) == 0
    for form in ("terminal", "md", "json", "html", "csv"):
        target = tmp_path / f"r.{form}"
        assert here("report", run, "--format", form, "-o", target) == 0
        if form == "html":
            assert "<img src=x" not in target.read_text(encoding="utf-8")
    assert here("run", "--resume", run) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.fault(43)
def test_a_page_of_a_hundred_thousand_rows_is_built_in_bounded_memory_and_opens(
    write_run, make_row, measured, tmp_path
):
    write_run("many", (make_row(f"q{i}", f"an answer {i}", i % 2, [("empty", "major", 0.9)]) for i in range(100_000)))
    code, seconds, _, peak, _ = measured("report", "many", "--format", "html", "-o", "r.html")
    assert code == 0
    print(f"{seconds:.0f} s, {peak:.0f} MB, a page of {(tmp_path / 'r.html').stat().st_size / 1e6:.1f} MB")
    assert peak < 4000
    assert (tmp_path / "r.html").read_text(encoding="utf-8").rstrip().endswith("</html>")
    opened(tmp_path / "r.html", "100000 of 100000 items")


def opened(path: Path, count: str) -> None:
    """Open a page in the system's browser, where there is one, and wait until all of its items are there."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        return
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        page = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"]).new_page()
        page.goto(path.as_uri())
        page.wait_for_selector("html[data-ready]", timeout=120_000)
        assert page.inner_text("#count") == count
        page.fill("[name=q]", "q99999")
        page.wait_for_function("document.querySelector('#count').innerText === '1 of 100000 items'", timeout=30_000)
