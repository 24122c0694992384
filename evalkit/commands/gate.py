"""`evalkit compare`, `gate`, `baseline` and `noise`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from evalkit.baseline import STORE, count_attempt, find_baseline, history, list_baselines, set_baseline
from evalkit.commands.options import colored, emit, policy_of
from evalkit.compare import Comparison, compare_runs
from evalkit.errors import EvalkitError, NotComparable, Unfinished
from evalkit.evaluate import evaluate
from evalkit.jsonl import collector_paused
from evalkit.plan import noise_of, plan_gate
from evalkit.policy import Policy
from evalkit.record import open_run, run_folders
from evalkit.report import comparison as shown
from evalkit.report import gate_json, gate_markdown, github, junit
from evalkit.report import plan as plans
from evalkit.report.visible import one_line
from evalkit.types import Run
from evalkit.verdict import Check, Verdict


@click.command()
@click.argument("base")
@click.argument("candidate")
@click.option("--policy", metavar="FILE", help="Margins and roles; default: ./gate.toml where there is one.")
@click.option("--examples", type=click.IntRange(0), default=5, show_default=True, help="Broken items shown.")
def compare(base: str, candidate: str, policy: str | None, examples: int) -> None:
    """Compare two runs item by item: what changed, what broke, with intervals.

    BASE and CANDIDATE are runs, folders of runs (a suite each), or names of baselines.
    """
    with collector_paused():
        pairs = _comparisons(_runs(base), _runs(candidate))
        verdict = evaluate(pairs, policy_of(policy))
        emit(shown.render_gate(verdict, pairs, color=colored(), examples=examples), None)


@click.command()
@click.option("--baseline", metavar="BASE", help="A run, a folder of runs or a baseline's name; default: the policy's.")
@click.option("--candidate", metavar="CAND", help="The run, or folder of runs, that may replace it.")
@click.option("--anchor", metavar="RUN", help="A pinned release to hold against as well; default: the policy's.")
@click.option(
    "--policy", "file", metavar="FILE", help="Margins, roles, waivers; default: ./gate.toml where there is one."
)
@click.option("--plan", is_flag=True, help="Judge nothing: show what the baseline's items can detect and pass.")
@click.option(
    "--json", "json_file", metavar="F", help="Write the verdict as JSON (schema: evalkit/report/gate.schema.json)."
)
@click.option("--junit", "junit_file", metavar="F", help="Write the verdict as JUnit XML.")
@click.option("--markdown", "markdown_file", metavar="F", help="Write the verdict as Markdown.")
@click.option("--examples", type=click.IntRange(0), default=5, show_default=True, help="Broken items shown.")
def gate(
    baseline: str | None,
    candidate: str | None,
    anchor: str | None,
    file: str | None,
    plan: bool,
    examples: int,
    **files: Any,
) -> int:
    """Say whether CAND may replace BASE: exit code 0 PASS, 1 FAIL, 3 INCONCLUSIVE, 4 not comparable.

    On GitHub Actions a step summary and annotations are written too.
    """
    policy = policy_of(file)
    name = baseline or policy.baseline
    if not name:
        raise EvalkitError("no baseline: give --baseline RUN, or `baseline` in gate.toml")
    if plan:
        emit(plans.render(plan_gate(_runs(name), policy), color=colored()), None)
        return 0
    if not candidate:
        raise EvalkitError("no candidate: give --candidate RUN")
    with collector_paused():
        try:
            verdict, pairs = _judged(name, candidate, anchor or policy.anchor, policy)
        except (NotComparable, Unfinished) as fault:
            refused = Check("gate", "runs", "ERROR", reason=str(fault))
            _write(Verdict("ERROR", (refused,)), (), files)  # no file of an earlier gate may pass for this one's
            raise
        emit(shown.render_gate(verdict, pairs, color=colored(), examples=examples), None)
        _write(verdict, pairs, files)
    return verdict.exit_code


def _judged(name: str, candidate: str, anchor: str, policy: Policy) -> tuple[Verdict, list[Comparison]]:
    """Read the runs and judge the candidate; a named baseline counts the attempt."""
    before, after = _runs(name), _runs(candidate)
    pairs = _comparisons(before, after)
    verdict = evaluate(pairs, policy, anchors=_comparisons(_runs(anchor), after) if anchor else ())
    return _counted(verdict, name, after), pairs


@click.group()
def baseline() -> None:
    """Pin runs by name, with a reason; a name never moves by itself."""


@baseline.command("set")
@click.argument("name")
@click.argument("run")
@click.option("--reason", required=True, metavar="TEXT", help="Why this run is the one to hold others against.")
def set_(name: str, run: str, reason: str) -> None:
    """Pin RUN as the baseline NAME, keeping its rows under ./baselines."""
    pinned = set_baseline(name, Path(run), reason)
    click.echo(f"{pinned.name}: {pinned.run}, {pinned.day}: {one_line(pinned.reason)}")


@baseline.command("list")
def list_() -> None:
    """List what every name stands for."""
    for pinned in list_baselines():
        click.echo(f"{pinned.name:24}{pinned.run:28}{pinned.day}  {one_line(pinned.reason, 80)}")


@baseline.command()
@click.argument("name")
def show(name: str) -> None:
    """Show every run that NAME has stood for, the present one last."""
    for pinned in history(name):
        click.echo(f"{pinned.day}  {pinned.run}  sha256 {pinned.sha256[:16]}  {one_line(pinned.reason)}")


@click.command()
@click.argument("run")
@click.argument("again")
def noise(run: str, again: str) -> None:
    """Measure how much two runs of one model (or of two equal retrains) differ, and what a gate can then detect."""
    found = [plan for pair in _comparisons(_runs(run), _runs(again)) for plan in noise_of(pair)]
    emit(plans.render(found, color=colored()), None)


def _runs(given: str) -> list[Run]:
    """Read the run, the runs of a folder, or the pinned run that `given` stands for."""
    folders = run_folders(Path(given))
    return [open_run(folder) for folder in folders or [find_baseline(given)]]


def _comparisons(before: Sequence[Run], after: Sequence[Run]) -> list[Comparison]:
    """Pair runs by suite; a suite that only one side has cannot be compared."""
    one, other = ({run.suite: run for run in runs} for runs in (before, after))
    for suite in sorted(one.keys() ^ other.keys()):
        raise NotComparable(f"suite {suite!r} was run on {'the baseline' if suite in one else 'the candidate'} alone")
    return [compare_runs(one[suite], other[suite]) for suite in one]


def _counted(verdict: Verdict, name: str, after: Sequence[Run]) -> Verdict:
    """Return the verdict with its number of attempts, where the baseline is pinned by name."""
    if not (STORE / name / "log.jsonl").is_file():
        return verdict
    return replace(verdict, attempts=max(count_attempt(STORE / name / "attempts.jsonl", run, verdict) for run in after))


def _write(verdict: Verdict, pairs: Sequence[Comparison], files: dict[str, str | None]) -> None:
    if files["json_file"]:
        emit(gate_json.render(verdict), files["json_file"])
    if files["junit_file"]:
        emit(junit.render(verdict, pairs), files["junit_file"])
    if files["markdown_file"]:
        emit(gate_markdown.render(verdict, pairs), files["markdown_file"])
    if os.environ.get("GITHUB_ACTIONS") == "true":
        emit(github.annotate(verdict), None)
        if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
            with open(summary, "a", encoding="utf-8") as file:
                file.write(github.step_summary(verdict, pairs))
