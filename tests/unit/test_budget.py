"""The budget of a scoring pass is measured once for a checkpoint on a machine."""

from __future__ import annotations

import pytest

from evalkit.backends import budget
from evalkit.backends.budget import remembered_budget

IDENTITY = {"model_digest": "d", "dtype": "float32", "threads": "2", "batch_tokens": ""}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(budget, "version", lambda package: "2.0")
    return tmp_path / "evalkit" / budget.FILE


def test_it_is_measured_once_whatever_a_second_measurement_would_say():
    assert remembered_budget(IDENTITY, lambda: 512) == 512
    assert remembered_budget({**IDENTITY, "batch_tokens": "512"}, lambda: 1024) == 512


@pytest.mark.parametrize("change", [{"model_digest": "e"}, {"threads": "1"}, {"dtype": "bfloat16"}])
def test_another_model_or_another_use_of_it_is_measured_by_itself(change):
    remembered_budget(IDENTITY, lambda: 512)
    assert remembered_budget({**IDENTITY, **change}, lambda: 1024) == 1024
    assert remembered_budget(IDENTITY, lambda: 256) == 512


def test_another_torch_is_measured_by_itself(monkeypatch):
    remembered_budget(IDENTITY, lambda: 512)
    monkeypatch.setattr(budget, "version", lambda package: "2.1")
    assert remembered_budget(IDENTITY, lambda: 1024) == 1024


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"a": "b"}', b"\xff"])
def test_a_damaged_cache_is_written_anew(cache, content):
    cache.parent.mkdir(parents=True)
    cache.write_bytes(content)
    assert remembered_budget(IDENTITY, lambda: 512) == 512
    assert remembered_budget(IDENTITY, lambda: 1024) == 512


def test_a_cache_that_cannot_be_written_costs_only_time(cache):
    cache.parent.parent.joinpath("evalkit").write_text("a file where the folder should be")
    assert remembered_budget(IDENTITY, lambda: 512) == 512
    assert remembered_budget(IDENTITY, lambda: 1024) == 1024
