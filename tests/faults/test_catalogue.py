"""The fault list is whole: every fault has a proof or a reason, and every proof is there."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

from tests.faults.catalogue import AWAY, ELSEWHERE, TITLES

ROOT = Path(__file__).parents[2]


@cache
def functions_of(file: str) -> frozenset[str]:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def marked() -> set[int]:
    """Return the faults that a test beside this file names."""
    texts = (path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    marks = (numbers for text in texts for numbers in re.findall(r"mark\.fault\(([\d, ]+)\)", text))
    return {int(number) for numbers in marks for number in numbers.split(",")}


def test_the_list_is_numbered_from_1_to_45():
    assert list(TITLES) == list(range(1, 46))


def test_every_fault_has_a_proof_or_a_reason():
    assert sorted(set(ELSEWHERE) | marked()) == [number for number in TITLES if number not in AWAY]


def test_every_proof_elsewhere_is_there():
    named = sorted({node for nodes in ELSEWHERE.values() for node in nodes})
    assert [node for node in named if node.partition("::")[2] not in functions_of(node.partition("::")[0])] == []
