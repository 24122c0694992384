"""Faults of a real Ray cluster of two nodes with a CPU each: a node lost, the driver killed, a question that kills."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from evalkit import flow
from evalkit.engines.dispatch import CRASHED
from evalkit.merge import merge
from evalkit.record import read_manifest, read_run
from evalkit.settings import RunSettings

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: pip install 'evalkit-llm[ray]'"),
]  # Ray itself loads only after the environment is set, which is what counts for the token

ROOT = Path(__file__).parents[2]
TOKEN = "0123456789abcdef" * 4
MEMORY = 100 * 1024 * 1024
PLUGIN = '''\
import os, time
from dataclasses import replace
from evalkit.errors import ModelError
from evalkit.backends.scripted import ScriptedBackend

class Deadly(ScriptedBackend):
    def respond(self, requests, *tick):
        if any(request.example_id == "q13" for request in requests):
            os._exit(3)
        return super().respond(requests, *tick)

class Broken(ScriptedBackend):
    def respond(self, requests, *tick):
        raise ModelError("weights cannot be loaded")

class Slow(ScriptedBackend):
    def respond(self, requests, *tick):
        try:
            os.close(os.open(os.environ["EVALKIT_TEST_MARK"], os.O_CREAT | os.O_EXCL))
            self.slow = True
        except FileExistsError:
            pass
        time.sleep(60 if getattr(self, "slow", False) else 0.1)
        return super().respond(requests, *tick)

class Fickle(ScriptedBackend):
    """Answers by its process; what the first worker has begun takes longer for all, so that its copy comes second."""
    def respond(self, requests, *tick):
        mark = os.environ["EVALKIT_TEST_MARK"] + "-fickle"
        try:
            os.close(os.open(mark, os.O_CREAT | os.O_EXCL))
            self.first = True
        except FileExistsError:
            pass
        began = f"{mark}-{requests[0].example_id}"
        if getattr(self, "first", False):
            open(began, "w").close()
            time.sleep(3)
        else:
            time.sleep(4 if os.path.exists(began) else 0.1)
        return (replace(response, text=str(os.getpid())) for response in super().respond(requests, *tick))
'''
POINTS = """\
[evalkit.backends]
broken = evalkit_test_plugin:Broken
deadly = evalkit_test_plugin:Deadly
fickle = evalkit_test_plugin:Fickle
slow = evalkit_test_plugin:Slow
"""


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A folder for the plug-in and for what its workers tell each other."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        (path / "evalkit_test_plugin.py").write_text(PLUGIN)
        about = path / "evalkit_test_plugin-0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text("Metadata-Version: 2.1\nName: evalkit-test-plugin\nVersion: 0\n")
        (about / "entry_points.txt").write_text(POINTS)
        yield path


@pytest.fixture(scope="module")
def environment(place) -> Iterator[dict[str, str]]:
    """The environment of nodes and drivers."""
    more = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": TOKEN,
        "RAY_USAGE_STATS_ENABLED": "0",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(place)]),
        "EVALKIT_TEST_MARK": str(place / "mark"),
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in more.items():
            patch.setenv(name, value)
        patch.delenv("RAY_ADDRESS", raising=False)
        yield dict(os.environ)


class Cluster:
    """Two nodes with a CPU each, and a head that has none."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster as RayCluster

        head = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": MEMORY}
        self.cluster: Any = RayCluster(initialize_head=True, head_node_args=head)
        self.nodes = [self.add(), self.add()]

    @property
    def address(self) -> str:
        return str(self.cluster.address)

    def add(self):
        return self.cluster.add_node(num_cpus=1, object_store_memory=MEMORY)

    def kill(self, number: int) -> None:
        self.cluster.remove_node(self.nodes.pop(number), allow_graceful=False)


@pytest.fixture(scope="module")
def cluster(environment) -> Iterator[Cluster]:
    made = Cluster()
    yield made
    made.cluster.shutdown()


def command(model: str, suite: Path, out: Path, address: str, *more: str) -> list[str]:
    program = [sys.executable, "-m", "evalkit", "run", "--engine", "ray", "--ray-address", address]
    return [*program, "--model", model, "--suite", str(suite), "--out", str(out), *more]


def drive(*arguments: Any, **how: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), capture_output=True, text=True, check=False, timeout=120, **how)


def answers(folder: Path) -> int:
    journal = folder / "journal.jsonl"
    return journal.read_bytes().count(b"\n") if journal.exists() else 0


