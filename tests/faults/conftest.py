"""The faults job: which test proves which fault, and the report that the job writes.

`pytest tests/faults --faults-report FILE` also runs the tests of other folders that `catalogue.ELSEWHERE` names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults import catalogue
from tests.faults.crash import difference
from tests.faults.processes import end_all

OPTION = "--faults-report"
REFERENCES = {node for nodes in catalogue.ELSEWHERE.values() for node in nodes}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(OPTION, metavar="FILE", help="run all proofs of the fault list and write what they gave")


def pytest_configure(config: pytest.Config) -> None:
    target, proofs = config.getoption(OPTION, None), config.pluginmanager.get_plugin("proofs")
    if target:
        config.args += sorted(REFERENCES - set(config.args))
    if target and proofs:  # a worker of xdist writes no report
        proofs.target = Path(target)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Note on every test which faults it proves; notes travel with its report."""
    for item in items:
        name = item.nodeid.partition("[")[0]
        numbers = {n for mark in item.iter_markers("fault") for n in mark.args}
        numbers |= {n for n, nodes in catalogue.ELSEWHERE.items() if name in nodes}
        item.user_properties += [("fault", n) for n in sorted(numbers)]


@pytest.fixture(autouse=True)
def nothing_runs_on() -> Iterator[None]:
    """Kill what a test started and left running."""
    yield
    end_all()


@pytest.fixture
def equal(record_property: Callable[[str, object], None]) -> Callable[..., None]:
    """Count the rows that a completed run lacks and the bytes that differ, for the report, and want none."""

    def check(whole: Path, cut: Path, *names: str) -> None:
        lost, differing = difference(whole, cut, *([names] if names else []))
        for name, value in (("rows lost", lost), ("bytes differing", differing)):
            record_property(name, value)
        assert (lost, differing) == (0, 0)

    return check


@pytest.fixture
def noted(record_property) -> Callable[..., None]:
    """Note what became of many tries for the report, and want none of them lost."""

    def check(tally, least: int) -> None:
        for name, key in (("tries", "tried"), ("rows lost", "lost"), ("bytes differing", "differing")):
            record_property(name, tally[key])
        assert tally["faults"] == []
        assert (tally["lost"], tally["differing"]) == (0, 0)
        assert tally["tried"] >= least

    return check


@pytest.fixture
def command(suite_at, script) -> tuple[object, ...]:
    """A run of ten scripted answers."""
    return ("run", "--model", script(), "--suite", suite_at())


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random Llama with a chat template."""
    from tests.integration.conftest import save_tiny_llama  # only where a test needs a model

    return save_tiny_llama(tmp_path_factory.mktemp("tiny"))
