"""The HTML page of two runs of 100,000 items opens; tests/integration/test_page.py holds 10,000 to its limits."""

from __future__ import annotations

import shutil
import time

import pytest

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.benchmark,
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine"),
]


def test_a_page_of_a_hundred_thousand_items_opens(big_runs, measured, tmp_path):
    big_runs(100_000)
    code, _, cpu, peak, _ = measured("report", "base", "cand", "--format", "html", "-o", "r.html")
    assert code == 0
    path = tmp_path / "r.html"
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        began = time.perf_counter()
        page.goto(path.as_uri())
        page.wait_for_selector("html[data-ready]", timeout=120_000)
        ready = time.perf_counter() - began
        paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
        page.select_option("[name=flip]", "1:broken")
        assert " of 100000 items" in page.inner_text("#count")
        began = time.perf_counter()
        page.fill("[name=q]", "w0001")
        search = time.perf_counter() - began
        browser.close()
    print(f"size {path.stat().st_size / 1e6:.1f} MB, building {cpu:.0f} s CPU, {peak:.0f} MB peak")
    print(f"first paint {paint:.0f} ms, all items {ready:.1f} s, a search among the broken {1000 * search:.0f} ms")
