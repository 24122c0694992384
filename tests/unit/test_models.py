"""Faults 27, 32 and unsafe weights: a model folder is checked before any library reads it."""

from __future__ import annotations

import hashlib
import json
import struct

import pytest

from evalkit import models
from evalkit.errors import ModelError
from evalkit.models import Checkpoint, find_checkpoint, load_backend


def safetensors(*sizes: int) -> bytes:
    """Return a file of tensors with these numbers of bytes."""
    header, start = {}, 0
    for number, size in enumerate(sizes):
        header[f"w{number}"] = {"dtype": "U8", "shape": [size], "data_offsets": [start, start + size]}
        start += size
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    return struct.pack("<Q", len(text)) + text + b"\x07" * start


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "model"
    path.mkdir()
    (path / "config.json").write_text('{"model_type": "llama"}')
    (path / "tokenizer.json").write_text("{}")
    (path / "model.safetensors").write_bytes(safetensors(8, 4))
    return path


@pytest.fixture
def adapter(tmp_path, folder):
    path = tmp_path / "adapter"
    path.mkdir()
    (path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(folder)}))
    (path / "adapter_model.safetensors").write_bytes(safetensors(2))
    return path


def refused(model) -> str:
    with pytest.raises(ModelError) as caught:
        find_checkpoint(str(model))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_whole_folder_is_a_checkpoint(folder):
    assert find_checkpoint(str(folder)) == Checkpoint(str(folder), folder)
    assert find_checkpoint(str(folder)).tokenizer == folder


def test_a_missing_config_is_named_27(folder):
    (folder / "config.json").unlink()
    assert "no config.json; a checkpoint folder holds config, weights and tokenizer" in refused(folder)


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b"[" * 100_000])
def test_an_unreadable_config_is_named_27(folder, content):
    (folder / "config.json").write_bytes(content)
    assert "config.json" in refused(folder)


def test_a_missing_tokenizer_is_named_27(folder):
    (folder / "tokenizer.json").unlink()
    assert "no tokenizer (tokenizer.json, tokenizer.model, vocab.json); save it beside the model" in refused(folder)


def test_a_folder_without_weights_is_named_27(folder):
    (folder / "model.safetensors").unlink()
    assert "no weights (expected *.safetensors)" in refused(folder)


def test_pickled_weights_are_refused_and_never_read_27(folder):
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch /tmp/canary'\ntR.")
    assert "only pickled weights (pytorch_model.bin), which can run code; convert them to safetensors" in refused(
        folder
    )


def test_code_of_a_model_is_refused(folder):
    (folder / "config.json").write_text('{"auto_map": {"AutoModel": "modeling.Mine"}}')
    assert "brings its own code (auto_map), which is never run" in refused(folder)


def test_a_missing_shard_is_named_27(folder):
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "shard model-00001-of-00002.safetensors is missing; copy the folder again" in refused(folder)


@pytest.mark.parametrize("index", ["{}", '{"weight_map": []}', '{"weight_map": 3}'])
def test_an_index_without_a_map_is_named_27(folder, index):
    (folder / "model.safetensors.index.json").write_text(index)
    assert "no weight_map" in refused(folder)


def test_weights_cut_at_any_byte_are_refused_27(folder):
    whole = safetensors(8, 4)
    for size in range(len(whole)):
        (folder / "model.safetensors").write_bytes(whole[:size])
        message = refused(folder)
        assert (
            "model.safetensors: truncated or damaged" in message or "not a safetensors file; copy it again" in message
        )


def test_the_sizes_are_named_when_weights_are_truncated_27(folder):
    whole = safetensors(8, 4)
    (folder / "model.safetensors").write_bytes(whole[:-3])
    assert f"{len(whole) - 3:,} bytes, its header promises {len(whole):,}" in refused(folder)


@pytest.mark.parametrize(
    "header",
    [
        b"[]",
        b"3",
        b"{}",
        b'{"w":{}}',
        b'{"w":{"data_offsets":[0]}}',
        b'{"w":{"data_offsets":[0,"x"]}}',
        b'{"w":3}',
        b"[",
    ],
)
def test_a_header_of_another_form_is_refused_27(folder, header):
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    refused(folder)


def test_a_header_that_claims_a_huge_length_is_not_read_27(folder):
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", 2**63) + b"{}")
    assert "truncated or damaged" in refused(folder)


def test_an_adapter_brings_its_base(folder, adapter):
    found = find_checkpoint(str(adapter))
    assert (found.folder, found.adapter, found.tokenizer) == (folder, adapter, folder)
    (adapter / "tokenizer.json").write_text("{}")
    assert found.tokenizer == adapter


