"""Plan edits for 5,000 rows and 1,000 failing items: under 60 s and 2 GB on one core.

CPU seconds count, since the machine may be busy with other things.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.benchmark
ROWS, ITEMS, FAILING = 5_000, 1_500, 1_000
MEASURED = """\
import sys, time, resource
from pathlib import Path
from trainkit.cli import call
began = time.perf_counter()
code = call(sys.argv[1:])
usage = resource.getrusage(resource.RUSAGE_SELF)
peak = next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(code, time.perf_counter() - began, usage.ru_utime + usage.ru_stime, int(peak) / 1024, file=sys.stderr)
"""


def words_of(draw: random.Random, vocabulary: list[str], least: int, most: int) -> str:
    """Return a sentence with the skew of real text: common words are far commoner than rare ones."""
    count = draw.randint(least, most)
    return " ".join(vocabulary[int(len(vocabulary) * draw.random() ** 3)] for _ in range(count)).capitalize() + "."


def answer(draw: random.Random, vocabulary: list[str], at: int) -> str:
    text = " ".join(words_of(draw, vocabulary, 8, 20) for _ in range(3))
    return text + f" {text[-40:]}" * 8 if at % 12 == 0 else text


def test_planning_for_5000_rows_and_1000_failing_items(tmp_path, write_jsonl, write_run, make_row, capsys):
    draw = random.Random(7)
    letters = "abcdefghijklmnoprstuvwyz"
    vocabulary = ["".join(draw.choices(letters, k=draw.randint(3, 9))) for _ in range(6_000)]
    rows = [{"id": f"r{i}", "question": words_of(draw, vocabulary, 7, 14), "answer": answer(draw, vocabulary, i)}
            for i in range(ROWS)]  # fmt: skip
    train = write_jsonl(tmp_path / "rows.jsonl", rows)
    items = []
    for i in range(ITEMS):
        tags = [("repetition", "major", 0.9)] if i < FAILING else []
        said = answer(draw, vocabulary, 0 if i < FAILING else 1)
        items.append(make_row(f"q{i}", said, float(i >= FAILING), tags, question=words_of(draw, vocabulary, 7, 14)))
    run = write_run("tuned", items, split="dev")
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, "curate", str(run), "--train", str(train), "--out", str(tmp_path / "plan")],
        capture_output=True, text=True, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(Path.cwd())},
    )  # fmt: skip
    code, wall, cpu, peak = map(float, done.stderr.split()[-4:])
    plan = json.loads((tmp_path / "plan/plan.json").read_text())
    with capsys.disabled():
        print(f"\n{ROWS} rows, {FAILING} failing items: {wall:.1f} s ({cpu:.1f} s of CPU), {peak:.0f} MB at most, "
              f"{len(plan['edits'])} edits")  # fmt: skip
    assert code == 0
    assert len(plan["edits"]) > 100
    assert cpu < 60
    assert peak < 2048
