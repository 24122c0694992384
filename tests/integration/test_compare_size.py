"""Compare and gate two runs of 10,000 items; tests/benchmarks/test_compare_size.py does it with 100,000."""

from __future__ import annotations

import json


def test_two_runs_of_ten_thousand_items_are_gated_in_seconds(big_runs, measured, tmp_path):
    big_runs(10_000)
    command = ("gate", "--baseline", "base", "--candidate", "cand", "--json", "v.json", "--junit", "v.xml")
    code, _, cpu, peak, heavy = measured(*command)
    assert (code, heavy) == (0, [])
    assert cpu < 3
    assert peak < 300
    (check, *watched) = json.loads((tmp_path / "v.json").read_text())["checks"]
    assert (check["n"], check["verdict"]) == (10_000, "PASS")
    assert len(watched) == 2 + 4 + 12  # scores, error categories, slices by topic; `source` has too many values
