"""Builders that many tests share: suites and scripts on disk, rows and runs in memory."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from evalkit.folder import RunFolder
from evalkit.types import Example, Response, Row, Run, Score, Tag
from tests.faults.report import Proofs


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Tell at the end what became of the faults that were tried; with xdist the first process alone."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Proofs(), "proofs")


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
                run.finish(rows, dict)
        return tmp_path / name

    return write


WORDS = [f"w{i * 7919 % 3001:04}" for i in range(3001)]
MEASURED = """\
import resource, sys, time
from pathlib import Path
from evalkit.cli import call
began = time.perf_counter()
code = call(sys.argv[1:])
wall, usage = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF)
heavy = {"torch", "transformers", "datasets", "lm_eval", "pandas", "peft", "scipy"} & set(sys.modules)
peak = next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(code, wall, usage.ru_utime + usage.ru_stime, int(peak) / 1024, *heavy, file=sys.stderr)
"""


@pytest.fixture
def big_runs(write_run: Callable[..., Path]) -> Callable[[int], list[Path]]:
    """Write two runs of `count` questions, 1.2 kB a row: three scores, 30 % with an error, 12 topics, 5 % flips."""

    def rows(count: int, seed: int) -> Iterator[Row]:
        own, shared = random.Random(seed), random.Random(1)
        for i in range(count):
            question, target = (" ".join(shared.choices(WORDS, k=k)) for k in (12, 30))
            meta = {"topic": f"topic {shared.randrange(12)}", "source": f"page {i // 20}"}
            right = (shared.random() < 0.6) != (own.random() < 0.05)
            answer = target if right else " ".join(own.choices(WORDS, k=50))
            name = own.choice(("repetition", "too_long", "misspelling", "low_overlap")) if own.random() < 0.3 else ""
            yield Row(
                Example(f"q{i:06}", question, (target,), (), meta),
                Response(answer, sent=f"<|im_start|>user\n{question}<|im_end|>\n", tokens=50, target_tokens=(30,)),
                0,
                (
                    Score("match", float(right), answer[:20], "equal"),
                    Score("exact", float(right)),
                    Score("fuzzy", own.random()),
                ),
                (Tag(name, "major", "12 of 50 words", (3, 9), 0.9),) if name else (),
                name or None,
            )

    return lambda count: [write_run(name, rows(count, seed)) for name, seed in (("base", 2), ("cand", 3))]


@pytest.fixture
def measured(tmp_path: Path) -> Callable[..., tuple[int, float, float, float, list[str]]]:
    """Run a command in a process of its own; return code, seconds, CPU seconds, peak MB, heavy modules loaded."""

    def run(*arguments: str) -> tuple[int, float, float, float, list[str]]:
        done = subprocess.run(
            [sys.executable, "-c", MEASURED, *arguments], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        code, wall, cpu, peak, *heavy = done.stderr.split()
        return int(code), float(wall), float(cpu), float(peak), heavy

    return run
