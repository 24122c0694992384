"""A Ray cluster to work on: one that is there already, or one of our own on this machine, which leaves nothing behind.

Loads Ray only when it connects. Whoever reaches a cluster can run code on it, so a token is asked for unless the user
says otherwise, and our own listens on the loopback address alone.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from evalkit.errors import Stopped, one_line_of
from evalkit.registry import load

OWN = "local"
MEMORY = 256 * 1024 * 1024
"""Bytes that our own cluster keeps for questions and answers on their way."""
LOOPBACK = "127.0.0.1"
"""Where our own cluster listens."""
REACH = 10.0
"""Seconds until a cluster takes a connection."""
GRACE = 5.0
"""Seconds that its processes have to end by themselves."""
_TOKEN = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
Process = tuple[int, str]
"""Id and start time of a process: ids are used again."""


def secure(address: str | None) -> None:
    """Let Ray ask for a token, tell nobody of its use, and stay on this machine; this counts only before it loads."""
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if (
        where_of(address) == OWN
    ):  # by its name a matter of two systems; on every one it keeps Ray to the loopback address
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")


def where_of(address: str | None) -> str:
    """Return the cluster that is meant."""
    return address or os.environ.get("RAY_ADDRESS") or OWN


@contextlib.contextmanager
def connected(address: str | None, cpus: int) -> Iterator[None]:
    """Connect to a cluster: the one at `address`, at RAY_ADDRESS, or one of our own with so many CPUs.

    Raises:
        Stopped: it cannot be reached, or refuses this process.
    """
    if load("ray:is_initialized")():  # by whoever called us, who will also end it
        yield
        return
    where = where_of(address)
    _check_reachable(where)
    with _own(cpus) if where == OWN else _anothers() as more:
        handler = signal.getsignal(signal.SIGTERM)
        try:
            load("ray:init")(where, log_to_driver=False, logging_level=logging.CRITICAL, **more)
        except Exception as fault:  # Ray raises many kinds
            raise Stopped(
                f"the Ray cluster at {where} cannot be used: {one_line_of(fault)}; "
                "a cluster's token is read from RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH or ~/.ray/auth_token"
            ) from None
        finally:
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, handler)  # Ray's own would end the process before the run is closed
        yield


def _check_reachable(where: str) -> None:
    """Refuse a HOST:PORT where nothing listens: Ray itself would try for minutes."""
    host, _, port = where.rpartition(":")
    if "/" in host or not (host and port.isdecimal()):
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=REACH).close()
    except (OSError, OverflowError) as fault:
        raise Stopped(f"the Ray cluster at {where} cannot be reached: {fault}") from None


@contextlib.contextmanager
def _anothers() -> Iterator[dict[str, Any]]:
    """Yield nothing that is to be said of another's cluster, and leave it in the end."""
    try:
        yield {}
    finally:
        load("ray:shutdown")()


@contextlib.contextmanager
def _own(cpus: int) -> Iterator[dict[str, Any]]:
    """Yield what starts a cluster of our own; end what is left of it by the ids of its processes."""
    if not any(name in os.environ for name in _TOKEN):
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)  # of this process and those it starts; in no file
    short = "/tmp" if Path("/tmp").is_dir() else None  # paths of sockets may have 107 bytes
    before, folder = _descendants(), tempfile.mkdtemp(prefix="evalkit-ray-", dir=short)
    try:
        yield {
            "num_cpus": cpus,
            "object_store_memory": MEMORY,
            "include_dashboard": False,
            "_node_ip_address": LOOPBACK,
            "_temp_dir": folder,
        }
    finally:
        started = _descendants() - before
        load("ray:shutdown")()
        _end(started)
        shutil.rmtree(folder, ignore_errors=True)


def _descendants() -> set[Process]:
    """Return the processes that this one started, and those that they did; none where there is no /proc."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        if fields := _stat(int(entry.name)):
            parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found: set[Process] = set()
    level = [os.getpid()]
    while level := [child for parent in level for child in parents.get(parent, [])]:
        found |= {(pid, fields[19]) for pid in level if (fields := _stat(pid))}
    return found


def _stat(pid: int) -> list[str]:
    """Return what /proc says of a process from its state on; nothing where it is over."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return []
    return [] if fields[0] == "Z" else fields


def _end(processes: set[Process]) -> None:
    """Wait until processes are over, and end those that will not be."""
    until = time.monotonic() + GRACE
    while (left := {p for p in processes if _stat(p[0])[19:20] == [p[1]]}) and time.monotonic() < until:
        time.sleep(0.05)
    for pid, _ in left:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
