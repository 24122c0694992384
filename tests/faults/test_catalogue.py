"""The fault list is whole: every fault has a proof or a reason, and every proof is there."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests.faults.catalogue import AWAY, ELSEWHERE, TITLES

ROOT = Path(__file__).parents[2]


@cache
def tests_of(file: str) -> frozenset[str]:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def marked() -> set[int]:
    """Return the faults that a test beside this file names."""
    texts = (path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    marks = (numbers for text in texts for numbers in re.findall(r"mark\.fault\(([\d, ]+)\)", text))
    return {int(number) for numbers in marks for number in numbers.split(",")}


def test_the_list_is_numbered_from_1_to_45():
    assert list(TITLES) == list(range(1, 46))


@pytest.mark.parametrize("number", TITLES)
def test_every_fault_has_a_proof_or_a_reason(number):
    assert (number in ELSEWHERE or number in marked()) != (number in AWAY)


@pytest.mark.parametrize("node", sorted({node for nodes in ELSEWHERE.values() for node in nodes}))
def test_every_proof_elsewhere_is_there(node):
    file, _, name = node.partition("::")
    assert name in tests_of(file)
