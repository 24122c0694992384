"""The suites that ship: each is valid, and no question of one split comes near a question of another."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from rapidfuzz import fuzz, process, utils

from evalkit.jsonl import read_jsonl
from evalkit.registry import BUILT_IN
from evalkit.suite import describe, read_suite

SUITES = Path(__file__).parents[2] / "suites"
NAMES = sorted(folder.name for folder in SUITES.iterdir() if folder.is_dir())
LOCAL = [name for name in NAMES if (SUITES / name / "examples.jsonl").is_file()]
TOO_NEAR = 85


def training() -> list[dict[str, str]]:
    return [row for _, row in read_jsonl(SUITES / "docs_qa/train.jsonl")]


@pytest.mark.parametrize("name", NAMES)
def test_settings_are_valid_and_described(name):
    suite = describe(SUITES / name)
    assert suite.name == name
    assert suite.description
    if not (suite.source and suite.source.lm_eval):  # a task of lm-eval is described there
        assert (SUITES / name / "README.md").stat().st_size > 100
    assert set(suite.scorers) <= set(BUILT_IN["scorers"])


@pytest.mark.parametrize("name", LOCAL)
def test_every_question_has_an_answer_and_a_topic(name):
    suite = read_suite(str(SUITES / name))
    assert all(example.target and all(text.strip() for text in example.target) for example in suite.examples)
    assert all(example.meta["topic"] for example in suite.examples)


def test_the_docs_suites_are_large_enough_to_judge_by():
    held_out, dev = read_suite(str(SUITES / "docs_qa")), read_suite(str(SUITES / "docs_qa_dev"))
    assert held_out.split == "held_out"
    assert dev.split == "dev"
    assert len(held_out.examples) >= 150
    assert len(dev.examples) >= 100
    assert len(training()) >= 600
    for suite in (held_out, dev):
        topics = Counter(example.meta["topic"] for example in suite.examples)
        assert len(topics) >= 8
        assert min(topics.values()) >= 5


def test_smoke_has_twelve_questions():
    assert len(read_suite(str(SUITES / "smoke")).examples) == 12


def test_ids_are_unique_over_all_suites():
    ids = [example.id for name in LOCAL for example in read_suite(str(SUITES / name)).examples]
    ids += [row["id"] for row in training()]
    assert [name for name, count in Counter(ids).items() if count > 1] == []


def test_no_question_comes_near_one_of_another_split():
    splits = {
        name: [e.question for e in read_suite(str(SUITES / name)).examples] for name in ("docs_qa", "docs_qa_dev")
    }
    splits["train"] = [row["question"] for row in training()]
    for one, other in (("docs_qa", "docs_qa_dev"), ("docs_qa", "train"), ("docs_qa_dev", "train")):
        near = process.cdist(
            splits[one],
            splits[other],
            scorer=fuzz.token_set_ratio,
            processor=utils.default_process,
            score_cutoff=TOO_NEAR,
        )
        found = [(splits[one][i], splits[other][j]) for i, j in zip(*near.nonzero(), strict=True)]
        assert found == []
