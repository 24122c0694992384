"""Fault 45 from outside, with a tiny model: a training that is killed or out of room goes on to the same weights."""

from __future__ import annotations

import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen

import pytest

from tests.conftest import jsonl
from tests.faults.processes import TRAINKIT, ran, started, until

WEIGHTS = ("model.safetensors",)
pytestmark = [pytest.mark.stress, pytest.mark.xdist_group("training")]  # one training is compared with all


@pytest.fixture(scope="module")
def training(tiny, tmp_path_factory) -> Callable[[Path], tuple[object, ...]]:
    """Twelve steps of a tiny model, saved every second one."""
    rows = [{"id": f"r{i}", "question": f"Q{'x' * (3 * i)}?", "answer": f"A{i}" * (1 + i % 4)} for i in range(10)]
    data = jsonl(tmp_path_factory.mktemp("data") / "rows.jsonl", rows)
    given = {"batch-size": 4, "epochs": 4, "learning-rate": 1e-3, "save-steps": 2, "probe": 2}
    flags = [word for name, value in given.items() for word in (f"--{name}", value)]
    return lambda out: ("sft", "--model", tiny, "--data", data, "--out", out, *flags)


@pytest.fixture(scope="module")
def whole(training, tmp_path_factory) -> Path:
    """A training that was left alone."""
    out = tmp_path_factory.mktemp("trained") / "whole"
    assert ran(*training(out), program=TRAINKIT).returncode == 0
    return Path(out)


def saved(out: Path, step: int) -> bool:
    return any((out / f"steps/checkpoint-{n}/whole").is_file() for n in range(step, 13))


@pytest.fixture
def stopped(training, tmp_path) -> Callable[[Callable[[Popen[str]], object]], tuple[int, str]]:
    """Train until two steps are saved, do something to the process, and return its code and last words."""

    def stop(how: Callable[[Popen[str]], object]) -> tuple[int, str]:
        process = started(*training(tmp_path / "cut"), program=TRAINKIT)
        until(lambda: saved(tmp_path / "cut", 2), 120)
        how(process)
        _, err = process.communicate(timeout=120)
        return process.returncode, err

    return stop


def resumed(whole: Path, cut: Path, equal: Callable[..., None]) -> None:
    """Complete `cut` and compare its weights with those of a training that was left alone."""
    done = ran("sft", "--resume", cut, program=TRAINKIT)
    assert done.returncode == 0, done.stderr
    equal(whole, cut, *WEIGHTS)


@pytest.mark.fault(45)
def test_a_training_that_is_killed_goes_on_to_the_same_weights(stopped, whole, tmp_path, equal):
    code, _ = stopped(lambda process: process.kill())
    assert code == -signal.SIGKILL
    resumed(whole, tmp_path / "cut", equal)


@pytest.mark.fault(4, 45)
def test_a_training_that_is_terminated_ends_in_time_and_goes_on_to_the_same_weights(stopped, whole, tmp_path, equal):
    sent: list[float] = []

    def terminate(process: Popen[str]) -> None:
        sent.append(time.monotonic())
        process.send_signal(signal.SIGTERM)

    code, err = stopped(terminate)
    assert (code, time.monotonic() - sent[0] < 5) == (143, True)
    assert err.splitlines()[-2:] == [
        f"stopped; to go on: trainkit sft --resume {tmp_path}/cut", "trainkit: terminated",
    ]  # fmt: skip
    resumed(whole, tmp_path / "cut", equal)


@pytest.mark.fault(45)
def test_a_training_whose_disk_fills_up_keeps_the_last_step_and_goes_on_to_the_same_weights(
    stopped, whole, tmp_path, equal
):
    def fill(process: Popen[str]) -> None:
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (5000, 5000))

    code, err = stopped(fill)
    assert code == 4
    assert "is whole and kept; make room, then `trainkit sft --resume " in err.splitlines()[-1]
    assert saved(tmp_path / "cut", 2)
    resumed(whole, tmp_path / "cut", equal)
