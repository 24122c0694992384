"""How far to trust judge, match and the other scorers, on answers that people have judged; writes a Markdown page.

    python -m tests.benchmarks.judge --data DIR --out runs/judge -o reports/judge/README.md

DIR holds `judge/llmbar_LLMBar_Natural.jsonl` (pairs with the better one known) and `human_correctness/evouna_NQ.jsonl`
(answers that people called right or wrong). Runs that are there already are read, so that the page can be written anew.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from tests.benchmarks.speed import write_page

PAIRS, HUMAN = "judge/llmbar_LLMBar_Natural.jsonl", "human_correctness/evouna_NQ.jsonl"
RULES = "exact,fuzzy,match,semantic"
NO_TAGS = ("--taggers", "none")


@dataclass(frozen=True)
class Part:
    """A run of kept answers, and the labels that it is held against."""

    title: str
    about: str
    run: Path
    labels: Path
    command: tuple[str, ...]

    def lines(self) -> list[str]:
        """Return the page's part: title, commands, the report of the run's scorers."""
        if not (self.run / "manifest.json").is_file():
            evalkit(*self.command, "--out", str(self.run))
        report = evalkit("judge-report", str(self.run), "--labels", str(self.labels), "--format", "md")
        shown = f"$ evalkit {' '.join(self.command)}\n$ evalkit judge-report {self.run} --labels {self.labels}"
        body = report.split("\n", 2)[2]
        return [f"## {self.title}", "", self.about, "", "```console", shown, "```", "", body]


def evalkit(*arguments: str) -> str:
    """Run evalkit as a program and return what it prints."""
    command = [sys.executable, "-m", "evalkit", *arguments]
    done = subprocess.run(command, text=True, capture_output=True, check=False)
    if done.returncode:
        raise click.ClickException(done.stderr)
    return done.stdout


def written(path: Path, records: Iterable[Mapping[str, Any]]) -> Path:
    """Write records as JSON lines and return where."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), encoding="utf-8")
    return path


def read(path: Path) -> list[dict[str, Any]]:
    """Return the records of a file of JSON lines."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def pairs(data: Path, out: Path, model: str) -> Part:
    """Return the part on pairs: the judge in the mode pairwise, both orders."""
    rows = [{"id": f"p{n:03}", **row} for n, row in enumerate(read(data / PAIRS))]
    files = [
        written(out / f"{name}.jsonl", [{"id": r["id"], "question": r["input"], "answer": r[key]} for r in rows])
        for name, key in (("first", "output_1"), ("second", "output_2"))
    ]
    better = [{"id": r["id"], "better": "run" if r["label"] == 1 else "other"} for r in rows]
    labels = written(out / "llmbar.jsonl", better)
    if not (out / "second" / "manifest.json").is_file():
        evalkit("score", "--answers", str(files[1]), "--scorers", "exact", *NO_TAGS, "--out", str(out / "second"))
    mode = ("--set", "scorer.judge.mode=pairwise", "--set", "primary=judge", "--scorers", "judge", *NO_TAGS)
    command = ("score", "--answers", str(files[0]), *mode, "--judge", model, "--against", str(out / "second"))
    about = f"The {len(rows)} pairs of LLMBar Natural, of which people know the better answer."
    return Part(f"{model} as judge of pairs", about, out / "pairs", labels, command)


def correct(rows: list[dict[str, Any]], out: Path, model: str) -> Part:
    """Return the part on right and wrong: the judge and the rules on one sample, every case asked twice."""
    answers, labels = answered(rows, out / "sample"), labelled(rows, out / "sample")
    judge = ("--judge", model, "--judge-when", "always", "--set", "scorer.judge.repeats=2")
    command = ("score", "--answers", str(answers), "--scorers", f"{RULES},judge", *NO_TAGS, *judge)
    about = (
        f"A sample of {len(rows)} answers of EVOUNA's NQ (seed 0), judged right or wrong by a person; the judge is "
        "asked twice, the second time with the verdicts named in the other order."
    )
    return Part(f"{model} as judge of right and wrong", about, out / "sample" / "run", labels, command)


def rules(rows: list[dict[str, Any]], out: Path) -> Part:
    """Return the part on the scorers that ask no model, on all answers."""
    answers, labels = answered(rows, out / "all"), labelled(rows, out / "all")
    command = ("score", "--answers", str(answers), "--scorers", RULES, "--set", "cluster_key=asked", *NO_TAGS)
    about = (
        f"All {len(rows):,} answers of EVOUNA's NQ, by five systems to each question; those to one question "
        "stand and fall together."
    )
    return Part("The other scorers", about, out / "all" / "run", labels, command)


def answered(rows: list[dict[str, Any]], out: Path) -> Path:
    """Write the answers that are scored."""
    return written(
        out / "answers.jsonl",
        [
            {
                "id": r["id"],
                "question": r["question"],
                "answer": r["answer"],
                "target": r["targets"],
                "meta": {"asked": r["question"]},
            }
            for r in rows
        ],
    )


def labelled(rows: list[dict[str, Any]], out: Path) -> Path:
    """Write what a person said of them."""
    return written(out / "human.jsonl", [{"id": r["id"], "correct": r["human_correct"]} for r in rows])


@click.command()
@click.option("--model", default="smollm2-135m-instruct", show_default=True)
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/judge"), show_default=True)
@click.option("--sample", default=300, show_default=True)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Where the page goes; default: stdout.")
def main(model: str, data: Path, out: Path, sample: int, output: Path | None) -> None:
    """Judge, hold against people, write the page."""
    rows = read(data / HUMAN)
    some = random.Random(0).sample(rows, sample)
    parts = [pairs(data, out, model), correct(some, out, model), rules(rows, out)]
    head = [
        "# Which scorer to trust",
        "",
        "Scorers against people, on public data. Every section is what `evalkit judge-report` says of a run; the "
        f"commands are run by `python -m tests.benchmarks.judge --data DIR --out {out}`.",
        "",
    ]
    write_page("\n".join([*head, *(line for part in parts for line in part.lines())]), output)


if __name__ == "__main__":
    main()
