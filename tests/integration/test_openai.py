"""An endpoint of `transformers serve` with the real model answers and judges as the local backend does."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from evalkit import brief
from evalkit.backends.hf import HfBackend
from evalkit.backends.openai import OpenAiBackend
from evalkit.cli import call
from evalkit.court import read_judgements
from evalkit.models import find_checkpoint
from evalkit.record import read_run
from evalkit.types import Message, Request, Sampling

SERVE = "import sys; from transformers.cli.transformers import main; sys.argv = ['transformers', *sys.argv[1:]]; main()"
QUESTIONS = ("What is the capital of France?", "Name a primary colour.", "How many days has a week?")


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def endpoint(real_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve the real model; yield the endpoint's `URL#MODEL`."""
    for package in ("fastapi", "openai", "uvicorn"):
        pytest.importorskip(package)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-c", SERVE, "serve", "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    told = tmp_path_factory.mktemp("serve") / "log"
    with told.open("wb") as log:
        server = subprocess.Popen([*command, "--dtype", "float32"], stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + 180
            while not listens(port):
                assert server.poll() is None, told.read_text()[-2000:]
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


@pytest.mark.model
@pytest.mark.slow
def test_a_served_model_judges_as_the_local_one(endpoint, real_model, write_jsonl, tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(brief, "REPLY_TOKENS", 32)
    answers = [("q0", "What is the capital of France?", "Paris", "It is Lyon."), ("q1", "2 + 2?", "4", "Twenty.")]
    rows = [dict(zip(("id", "question", "target", "answer"), each, strict=True)) for each in answers]
    file, said = write_jsonl(tmp_path / "answers.jsonl", rows), {}
    for name, model, by in (("served", f"openai:{endpoint}", "reply"), ("local", str(real_model), "reply"),
                            ("weighed", str(real_model), "auto")):  # fmt: skip
        judge = ["--judge", model, "--set", f"scorer.judge.verdict_by={by}", "--set", "scorer.judge.tries=1"]
        out = tmp_path / name
        assert call(["score", "--answers", str(file), *judge, "--taggers", "none", "--out", str(out)]) == 0
        said[name] = [line.judgement for line in read_judgements(out)]
    assert len(said["served"]) == 2
    assert said["served"] == said["local"]
    assert all(sum(judgement.probabilities) == pytest.approx(1, abs=1e-5) for judgement in said["weighed"])
    assert all(0 < (row.scores[-1].value or 0) < 1 for row in read_run(tmp_path / "weighed").rows)