def wait_for(folder: Path, count: int, process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + 60
    while answers(folder) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until, "no answers came"
        time.sleep(0.05)


def results(folder: Path) -> tuple[bytes, bytes]:
    return (folder / "rows.jsonl").read_bytes(), (folder / "summary.json").read_bytes()


@pytest.fixture
def slowly(script):
    """A script of 48 answers, each of which takes an eighth of a second."""
    return script([{"id": f"q{i}", "answer": f"a{i}", "delay": 0.125} for i in range(48)])


@pytest.fixture
def whole(suite_at, script, tmp_path) -> Path:
    """The run of 48 questions on this machine, which others must equal."""
    (folder,) = flow.start(RunSettings(script(), (str(suite_at(count=48)),)), out=tmp_path / "whole")
    return folder


def test_a_client_without_the_token_is_refused(cluster, environment, suite_at, script, tmp_path):
    without = {**environment, "RAY_AUTH_TOKEN": "f" * 64, "RAY_NUM_REDIS_GET_RETRIES": "2"}
    done = drive(script(), suite_at(), tmp_path / "run", cluster.address, env=without)
    assert done.returncode == 4
    assert "InvalidAuthToken" in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"evalkit: the Ray cluster at {cluster.address} cannot be used: ConnectionError: ")
    assert answers(tmp_path / "run") == 0


def test_no_cluster_where_one_was_expected_is_one_line(environment, suite_at, script, tmp_path):
    done = drive(script(), suite_at(), tmp_path / "run", "127.0.0.1:9")
    assert done.returncode == 4
    assert done.stderr.splitlines() == [
        f"stopped; to go on: evalkit run --resume {tmp_path / 'run'}",
        "evalkit: the Ray cluster at 127.0.0.1:9 cannot be reached: [Errno 111] Connection refused",
    ]


