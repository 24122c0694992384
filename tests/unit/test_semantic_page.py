"""docs/semantic.md tells what its benchmark wrote, and the code has the curve of both."""

from __future__ import annotations

import re
from pathlib import Path

from evalkit.scorers.semantic import CURVES

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/semantic.md").read_text(encoding="utf-8")
REPORT = (ROOT / "reports/benchmarks/semantic.md").read_text(encoding="utf-8")


def test_every_table_of_figures_is_the_reports():
    figures = [line for line in PAGE.splitlines() if line.startswith("|")]
    assert len(figures) > 30
    assert [line for line in figures if line not in REPORT.splitlines()] == []


def test_the_curve_is_the_codes():
    ((digest, (intercept, slope)),) = CURVES.items()
    for text in (PAGE, REPORT):
        assert f"exp(-({intercept} + {slope} cosine))" in text
    assert f"`{digest}`" in REPORT


def test_the_speed_is_the_reports():
    (shown,) = re.findall(r"(\d+) answers a second", PAGE)
    assert f"\n{shown} answers a second" in REPORT
