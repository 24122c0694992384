"""Memory of `evalkit score --answers` does not grow with the file: only ids and numbers are kept of an answer."""

from __future__ import annotations

import json

import pytest


@pytest.mark.slow
def test_answers_of_a_large_file_are_not_held_in_memory(measured, tmp_path):
    """Twenty thousand more answers of 2 kB, 40 MB in the file, take less than 15 MB more."""

    def peak_of(count: int) -> float:
        path, words = tmp_path / f"{count}.jsonl", "an answer of many words " * 80
        with path.open("w") as file:
            for number in range(count):
                record = {"id": f"q{number}", "question": "Why?", "answer": f"{number} {words}", "target": f"{number}"}
                file.write(json.dumps(record) + "\n")
        given = ("--answers", str(path), "--scorers", "exact", "--set", "primary=exact", "--taggers", "none")
        code, _, _, peak, heavy = measured("score", *given, "--out", str(tmp_path / f"run{count}"))
        assert (code, heavy) == (0, [])
        assert path.stat().st_size > 1900 * count
        return float(peak)

    assert peak_of(25_000) - peak_of(5_000) < 15
