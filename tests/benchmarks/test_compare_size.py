"""Compare and gate two runs of 100,000 items: under 10 s and 1.5 GB, without torch, transformers or pandas.

CPU seconds count, since the commands use one core and the machine may be busy with other things.
"""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.benchmark
COMMANDS = {
    "compare": ("compare", "base", "cand"),
    "gate": (
        "gate",
        "--baseline",
        "base",
        "--candidate",
        "cand",
        "--json",
        "v.json",
        "--junit",
        "v.xml",
        "--markdown",
        "v.md",
    ),
    "errors": ("errors", "base", "cand"),
}


def test_two_runs_of_a_hundred_thousand_items_are_compared_in_ten_seconds(big_runs, measured, capsys):
    big_runs(100_000)
    found = {name: measured(*command) for name, command in COMMANDS.items()}
    with capsys.disabled():
        for name, (_, wall, cpu, peak, _) in found.items():
            print(f"\n{name}: 2 x 100,000 items in {wall:.1f} s ({cpu:.1f} s of CPU), {peak:.0f} MB at most", end="")
    for code, _, cpu, peak, heavy in found.values():
        assert (code, heavy) == (0, [])
        assert cpu < 10
        assert peak < 1500
