"""`evalkit compare`, `gate`, `baseline`, `noise` from the command line: bad input is one line with its code."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from evalkit.cli import call
from evalkit.folder import RunFolder
from evalkit.record import read_rows
from evalkit.types import Example, Response, Row, Score, Tag


def row(number: int, value: float | None = 1.0, *, name: str = "", error: str | None = None) -> Row:
    scores = () if error else (Score("match", value), Score("fuzzy", value))
    return Row(
        Example(name or f"q{number}", f"Question {number}?", ("yes",)), Response("yes", error=error), scores=scores
    )


def rows(count: int, wrong: int = 0) -> list[Row]:
    return [row(i, float(i >= wrong)) for i in range(count)]


@pytest.fixture
def gate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Run `evalkit gate --baseline base --candidate cand` with more options; return code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)

    def run(*options: str, command: tuple[str, ...] = ()) -> tuple[int, str, str]:
        capsys.readouterr()
        code = call([*(command or ("gate", "--baseline", "base", "--candidate", "cand")), *options])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def refused(found: tuple[int, str, str], code: int, message: str) -> None:
    """Hold a refusal to its form: nothing on stdout, one line on stderr, the code."""
    assert (found[0], found[1]) == (code, "")
    assert found[2].startswith("evalkit: ")
    assert found[2].count("\n") == 1
    assert message in found[2]


def test_a_missing_baseline_is_refused(gate, write_run):
    write_run("cand", rows(10))
    refused(gate(), 2, "no baseline 'base' in baselines; `evalkit baseline set` pins one")
    refused(gate("--baseline", "nowhere/x"), 2, "no baseline 'nowhere/x' in baselines")


def test_a_missing_candidate_is_refused(gate, write_run):
    write_run("base", rows(10))
    refused(gate("--candidate", "none"), 2, "no baseline 'none' in baselines")
    refused(gate(command=("gate", "--baseline", "base")), 2, "no candidate: give --candidate RUN")


@pytest.mark.parametrize("field", ["data_digest", "template", "scorers", "taggers", "judge"])
def test_runs_that_were_asked_or_judged_differently_are_not_comparable(gate, write_run, field):
    write_run("base", rows(10))
    write_run("cand", rows(10), **{field: "other"})
    refused(gate(), 4, "runs base and cand differ in the ")
    refused(gate(command=("compare", "base", "cand")), 4, "runs base and cand differ in the ")
    refused(gate(command=("noise", "base", "cand")), 4, "runs base and cand differ in the ")


def test_another_suite_is_not_comparable(gate, write_run):
    write_run("base", rows(10))
    write_run("cand", rows(10), suite="other")
    refused(gate(), 4, "suite 'docs_qa' was run on the baseline alone")


def test_runs_without_a_common_example_are_not_comparable(gate, write_run):
    write_run("base", rows(10))
    write_run("cand", [row(i, name=f"other{i}") for i in range(10)])
    refused(gate(), 4, "runs base and cand share no example; nothing can be compared")


def test_an_example_that_stands_there_twice_is_not_comparable(gate, write_run):
    write_run("base", rows(10))
    write_run("cand", [*rows(10), row(3)])
    refused(gate(), 4, "run cand: example 'q3', trial 0, stands there twice")


def test_a_run_is_not_gated_against_itself(gate, write_run):
    write_run("base", rows(10))
    refused(gate("--candidate", "base"), 4, "base is given twice; a run cannot be judged by itself")


@pytest.mark.parametrize(
    "command",
    [
        ("gate", "--baseline", "base", "--candidate", "half"), ("gate", "--baseline", "half", "--candidate", "base"),
        ("compare", "base", "half"), ("errors", "base", "half"), ("errors", "half"), ("report", "half"),
        ("baseline", "set", "main", "half", "--reason", "r"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_a_run_in_progress_is_refused_with_the_command_that_completes_it(gate, write_run, command):
    write_run("base", rows(10))
    write_run("half", rows(10), finished=False)
    refused(gate(command=command), 4, "half: the run is not finished; `evalkit run --resume half` completes it")


def test_a_run_that_asks_no_model_is_not_said_to_be_resumable(gate, write_run, tmp_path):
    write_run("base", rows(10))
    identity = {"suite": "s", "primary": "m", "split": "dev"}
    manifest = {"identity": identity, "settings": {"model": "m", "max_errors": 0}, "imported": "logs"}
    RunFolder.create(tmp_path / "half", manifest).close()
    refused(
        gate("--candidate", "half"), 4, "half: the run is not finished; make it anew, since its answers were imported"
    )


def test_runs_without_a_single_answer_are_an_error(gate, write_run):
    failed = [row(i, error="down") for i in range(20)]
    write_run("base", failed)
    write_run("cand", failed)
    code, out, err = gate()
    assert (code, err) == (4, "")
    assert out.splitlines()[1] == "ERROR  docs_qa: no item of either run has a value"


def test_a_candidate_whose_every_request_failed_is_an_error(gate, write_run):
    write_run("base", rows(20))
    write_run("cand", [row(i, error="down") for i in range(20)])
    code, out, _ = gate()
    assert code == 4
    assert out.splitlines()[1] == "ERROR  docs_qa: 20 of 20 candidate items missing (100.0 %, limit 1 %)"


def test_one_item_decides_nothing(gate, write_run):
    write_run("base", rows(1))
    write_run("cand", rows(1, wrong=1))
    code, out, _ = gate()
    assert code == 3
    assert out.startswith("INCONCLUSIVE  1 of 1 gating metric")


@pytest.mark.parametrize(("count", "code", "word"), [(10, 3, "INCONCLUSIVE"), (100, 0, "PASS"), (1000, 0, "PASS")])
def test_equal_scores_pass_only_where_there_are_enough_of_them(gate, write_run, count, code, word):
    write_run("base", rows(count, wrong=3))
    write_run("cand", rows(count, wrong=3))
    found, out, _ = gate()
    assert found == code
    assert out.startswith(word)
    assert "[+0.0, +0.0]" not in out


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ("versoin = 1", "gate.toml: the top level: unknown key 'versoin'; did you mean 'version'?"),
        ("[tags.repetition]\nmargn = 1", "[tags.repetition]: unknown key 'margn'; did you mean 'margin'?"),
        ("[suites.docs_qa.metrics.match]\nrole = 'gat'", "role 'gat'; did you mean 'gate'?"),
        ("[suites.docs_qa.metrics.mtch]", "the runs have no such metric; did you mean 'match'?"),
        ("version = 2", "version 2: this evalkit reads version 1"),
        ("[[waivers]]\nmetric = 'match'\nreason = 'r'", "needs `until`, the last day on which it counts"),
        ("alpha = 0.7", "alpha must lie between 0 and 0.5, got 0.7"),
        ("= 1", "gate.toml: not TOML"),
        ("[tags.repetition]\nrole = 'gate'", "the policy gates [tags.repetition], but no tagger ran on docs_qa"),
    ],
)
def test_a_policy_that_says_what_is_not_known_is_refused(gate, write_run, tmp_path, policy, message):
    write_run("base", rows(10), taggers="[]")
    write_run("cand", rows(10), taggers="[]")
    (tmp_path / "gate.toml").write_text(policy)
    refused(gate(), 2, message)
    refused(gate(command=("compare", "base", "cand")), 2, message)


def test_a_policy_that_is_not_there_is_refused(gate, write_run):
    refused(gate("--policy", "none.toml"), 2, "none.toml: cannot be read: No such file or directory")


def test_an_expired_waiver_waives_nothing_and_is_named(gate, write_run, tmp_path):
    write_run("base", rows(400))
    write_run("cand", rows(400, wrong=60))
    (tmp_path / "gate.toml").write_text(
        "[[waivers]]\nmetric = 'match'\nmax_drop = 30\nuntil = 2020-01-31\nreason = 'known'\nowner = 'ann'\n"
    )
    code, out, err = gate()
    assert (code, err) == (1, "")
    assert "\nnote: waiver expired: */match until 2020-01-31: known (ann)\n" in out


def test_a_watched_metric_without_any_value_is_not_scored_and_no_error(gate, write_run):
    none = [Row(r.example, r.response, scores=(*r.scores, Score("semantic", None))) for r in rows(400)]
    write_run("base", none)
    write_run("cand", none)
    code, out, _ = gate("--json", "v.json")
    line = next(line for line in out.splitlines() if line.startswith("semantic"))
    assert code == 0
    assert line.endswith("not scored")
    assert "ERROR" not in out
    check = json.loads(Path("v.json").read_text())["checks"][2]
    assert (check["metric"], check["role"], check["reason"]) == (
        "semantic",
        "watch",
        "no item of either run has a value",
    )


def test_a_gating_metric_without_any_value_is_an_error(gate, write_run, tmp_path):
    none = [Row(r.example, r.response, scores=(*r.scores, Score("semantic", None))) for r in rows(400)]
    write_run("base", none)
    write_run("cand", none)
    (tmp_path / "gate.toml").write_text("[suites.docs_qa.metrics.semantic]\n")
    code, out, _ = gate()
    assert code == 4
    assert "ERROR  docs_qa: no item of either run has a value" in out


def test_a_changed_row_is_refused_with_its_line(gate, write_run):
    write_run("base", rows(10))
    path = write_run("cand", rows(10)) / "rows.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"value":1.0', b'"value":7.0', 1))
    refused(gate(), 2, "rows.jsonl: line 1 is damaged (score 7.0 is not in 0..1)")
    path.write_bytes(path.read_bytes().replace(b'"value":7.0', b'"value":0.0', 1))
    refused(gate(), 2, "rows.jsonl: damaged (its sha256 is not the manifest's)")


def test_files_that_cannot_be_written_are_named(gate, write_run):
    write_run("base", rows(400))
    write_run("cand", rows(400))
    code, _, err = gate("--json", "none/v.json")
    assert (code, err) == (2, "evalkit: none/v.json: cannot be written: No such file or directory\n")


def test_files_of_an_earlier_gate_do_not_pass_for_this_one(gate, write_run, tmp_path):
    write_run("base", rows(400))
    write_run("cand", rows(400))
    write_run("other", rows(400), data_digest="d2")
    files = ("--json", "v.json", "--junit", "v.xml", "--markdown", "v.md")
    assert gate(*files)[0] == 0
    assert gate(*files, "--candidate", "other")[0] == 4
    assert json.loads(Path("v.json").read_text())["verdict"] == "ERROR"
    for name in ("v.xml", "v.md"):
        assert "differ in the examples" in Path(name).read_text()


def test_github_gets_a_summary_and_an_annotation_whatever_the_verdict(gate, write_run, monkeypatch, tmp_path):
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    write_run("base", rows(400))
    write_run("cand", rows(400, wrong=60))
    write_run("other", rows(400), data_digest="d2")
    assert "\n::error title=FAIL docs_qa/match::FAIL  docs_qa/match" in gate()[1]
    code, out, _ = gate("--candidate", "other")
    assert code == 4
    assert out.startswith("::error title=ERROR gate/runs::ERROR  gate: runs base and other differ in the examples")
    assert (tmp_path / "summary.md").read_text().count("## ❌") == 2


def test_a_named_baseline_counts_attempts_and_never_moves(gate, write_run):
    write_run("r1", rows(400))
    for number in (2, 3):
        write_run(f"r{number}", rows(400, wrong=60))
    assert gate(command=("baseline", "set", "main", "r1", "--reason", "first release"))[0] == 0
    assert gate("--baseline", "main", "--candidate", "r2")[1].splitlines()[0].endswith("docs_qa/match.")
    assert (
        gate("--baseline", "main", "--candidate", "r3")[1].splitlines()[0].endswith("Attempt 2 with this checkpoint.")
    )
    assert gate(command=("baseline", "list"))[1].split()[:2] == ["main", "r1"]
    assert "first release" in gate(command=("baseline", "show", "main"))[1]


def test_a_plan_and_noise_are_tables(gate, write_run):
    write_run("base", rows(400))
    write_run("cand", rows(400, wrong=20))
    code, out, err = gate("--plan")
    assert (code, err) == (0, "")
    assert out.startswith("metric ")
    code, out, _ = gate(command=("noise", "base", "cand"))
    assert code == 0
    assert "5.0 % [" in out


def test_a_folder_of_runs_is_a_suite_each(gate, write_run):
    for side in ("base", "cand"):
        for suite in ("docs_qa", "other"):
            write_run(f"{side}/{suite}", rows(400), suite=suite)
    code, out, _ = gate()
    assert code == 0
    assert out.startswith("PASS  2 of 2 gating metrics are shown to lose less than the margin.\n")


def test_runs_in_folders_of_one_name_are_two_runs(gate, write_run, tmp_path):
    write_run("a/run", rows(400))
    write_run("b/run", rows(400))
    assert gate(command=("gate", "--baseline", "a/run", "--candidate", "b/run"))[0] == 0
    gate(command=("baseline", "set", "main", "a/run", "--reason", "r"))
    refused(gate(command=("gate", "--baseline", "main", "--candidate", "a/run")), 4, "run is given twice")
    for parent in ("c", "d"):
        write_run(f"{parent}/run", rows(400, wrong=60))
        _, out, _ = gate(command=("gate", "--baseline", "main", "--candidate", f"{parent}/run"))
    assert "Attempt 2 with this checkpoint." in out


def test_rows_are_read_alike_with_and_without_a_digest(write_run):
    """With the manifest's digest rows are parsed faster; a line that no run holds is refused either way."""
    folder = write_run("base", [row(0, 0.5), row(1, None), row(2, error="é\u2028")])
    manifest = json.loads((folder / "manifest.json").read_text())
    assert list(read_rows(folder)) == list(read_rows(folder, manifest["rows_sha256"]))


