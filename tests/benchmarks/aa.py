"""A real A/A: one checkpoint over one suite twice, and the gate between the two runs; writes a Markdown page.

    python -m tests.benchmarks.aa --out runs/aa -o reports/gate/aa.md

Greedy with two token budgets, which moves logits by float noise; then sampled with two seeds, which moves answers.
Runs that are there already are resumed, so that the page can be written again.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from evalkit.record import read_run
from evalkit.report.markdown import grid
from evalkit.types import Run
from tests.benchmarks.speed import write_page

SAMPLED = ("--set", "trials=3", "--set", "generation.temperature=0.7")
PASSED = (0, 1, 3)
"""Exit codes of a gate that judged."""


@dataclass(frozen=True)
class Pair:
    """Two runs of the same checkpoint and how they were asked."""

    name: str
    settings: tuple[tuple[str, ...], tuple[str, ...]]

    @property
    def folders(self) -> tuple[str, str]:
        """Return the names of the two runs' folders."""
        return f"{self.name}_a", f"{self.name}_b"


PAIRS = (
    Pair("greedy", (("--batch-tokens", "256"), ("--batch-tokens", "2048"))),
    Pair("sampled", ((*SAMPLED, "--set", "generation.seed=0"), (*SAMPLED, "--set", "generation.seed=1"))),
)


def evalkit(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run evalkit as a program."""
    command = [sys.executable, "-m", "evalkit", *arguments]
    return subprocess.run(command, text=True, capture_output=True, check=False)


def run(model: str, suite: str, settings: Sequence[str], folder: Path) -> Run:
    """Return the run of a folder, made or completed where it is not finished."""
    if (folder / "manifest.json").is_file():
        done = evalkit("run", "--resume", str(folder))
    else:
        done = evalkit("run", "--model", model, "--suite", suite, *settings, "--out", str(folder))
    if done.returncode:
        raise click.ClickException(done.stderr)
    return read_run(folder)


def gate(a: Path, b: Path) -> dict[str, Any]:
    """Return the gate's verdict of b against a."""
    file = b / "aa.json"
    done = evalkit("gate", "--baseline", str(a), "--candidate", str(b), "--json", str(file))
    if done.returncode not in PASSED:
        raise click.ClickException(done.stderr)
    verdict: dict[str, Any] = json.loads(file.read_text())
    file.unlink()
    return verdict


def differing(a: Run, b: Run) -> tuple[int, int]:
    """Return (answers that differ in a character, answers)."""
    other = {(row.example.id, row.trial): row.response.text for row in b.rows}
    return sum(other[row.example.id, row.trial] != row.response.text for row in a.rows), len(a.rows)


def section(pair: Pair, folder: Path, runs: tuple[Run, Run]) -> str:
    """Return the page's part on one pair: what changed, and the gate's verdict both ways."""
    first, second = (folder / name for name in pair.folders)
    count, total = differing(*runs)
    verdict, back = gate(first, second), gate(second, first)
    rows = [line(check) for check in verdict["checks"] if "[" not in check["metric"]]
    head = ("metric", "role", "outcome", "points", "95 % of the change", "margin", "flip rate")
    settings = " and ".join(f"`{' '.join(given)}`" for given in pair.settings)
    return "\n".join(
        [
            f"## {pair.name.capitalize()}",
            "",
            f"{settings}: {count} of {total} answers differ in a character. The gate says **{verdict['verdict']}** "
            f"(exit code {verdict['exit_code']}), and **{back['verdict']}** ({back['exit_code']}) the other way round.",
            "",
            *grid(head, rows),
            "",
        ]
    )


def line(check: dict[str, Any]) -> tuple[str, ...]:
    """Return the table's row of one metric."""
    low, high = check["ci95"] or (float("nan"), float("nan"))
    return (
        check["metric"],
        check["role"],
        check["verdict"],
        f"{check['baseline']:.1f} -> {check['candidate']:.1f}",
        f"[{low:+.1f}, {high:+.1f}]",
        f"{check['margin']:.1f}",
        f"{100 * check['flip_rate']:.1f} %",
    )


PAGE = """\
# The same checkpoint against itself

Written by `python -m tests.benchmarks.aa --model {model} --suite {suite} --out DIR -o
reports/gate/aa.md`: whatever differs below is noise, and a gate that says FAIL here raises a false alarm.
{items} questions, default policy. Points of 100, a positive change is better; a flip is an item whose mean over its
trials changed; slices are left out. Of watched metrics about one interval in twenty leaves zero out by chance.

"""


@click.command()
@click.option("--model", default="smollm2-135m-instruct")
@click.option("--suite", default="docs_qa")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the runs.")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path))
def main(model: str, suite: str, out: Path, output: Path) -> None:
    """Make the runs, gate them both ways, write the page."""
    parts = []
    for pair in PAIRS:
        first, second = (run(model, suite, s, out / f) for s, f in zip(pair.settings, pair.folders, strict=True))
        parts.append(section(pair, out, (first, second)))
    items = len({row.example.id for row in first.rows})
    write_page(PAGE.format(model=model, suite=suite, items=items) + "\n".join(parts), output)


if __name__ == "__main__":
    main()
