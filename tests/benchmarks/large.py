"""`evalkit score --answers` and `evalkit compare` on large files; writes a Markdown page.

    python -m tests.benchmarks.large --out DIR -o reports/benchmarks/large.md

Answers are drawn with a seed from a small vocabulary of sentences: some are right, some wrong, misspelled, repeated or
cut off. Each command runs alone; its memory is what all its processes hold together (proportional set size), looked at
four times a second.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click

from evalkit.folder import RunFolder
from evalkit.record import open_run
from evalkit.report.markdown import grid
from evalkit.types import Row
from tests.benchmarks.speed import processor, write_page

SUBJECTS = ("the tokenizer", "the learning rate", "a checkpoint", "the baseline", "an adapter", "the scorer", "a suite")
VERBS = ("keeps", "changes", "needs", "replaces", "measures", "limits", "explains", "receives")
OBJECTS = (
    "every answer",
    "the last batch",
    "a seed",
    "128 tokens",
    "its own folder",
    "the chat template",
    "no network",
)
REASONS = ("so that runs can be compared", "because memory is short", "unless it is told otherwise", "in most cases")
SLIPS = (("receives", "recieves"), ("because", "becuase"), ("the", "teh"), ("otherwise", "otherwhise"))
INTERVAL = 0.25
"""Seconds between two looks at the memory of a command."""


@dataclass(frozen=True)
class Cost:
    """What a command took."""

    cpu: float
    """Seconds of CPU of all its processes."""
    memory: float
    """Peak over its processes together, in GB."""


def sentence(rng: random.Random) -> str:
    """Return one sentence."""
    said = f"{rng.choice(SUBJECTS)} {rng.choice(VERBS)} {rng.choice(OBJECTS)} {rng.choice(REASONS)}."
    return said[0].upper() + said[1:]


def answer_of(target: str, rng: random.Random) -> str:
    """Return an answer: the target, another sentence, and now and then a flaw."""
    said = [target if rng.random() < 0.6 else sentence(rng), *(sentence(rng) for _ in range(rng.randrange(3)))]
    flaw = rng.random()
    if flaw < 0.05:
        said += [said[-1]] * 4
    text = " ".join(said)
    if 0.05 <= flaw < 0.15:
        text = text.replace(*rng.choice(SLIPS))
    return text[: len(text) * 2 // 3] if 0.15 <= flaw < 0.18 else text


def answers(count: int, seed: int) -> Iterator[dict[str, object]]:
    """Yield records of an answers file; questions and targets are equal for every seed."""
    asked, own = random.Random(0), random.Random(seed)
    for number in range(count):
        target, about = sentence(asked), asked.choice(SUBJECTS)
        question = f"What should one know about {about}, in case {number}?"
        meta = {"topic": about, "part": f"part {number % 10}"}
        yield {
            "id": f"q{number}",
            "question": question,
            "answer": answer_of(target, own),
            "target": target,
            "meta": meta,
        }


def write(path: Path, count: int, seed: int) -> Path:
    """Write an answers file."""
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(record) + "\n" for record in answers(count, seed))
    return path


def cost(*arguments: str) -> Cost:
    """Run evalkit as a program and measure it."""
    command, silent = (
        [sys.executable, "-m", "evalkit", *arguments],
        (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
    )
    peak, pid = 0.0, os.posix_spawn(sys.executable, command, os.environ, file_actions=[silent])
    while not (ended := os.wait4(pid, os.WNOHANG))[0]:
        peak = max(peak, sum(map(held, family(pid))))
        time.sleep(INTERVAL)
    _, status, usage = ended
    if os.waitstatus_to_exitcode(status) not in (0, 1, 3):
        raise click.ClickException(f"{' '.join(arguments)}: exit code {os.waitstatus_to_exitcode(status)}")
    return Cost(usage.ru_utime + usage.ru_stime, peak)


def family(pid: int) -> list[int]:
    """Return a process and those it started."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        children = []
    return [pid, *(p for child in children for p in family(int(child)))]


def held(pid: int) -> float:
    """Return the proportional set size of a process in GB; pages that processes share count once in all."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1e6
    except (OSError, StopIteration):
        return 0.0


def candidate(base: Path, path: Path) -> Path:
    """Write a run that differs from another in one answer of twenty, which is right where it was wrong and so on."""
    run, rng = open_run(base), random.Random(3)
    with RunFolder.create(path, {key: run.manifest[key] for key in ("identity", "settings", "scored")}) as folder:
        folder.finish((flipped(row) if rng.random() < 0.05 else row for row in run.rows), lambda: run.summary)
    return path


def flipped(row: Row) -> Row:
    """Return a row whose scores are turned round."""
    scores = (replace(s, value=None if s.value is None else 1 - s.value) for s in row.scores)
    return replace(row, scores=tuple(scores))


def measure(count: int, folder: Path) -> tuple[Cost, Cost, int]:
    """Score a file of `count` answers and compare the run with another; return both costs and the size of the file."""
    file, run = write(folder / "answers.jsonl", count, 1), folder / "base"
    scored = cost("score", "--answers", str(file), "--out", str(run))
    other = candidate(run, folder / "cand")
    compared = cost("compare", str(run), str(other))
    size = file.stat().st_size
    file.unlink()
    for each in (run, other):
        shutil.rmtree(each)
    return scored, compared, size


def line(count: int, scored: Cost, compared: Cost) -> Sequence[str]:
    """Return the table's row."""
    shown = (f(c) for c in (scored, compared) for f in (_seconds, lambda c: f"{1e6 * c.cpu / count:.0f}", _memory))
    return (f"{count:,}", *shown)


def _seconds(cost: Cost) -> str:
    return f"{cost.cpu:.0f}"


def _memory(cost: Cost) -> str:
    return f"{cost.memory:.2f}"


HEAD = ("answers", "score, CPU s", "µs an answer", "GB", "compare, CPU s", "µs an item", "GB")
PAGE = """\
# Large inputs

Written by `python -m tests.benchmarks.large --out DIR -o reports/benchmarks/large.md` on {processor}:
`evalkit score --answers` with the default scorers and taggers, its report included, and `evalkit compare` of that run
with one whose scores differ in one answer of twenty. A line of answers has {size:.0f} bytes with question, target and
meta. Seconds are of CPU, all processes of a command together, since others used the machine too; GB is the most that
they hold together.

{table}
"""


@click.command()
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Folder for files and runs; they are removed."
)
@click.option("--counts", default="10000,100000,1000000", help="Numbers of answers.")
@click.option("-o", "--output", type=click.Path(path_type=Path))
def main(out: Path, counts: str, output: Path | None) -> None:
    """Measure every number of answers and write the page."""
    out.mkdir(parents=True, exist_ok=True)
    rows, size = [], 0.0
    for count in map(int, counts.split(",")):
        scored, compared, total = measure(count, out)
        rows.append(line(count, scored, compared))
        size = total / count
        click.echo("  ".join(rows[-1]), err=True)
    write_page(PAGE.format(processor=processor(), size=size, table="\n".join(grid(HEAD, rows))), output)


if __name__ == "__main__":
    main()