@pytest.fixture
def one_thread() -> Iterator[None]:
    """As many threads as workers have, which is part of what answers depend on."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
def test_a_tiny_model_gives_the_same_bytes_on_one_worker_on_two_and_in_three_parts(cluster, tiny, suite_at, tmp_path):
    """Written answers and choices in one run, of many small batches."""
    written = suite_at(
        "written", 'scorers = ["exact"]\nprimary = "exact"\n[generation]\nmax_new_tokens = 9\n', count=24
    )
    by_choice = 'chat = false\nscorers = ["acc"]\nprimary = "acc"\ntaggers = ["none"]\n'
    chosen = suite_at("chosen", by_choice, count=40, choices=["yes", "no", "it depends"])
    settings: dict[str, Any] = {"model": str(tiny), "suites": (str(written), str(chosen)), "batch_tokens": 24}
    whole = flow.start(RunSettings(**settings), out=tmp_path / "whole")
    parts = [tmp_path / f"part{n}" for n in (1, 2, 3)]
    for number, part in enumerate(parts, 1):
        flow.start(RunSettings(**settings, shard=f"{number}/3"), out=part)
    merged = merge(parts, tmp_path / "merged")
    assert [results(folder) for folder in merged] == [results(folder) for folder in whole]
    for workers in ("1", "2"):
        out = tmp_path / f"ray{workers}"
        more = ("--suite", str(chosen), "--batch-tokens", "24", "--workers", workers)
        done = drive(str(tiny), written, out, cluster.address, *more)
        assert done.returncode == 0, done.stderr
        assert [results(out / "written"), results(out / "chosen")] == [results(folder) for folder in whole]
        assert read_manifest(out / "chosen")["identity"] == read_manifest(whole[1])["identity"]


def test_a_run_whose_driver_is_killed_is_resumed_on_the_cluster(cluster, whole, suite_at, script, slowly, tmp_path):
    arguments = command(slowly, suite_at(count=48), tmp_path / "run", cluster.address)
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as driver:
        wait_for(tmp_path / "run", 8, driver)
        driver.send_signal(signal.SIGKILL)
    kept = answers(tmp_path / "run")
    assert 8 <= kept < 48
    again = [sys.executable, "-m", "evalkit", "run", "--resume", str(tmp_path / "run")]  # with the cluster it had
    done = subprocess.run(again, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert results(tmp_path / "run") == results(whole)
    assert answers(tmp_path / "run") == 48  # nothing that was kept was asked again


def test_a_question_that_kills_its_worker_is_found_and_the_others_are_answered(cluster, suite_at, script, tmp_path):
    model = script().replace("scripted:", "deadly:")
    done = drive(model, suite_at(count=48), tmp_path / "run", cluster.address, "--max-errors", "1")
    assert done.returncode == 0, done.stderr
    rows = {row.example.id: row.response for row in read_run(tmp_path / "run").rows}
    assert {name: r.error for name, r in rows.items() if r.error} == {"q13": CRASHED}
    assert all(r.text == f"a{name[1:]}" for name, r in rows.items() if name != "q13")
    lost = done.stderr.count("a worker was lost")
    assert 3 + 1 + 3 <= lost <= 10  # the batch, its half, the question; and where the shard before is blamed


def test_a_worker_that_no_node_has_room_for_is_told(cluster, environment, tiny, suite_at, tmp_path):
    done = drive(str(tiny), suite_at(), tmp_path / "run", cluster.address, env={**environment, "OMP_NUM_THREADS": "2"})
    assert done.returncode == 4
    assert done.stderr.splitlines()[-1] == (
        "evalkit: no node of the Ray cluster has 2 CPUs, as a worker needs; OMP_NUM_THREADS sets the CPUs"
    )


def test_what_a_worker_says_that_the_user_can_mend_stops_the_run_in_one_line(cluster, suite_at, script, tmp_path):
    done = drive(script().replace("scripted:", "broken:"), suite_at(), tmp_path / "run", cluster.address)
    assert done.returncode == 4
    assert done.stderr.splitlines() == [
        f"stopped; to go on: evalkit run --resume {tmp_path / 'run'}",
        "evalkit: a worker cannot go on: weights cannot be loaded",
    ]


def test_a_slow_worker_holds_nobody_up(cluster, whole, suite_at, script, place, tmp_path):
    """The worker that answers first needs a minute for each batch; the other answers everything meanwhile."""
    model = script().replace("scripted:", "slow:")
    began = time.monotonic()
    done = drive(model, suite_at(count=48), tmp_path / "run", cluster.address)
    assert done.returncode == 0, done.stderr
    assert (place / "mark").exists()
    assert time.monotonic() - began < 40
    assert results(tmp_path / "run") == results(whole)


def test_a_second_copy_that_differs_marks_the_run(cluster, suite_at, script, tmp_path):
    done = drive(script().replace("scripted:", "fickle:"), suite_at(count=48), tmp_path / "run", cluster.address)
    assert done.returncode == 0, done.stderr
    (warning,) = read_manifest(tmp_path / "run")["warnings"]
    assert warning.startswith("nondeterministic: ")


def test_a_node_that_is_lost_in_the_middle_costs_no_answer(cluster, whole, suite_at, slowly, tmp_path):
    """Last, since the cluster has one node less from here on."""
    arguments = command(slowly, suite_at(count=48), tmp_path / "run", cluster.address)
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as driver:
        wait_for(tmp_path / "run", 12, driver)
        cluster.kill(0)
        assert answers(tmp_path / "run") < 48
        _, messages = driver.communicate(timeout=120)
    assert driver.returncode == 0, messages
    assert "a worker was lost" in messages
    assert results(tmp_path / "run") == results(whole)


def test_a_cluster_of_our_own_is_on_the_loopback_and_leaves_nothing_behind(
    environment, whole, suite_at, slowly, tmp_path
):
    out = tmp_path / "run"
    arguments = [*command(slowly, suite_at(count=48), out, ""), "--workers", "2"]
    arguments = [a for a in arguments if a not in ("--ray-address", "")]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as driver:
        wait_for(out, 4, driver)
        pids = processes_under(driver.pid)
        assert len(pids) > 3
        assert {address for pid in pids for address in listening(pid)} == {"127.0.0.1"}
        _, messages = driver.communicate(timeout=120)
    assert driver.returncode == 0, messages
    assert messages == ""
    assert gone(pids)
    assert results(out) == results(whole)


def gone(pids: list[int], seconds: float = 20.0) -> bool:
    """Wait until the system has cleared processes away; a killed one may take a moment."""
    end = time.monotonic() + seconds
    while left := [pid for pid in pids if Path(f"/proc/{pid}").exists()]:
        if time.monotonic() > end:
            return not left
        time.sleep(0.2)
    return True


def processes_under(pid: int) -> list[int]:
    listed = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    parents = [tuple(map(int, line.split())) for line in listed.splitlines()]
    found = [pid]
    for parent in found:
        found += [child for child, of in parents if of == parent]
    return found


def listening(pid: int) -> set[str]:
    """Return the addresses that a process listens on."""
    inodes = set()
    for handle in Path(f"/proc/{pid}/fd").glob("*"):
        try:
            inodes.add(os.readlink(handle).removeprefix("socket:[").removesuffix("]"))
        except OSError:
            continue
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                words = bytes.fromhex(fields[1].partition(":")[0])
                found.add(".".join(map(str, words[-4:][::-1])))
    return found


def test_many_answers_are_scored_and_tagged_on_the_cluster_to_the_same_rows(cluster, suite_at, tmp_path):
    """More answers than one process is left with."""
    several = 'scorers = ["exact", "match"]\nprimary = "match"\ntaggers = ["empty", "repetition", "length"]\n'
    suite = suite_at(settings=several, count=2100)
    (here,) = flow.start(RunSettings("scripted:", (str(suite),)), out=tmp_path / "here")
    done = drive("scripted:", suite, tmp_path / "there", cluster.address)
    assert done.returncode == 0, done.stderr
    assert results(tmp_path / "there") == results(here)
