"""The figures of README.md are those of the reports that commands wrote."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SPEED = (ROOT / "reports/benchmarks/speed.md").read_text(encoding="utf-8")
GENERATE = (ROOT / "reports/benchmarks/generate.md").read_text(encoding="utf-8")
SHOWN = re.findall(r"^\| ([a-z].*) \| (\d+\.\d\d) \|$", README, re.MULTILINE)


def test_the_readme_shows_speeds():
    assert len(SHOWN) == 6


@pytest.mark.parametrize(("task", "ratio"), SHOWN)
def test_a_speed_is_the_reports(task, ratio):
    (line,) = (line for line in SPEED.splitlines() if line.startswith(f"| {task} |"))
    assert f"| **{ratio}** |" in line


def test_the_speed_of_answers_is_the_reports():
    (shown,) = re.findall(r"Written answers come (\d\.\d\d) times as fast", README)
    assert f"**{shown} times faster**" in GENERATE


def test_every_linked_page_is_there():
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target
