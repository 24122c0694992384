"""Faults 34-39 of endpoints over a real socket: what the backend does, what a run keeps, what the command line says."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from pathlib import Path

import httpx
import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request as Asked
from werkzeug import Response as Said

from evalkit import flow
from evalkit.backends import endpoint, openai, pace, wire
from evalkit.backends.openai import OpenAiBackend
from evalkit.cli import call
from evalkit.errors import IdentityError, ModelError, Stopped
from evalkit.record import read_run
from evalkit.settings import RunSettings
from evalkit.types import Request, Response, Sampling
from tests.unit.servers import Handle, Server, ask, echo, free_port, reply, requests

CANARY = "canary-5f0c1d7e9b"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Wait a hundredth of the usual, and see neither keys nor proxies of this machine."""
    monkeypatch.setattr(pace, "BACKOFF", 0.005)
    for name in ("EVALKIT_API_KEY", "EVALKIT_API_KEY_FILE", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setattr("os.fsync", lambda handle: None)
    monkeypatch.setattr("os.fdatasync", lambda handle: None)


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Start servers; a handler may also be bytes to send each time, or a list of them by the request's number."""
    servers: list[Server] = []

    def start(given: Handle | bytes | list[bytes], port: int = 0) -> Server:
        async def fixed(number: int, asked: dict[str, object], writer: asyncio.StreamWriter) -> None:
            writer.write(given if isinstance(given, bytes) else given[min(number, len(given)) - 1])  # type: ignore[index,arg-type]  # a list here

        servers.append(Server(given if callable(given) else fixed, port))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


# ------------------------------------------------------------------ answers


def test_answers_come_in_the_order_of_the_requests_however_long_each_takes(serve):
    async def uneven(number, asked, writer):
        await asyncio.sleep(0.02 * (number % 3))
        await echo(number, asked, writer)

    ticks: list[int] = []
    backend = OpenAiBackend(serve(uneven).model.partition(":")[2], concurrency=5)
    found = list(backend.respond(requests(20), lambda: ticks.append(1)))
    assert [response.text for response in found] == [f"a{i}" for i in range(20)]
    assert len(ticks) == 20
    assert found[3].sent == "user: Question 3?"


def test_chats_and_plain_prompts_go_to_their_own_paths_with_the_key(httpserver: HTTPServer, monkeypatch):
    monkeypatch.setenv("EVALKIT_API_KEY", CANARY)
    seen: list[tuple[str, object, object]] = []

    def handle(asked: Asked) -> Said:
        seen.append((asked.path, asked.headers["Authorization"], asked.json))
        return Said(reply("Hi").partition(b"\r\n\r\n")[2], content_type="application/json")

    httpserver.expect_request("/v1/chat/completions", method="POST").respond_with_handler(handle)
    httpserver.expect_request("/v1/completions", method="POST").respond_with_handler(handle)
    backend = OpenAiBackend(httpserver.url_for("/v1/") + "#m", concurrency=1)
    plain = Request("p", prompt="Once", sampling=Sampling(4, stop=("!",)))
    assert [response.text for response in backend.respond([requests()[0], plain])] == ["Hi", "Hi"]
    drawn = {"model": "m", "temperature": 0.0, "top_p": 1.0, "seed": 0}
    turns = [{"role": "user", "content": "Question 0?"}]
    assert seen == [
        ("/v1/chat/completions", f"Bearer {CANARY}", {**drawn, "max_tokens": 128, "messages": turns}),
        ("/v1/completions", f"Bearer {CANARY}", {**drawn, "max_tokens": 4, "prompt": "Once", "stop": ["!"]}),
    ]
    httpserver.check_assertions()  # nothing else was asked, /v1/models in particular


def test_a_batch_can_be_asked_where_a_loop_runs_already(serve):
    async def notebook() -> list[Response]:
        return ask(serve(echo), 3)

    assert [response.text for response in asyncio.run(notebook())] == ["a0", "a1", "a2"]


def test_a_chunk_may_split_a_character_36(serve):
    body = reply("né").partition(b"\r\n\r\n")[2]
    cut = body.index("é".encode()) + 1

    async def chunked(number, asked, writer):
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for part in (body[:cut], body[cut:], b""):
            writer.write(b"%x\r\n%s\r\n" % (len(part), part))
            await writer.drain()
            await asyncio.sleep(0.02)

    assert ask(serve(chunked))[0].text == "né"


def test_an_endpoint_that_calls_the_limit_of_tokens_otherwise_is_asked_so(serve):
    asked: list[str] = []

    async def picky(number, given, writer):
        asked.append(next(key for key in given if key.startswith("max_")))
        said = b'{"error": {"message": "\'max_tokens\' is not supported; use \'max_completion_tokens\' instead"}}'
        writer.write(reply(said, "400 Bad Request") if "max_tokens" in given else reply("Hello"))

    server = serve(picky)
    assert [answer.text for answer in ask(server, 5, concurrency=1)] == ["Hello"] * 5
    assert asked == ["max_tokens", *["max_completion_tokens"] * 5]


def test_an_endpoint_that_takes_neither_limit_is_refused(serve):
    server = serve(reply(b'{"error": "max_completion_tokens is not supported"}', "400 Bad Request"))
    with pytest.raises(ModelError, match="max_completion_tokens is not supported"):
        ask(server)
    assert server.count == 2


def test_a_plan_is_four_rounds_and_choices_are_refused_before_anything_is_sent(serve, suite_at, tmp_path):
    server = serve(echo)
    where = server.model.partition(":")[2]
    assert [len(batch) for batch in OpenAiBackend(where).plan(requests(150))] == [64, 64, 22]
    assert [len(batch) for batch in OpenAiBackend(where, concurrency=2).plan(requests(9))] == [8, 1]
    suite = suite_at(
        settings='chat = false\nscorers = ["acc"]\nprimary = "acc"\ntaggers = ["none"]\n', choices=["a", "b"]
    )
    with pytest.raises(ModelError, match="cannot choose answers, as suite 'little' asks"):
        flow.start(RunSettings(server.model, (str(suite),)), out=tmp_path / "run")
    assert server.count == 0


def test_another_name_of_the_model_is_a_remark_of_the_run_37(serve, suite_at, tmp_path):
    server = serve(reply("a0", model="other"))
    (folder,) = flow.start(RunSettings(server.model, (str(suite_at(count=1)),)), out=tmp_path / "run")
    assert read_run(folder).manifest["warnings"] == ["the endpoint says that 'other' answered"]


# ------------------------------------------------------------------ pace


def test_200_requests_take_at_most_a_third_more_than_a_bare_client(serve):
    async def slow(number, asked, writer):
        await asyncio.sleep(0.05)
        await echo(number, asked, writer)

    server = serve(slow)
    asked = requests(200)

    async def bare() -> None:
        rest = iter(range(200))
        async with httpx.AsyncClient() as client:

            async def one_after_the_other() -> None:
                for i in rest:
                    turns = [{"role": "user", "content": f"Question {i}?"}]
                    await client.post(f"http://127.0.0.1:{server.port}/v1/chat/completions", json={"messages": turns})

            await asyncio.gather(*(one_after_the_other() for _ in range(16)))

    def ours() -> None:
        backend = OpenAiBackend(server.model.partition(":")[2])
        for batch in backend.plan(asked):
            assert len(list(backend.respond([asked[i] for i in batch]))) == len(batch)

    def seconds(work: Callable[[], None]) -> float:
        began = time.perf_counter()
        work()
        return time.perf_counter() - began

    pairs = [(seconds(lambda: asyncio.run(bare())), seconds(ours)) for _ in range(2)]
    ratios = [mine / ideal for ideal, mine in pairs]
    print(f"bare {pairs[0][0]:.2f} s, ours {pairs[0][1]:.2f} s; ratios {ratios}")
    assert server.most == 16
    assert min(ratios) < 1.3


@pytest.mark.parametrize(
    "header", ["Retry-After: 0", "Retry-After: 0.01", "X: 1", f"Retry-After: {formatdate(0, usegmt=True)}"]
)
def test_a_storm_of_429_loses_nothing_34(serve, header):
    async def storm(number, asked, writer):
        await asyncio.sleep(0.002)
        if server.flying > 4 or number % 5 == 0:
            writer.write(reply(b"", "429 Too Many Requests", header))
        else:
            await echo(number, asked, writer)

    server = serve(storm)
    assert [response.text for response in ask(server, 64)] == [f"a{i}" for i in range(64)]


def test_an_absurd_retry_after_is_cut_34(serve, monkeypatch):
    monkeypatch.setattr(pace, "LONGEST_WAIT", 0.05)
    server = serve([reply(b"", "429 Too Many Requests", "Retry-After: 86400"), reply("late")])
    began = time.monotonic()
    assert ask(server)[0].text == "late"
    assert 0.05 <= time.monotonic() - began < 5


# ------------------------------------------------------------------ failures


@pytest.mark.parametrize("status", ["500 X", "502 X", "503 X", "504 X"])
def test_a_server_error_passes_or_becomes_an_error_row_35(serve, status):
    assert ask(serve([reply(b"", status), reply("fine")]))[0].text == "fine"
    server = serve(reply({}, status))
    (found,) = ask(server)
    assert (found.finish, server.count) == ("error", 5)
    assert str(found.error).startswith(f"the endpoint answers {status[:3]} ")
    assert str(found.error).endswith(" (5 tries)")


def test_one_request_that_always_fails_does_not_stop_the_others_36(serve):
    async def poison(number, asked, writer):
        if asked["messages"][0]["content"] == "Question 2?":
            writer.close()
        else:
            await echo(number, asked, writer)

    found = ask(serve(poison), 12, concurrency=2)
    assert [response.error is None for response in found] == [i != 2 for i in range(12)]
    assert found[2].error == (
        "the endpoint cannot be reached: Server disconnected without sending a response. (5 tries)"
    )


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_a_refusal_is_said_once_and_stops_at_once_35(serve, status):
    server = serve(reply(b'{"error": {"message": "because"}}', f"{status} X"))
    with pytest.raises(ModelError, match=rf"#m: {status} .*\(because\); ") as raised:
        ask(server, 64, concurrency=4)
    assert not isinstance(raised.value, Stopped)
    assert server.count <= 5


def test_redirects_are_not_followed_39(serve):
    target = serve(echo)
    moved = serve(reply(b"", "307 X", f"Location: http://127.0.0.1:{target.port}/v1/chat/completions"))
    with pytest.raises(ModelError, match="307 Temporary Redirect: redirects are not followed"):
        ask(moved)
    assert target.count == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_nobody_listening_stops_the_run_36(host):
    backend = OpenAiBackend(f"http://{host}:{free_port()}/v1#m")
    with pytest.raises(Stopped, match=r"the endpoint cannot be reached: Connection refused \(5 tries\)"):
        list(backend.respond(requests(64)))


def test_an_unknown_host_stops_the_run_36():
    with pytest.raises(Stopped, match="the endpoint cannot be reached: "):
        list(OpenAiBackend("http://none.invalid/v1#m").respond(requests(2)))


def test_tls_to_a_plain_port_stops_the_run_36(serve, monkeypatch):
    monkeypatch.setattr(wire, "CONNECT", 0.2)
    backend = OpenAiBackend(f"https://127.0.0.1:{serve(echo).port}/v1#m")
    with pytest.raises(Stopped, match="the endpoint cannot be reached: "):
        list(backend.respond(requests(2)))


async def silent(number, asked, writer):
    await asyncio.sleep(30)


async def drip_body(number, asked, writer):
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.02)


