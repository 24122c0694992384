"""`evalkit gate` from end to end: exit code, text, JSON, JUnit and Markdown of each verdict, byte for byte.

EVALKIT_GOLDEN=write writes the files anew: read the diff. junit-10.xsd is the schema of Jenkins' xUnit plug-in (MIT,
in the file), taken from pytest's source distribution; Jenkins refuses files that break it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from lxml import etree

from evalkit.cli import call
from evalkit.report import gate_json
from evalkit.types import Example, Response, Row, Score, Tag

HERE = Path(__file__).parent / "gate"
FILES = ("--json", "gate.json", "--junit", "gate.xml", "--markdown", "gate.md")
GATE = ("gate", "--baseline", "base", "--candidate", "cand", "--examples", "2")
EVALKIT = (sys.executable, "-c", "from evalkit.cli import main; main()")
LOOP = "LoRA trains small matrices. It is small. It is small. It is small."
REPEATS = Tag("repetition", "critical", "'It is small.' 3 times in a row, 57 % of the answer", (28, 66), 0.97)
TOPICS = ("adapters", "optimizers")


def row(number: int, right: bool, *tags: Tag, answer: str = "", **response: Any) -> Row:
    text = answer or ("LoRA trains small matrices." if right else "LoRA freezes all matrices.")
    return Row(
        Example(
            f"q{number:03}",
            f"What does method {number} train?",
            ("LoRA trains small matrices.",),
            meta={"topic": TOPICS[number % 2]},
        ),
        Response(text, **response),
        scores=() if response.get("error") else (Score("match", float(right)), Score("fuzzy", 0.9 if right else 0.4)),
        tags=tags,
        primary=tags[0].category if tags else None,
    )


def rows(count: int, wrong: range, loops: range = range(0), failed: range = range(0)) -> list[Row]:
    def one(i: int) -> Row:
        if i in failed:
            return row(i, False, finish="error", error="the request timed out after 60 s")
        if i in loops:
            return row(i, False, REPEATS, answer=LOOP)
        return row(i, i not in wrong)

    return [one(i) for i in range(count)]


CASES = {
    "pass": (0, rows(400, range(40)), rows(400, range(4, 44))),
    "fail": (1, rows(400, range(40)), rows(400, range(4, 80), loops=range(60, 80))),
    "inconclusive": (3, rows(40, range(8)), rows(40, range(2, 11))),
    "error": (4, rows(140, range(20)), rows(140, range(20), failed=range(134, 140))),
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def golden(name: str, text: str) -> None:
    path = HERE / name
    if os.environ.get("EVALKIT_GOLDEN") == "write":
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


def rounded(value: Any) -> Any:
    """Return JSON with nine digits a number: the last ones are another processor's."""
    if isinstance(value, float):
        return float(f"{value:.9g}")
    if isinstance(value, list):
        return [rounded(v) for v in value]
    return {k: rounded(v) for k, v in value.items()} if isinstance(value, dict) else value


def verified(name: str) -> None:
    """Compare the three files with the golden ones, and each with its schema."""
    record = json.loads(Path("gate.json").read_text())
    jsonschema.validate(record, gate_json.schema())
    golden(f"{name}.json", json.dumps(rounded(record), indent=1, sort_keys=True, ensure_ascii=False) + "\n")
    etree.XMLSchema(etree.parse(HERE / "junit-10.xsd")).assertValid(etree.parse("gate.xml"))
    golden(f"{name}.xml", Path("gate.xml").read_text())
    golden(f"{name}.md", Path("gate.md").read_text())


