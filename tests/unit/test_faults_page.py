"""docs/faults.md and the reports of reliability say what their commands measured, and link to what is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from evalkit.errors import EvalkitError, RunLocked, Stopped
from evalkit.program import GRACE, INTERNAL, SIGNALS
from tests.faults.campaign import Result, result_of
from tests.faults.report import Proofs

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/faults.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", ["docs/faults.md", "SECURITY.md", "reports/README.md"])
def test_every_link_of_the_page_leads_somewhere(page):
    folder = (ROOT / page).parent
    for target in re.findall(r"\]\(([^)#:]+)\)", (ROOT / page).read_text(encoding="utf-8")):
        assert (folder / target).exists(), target


def test_the_page_names_only_exit_codes_that_there_are():
    known = {EvalkitError.exit_code, Stopped.exit_code, RunLocked.exit_code, INTERNAL, *SIGNALS.values()}
    named = {int(code) for words in re.findall(r"exit ([\d or]+)", PAGE) for code in re.findall(r"\d+", words)}
    assert named == known
    assert GRACE < 5


def test_every_command_of_the_page_is_one_of_make():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"make ([a-z]+) ", PAGE)) - {"room"} <= targets


def test_nothing_was_lost():
    faults, soak = (
        (ROOT / f"reports/reliability/{name}.md").read_text(encoding="utf-8") for name in ("faults", "soak")
    )
    for name in ("not survived", "rows lost", "bytes differing after completion"):
        assert f"| {name} | 0 |" in faults
    assert re.findall(r"^\| all \| (\d+) \|.* (\d+) \| 0 \| 0 \|$", soak, re.MULTILINE) == [("40", "40")]


def test_the_sum_of_a_test_job_counts_tries_and_what_was_lost():
    proofs = Proofs()
    for node, outcome, more in (("a", "passed", [("tries", 30), ("rows lost", 2)]), ("b", "failed", [])):
        properties = [("fault", 1 if node == "a" else 2), *more]
        report = pytest.TestReport(node, ("f", 1, node), {}, outcome, None, "call", user_properties=properties)  # type: ignore[arg-type]  # a report of our own
        proofs.pytest_runtest_logreport(report)
    assert proofs.line() == "faults: 2 tried in 31 tries, 1 survived, 2 rows lost, 0 bytes differing"


DONE = "#2\tINITED cov: 5 ft: 5\n#2712217\tDONE   cov: 83 ft: 150 corp: 39\nDone 2712217 runs in 601 second(s)\n"
CRASHED = "#2\tINITED cov: 5 ft: 5\n#901\tNEW    cov: 83\n=== Uncaught Python exception: ===\nValueError: no\n"


def test_the_log_of_a_fuzzed_target_tells_its_tries_or_its_crash():
    assert result_of("policy", DONE) == Result("policy", 601, 2_712_217, 83, "")
    assert result_of("policy", CRASHED) == Result("policy", 0, 901, 83, "ValueError: no")
    assert result_of("policy", DONE[:40]) is None
