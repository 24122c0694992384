"""Faults 13, 16, 27-31, 33 with a tiny model: what is broken is named before anything is asked, or is an error row."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from evalkit import flow
from evalkit.backends.decode import Decoder
from evalkit.backends.hf import TAINTED, HfBackend
from evalkit.backends.tree import TreeScorer
from evalkit.compare import compare_runs
from evalkit.errors import IdentityError, ModelError, NotComparable, Stopped
from evalkit.record import read_run
from evalkit.settings import RunSettings
from evalkit.types import Run

ASKED = 'taggers = ["none"]\nscorers = ["exact"]\nprimary = "exact"\n[generation]\nmax_new_tokens = 6\n'
CHOSEN = 'taggers = ["none"]\nscorers = ["acc"]\nprimary = "acc"\nchat = false\n'


@pytest.fixture
def folder(tiny, tmp_path) -> Path:
    """A copy of the tiny model."""
    return Path(shutil.copytree(tiny, tmp_path / "model"))


@pytest.fixture
def asked(suite_at, tmp_path) -> Callable[..., Run]:
    """Run the questions of `suite_at`, written or chosen, against a model folder."""

    def ask(model: Path, out: str = "run", *, chosen: bool = False, count: int = 6) -> Run:
        suite = suite_at("choose", CHOSEN, count, choices=["a0", "b"]) if chosen else suite_at("ask", ASKED, count)
        (path,) = flow.start(RunSettings(str(model), (str(suite),)), out=tmp_path / out)
        return read_run(path)

    return ask


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def with_weights(folder: Path, change: Callable[[torch.Tensor], object], name: str = "lm_head.weight") -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights[name])
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def texts(run: Run) -> list[str]:
    return [row.response.text for row in run.rows]


@pytest.mark.fault(13)
def test_one_changed_byte_of_the_weights_is_refused_by_field(asked, folder, tmp_path):
    asked(folder)
    weights = folder / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(IdentityError, match=r"it depends on what has changed: model\.model_digest was "):
        flow.resume(tmp_path / "run")


def exhausted(real, after: int, times: int):
    """Fail for want of memory at call number `after`, as often as `times` says."""
    calls = [0]

    def call(*given, **named):
        calls[0] += 1
        if after <= calls[0] < after + times:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes")
        return real(*given, **named)

    return call


@pytest.mark.fault(16)
@pytest.mark.parametrize("chosen", [False, True], ids=["written", "chosen"])
def test_where_memory_runs_out_half_is_tried_once_and_recorded(asked, folder, monkeypatch, chosen):
    whole = asked(folder, "whole", chosen=chosen)
    if chosen:
        monkeypatch.setattr(TreeScorer, "_score", exhausted(TreeScorer._score, 2, 1))
        monkeypatch.setattr(TreeScorer, "_check", TreeScorer._score)
    else:
        monkeypatch.setattr(Decoder, "_batched", exhausted(Decoder._batched, 1, 1))
    cut = asked(folder, "cut", chosen=chosen)
    assert [row.response for row in cut.rows] == [row.response for row in whole.rows]
    if not chosen:
        assert cut.manifest["warnings"] == ["memory ran out; from there half as much is computed at once"]


@pytest.mark.fault(16)
def test_where_half_is_too_much_as_well_the_run_stops_and_resumes(asked, folder, tmp_path, monkeypatch, equal):
    asked(folder, "whole")
    monkeypatch.setattr(Decoder, "_batched", exhausted(Decoder._batched, 1, 2))
    with pytest.raises(Stopped, match="out of memory, with half the batch too; free some, and resume the run"):
        asked(folder, "cut")
    monkeypatch.undo()
    flow.resume(tmp_path / "cut")
    equal(tmp_path / "whole", tmp_path / "cut")


@pytest.mark.fault(27)
@pytest.mark.parametrize(
    ("breaks", "fault"),
    [
        (lambda f: edit(f / "config.json", model_type="sparrow"), "config or tokenizer cannot be read: .*sparrow"),
        (lambda f: (f / "tokenizer.json").write_text("{}"), "config or tokenizer cannot be read: "),
        (lambda f: edit(f / "config.json", hidden_size=52), "weights cannot be loaded: "),
        (lambda f: edit(f / "config.json", num_hidden_layers="two"), "config or tokenizer cannot be read: "),
    ],
    ids=["unknown architecture", "broken tokenizer", "weights of other sizes", "wrong type"],
)  # fmt: skip
def test_a_folder_that_is_not_whole_is_one_line(asked, folder, breaks, fault):
    breaks(folder)
    with pytest.raises(ModelError, match=fault) as raised:
        asked(folder)
    assert "\n" not in str(raised.value)


@pytest.mark.fault(27)
def test_weights_that_lack_a_layer_are_refused(asked, folder):
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"weights .*model\.layers\.1\.mlp\.up_proj\.weight"):
        asked(folder)


@pytest.mark.fault(27)
def test_a_model_without_a_pad_token_answers_the_same(asked, folder):
    whole = asked(folder, "whole")
    edit(folder / "tokenizer_config.json", pad_token=None)
    edit(folder / "config.json", pad_token_id=None)
    edit(folder / "generation_config.json", pad_token_id=None)
    assert texts(asked(folder, "bare")) == texts(whole)


@pytest.mark.fault(28)
@pytest.mark.parametrize("chosen", [False, True], ids=["written", "chosen"])
def test_logits_that_are_no_numbers_are_error_rows(asked, folder, chosen):
    with_weights(folder, lambda weight: weight.fill_(float("nan")))
    run = asked(folder, chosen=chosen)
    assert {(row.response.error, row.response.finish) for row in run.rows} == {("nan_logits", "error")}
    assert all(score.value is None for row in run.rows for score in row.scores)
    assert run.summary["errors"] == 6


@pytest.mark.fault(29)
def test_a_model_that_only_ends_gives_empty_answers_that_are_wrong_and_tagged(suite_at, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(HfBackend, "eos", tuple(range(257)))  # whatever it says first is an end
    suite = suite_at("ask", ASKED.replace('"none"', '"empty"'), 3)
    (path,) = flow.start(RunSettings(str(folder), (str(suite),)), out=tmp_path / "run")
    for row in read_run(path).rows:
        assert (row.response.text, row.response.finish, row.response.error) == ("", "stop", None)
        assert [score.value for score in row.scores] == [0.0]
        assert row.primary == "empty"


@pytest.mark.fault(30)
def test_an_answer_that_never_stops_ends_at_the_limit_and_says_so(suite_at, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(HfBackend, "eos", ())
    suite = suite_at("ask", ASKED.replace('"none"', '"truncated"'), 3)
    (path,) = flow.start(RunSettings(str(folder), (str(suite),)), out=tmp_path / "run")
    for row in read_run(path).rows:
        assert (row.response.tokens, row.response.finish, row.primary) == (6, "length", "truncated")


@pytest.mark.fault(31)
def test_a_choice_that_was_cut_to_the_context_says_how_much(suite_at, folder, tmp_path):
    suite = suite_at("choose", CHOSEN, 1, choices=["a0", "b"], input="long " * 200)
    (path,) = flow.start(RunSettings(str(folder), (str(suite),)), out=tmp_path / "run")
    (row,) = read_run(path).rows
    assert row.response.truncated_tokens > 400


@pytest.mark.fault(33)
@pytest.mark.parametrize("how", ["changed", "gone"])
def test_a_model_that_changes_during_the_run_taints_it(asked, folder, monkeypatch, tmp_path, how):
    before = asked(folder, "before")
    real = HfBackend.respond

    def respond(self, requests, tick):
        yield from real(self, requests, tick)
        if how == "gone":
            shutil.rmtree(folder)
        else:
            edit(folder / "generation_config.json", top_k=7)

    monkeypatch.setattr(HfBackend, "respond", respond)
    run = asked(folder)
    assert run.manifest["warnings"] == [TAINTED]
    with pytest.raises(NotComparable, match="run run is tainted: files of the model changed during the run"):
        compare_runs(before, run)