def test_an_adapter_whose_base_is_missing_is_named_32(adapter, folder):
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    message = refused(adapter)
    assert message.startswith(f"{adapter}: its base model '{folder}' cannot be found: no model ")


def test_an_adapter_without_a_base_or_weights_is_named_32(adapter):
    (adapter / "adapter_model.safetensors").unlink()
    assert "no weights" in refused(adapter)
    (adapter / "adapter_config.json").write_text("{}")
    assert "adapter_config.json names no base model" in refused(adapter)


def test_an_unknown_name_gets_a_suggestion(monkeypatch):
    assert refused("smollm2-135m-instuct").endswith("; did you mean 'smollm2-135m-instruct'?")
    assert "neither a folder, nor a hub id (owner/name), nor in the catalogue" in refused("/no/such/folder")


def test_a_hub_id_goes_to_the_hub_and_a_missing_path_does_not(folder, monkeypatch):
    asked = []

    def snapshot(name):
        asked.append(name)
        return str(folder)

    monkeypatch.setattr(models, "load", lambda path: snapshot)
    assert find_checkpoint("owner/name").folder == folder
    for path in ("./owner/name", "../name", "/owner/name", "owner/name/more", "~/name"):
        refused(path)
    assert asked == ["owner/name"]


def test_a_file_is_no_model(folder):
    assert "is a file; expected the folder of a checkpoint" in refused(folder / "config.json")


def test_the_digest_changes_with_one_byte_of_any_file_that_loading_reads(folder):
    files = ("config.json", "tokenizer.json", "model.safetensors", "chat_template.jinja", "generation_config.json")
    for name in files[3:]:
        (folder / name).write_text("{}")
    seen = {Checkpoint("m", folder).digest()}
    for name in files:
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(bytes([data[0] ^ 1]) + data[1:])
        seen.add(Checkpoint("m", folder).digest())
    assert len(seen) == 6
    (folder / "README.md").write_text("not read")
    (folder / "optimizer.pt").write_text("not read")
    assert Checkpoint("m", folder).digest() in seen


def test_the_digest_covers_the_adapter(folder, adapter):
    plain, tuned = Checkpoint("m", folder).digest(), Checkpoint("m", folder, adapter).digest()
    (adapter / "adapter_model.safetensors").write_bytes(safetensors(3))
    assert len({plain, tuned, Checkpoint("m", folder, adapter).digest()}) == 3


def test_the_digest_does_not_depend_on_the_path(folder, tmp_path):
    before = Checkpoint("m", folder).digest()
    folder.rename(tmp_path / "moved")
    assert Checkpoint("other", tmp_path / "moved").digest() == before


def test_hashes_are_kept_until_a_file_changes(folder, tmp_path, monkeypatch):
    first, read = Checkpoint("m", folder).digest(), []
    real = hashlib.file_digest

    def noted(file, name):
        read.append(file.name)
        return real(file, name)

    monkeypatch.setattr(hashlib, "file_digest", noted)
    assert Checkpoint("m", folder).digest() == first
    assert read == []
    (folder / "config.json").write_text('{"model_type": "other"}')
    assert Checkpoint("m", folder).digest() != first
    assert read == [str(folder / "config.json")]


@pytest.mark.parametrize("content", [b"", b"[1]", b"\xff", b"null"])
def test_a_damaged_cache_of_hashes_is_made_anew(folder, tmp_path, content):
    first = Checkpoint("m", folder).digest()
    (tmp_path / "cache/evalkit/hashes.json").write_bytes(content)
    assert Checkpoint("m", folder).digest() == first


def test_a_cache_that_cannot_be_written_stops_nothing(folder, tmp_path):
    (tmp_path / "cache").write_text("a file")
    assert Checkpoint("m", folder).digest()


def test_a_backend_is_named_before_the_colon(folder, script):
    assert load_backend("scripted", {}).identity["backend"] == "scripted"
    assert load_backend(script(), {}).identity["model_digest"]
    with pytest.raises(ModelError, match="cannot be read: No such file"):
        load_backend("scripted:/no/such/file", {})
    with pytest.raises(ModelError, match="replay: expected the run to replay"):
        load_backend("replay:", {})


def test_a_checkpoint_goes_to_the_hf_backend_with_its_options(folder, monkeypatch):
    built = []

    def backend(*given, **options):
        built.append((given, options))

    monkeypatch.setattr(models, "lookup", lambda group, name: backend)
    load_backend(f"hf:{folder}", {"batch_tokens": 5})
    assert built == [((Checkpoint(str(folder), folder),), {"batch_tokens": 5})]
