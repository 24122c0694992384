"""Faults 17-26 from outside: input that cannot be used is one line and exit 2; hostile texts get through unharmed."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from pathlib import Path

import pytest

from tests.faults.processes import here, ran

GOOD = b'{"id": "q0", "input": "Why?", "target": "So."}\n'


def zipped(content: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("examples.jsonl", content)
    return packed.getvalue()


@pytest.mark.fault(17, 18, 19, 20, 21, 22, 23, 25)
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no example in it"),
        (b"\n \n\t\n", "no example in it"),
        (GOOD + b"{", "line 2, column 2: "),
        (GOOD + GOOD, "line 2: id 'q0' stands in line 1 already"),
        (b'{"id": "q0"}\n', "line 1: "),
        (b'{"input": null}\n', "line 1: "),
        (b'{"input": 5}\n', "line 1: "),
        (b'{"input": "a", "inptu": "b"}\n', "line 1: unknown key 'inptu'"),
        (GOOD.decode().encode("utf-16"), "found UTF-16; save it as UTF-8"),
        (GOOD + b'{"input": "a\0b"}\n', "line 2, column "),
        (GOOD + b'{"input": "a", "meta": {"n": NaN}}\n', "line 2, column 1: NaN is not JSON"),
        (GOOD + b'{"input": "a", "meta": {"n": ' + b"9" * 5000 + b"}}\n", "line 2, column 1: Exceeds the limit"),
        (GOOD + b'{"input": "a", "meta": ' + b"[" * 5000 + b"}\n", "line 2, column "),
        (GOOD + b'{"input": "a", "input": "b"}\n', "line 2, column 1: key 'input' stands twice"),
        (gzip.compress(GOOD), "found gzip; unpack it first (gunzip)"),
        (zipped(GOOD), "found a zip archive; unpack it first (unzip)"),
    ],
    ids=[
        "empty", "blank", "cut off", "twice", "missing", "null", "a number", "unknown key", "UTF-16", "NUL", "NaN",
        "5,000 digits", "deep", "a key twice", "gzip", "zip",
    ],
)  # fmt: skip
def test_examples_that_cannot_be_used_are_one_line_and_make_no_run(suite_at, script, tmp_path, capsys, content, said):
    folder = suite_at()
    (folder / "examples.jsonl").write_bytes(content)
    assert here("run", "--model", script(), "--suite", folder, "--out", tmp_path / "run") == 2
    err = capsys.readouterr().err
    assert err.startswith("evalkit: ")
    assert said in err
    assert (err.count("\n"), (tmp_path / "run").exists()) == (1, False)


@pytest.mark.fault(19)
@pytest.mark.parametrize("limit", ["0", "-1", "x", "1.5"])
def test_a_limit_that_leaves_nothing_is_refused(suite_at, script, tmp_path, capsys, limit):
    command = ("run", "--model", script(), "--suite", suite_at(), "--limit", limit, "--out", tmp_path / "run")
    assert here(*command) == 2
    captured = capsys.readouterr()
    assert "nan" not in captured.out + captured.err
    assert not (tmp_path / "run").exists()


@pytest.mark.fault(19)
def test_a_run_in_which_every_request_failed_has_no_number_and_says_so(suite_at, script, tmp_path):
    model = script([{"id": f"q{i}", "error": "busy"} for i in range(3)])
    done = ran("run", "--model", model, "--suite", suite_at(count=3), "--out", tmp_path / "run")
    assert done.returncode == 4
    assert "3 of 3 requests failed (--max-errors 0), the first: busy" in done.stderr
    assert "nan" not in done.stdout.lower()


HOSTILE = [
    "\0", "a\u2028b\u2029c\x85d", "\u0301" * 5000, "\u202e\u2066x", "\ufeff\ufffe", "\x1b[2J\x07", "ﷺ" * 500,
    "👨‍👩‍👧‍👦" * 99, "'; DROP TABLE rows; --", "${jndi:ldap://x}", "{{7*7}}", "%s%n%d", "<script>alert(1)</script>",
    "=1+1", "\r\n\r\n", "\\ud800",
]  # fmt: skip


@pytest.mark.fault(22)
def test_hostile_texts_go_through_a_run_and_every_report(suite_at, script, tmp_path, write_jsonl):
    folder = suite_at(settings='taggers = ["default"]\n')
    write_jsonl(
        folder / "examples.jsonl",
        [{"id": f"q{i}{t}", "input": t + "?", "target": t + ".", "meta": {t: t}} for i, t in enumerate(HOSTILE)],
    )
    model = script([{"id": f"q{i}{t}", "answer": t * 9} for i, t in enumerate(HOSTILE)])
    assert here("run", "--model", model, "--suite", folder, "--out", tmp_path / "run") == 0
    rows = [json.loads(line) for line in (tmp_path / "run/rows.jsonl").read_bytes().split(b"\n")[:-1]]
    assert [row["response"]["text"] for row in rows] == [t * 9 for t in HOSTILE]
    for form in ("terminal", "md", "json", "html", "svg", "csv", "jsonl"):
        assert here("report", tmp_path / "run", "--format", form, "-o", tmp_path / f"r.{form}") == 0
    assert here("errors", tmp_path / "run") == 0


@pytest.mark.fault(24)
@pytest.mark.stress
def test_many_rows_are_scored_shown_and_compared_in_memory_that_grows_by_little_a_row(tmp_path, measured):
    """Peak memory of 25,000 and of 55,000 rows, both on disk: what a million would take follows."""
    peaks: dict[str, list[float]] = {"score": [], "compare": []}
    for count in (25_000, 55_000):
        answers = tmp_path / f"{count}.jsonl"
        with answers.open("w") as file:
            for i in range(count):
                file.write(json.dumps({"id": f"q{i}", "question": f"Question {i}?", "answer": f"a{i}", "target": "a7"}))
                file.write("\n")
        command = ("score", "--answers", str(answers), "--taggers", "none", "--scorers", "exact")
        runs = [str(tmp_path / f"{name}{count}") for name in ("base", "cand")]
        for run in runs:
            code, _, _, peak, _ = measured(*command, "--set", "primary=exact", "--out", run)
            assert code == 0
        peaks["score"].append(peak)
        code, _, _, peak, _ = measured("compare", *runs)
        assert code == 0
        peaks["compare"].append(peak)
    million = {name: 1_000_000 * (large - small) / 30_000 for name, (small, large) in peaks.items()}
    print(*(f"{name}: {megabytes:.0f} MB more for a million" for name, megabytes in million.items()))
    assert max(million.values()) < 1_000


@pytest.mark.fault(26)
@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--set", "trails=2"), "unknown key 'trails'; did you mean 'trials'?"),
        (("--scorers", "exat"), "unknown scorer 'exat'; did you mean 'exact'?"),
        (("--taggers", "repetitoin"), "unknown tagger 'repetitoin'; did you mean 'repetition'?"),
        (("--set", "scorer.fuzzy.cutoff='0,5'", "--scorers", "fuzzy", "--set", "primary='fuzzy'"), "'0,5'"),
        (("--set", "tagger.format.pattern='(a'", "--set", "tagger.format.kind='regex'", "--taggers", "format"), "RE2"),
    ],
    ids=["key", "scorer", "tagger", "comma", "pattern"],
)
def test_a_wrong_word_is_named_with_what_was_meant(suite_at, script, tmp_path, capsys, given, said):
    command = ("run", "--model", script(), "--suite", suite_at(), "--out", tmp_path / "run", *given)
    assert here(*command) == 2
    err = capsys.readouterr().err
    assert said in err
    assert (err.count("\n"), Path(tmp_path / "run").exists()) == (1, False)
