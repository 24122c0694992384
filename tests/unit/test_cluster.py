"""What is done for a Ray cluster without loading Ray: which one is meant, what may be reached, what is ended."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from evalkit.engines import cluster
from evalkit.errors import Stopped

WAITS = (sys.executable, "-c", "import time; print(flush=True); time.sleep(60)")


@pytest.fixture(autouse=True)
def no_ray_in_the_environment(monkeypatch):
    for name in [name for name in os.environ if name.startswith("RAY_")]:
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("address", "variable", "meant"),
    [("a:1", "b:2", "a:1"), (None, "b:2", "b:2"), (None, None, "local"), ("auto", "b:2", "auto")],
)
def test_an_address_goes_before_the_variable_and_that_before_our_own(monkeypatch, address, variable, meant):
    if variable:
        monkeypatch.setenv("RAY_ADDRESS", variable)
    assert cluster.where_of(address) == meant


def test_a_token_is_asked_for_unless_the_user_says_otherwise(monkeypatch):
    monkeypatch.setattr(os, "environ", {})
    cluster.secure("a:1")
    assert os.environ == {"RAY_AUTH_MODE": "token", "RAY_USAGE_STATS_ENABLED": "0"}
    monkeypatch.setattr(os, "environ", {"RAY_AUTH_MODE": "disabled"})
    cluster.secure("a:1")
    assert os.environ["RAY_AUTH_MODE"] == "disabled"


def test_our_own_cluster_stays_on_the_loopback_address(monkeypatch):
    monkeypatch.setattr(os, "environ", {})
    cluster.secure(None)
    assert os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == "0"


def test_an_address_where_nothing_listens_is_refused_at_once():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        where = f"127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(Stopped, match=f"the Ray cluster at {where} cannot be reached: .*refused"):
            cluster._check_reachable(where)
        free.listen()
        cluster._check_reachable(where)


@pytest.mark.parametrize("where", ["local", "auto", "ray://host:10001"])
def test_other_names_of_clusters_are_left_to_ray(where):
    cluster._check_reachable(where)


def started() -> subprocess.Popen[bytes]:
    """Start a process that waits, and return it as soon as it does."""
    process = subprocess.Popen(WAITS, stdout=subprocess.PIPE)
    assert process.stdout
    process.stdout.readline()
    return process


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="no /proc here")
def test_what_does_not_end_is_ended_by_its_own_id_and_start(monkeypatch):
    monkeypatch.setattr(cluster, "GRACE", 0.1)
    before = cluster._descendants()
    with started() as ours, started() as not_ours:
        found = cluster._descendants() - before
        assert {pid for pid, _ in found} == {ours.pid, not_ours.pid}
        (began,) = (began for pid, began in found if pid == ours.pid)
        cluster._end({(ours.pid, began), (not_ours.pid, "another start")})
        assert ours.wait(10) == -9
        assert not_ours.poll() is None
        not_ours.kill()
