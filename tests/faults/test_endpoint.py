"""Faults 4 and 36 of endpoints from outside: certificates that nobody should trust, silence, a signal in a batch."""

from __future__ import annotations

import datetime
import http.server
import json
import signal
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme

from tests.faults.processes import environment, ran, started, until

OLD = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)


class Endpoint(http.server.BaseHTTPRequestHandler):
    """Answers every question by its number, after a while where the server says so."""

    protocol_version = "HTTP/1.1"
    after = 0.0

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        number = asked["messages"][-1]["content"][9:-1]
        time.sleep(self.after if int(number) >= 4 else 0)
        choice = {"message": {"content": f"a{number}"}, "finish_reason": "stop"}
        body = json.dumps({"choices": [choice], "model": "m"}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Quiet(http.server.ThreadingHTTPServer):
    """A server whose clients may go away."""

    daemon_threads = True
    block_on_close = False

    def handle_error(self, *_: object) -> None:
        pass


@pytest.fixture
def serving() -> Iterator[Callable[..., int]]:
    """Start an endpoint, behind TLS where a context is given; return its port."""
    servers: list[Quiet] = []

    def start(context: ssl.SSLContext | None = None, after: float = 0.0) -> int:
        server = Quiet(("127.0.0.1", 0), type("Slow", (Endpoint,), {"after": after}))
        if context:
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return int(server.server_address[1])

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def run_of(suite: Path, out: Path, url: str, *more: object) -> tuple[object, ...]:
    return ("run", "--model", f"openai:{url}/v1#m", "--suite", suite, "--out", out, *more)


def clean(**more: str) -> dict[str, str]:
    """Return an environment without keys and proxies."""
    proxies = {f"{name}_PROXY" for name in ("HTTP", "HTTPS", "ALL")}
    dropped = {*proxies, *map(str.lower, proxies), "EVALKIT_API_KEY", "EVALKIT_API_KEY_FILE", "OPENAI_API_KEY"}
    return {name: value for name, value in environment(**more).items() if name not in dropped}


@pytest.mark.fault(36)
@pytest.mark.parametrize(
    ("trusts", "identity", "expires", "said"),
    [
        (False, "127.0.0.1", None, "unable to get local issuer certificate"),
        (True, "example.org", None, "IP address mismatch"),
        (True, "127.0.0.1", OLD, "certificate has expired"),
    ],
    ids=["unknown authority", "another host", "expired"],
)
def test_a_certificate_that_does_not_hold_stops_the_run_before_a_key_is_sent(
    serving, suite_at, tmp_path, trusts, identity, expires, said
):
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(identity, not_after=expires).configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    more = {"SSL_CERT_FILE": str(tmp_path / "ca.pem")} if trusts else {}
    url = f"https://127.0.0.1:{serving(context)}"
    done = ran(*run_of(suite_at(count=1), tmp_path / "run", url), env=clean(**more), timeout=60)
    assert done.returncode == 4
    assert said in done.stderr.splitlines()[-1]
    assert "certificate verify failed" in done.stderr


@pytest.mark.fault(36)
def test_a_certificate_that_holds_is_taken(serving, suite_at, tmp_path):
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    url = f"https://127.0.0.1:{serving(context)}"
    env = clean(SSL_CERT_FILE=str(tmp_path / "ca.pem"))
    assert ran(*run_of(suite_at(count=2), tmp_path / "run", url), env=env).returncode == 0


@pytest.fixture
def silent() -> Iterator[str]:
    """A port that accepts connections and never says a word."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.fault(36)
def test_a_server_that_never_answers_is_given_up_in_the_time_that_was_allowed(silent, suite_at, tmp_path):
    began = time.monotonic()
    done = ran(*run_of(suite_at(count=3), tmp_path / "run", silent, "--timeout", "1"), env=clean())
    assert done.returncode == 4
    assert "no whole reply within 1 s (2 tries)" in done.stderr
    assert f"to go on: evalkit run --resume {tmp_path}/run" in done.stderr
    assert time.monotonic() - began < 20


@pytest.mark.fault(3, 4)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize("where", ["silent", "slow"])
def test_a_signal_in_the_middle_of_a_batch_ends_within_five_seconds(
    serving, silent, suite_at, tmp_path, number, code, where
):
    url = silent if where == "silent" else f"http://127.0.0.1:{serving(after=60.0)}"
    process = started(
        *run_of(suite_at(count=8), tmp_path / "run", url, "--concurrency", "1"),
        env=clean(),
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    kept = "manifest.json" if where == "silent" else "telemetry.jsonl"
    until(lambda: (tmp_path / "run" / kept).is_file())
    time.sleep(0.3)
    began = time.monotonic()
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, time.monotonic() - began < 5) == (code, True)
    assert err.splitlines()[0] == f"stopped; to go on: evalkit run --resume {tmp_path}/run"
    assert "Traceback" not in err
    answers = (tmp_path / "run/journal.jsonl").read_bytes().count(b"\n")
    assert answers == (0 if where == "silent" else 4)


HANGING = """
import socket, time
real = socket.getaddrinfo
def getaddrinfo(host, *given, **named):
    if "example" in str(host):
        time.sleep(60)
    return real(host, *given, **named)
socket.getaddrinfo = getaddrinfo
"""


@pytest.mark.fault(4)
def test_a_signal_while_a_name_is_looked_up_ends_within_five_seconds(suite_at, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(HANGING)
    env = clean()
    env["PYTHONPATH"] = f"{tmp_path}:{env['PYTHONPATH']}"
    process = started(*run_of(suite_at(count=2), tmp_path / "run", "http://slow.example"), env=env)
    until(lambda: (tmp_path / "run/journal.jsonl").is_file())
    time.sleep(0.5)
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=90)
    assert (process.returncode, time.monotonic() - began < 5) == (143, True)
    assert err == f"stopped; to go on: evalkit run --resume {tmp_path}/run\nevalkit: terminated\n"
