"""Builders that many tests share: suites and scripts on disk, rows and runs in memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from evalkit.record import RunFolder
from evalkit.types import Example, Response, Row, Run, Score, Tag


def jsonl(path: Path, records: Iterable[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


@pytest.fixture
def write_jsonl() -> Callable[[Path, Iterable[Any]], Path]:
    return jsonl


@pytest.fixture
def suite_at(tmp_path: Path) -> Callable[..., Path]:
    """Write a suite of `count` questions q0, q1, … whose answers are a0, a1, …; settings are lines of TOML."""

    def write(name: str = "little", settings: str = "", count: int = 10, **extra: Any) -> Path:
        folder = tmp_path / "suites" / name
        jsonl(
            folder / "examples.jsonl",
            [{"id": f"q{i}", "input": f"Question {i}?", "target": f"a{i}", **extra} for i in range(count)],
        )
        (folder / "suite.toml").write_text(settings or 'taggers = ["none"]\nscorers = ["exact"]\nprimary = "exact"\n')
        return folder

    return write


@pytest.fixture
def script(tmp_path: Path) -> Callable[..., str]:
    """Write a script of answers and return the --model that reads it; answers of `suite_at`'s questions by default."""

    def write(records: Iterable[Any] | None = None, name: str = "script.jsonl") -> str:
        rows = [{"id": f"q{i}", "answer": f"a{i}"} for i in range(50)] if records is None else records
        return f"scripted:{jsonl(tmp_path / name, rows)}"

    return write


@pytest.fixture
def make_row() -> Callable[..., Row]:
    """Build a row: id, answer, value of the score `match`, tags as (category, severity, confidence)."""

    def build(
        item: str = "q0", answer: str = "an answer", value: float | None = 1.0, tags: Iterable[Any] = (), **more: Any
    ) -> Row:
        found = tuple(t if isinstance(t, Tag) else Tag(t[0], t[1], "because", None, t[2]) for t in tags)
        return Row(
            example=Example(
                item, more.get("question", f"{item}?"), more.get("target", ("ref",)), meta=more.get("meta", {})
            ),
            response=more.get("response") or Response(text=answer, error=more.get("error")),
            trial=more.get("trial", 0),
            scores=(Score("match", value),),
            tags=found,
            primary=found[0].category if found else None,
        )

    return build


@pytest.fixture
def make_run() -> Callable[..., Run]:
    def build(rows: Iterable[Row], **more: Any) -> Run:
        identity = {"suite": more.get("suite", "little"), "primary": "match", "split": more.get("split", "dev")}
        manifest = {"identity": identity, "settings": {"model": more.get("model", "some/model"), "max_errors": 0.0}}
        return Run(more.get("id", "20260101T000000-abcdef"), manifest, tuple(rows), {"rates": more.get("rates", {})})

    return build


@pytest.fixture
def write_run(tmp_path: Path) -> Callable[..., Path]:
    """Write a finished run of suite `docs_qa` into tmp_path; more fields go to its identity."""

    def write(name: str, rows: Iterable[Row], *, finished: bool = True, **identity: str) -> Path:
        whole = {
            "suite": "docs_qa", "primary": "match", "split": "held_out", "data_digest": "d1", "template": "t1",
            "scorers": '["Match()"]', "taggers": '["Repetition()"]', **identity,
        }  # fmt: skip
        settings = {"model": f"models/{name}", "max_errors": 0}
        with RunFolder.create(tmp_path / name, {"identity": whole, "settings": settings}) as run:
            if finished:
                run.finish(rows, {})
        return tmp_path / name

    return write
