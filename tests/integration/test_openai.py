"""An endpoint of `transformers serve` with the real model answers as the local backend does."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from evalkit.backends.hf import HfBackend
from evalkit.backends.openai import OpenAiBackend
from evalkit.models import find_checkpoint
from evalkit.types import Message, Request, Sampling

SERVE = "import sys; from transformers.cli.transformers import main; sys.argv = ['transformers', *sys.argv[1:]]; main()"
QUESTIONS = ("What is the capital of France?", "Name a primary colour.", "How many days has a week?")


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def endpoint(real_model: Path, tmp_path: Path) -> Iterator[str]:
    """Serve the real model; yield the endpoint's `URL#MODEL`."""
    for package in ("fastapi", "openai", "uvicorn"):
        pytest.importorskip(package)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-c", SERVE, "serve", "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen([*command, "--dtype", "float32"], stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + 180
            while not listens(port):
                assert server.poll() is None, (tmp_path / "log").read_text()[-2000:]
                assert time.monotonic() < deadline, "the server does not listen"
                time.sleep(0.5)
            yield f"http://127.0.0.1:{port}/v1#{real_model}"
        finally:
            server.terminate()
            server.wait(30)


@pytest.mark.model
@pytest.mark.slow
def test_a_served_model_answers_greedily_as_the_local_one(endpoint, real_model, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    sampling = Sampling(max_new_tokens=24)
    requests = [Request(str(i), messages=(Message("user", q),), sampling=sampling) for i, q in enumerate(QUESTIONS)]
    served = list(OpenAiBackend(endpoint, concurrency=1).respond(requests))
    local = list(HfBackend(find_checkpoint(str(real_model))).respond(requests))
    assert [answer.error for answer in served] == [None] * 3
    assert [answer.text for answer in served] == [answer.text for answer in local]
    assert [answer.finish for answer in served] == [answer.finish for answer in local]