async def drip_head(number, asked, writer):
    writer.write(b"HTTP/1.1 200 OK\r\nX: ")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.02)


async def half_closed(number, asked, writer):
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")
    writer.write_eof()
    await asyncio.sleep(0.2)
    writer.close()


async def never_ends(number, asked, writer):
    writer.write(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"a":')
    await writer.drain()
    writer.close()


async def no_http(number, asked, writer):
    writer.write(b"SSH-2.0-OpenSSH_9.6\r\n")
    writer.close()


@pytest.mark.parametrize("handle", [silent, drip_body, drip_head])
def test_what_takes_too_long_is_given_up_36(serve, handle):
    began = time.monotonic()
    with pytest.raises(Stopped, match=r"#m: no whole reply within 0.2 s \(2 tries\)"):
        ask(serve(handle), 3, timeout=0.2)
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("handle", [half_closed, never_ends, no_http])
def test_what_ends_early_is_no_answer_36(serve, handle):
    server = serve(handle)
    with pytest.raises(Stopped, match="the endpoint cannot be reached: "):
        ask(server, 1)
    assert server.count == 5


def test_a_length_that_says_too_little_is_an_error_row_36(serve):
    whole = reply("Hello")
    (found,) = ask(serve(whole.replace(b"Content-Length: ", b"Content-Length: 2\r\nX: ")))
    assert str(found.error).startswith("the reply is no JSON object: 2 bytes")


def test_a_body_that_is_too_large_is_not_read_36(serve, monkeypatch):
    monkeypatch.setattr(wire, "LARGEST", 1000)
    (found,) = ask(serve(reply("x" * 5000)))
    assert found.error == "the reply is larger than 1,000 bytes"


def test_a_gzip_bomb_is_not_unpacked_36(serve):
    bomb = gzip.compress(b" " * 10_000_000)
    (found,) = ask(serve(reply(bomb, "200 OK", "Content-Encoding: gzip")))
    assert found.error == "the reply is packed (gzip), which was not asked for"


# ------------------------------------------------------------------ runs


def test_a_server_that_goes_away_stops_the_run_which_resumes_to_the_same_bytes_38(serve, suite_at, tmp_path):
    async def dies(number, asked, writer):
        if number > 20:
            server.end.set()
            writer.close()
        else:
            await echo(number, asked, writer)

    suite, port = str(suite_at(count=40)), free_port()
    server = serve(dies, port)
    settings = RunSettings(server.model, (suite,), concurrency=2)
    with pytest.raises(Stopped, match="cannot be reached"):
        flow.start(settings, out=tmp_path / "cut")
    server.thread.join(10)
    assert (tmp_path / "cut/journal.jsonl").read_bytes().count(b"\n") == 16
    again = serve(echo, port)
    flow.resume(tmp_path / "cut")
    assert again.count == 24
    (whole,) = flow.start(settings, out=tmp_path / "whole")
    assert (whole / "rows.jsonl").read_bytes() == (tmp_path / "cut/rows.jsonl").read_bytes()
    assert all(row.scores[0].value == 1.0 for row in read_run(whole).rows)


def test_a_server_that_restarts_soon_costs_nothing_38(serve):
    async def restarts(number, asked, writer):
        if 10 < number < 14:
            writer.close()
        else:
            await echo(number, asked, writer)

    assert [response.text for response in ask(serve(restarts), 40)] == [f"a{i}" for i in range(40)]


def test_a_refusal_after_answers_keeps_them_and_can_be_resumed_35(serve, suite_at, tmp_path):
    async def expires(number, asked, writer):
        writer.write(reply(b"", "401 X")) if number > 8 else await echo(number, asked, writer)

    settings = RunSettings(serve(expires).model, (str(suite_at(count=12)),), concurrency=2)
    with pytest.raises(Stopped, match="401 Unauthorized; give its key in EVALKIT_API_KEY"):
        flow.start(settings, out=tmp_path / "run")
    assert (tmp_path / "run/journal.jsonl").read_bytes().count(b"\n") == 8


def test_another_endpoint_does_not_complete_a_run(serve, suite_at, tmp_path, monkeypatch):
    server = serve([*[reply("a0")] * 4, reply(b"", "401 X")])
    with pytest.raises(Stopped):
        flow.start(RunSettings(server.model, (str(suite_at()),), concurrency=1), out=tmp_path / "run")
    known = endpoint.address_of
    monkeypatch.setattr(openai, "address_of", lambda where: known(where.replace("#m", "#n")))
    with pytest.raises(IdentityError, match=r"model\.name was m, is n"):
        flow.resume(tmp_path / "run")


@pytest.mark.parametrize("how", ["answered", "refused", "failed"])
def test_the_key_is_in_no_file_and_no_output_39(serve, suite_at, tmp_path, monkeypatch, capfd, caplog, how):
    caplog.set_level(logging.DEBUG)
    sent: list[object] = []

    async def mirror(number, asked, writer):
        sent.append(asked["head"])
        said = json.dumps({"error": {"message": f"bad key {CANARY}"}}).encode()
        status = {"answered": "200 OK", "refused": "401 X", "failed": "500 X"}[how]
        writer.write(reply(f"your key is {CANARY}", model=CANARY) if how == "answered" else reply(said, status))

    monkeypatch.setenv("EVALKIT_API_KEY", CANARY)
    model = serve(mirror).model
    arguments = ["--debug", "run", "--model", model, "--suite", str(suite_at(count=2)), "--out", str(tmp_path / "run")]
    assert call(arguments) == {"answered": 0, "refused": 2, "failed": 4}[how]
    captured = capfd.readouterr()
    assert all(f"Authorization: Bearer {CANARY}" in str(head) for head in sent)
    kept = "".join(path.read_text() for path in tmp_path.rglob("*") if path.is_file())
    assert CANARY not in kept + captured.out + captured.err + caplog.text
    assert "***" in kept + captured.err


# ------------------------------------------------------------------ command line


def run(capsys, model: str, suite: Path) -> tuple[int, str, str]:
    capsys.readouterr()
    code = call(["run", "--model", model, "--suite", str(suite), "--out", "run"])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_no_key_is_one_line_and_exit_2(serve, suite_at, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    server = serve(reply(b'{"error": {"message": "missing bearer"}}', "401 X"))
    assert run(capsys, server.model, suite_at()) == (
        2, "", f"evalkit: {server.model}: 401 Unauthorized (missing bearer); "
        "give its key in EVALKIT_API_KEY or EVALKIT_API_KEY_FILE\n",
    )  # fmt: skip


def test_a_wrong_path_is_one_line_and_exit_2(serve, suite_at, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    server = serve(reply(b"<html>", "404 X"))
    assert run(capsys, server.model, suite_at()) == (
        2, "", f"evalkit: {server.model}: 404 Not Found; "
        "check the URL, which mostly ends in /v1, and the name after #\n",
    )  # fmt: skip


def test_a_port_where_nobody_listens_is_exit_4_and_the_command_that_resumes(suite_at, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = f"openai:http://127.0.0.1:{free_port()}/v1#m"
    code, out, err = run(capsys, model, suite_at())
    assert (code, out) == (4, "")
    assert err == (
        "stopped; to go on: evalkit run --resume run\n"
        f"evalkit: {model}: the endpoint cannot be reached: Connection refused (5 tries)\n"
    )


def test_a_malformed_address_is_one_line_and_exit_2_and_makes_no_folder(suite_at, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(capsys, "openai:http://me:hunter2@localhost/v1#m", suite_at()) == (
        2, "", "evalkit: openai: a URL with user, password or query is not taken, it may be secret; give the key in "
        "EVALKIT_API_KEY; expected openai:URL#MODEL, for instance openai:http://localhost:8000/v1#my-model\n",
    )  # fmt: skip
    assert not (tmp_path / "run").exists()
