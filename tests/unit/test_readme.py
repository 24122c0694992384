"""The figures of README.md are those of the reports that commands wrote."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SPEED = (ROOT / "reports/benchmarks/speed.md").read_text(encoding="utf-8")
GENERATE = (ROOT / "reports/benchmarks/generate.md").read_text(encoding="utf-8")
TRAIN = (ROOT / "reports/benchmarks/train.md").read_text(encoding="utf-8")
LOOP = (ROOT / "reports/loop/loop.md").read_text(encoding="utf-8").replace("\\_", "_")
SHOWN = re.findall(r"^\| ([a-z].*) \| (\d+\.\d\d) \|$", README, re.MULTILINE)


def test_the_readme_shows_speeds():
    assert len(SHOWN) == 6


@pytest.mark.parametrize(("task", "ratio"), SHOWN)
def test_a_speed_is_the_reports(task, ratio):
    (line,) = (line for line in SPEED.splitlines() if line.startswith(f"| {task} |"))
    assert f"| **{ratio}** |" in line


def test_the_speed_of_answers_is_the_reports():
    (shown,) = re.findall(r"Written answers come (\d\.\d\d) \(docs_qa\) and (\d\.\d\d) times \(lamini_docs\)", README)
    assert re.findall(r"\*\*(\d\.\d\d) times faster\*\*", GENERATE) == list(shown)


def test_the_cost_of_training_is_the_reports():
    (shown,) = re.findall(r"(0\.\d\d), (0\.\d\d) and (0\.\d\d) of TRL's CPU time", README)
    assert re.findall(r"\*\*(0\.\d\d)\*\* \(", TRAIN) == list(shown)


def test_what_the_loop_moved_is_the_reports():
    (shown,) = re.findall(r"loops from (\d+\.\d) % to (\d+\.\d) %", README)
    assert f"| tag:repetition | {shown[0]} | {shown[1]} |" in LOOP


def test_how_far_to_trust_scorers_is_the_reports():
    page = (ROOT / "reports/judge/README.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"On ([\d,]+) answers .*?agrees with them in (\S+) % \(kappa (\S+)\)", README, re.DOTALL)
    n, agrees, kappa = shown
    assert re.search(rf"\| match \| {n.replace(',', '')} \| {agrees} \[.*?\] \| {kappa} \[", page)
    assert page.count("- judge: not shown to be better than chance: do not gate on it.") == 1


def test_every_linked_page_is_there():
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target
