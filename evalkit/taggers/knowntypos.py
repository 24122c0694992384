"""Ask the `typos` program which words are known misspellings: one process a run, words in, corrections out.

Its list is neither copied nor shipped here. Where the program is missing or fails, the answer says so and is empty.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterable
from pathlib import Path

_SECONDS = 120


def find_program(name: str = "typos") -> str | None:
    """Return the path of the program: beside the running Python, among its scripts, or on PATH."""
    if Path(name).parent != Path():
        return name if Path(name).is_file() else None
    for folder in (Path(sys.executable).parent, Path(sysconfig.get_path("scripts"))):
        if found := shutil.which(name, path=str(folder)):
            return found
    return shutil.which(name)


def known_typos(words: Iterable[str], program: str = "typos") -> tuple[dict[str, str], str]:
    """Return word -> correction of the words that are known misspellings, and a note where nothing could be asked."""
    listed = sorted(set(words))
    path = find_program(program)
    if path is None:
        return {}, f"the program {program!r} was not found: misspellings come from the dictionary alone"
    if not listed:
        return {}, ""
    command = [path, "--isolated", "--locale", "en", "--format", "json", "--color", "never", "--threads", "1", "-"]
    try:
        with tempfile.TemporaryDirectory() as empty:
            done = subprocess.run(
                command,
                input="\n".join([*listed, ""]).encode(),
                capture_output=True,
                timeout=_SECONDS,
                cwd=empty,
                check=False,
            )
    except (OSError, subprocess.SubprocessError) as error:
        return (
            {},
            f"the program {program!r} failed ({type(error).__name__}): misspellings come from the dictionary alone",
        )
    if done.returncode not in (0, 2):
        said = done.stderr.decode(errors="replace").strip().split("\n")[-1][:120]
        return {}, f"the program {program!r} ended with {done.returncode} ({said}): only the dictionary was used"
    return _read(done.stdout, frozenset(listed)), ""


def _read(output: bytes, asked: frozenset[str]) -> dict[str, str]:
    """Return word -> first correction; a line that is not about a whole asked word is passed over."""
    found: dict[str, str] = {}
    for line in output.split(b"\n"):
        try:
            item = json.loads(line)
        except ValueError:
            continue
        if not isinstance(item, dict) or item.get("type") != "typo":
            continue
        word, corrections = item.get("typo"), item.get("corrections")
        if isinstance(word, str) and word in asked and isinstance(corrections, list) and corrections:
            found[word] = str(corrections[0])
    return found