@pytest.mark.parametrize("command", ["compare", "gate", "errors", "noise"])
def test_runs_on_disk_give_the_same_as_runs_in_memory(gate, write_run, monkeypatch, command):
    for name, wrong in (("base", 3), ("cand", 9)):
        write_run(
            name, [replace(r, tags=(Tag("loop", "minor", "x"),) * (i < wrong)) for i, r in enumerate(rows(60, wrong))]
        )
    given = () if command == "gate" else (command, "base", "cand")
    held = gate(command=given)
    monkeypatch.setattr("evalkit.record.HELD", 5)
    assert gate(command=given) == held
    assert held[1]


def test_a_row_on_disk_that_is_none_is_one_line_with_its_number(gate, write_run, tmp_path, monkeypatch):
    write_run("base", rows(9))
    folder = write_run("cand", rows(9))
    lines = (folder / "rows.jsonl").read_bytes().replace(b'"value":1.0', b'"value":2.0').splitlines(keepends=True)
    whole = (folder / "rows.jsonl").read_bytes().splitlines(keepends=True)
    with RunFolder.open(folder) as run:
        (folder / "rows.jsonl").write_bytes(b"".join([*whole[:4], lines[4], *whole[5:]]))
        run.update(rows_sha256=hashlib.sha256((folder / "rows.jsonl").read_bytes()).hexdigest(), scored=True)
    monkeypatch.setattr("evalkit.record.HELD", 5)
    refused(gate(), 2, "line 5 is damaged (score 2.0 is not in 0..1); make it anew, since its answers were scored")