@pytest.mark.parametrize("name", CASES)
def test_a_verdict_is_as_it_was(
    name: str, here: Path, write_run: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    code, before, after = CASES[name]
    write_run("base", before)
    write_run("cand", after)
    assert call([*GATE, *FILES]) == code
    out, err = capsys.readouterr()
    assert err == ""
    assert max(map(len, out.splitlines())) <= 100
    golden(f"{name}.txt", out)
    verified(name)


def test_the_markdown_of_two_runs_is_as_it_was(
    here: Path, write_run: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    _, before, after = CASES["fail"]
    write_run("base", before)
    write_run("cand", after)
    assert call(["report", "base", "cand", "--format", "md", "--examples", "2"]) == 0
    golden("report.md", capsys.readouterr().out)


def test_a_waived_fail_is_as_it_was(
    here: Path, write_run: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    _, before, after = CASES["fail"]
    write_run("base", before)
    write_run("cand", after)
    day = date(2999, 1, 31)
    (here / "gate.toml").write_text(
        'version = 1\n[suites."*".metrics.fuzzy]\nrole = "gate"\n[tags.repetition]\nrole = "gate"\nmargin = 20\n'
        f'[[waivers]]\nmetric = "match"\nmax_drop = 20\nuntil = {day}\nreason = "shorter answers"\nowner = "mk"\n'
        '[[waivers]]\nitems = ["q001"]\nuntil = 2026-01-31\nreason = "wrong target"\n'
    )
    assert call([*GATE, *FILES]) == 1
    golden("waived.txt", capsys.readouterr().out)
    verified("waived")


def test_runs_that_must_not_be_compared_are_one_line_and_files_that_say_so(
    here: Path, write_run: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    write_run("base", rows(10, range(2)))
    write_run("cand", rows(10, range(2)), data_digest="d2")
    assert call([*GATE, *FILES]) == 4
    out, err = capsys.readouterr()
    assert out == ""
    golden("not_comparable.txt", err)
    verified("not_comparable")


def test_wrong_usage_is_one_line(
    here: Path, write_run: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    write_run("base", rows(10, range(2)))
    assert call([*GATE, *FILES]) == 2
    assert call(["gate", "--candidate", "base"]) == 2
    assert call(["gate", "--baseline", "base"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    golden("usage.txt", err)
    assert not (here / "gate.xml").exists()


def test_errors_of_two_runs_are_as_they_were(
    here: Path, write_run: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """The seed's finding in small: asked without its chat template, a model loops."""
    wrong = Tag("low_overlap", "minor", "0.20 of the reference's words", None, 0.5)
    plain = [replace(r, response=replace(r.response, sent="### Question: …")) for r in rows(60, range(9), range(9, 40))]
    chat = [replace(r, response=replace(r.response, sent="<|im_start|>user …")) for r in rows(60, range(9))]
    chat[50:58] = [replace(r, tags=(wrong,)) for r in chat[50:58]]
    chat[58] = row(58, False, finish="error", error="busy")
    write_run("plain", plain)
    write_run("chat", chat, template="t2")
    assert call(["errors", "plain", "chat", "--examples", "1"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert max(map(len, out.splitlines())) <= 100
    golden("errors.txt", out)
    assert call(["report", "plain", "chat", "--examples", "1"]) == 0
    assert capsys.readouterr().out.splitlines()[:9] == out.splitlines()[:9]
    assert call(["report", "plain", "chat", "--format", "md", "--examples", "1"]) == 0
    golden("errors.md", capsys.readouterr().out)


def test_a_report_of_two_runs_is_their_comparison(
    here: Path, write_run: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    _, before, after = CASES["fail"]
    write_run("base", before)
    write_run("cand", after)
    assert call(["report", "base", "cand", "--examples", "2"]) == 0
    golden("fail.txt", capsys.readouterr().out)
    assert call(["report", "base", "cand", "--format", "md", "--examples", "2"]) == 0
    golden("report.md", capsys.readouterr().out)
    assert call(["report", "base", "cand", "--format", "json"]) == 0
    jsonschema.validate(json.loads(capsys.readouterr().out), gate_json.schema())
    assert call(["compare", "base", "cand", "--examples", "2"]) == 0
    golden("fail.txt", capsys.readouterr().out)


CRASH = (
    "import evalkit.commands.gate as g\n"
    "def crash(*_, **__): raise ZeroDivisionError('by hand')\n"
    "g.evaluate = crash\n"
    "from evalkit.cli import main; main()"
)


@pytest.mark.parametrize(("name", "code"), [("pass", 0), ("fail", 1), ("inconclusive", 3), ("error", 4), ("crash", 70)])
def test_gate_and_promote_promotes_on_pass_alone(
    name: str, code: int, here: Path, write_run: Callable[..., Path]
) -> None:
    _, before, after = CASES["pass" if name == "crash" else name]
    write_run("base", before)
    write_run("cand", after)
    program = [sys.executable, "-c", CRASH] if name == "crash" else EVALKIT
    script = '"$@"; code=$?; ("$@" >/dev/null 2>&1 && touch promoted); exit $code'
    done = subprocess.run(
        ["sh", "-c", script, "sh", *program, *GATE], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == code
    assert (here / "promoted").exists() == (name == "pass")
    if name == "crash":
        assert done.stdout == ""
        assert done.stderr.startswith("evalkit: internal error: ZeroDivisionError: by hand (evalkit --debug")
    else:
        golden(f"{name}.txt", done.stdout)
