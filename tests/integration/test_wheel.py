"""The wheel, installed into an environment of its own: it carries the suites and runs one."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of an environment that has the wheel, and else only what this one has."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir"]
    subprocess.run([*build, str(folder), str(ROOT)], check=True, capture_output=True)
    venv.create(folder / "env", with_pip=True)
    (wheel,) = folder.glob("evalkit_llm-*.whl")
    programs = folder / "env" / "bin"
    subprocess.run([programs / "python", "-m", "pip", "install", "--quiet", "--no-deps", str(wheel)], check=True)
    return programs


def call(programs: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a program of the wheel's environment; libraries come from this one, whose editable install is not seen."""
    environment = {**os.environ, "PYTHONPATH": sysconfig.get_path("purelib")}
    return subprocess.run(
        [programs / arguments[0], *arguments[1:]], cwd=cwd, env=environment, capture_output=True, text=True
    )


@pytest.mark.slow
def test_the_wheel_lists_its_suites_and_runs_smoke(installed, tmp_path):
    listed = call(installed, "evalkit", "suites", "list", cwd=tmp_path)
    assert {line.split()[0] for line in listed.stdout.splitlines()} >= {
        "docs_qa",
        "docs_qa_dev",
        "lamini_docs",
        "smoke",
        "mmlu",
    }
    done = call(installed, "evalkit", "run", "--model", "scripted", "--suite", "smoke", "--out", "run", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("run: run\n")
    assert len((tmp_path / "run" / "rows.jsonl").read_bytes().splitlines()) == 12
    page = call(installed, "evalkit", "report", "run", "--format", "html", cwd=tmp_path)
    assert (page.stdout[:15], page.stderr) == ("<!DOCTYPE html>", "")
    where = call(installed, "python", "-c", "import evalkit; print(evalkit.__file__)", cwd=tmp_path)
    assert Path(where.stdout.strip()).is_relative_to(installed.parent)


@pytest.mark.slow
def test_both_commands_answer_help(installed, tmp_path):
    for program in ("evalkit", "trainkit"):
        assert call(installed, program, "--help", cwd=tmp_path).stdout.startswith("Usage: ")
