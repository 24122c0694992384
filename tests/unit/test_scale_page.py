"""docs/scale.md says what the code does, and the report that it points at was written by its command."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from evalkit.assess import MANY
from evalkit.cli import COMMANDS
from evalkit.engines.dispatch import AHEAD, STRIKES
from evalkit.engines.shards import MOST, SHARES
from evalkit.registry import load

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/scale.md").read_text(encoding="utf-8")
REPORT = (ROOT / "reports/benchmarks/scale.md").read_text(encoding="utf-8")
WORDS = {2: "two", 3: "three"}


@pytest.mark.parametrize(
    "text",
    [
        f"of {MOST} questions or",
        f"a plan of under {MOST * SHARES:,} questions",
        f"at most {WORDS[AHEAD]} each",
        f"over which {WORDS[STRIKES]} workers were lost",
        f"of {MANY:,} answers or more",
        "`RAY_AUTH_MODE=token`",
        "Ray has tokens from 2.52 on",
    ],
)
def test_the_page_says_it(text):
    assert text in PAGE.replace("\n", " ")


@pytest.mark.parametrize("line", re.findall(r"^(?:\$ |exec | *exec )(evalkit .*)$", PAGE, re.MULTILINE))
def test_a_command_of_the_page_has_only_options_that_are_there(line):
    _, name, *arguments = shlex.split(line)
    command = load(COMMANDS[name][0])
    known = {option for param in command.params for option in param.opts}
    assert {argument for argument in arguments if argument.startswith("--")} <= known


def test_the_report_covers_8_64_and_512_workers():
    assert "Written by `python -m tests.benchmarks.scale -o reports/benchmarks/scale.md`" in REPORT
    assert set(re.findall(r"\| (8|64|512) \| [\d,]+ \| \d+\.\d \|", REPORT)) == {"8", "64", "512"}
    for figure in ("load average", "E(W) ="):
        assert figure in REPORT
