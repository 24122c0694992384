"""Fault 16 with memory that truly ends: the address space of a run is bounded once its weights are loaded."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from evalkit.record import read_manifest
from tests.faults.processes import ran
from tests.integration.conftest import save_tiny_llama

ASKED = 'taggers = ["none"]\nscorers = ["exact"]\nprimary = "exact"\n[generation]\nmax_new_tokens = 6\n'
HALVED = "memory ran out; from there half as much is computed at once"
STARVED = """
import resource, sys
from evalkit.backends.decode import Decoder
from evalkit.cli import call
decode, more = Decoder.decode, int(sys.argv[1]) << 20
def starved(self, *given):
    held = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + more, resource.RLIM_INFINITY))
    return decode(self, *given)
Decoder.decode = starved
sys.exit(call(sys.argv[2:]))
"""
"""Runs evalkit with so many MB more than it holds when it begins to answer."""


@pytest.fixture(scope="module")
def wide(tmp_path_factory) -> Path:
    """A model of one wide layer, whose inner states take some hundred MB for a batch of long questions."""
    shape: dict[str, Any] = {
        "hidden_size": 64,
        "intermediate_size": 16_384,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    return save_tiny_llama(tmp_path_factory.mktemp("wide"), initializer_range=0.1, **shape)


@pytest.mark.fault(16)
def test_wherever_memory_ends_the_run_is_whole_or_stops_in_one_line_and_resumes(
    wide, suite_at, write_jsonl, tmp_path, equal
):
    suite = suite_at("ask", ASKED)
    write_jsonl(
        suite / "examples.jsonl",
        [{"id": f"q{i}", "input": f"{i} Question? " * 30, "target": f"a{i}"} for i in range(32)],
    )
    command = ("run", "--model", wide, "--suite", suite)
    assert ran(*command, "--out", tmp_path / "whole").returncode == 0
    ends = {}
    for more in (0, 150, 600):
        run = tmp_path / f"cut{more}"
        done = ran(more, *command, "--out", run, program=(sys.executable, "-c", STARVED))
        ends[more] = done.returncode, read_manifest(run).get("warnings", []), done.stderr.splitlines()[-1:]
        if done.returncode:
            assert ran("run", "--resume", run).returncode == 0
        equal(tmp_path / "whole", run)
    assert ends[0][0] == 4
    assert ends[0][2][0].endswith("out of memory, with half the batch too; free some, and resume the run")
    assert ends[600] == (0, [], [])
    assert ends[150][1] in ([], [HALVED])  # how much is enough is the allocator's to say
    print(json.dumps(ends))
