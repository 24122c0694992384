"""Faults 1-5, 9, 10, 13-15: processes that die, are stopped, meet each other, or live at another time and place."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from evalkit.record import read_run
from tests.faults.processes import EVALKIT, crashed, environment, here, ran, started, until

TAGGED = 'taggers = ["default"]\nscorers = ["exact", "fuzzy", "match"]\nprimary = "match"\n'


@pytest.fixture
def slow(suite_at, script) -> tuple[object, ...]:
    """A run whose first batch is answered at once, and whose others take half a minute an answer."""
    rows = [{"id": f"q{i}", "answer": f"a{i}", "delay": 0.0 if i < 4 else 30.0} for i in range(10)]
    return ("run", "--model", script(rows, "slow.jsonl"), "--suite", suite_at())


@pytest.mark.fault(1)
@pytest.mark.parametrize("how", ["kill", "tear"])
def test_a_run_killed_at_any_write_sync_or_rename_resumes_to_the_same_bytes(command, tmp_path, noted, how):
    noted(crashed(tmp_path / "crash", how, *command), 25)


@pytest.mark.fault(1)
def test_a_scoring_killed_anywhere_is_made_again_and_its_run_is_as_it_was(command, tmp_path, noted):
    assert here(*command, "--out", tmp_path / "run") == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    noted(crashed(tmp_path / "crash", "tear", "score", tmp_path / "run", mends="anew"), 15)
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before


@pytest.mark.fault(2)
@pytest.mark.stress
@pytest.mark.parametrize("how", ["kill", "tear"])
def test_a_resume_killed_anywhere_after_a_kill_resumes_to_the_same_bytes(command, tmp_path, noted, how):
    noted(crashed(tmp_path / "crash", how, *command, times="twice"), 100)


def keeps(journal: Path, lines: int) -> bool:
    return journal.is_file() and journal.read_bytes().count(b"\n") >= lines


@pytest.mark.fault(2)
def test_a_run_killed_and_its_resume_killed_twice_has_the_same_bytes(suite_at, script, tmp_path, equal):
    rows = [{"id": f"q{i}", "answer": f"a{i}", "delay": 0.05} for i in range(20)]
    command = ("run", "--model", script(rows), "--suite", suite_at(count=20))
    assert here(*command, "--out", tmp_path / "whole") == 0
    journal = tmp_path / "cut/journal.jsonl"
    arguments: tuple[object, ...] = (*command, "--out", tmp_path / "cut")
    for batches in (1, 2, 3):
        process = started(*arguments)
        until(partial(keeps, journal, 4 * batches))
        process.kill()
        process.communicate()
        arguments = ("run", "--resume", tmp_path / "cut")
    assert here(*arguments) == 0
    equal(tmp_path / "whole", tmp_path / "cut")


def stopped(command: tuple[object, ...], out: Path, *numbers: int) -> tuple[int, str, float]:
    """Send signals to a run in the middle of its second batch; return code, stderr and the seconds it took to end."""
    process = started(
        *command, "--out", out, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler)
    )
    until(lambda: (out / "telemetry.jsonl").is_file())
    began = time.monotonic()
    for number in numbers:
        process.send_signal(number)
        time.sleep(0.02)
    _, err = process.communicate(timeout=30)
    return process.returncode, err, time.monotonic() - began


@pytest.mark.fault(3, 4)
@pytest.mark.parametrize(
    ("numbers", "codes"),
    [
        ((signal.SIGINT, signal.SIGINT), {130, -signal.SIGINT}),
        ((signal.SIGINT,) * 5, {130, -signal.SIGINT}),
        ((signal.SIGTERM, signal.SIGTERM), {143, -signal.SIGTERM}),
        ((signal.SIGINT, signal.SIGTERM), {130, 143, -signal.SIGTERM}),
    ],
    ids=["SIGINT twice", "SIGINT five times", "SIGTERM twice", "both"],
)
def test_several_signals_stop_at_once_and_the_run_can_be_resumed(slow, tmp_path, numbers, codes):
    """A signal that comes while Python itself ends kills the process, which a shell shows as the same code."""
    code, err, seconds = stopped(slow, tmp_path / "cut", *numbers)
    assert code in codes
    assert seconds < 5
    assert "Traceback" not in err
    process = started("run", "--resume", tmp_path / "cut")
    until(lambda: process.poll() is None and (tmp_path / "cut/lock").read_text().startswith(f"pid {process.pid}"))
    assert (tmp_path / "cut/journal.jsonl").read_bytes().count(b"\n") == 4


@pytest.mark.fault(9)
def test_a_second_process_on_a_run_gets_75_and_the_first_goes_on(slow, tmp_path):
    process = started(*slow, "--out", tmp_path / "run")
    until(lambda: (tmp_path / "run/telemetry.jsonl").is_file())
    second = ran("run", "--resume", tmp_path / "run")
    assert second.returncode == 75
    assert re.search(rf"another process works on this run \(pid {process.pid}, since .* UTC\)", second.stderr)
    assert ran(*slow, "--out", tmp_path / "run").returncode == 2
    assert process.poll() is None
    assert ran("report", tmp_path / "run").returncode == 4


@pytest.mark.fault(10)
def test_twenty_runs_started_at_once_have_folders_and_rows_of_their_own(command, tmp_path):
    running = [started(*command, cwd=tmp_path) for _ in range(20)]
    ended = [(process.communicate(timeout=240), process.returncode) for process in running]
    assert [code for _, code in ended] == [0] * 20
    places = {out.splitlines()[-1].removeprefix("run: ") for (out, _), _ in ended}
    assert len(places) == 20
    assert {str(path.relative_to(tmp_path)) for path in (tmp_path / "runs").iterdir()} == places
    assert len({(tmp_path / place / "rows.jsonl").read_bytes() for place in places}) == 1
    assert len({read_run(tmp_path / place).manifest["made"] for place in places}) == 20


JUMPING = """
import datetime, itertools, time
real, jumps = time.time, itertools.cycle([0.0, -86400.0, 3.2e8, -3.2e8, 7.0])
time.time = lambda: real() + next(jumps)
class jumping(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls.fromtimestamp(time.time(), tz)
datetime.datetime = jumping
"""


@pytest.mark.fault(14)
def test_a_clock_that_jumps_by_years_changes_no_byte(suite_at, script, tmp_path, equal):
    """The clock is the one that Python reads; `sitecustomize` makes it jump before evalkit is imported."""
    command = ("run", "--model", script(), "--suite", suite_at(settings=TAGGED))
    assert here(*command, "--out", tmp_path / "whole") == 0
    (tmp_path / "site").mkdir()
    (tmp_path / "site/sitecustomize.py").write_text(JUMPING)
    jumping = environment()
    jumping["PYTHONPATH"] = f"{tmp_path}/site:{jumping['PYTHONPATH']}"
    jumps = "import time; print(len({round(time.time() / 1e6) for _ in range(5)}))"
    assert int(ran("-c", jumps, program=(sys.executable,), env=jumping).stdout) > 1
    assert ran(*command, "--out", tmp_path / "cut", env=jumping).returncode == 0
    equal(tmp_path / "whole", tmp_path / "cut")
    (tmp_path / "cut/rows.jsonl").unlink()
    assert ran("run", "--resume", tmp_path / "cut", env=jumping).returncode == 0
    equal(tmp_path / "whole", tmp_path / "cut")


@pytest.mark.fault(14)
@pytest.mark.skipif(shutil.which("faketime") is None, reason="no faketime on this machine")
@pytest.mark.parametrize(
    ("first", "then"), [("+10y", "-20y"), ("-30y", "+15y"), ("+0 x5000", "+1d x0.01")], ids=["back", "on", "fast"]
)
def test_a_clock_that_the_whole_process_sees_wrongly_changes_no_byte(suite_at, script, tmp_path, equal, first, then):
    """Every clock of the system is faked, in the run and otherwise in its resume."""
    command = ("run", "--model", script(), "--suite", suite_at(settings=TAGGED))
    assert here(*command, "--out", tmp_path / "whole") == 0
    faked = ("faketime", "-f", first, *EVALKIT)
    assert ran(*command, "--out", tmp_path / "cut", program=faked).returncode == 0
    equal(tmp_path / "whole", tmp_path / "cut")
    (tmp_path / "cut/rows.jsonl").unlink()
    assert ran("run", "--resume", tmp_path / "cut", program=("faketime", "-f", then, *EVALKIT)).returncode == 0
    equal(tmp_path / "whole", tmp_path / "cut")


@pytest.fixture(scope="session")
def turkish(tmp_path_factory) -> str:
    """A folder with a real Turkish locale, where the lower case of I is no i; skipped where none can be built."""
    folder = tmp_path_factory.mktemp("locales")
    if shutil.which("localedef") is None:
        pytest.skip("no localedef on this machine")
    built = subprocess.run(
        ["localedef", "-i", "tr_TR", "-f", "UTF-8", str(folder / "tr_TR.UTF-8")], capture_output=True, check=False
    )
    if built.returncode:
        pytest.skip("no sources of locales on this machine")
    return str(folder)


PLACES = [
    {"LC_ALL": "C"},
    {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    {"LC_ALL": "tr_TR.UTF-8"},
    {"TZ": "Pacific/Kiritimati", "PYTHONHASHSEED": "1"},
    {"TZ": "Pacific/Pago_Pago", "PYTHONHASHSEED": "4294967295"},
]


@pytest.mark.fault(15)
def test_a_run_has_the_same_bytes_everywhere(suite_at, script, tmp_path, turkish, equal):
    words = "TITLE İstanbul ıI 한국어 ﬁn 1.234,5 beleive the the the"
    rows = [{"id": f"q{i}", "answer": f"{words} a{i}" * (1 + i % 3)} for i in range(10)]
    command = ("run", "--model", script(rows), "--suite", suite_at(settings=TAGGED, target="title İSTANBUL"))
    assert ran(*command, "--out", tmp_path / "whole", env=environment(PYTHONHASHSEED="0")).returncode == 0
    for number, place in enumerate(PLACES):
        done = ran(*command, "--out", tmp_path / str(number), env=environment(LOCPATH=turkish, **place))
        assert (done.returncode, done.stderr) == (0, ""), place
        equal(tmp_path / "whole", tmp_path / str(number))


@pytest.mark.fault(5)
@pytest.mark.parametrize("descriptors", [">&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_a_run_without_standard_streams_is_whole(command, tmp_path, equal, descriptors):
    assert here(*command, "--out", tmp_path / "whole") == 0
    quiet = ["sh", "-c", f'exec "$@" {descriptors}', "sh", sys.executable, "-m", "evalkit"]
    assert ran(*command, "--out", tmp_path / "bare", program=tuple(quiet)).returncode == 0
    equal(tmp_path / "whole", tmp_path / "bare")


DIGEST = """
import sys
from evalkit.models import find_checkpoint
print(find_checkpoint(sys.argv[1]).digest())
"""


def test_a_cache_of_hashes_filled_by_many_processes_at_once_is_whole_and_right(tiny, tmp_path):
    models = [Path(shutil.copytree(tiny, tmp_path / f"model{i}")) for i in range(4)]
    for number, model in enumerate(models):
        (model / "generation_config.json").write_text(json.dumps({"top_k": number}))
    env, python = environment(XDG_CACHE_HOME=str(tmp_path / "cache")), (sys.executable, "-c", DIGEST)
    right = [ran(model, program=python, env=environment(XDG_CACHE_HOME="/dev/null")).stdout for model in models]
    assert len(set(right)) == 4
    running = [started(model, program=python, env=env) for model in models * 3]
    assert [process.communicate(timeout=60) for process in running] == [(digest, "") for digest in right * 3]
    kept = json.loads((tmp_path / "cache/evalkit/hashes.json").read_text())
    assert all(re.fullmatch("[0-9a-f]{64}", value) for value in kept.values())
    assert [path.name for path in (tmp_path / "cache/evalkit").iterdir()] == ["hashes.json"]


FETCH = """
import json, sys, time
from dataclasses import asdict
from evalkit import catalogue
def build(entry, work, target, say):
    print("built")
    time.sleep(1)
    target.mkdir()
    (target / catalogue.MARK).write_text(json.dumps(asdict(entry)))
    return target
catalogue._build = build
print(catalogue.fetch("smollm2-135m-instruct"))
"""


def test_processes_that_fetch_one_model_at_once_do_the_work_once(tmp_path):
    env = environment(XDG_CACHE_HOME=str(tmp_path))
    running = [started(program=(sys.executable, "-c", FETCH), env=env) for _ in range(3)]
    said = [process.communicate(timeout=60)[0].splitlines() for process in running]
    assert sum("built" in lines for lines in said) == 1
    assert {lines[-1] for lines in said} == {str(tmp_path / "evalkit/models/smollm2-135m-instruct")}


COMPUTES = """
import hashlib, click
from evalkit import program
@click.group()
def evalkit():
    pass
@evalkit.command()
def long():
    print("begins", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"x", b"y", 2_000_000_000)
program.run(evalkit)
"""


@pytest.mark.fault(4)
def test_a_computation_that_no_signal_interrupts_ends_within_five_seconds():
    process = started("long", program=(sys.executable, "-c", COMPUTES))
    assert process.stdout
    assert process.stdout.readline() == "begins\n"
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert (process.returncode, time.monotonic() - began < 5) == (143, True)
