"""Kills at random moments, chain after chain: `python -m tests.faults.soak` runs, scores and trains until all is whole.

A chain starts a command, kills its process with SIGKILL at a moment drawn by the seed, completes what is there, kills
that too, and so on. The second half of a chain is aimed at the end, when results are written. At last nothing kills,
and every byte must be that of a command which was left alone.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import TimeoutExpired

from tests.conftest import jsonl
from tests.faults.crash import RESULTS, difference
from tests.faults.processes import EVALKIT, TRAINKIT, ran, started

COUNT = 60
SUITE = 'taggers = ["default"]\nscorers = ["exact", "fuzzy", "match"]\nprimary = "match"\n'
Command = tuple[object, ...]


@dataclass
class Chain:
    """One command and what completes it."""

    name: str
    """What the report calls it."""
    program: tuple[str, ...]
    """The program."""
    start: Callable[[Path], Command]
    """The command that writes a folder."""
    resume: Callable[[Path], Command | None]
    """What completes a folder; None where it is made again."""
    names: tuple[str, ...]
    """Files that are compared."""
    ends: Callable[[Path], bool] = lambda out: False
    """Says whether only the end is left, where the second half of a chain is aimed."""
    kills: int = 0
    survived: int = 0
    lost: int = 0
    differing: int = 0
    phases: dict[str, int] = field(default_factory=dict)
    """When the kills fell: while it was started or resumed, or ended."""

    def command(self, out: Path) -> Command:
        """Return what goes on with a folder."""
        return self.resume(out) or self.start(out)

    def kill(self, out: Path, rng: random.Random, seconds: float, *, aimed: bool) -> None:
        """Go on with a folder and kill that at a random moment, or at its end; it may be done before."""
        began = time.monotonic()
        phase = "resume" if self.resume(out) else "start"
        process = started(*self.command(out), program=self.program)
        moment = rng.uniform(0.02, 0.8) * seconds
        while aimed and process.poll() is None and not self.ends(out) and time.monotonic() - began < 2 * seconds:
            time.sleep(0.002)
            moment = time.monotonic() - began + rng.uniform(0.0, 0.05) * seconds
        try:
            process.communicate(timeout=max(0.0, moment - (time.monotonic() - began)))
        except TimeoutExpired:
            process.kill()
            process.communicate()
            self.kills += 1
            phase = "end" if self.ends(out) else phase
            self.phases[phase] = self.phases.get(phase, 0) + 1

    def run(self, work: Path, rng: random.Random, kills: int, a_chain: int) -> None:
        """Kill so often in all, `a_chain` times in a row before all is completed."""
        began = time.monotonic()
        whole = work / f"{self.name}-whole"
        done = ran(*self.start(whole), program=self.program)
        assert done.returncode == 0, done.stderr
        seconds = time.monotonic() - began
        while self.kills < kills:
            before, out = self.kills, work / f"{self.name}-cut"
            shutil.rmtree(out, ignore_errors=True)
            count = min(a_chain, kills - before)
            for number in range(1, count + 1):
                self.kill(out, rng, seconds, aimed=number > count / 2)
            self.complete(whole, out, self.kills - before)

    def complete(self, whole: Path, out: Path, kills: int) -> None:
        """Let a chain end and compare."""
        done = ran(*self.command(out), program=self.program)
        lost, differing = difference(whole, out, self.names)
        strays = {path.name for path in out.iterdir()} ^ {path.name for path in whole.iterdir()}
        self.lost, self.differing = self.lost + lost, self.differing + differing
        if done.returncode or lost or differing or strays:
            print(
                f"{self.name}: code {done.returncode}, {lost} lost, {differing} differ, {strays}: {done.stderr[-300:]}"
            )
        else:
            self.survived += kills


def chains(work: Path) -> list[tuple[Chain, int, int]]:
    """Return what is run, with its share of 40 kills and the kills in a row."""
    suite = work / "suites/soak"
    jsonl(
        suite / "examples.jsonl",
        [{"id": f"q{i}", "input": f"Question {i}?", "target": f"The answer is {i}."} for i in range(COUNT)],
    )
    (suite / "suite.toml").write_text(SUITE)
    said = ("The answer is {}.", "It is {} as far as we know. " * 12, "", "I beleive it is {}.")
    script = jsonl(
        work / "script.jsonl",
        [{"id": f"q{i}", "answer": said[i % 4].replace("{}", str(i)), "delay": 0.02} for i in range(COUNT)],
    )
    model = ("run", "--model", f"scripted:{script}", "--suite", suite)
    assert ran(*model, "--out", work / "kept").returncode == 0

    def resumed(out: Path) -> Command | None:
        return ("run", "--resume", out) if (out / "manifest.json").is_file() else None

    def answered(out: Path) -> bool:
        journal = out / "journal.jsonl"
        return journal.is_file() and journal.read_bytes().count(b"\n") == COUNT

    def anew(out: Path) -> Command:
        shutil.rmtree(out, ignore_errors=True)
        return ("score", work / "kept", "--out", out)

    return [
        (Chain("run", EVALKIT, lambda out: (*model, "--out", out), resumed, RESULTS, answered), 24, 4),
        (Chain("score", EVALKIT, anew, lambda out: None, RESULTS, lambda out: (out / "manifest.json").is_file()), 6, 3),
        (_training(work), 10, 5),
    ]


def _training(work: Path) -> Chain:
    from tests.integration.conftest import save_tiny_llama  # loads torch

    model = save_tiny_llama(work / "model")
    rows = [{"id": f"r{i}", "question": f"Q{'x' * (3 * i)}?", "answer": f"A{i}" * (1 + i % 4)} for i in range(10)]
    given = {"batch-size": 4, "epochs": 12, "learning-rate": 1e-3, "save-steps": 2, "probe": 2}
    flags = [word for name, value in given.items() for word in (f"--{name}", value)]
    command = ("sft", "--model", model, "--data", jsonl(work / "rows.jsonl", rows), *flags)

    def resumed(out: Path) -> Command | None:
        return (
            ("sft", "--resume", out) if (out / "sft.toml").is_file() and not (out / "trainkit.json").is_file() else None
        )

    def started_anew(out: Path) -> Command:
        if (out / "trainkit.json").is_file():  # a chain that was done before its kill
            shutil.rmtree(out)
        return (*command, "--out", out)

    def last(out: Path) -> bool:
        return any((out / f"steps/checkpoint-{n}/whole").is_file() for n in (34, 36))

    return Chain("sft", TRAINKIT, started_anew, resumed, ("model.safetensors", "log.jsonl"), last)


def page(found: list[Chain], seed: int) -> str:
    """Return what became of all kills as Markdown."""
    sums = [sum(getattr(chain, name) for chain in found) for name in ("kills", "survived", "lost", "differing")]
    lines = [
        "# Soak",
        "",
        f"`make soak` kills commands with SIGKILL at random moments (seed {seed}), completes them, kills that too, and",
        "compares what is there at last with a command that was left alone, byte by byte. It writes this page.",
        "",
        "| command | kills | while started | while resumed | at the end | survived | rows lost | bytes differing |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for c in found:
        when = [c.phases.get(phase, 0) for phase in ("start", "resume", "end")]
        cells = (c.name, c.kills, *when, c.survived, c.lost, c.differing)
        lines.append(f"| {' | '.join(map(str, cells))} |")
    phases = [sum(c.phases.get(phase, 0) for c in found) for phase in ("start", "resume", "end")]
    lines.append(f"| all | {' | '.join(map(str, (sums[0], *phases, *sums[1:])))} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run all chains; 1 where anything was lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=40, help="kills in all")
    parser.add_argument("--seed", type=int, default=7, help="seed of the moments")
    parser.add_argument("--report", type=Path, help="file to write")
    given = parser.parse_args()
    rng, found = random.Random(given.seed), []
    with tempfile.TemporaryDirectory() as name:
        for chain, share, a_chain in chains(Path(name)):
            chain.run(Path(name), rng, max(1, round(share * given.kills / 40)), a_chain)
            found.append(chain)
            print(f"{chain.name}: {chain.kills} kills, {chain.survived} survived", file=sys.stderr, flush=True)
    text = page(found, given.seed)
    print(text, end="")
    if given.report:
        given.report.write_text(text, encoding="utf-8")
    return int(any(chain.survived != chain.kills for chain in found))


if __name__ == "__main__":
    sys.exit(main())
