"""Trainings of a tiny Llama from settings to checkpoint: whole, resumable bit by bit, and refused in one line."""

from __future__ import annotations

import json
import re
import stat
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from evalkit.flow import run
from tests.conftest import jsonl
from tests.integration.conftest import outcome
from trainkit.checkpoint import held, last_step
from trainkit.errors import Halted, TrainError
from trainkit.settings import SftSettings
from trainkit.sft import resume, sft


@pytest.fixture
def settings(tiny, data, tmp_path):
    """Three steps an epoch, of several forward passes each; twelve in all, saved every second one."""

    def build(out="out", **more):
        given = {"batch_size": 4, "batch_tokens": 60, "epochs": 4, "learning_rate": 1e-3, "save_steps": 2, "probe": 2}
        return SftSettings.of({"model": str(tiny), "data": str(data), "out": str(tmp_path / out), **given, **more})

    return build


LORA = {"lora": True, "lora_dropout": 0.1, "lora_rank": 4}
KINDS = pytest.mark.parametrize("kind", [{}, LORA], ids=["full", "lora"])


def weights(folder: Path) -> bytes:
    (file,) = folder.glob("*.safetensors")
    return file.read_bytes()


@KINDS
def test_a_checkpoint_is_whole_and_runs_as_it_is(settings, kind, tmp_path, tiny):
    """The seed saved no tokenizer; safetensors leaves files that only their owner reads."""
    done = sft(settings(**kind))
    names = {file.name for file in done.folder.iterdir()}
    assert {"trainkit.json", "sft.toml", "tokenizer.json", "chat_template.jinja", "loss.png", "log.jsonl"} <= names
    assert not [n for n in names if n.endswith((".bin", ".pt", ".pth", ".pkl"))]
    assert "steps" not in names
    assert {stat.S_IMODE(f.stat().st_mode) for f in done.folder.iterdir()} == {0o644}
    assert run(
        str(done.folder), "smoke", out=tmp_path / "run", limit=2, overrides=("generation.max_new_tokens=4",)
    ).rows
    if kind:
        assert json.loads((done.folder / "adapter_config.json").read_bytes())["base_model_name_or_path"] == str(tiny)
    else:
        config = json.loads((done.folder / "config.json").read_bytes())
        assert config["use_cache"] is True
        assert json.loads((done.folder / "generation_config.json").read_bytes())["eos_token_id"] == 256


def test_the_manifest_tells_where_a_checkpoint_came_from(settings, data):
    done = sft(settings(template="Q: {question}\nA:", system="Be brief."))
    told = json.loads((done.folder / "trainkit.json").read_bytes())
    assert told == json.loads(json.dumps(done.manifest))
    assert told["prompt"]["template"] == "Q: {input}\nA:"
    assert len(told["prompt"]["hash"]) == 16
    assert len(told["data"]["sha256"]) == len(told["parent"]["digest"]) == 64
    assert told["ledger"]["rows_in"] == told["ledger"]["trained"] == 10
    assert told["result"]["steps"] == 12
    assert told["result"]["tokens"]["padding"] == 0
    rows = [json.loads(line) for line in data.read_text().splitlines()]
    learned = sum(len(row["answer"]) + 2 for row in rows)  # a space before it and the end token after it
    assert told["result"]["tokens"]["supervised"] == 4 * learned  # no row is lost, whatever the last step's size
    assert told["result"]["tokens"]["tokens"] > told["result"]["tokens"]["supervised"] > 0
    assert told["result"]["flops"] > 0
    assert {"torch", "transformers", "peft"} <= set(told["versions"])
    assert len(told["probe"]["answers"]) == 2
    assert tomllib.loads((done.folder / "sft.toml").read_text())["learning_rate"] == 1e-3


def test_the_checkpoints_own_config_trains_the_same_weights_again(settings, tmp_path, capsys):
    first = sft(settings())
    code, out, _ = outcome(capsys, "sft", "--config", first.folder / "sft.toml", "--out", tmp_path / "again")
    assert code == 0
    assert out.endswith(f"checkpoint: {tmp_path / 'again'}\n")
    assert weights(first.folder) == weights(tmp_path / "again")


def test_training_learns_and_steps_differ_by_seed(settings):
    a, b = sft(settings("a")), sft(settings("b", seed=1))
    losses = [entry["loss"] for entry in a.history if "loss" in entry]
    assert len(losses) == 12
    assert losses[-1] < losses[0]
    assert weights(a.folder) != weights(b.folder)


@KINDS
def test_padding_and_packing_train_alike(settings, kind):
    kind = {k: v for k, v in kind.items() if k != "lora_dropout"}
    packed = sft(settings("packed", max_steps=2, save_steps=None, **kind))
    padded = sft(
        settings("padded", max_steps=2, save_steps=None, packing="never", batch_size=10, batch_tokens=1000, **kind)
    )
    whole = sft(settings("whole", max_steps=2, save_steps=None, batch_size=10, **kind))
    assert (packed.manifest["result"]["mode"], padded.manifest["result"]["mode"]) == ("rows", "padded")
    assert padded.manifest["result"]["tokens"]["padding"] > 0
    first = [[e["loss"] for e in done.history if "loss" in e] for done in (padded, whole)]
    assert first[0] == pytest.approx(first[1], rel=1e-5)


def test_checkpointing_changes_memory_alone(settings):
    plain, lean = sft(settings("a", max_steps=2)), sft(settings("b", max_steps=2, gradient_checkpointing=True))
    assert [e.get("loss") for e in plain.history] == pytest.approx([e.get("loss") for e in lean.history], rel=1e-5)


@pytest.mark.parametrize("precision", ["mixed", "bfloat16"])
@KINDS
def test_other_precisions_train_to_about_the_same_loss(settings, kind, precision):
    plain = sft(settings("a", max_steps=2, **kind))
    other = sft(settings("b", max_steps=2, precision=precision, **kind))
    assert other.manifest["result"]["precision"] == precision
    assert other.history[0]["loss"] == pytest.approx(plain.history[0]["loss"], rel=0.02)


DRIVER = """
import os, signal, sys
from trainkit import step, trainer
from trainkit.cli import call

at, where = int(sys.argv[1]), sys.argv[2]
inside, passes = [False], [0]
train, loss, save = trainer.SftTrainer.training_step, step.Stepper.loss_sum, trainer.readable

def training_step(self, model, inputs, n=None):
    inside[0], passes[0] = self.state.global_step == at, 0
    return train(self, model, inputs, n)

def loss_sum(self, model, rows):
    passes[0] += 1
    if where == "pass" and inside[0] and passes[0] == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return loss(self, model, rows)

def readable(place):
    if where == "save" and place.name == f"checkpoint-{at}":
        (place / "optimizer.pt").write_bytes(b"half")
        os.kill(os.getpid(), signal.SIGKILL)
    return save(place)

trainer.SftTrainer.training_step, step.Stepper.loss_sum, trainer.readable = training_step, loss_sum, readable
sys.exit(call(["--debug", "sft", "--config", sys.argv[3], "--out", sys.argv[4]]))
"""


@pytest.mark.slow
@KINDS
@pytest.mark.parametrize(
    ("at", "where", "from_step"),
    [
        pytest.param(0, "pass", None, id="before anything was saved"),
        pytest.param(5, "pass", 4, id="inside accumulation, in the middle of an epoch"),
        pytest.param(7, "pass", 6, id="inside accumulation, from an epoch's boundary"),
        pytest.param(6, "save", 4, id="while saving, across an epoch's boundary"),
    ],
)
def test_a_killed_training_resumes_to_the_same_bits(settings, kind, at, where, from_step, tmp_path):
    """Fault 45, and the issue's kill -9: losses and weights equal, bit by bit."""
    more = {"eval_share": 0.2, "patience": 50, "best": "loss", **kind}
    whole = sft(settings("whole", **more))
    (tmp_path / "sft.toml").write_text((whole.folder / "sft.toml").read_text())
    out = tmp_path / "killed"
    command = [sys.executable, "-c", DRIVER, str(at), where, str(tmp_path / "sft.toml"), str(out)]
    killed = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert killed.returncode == -9, killed.stderr
    assert not (out / "trainkit.json").exists()
    found = last_step(out)
    assert (found.name if found else None) == (f"checkpoint-{from_step}" if from_step else None)
    done = resume(out)
    assert weights(done.folder) == weights(whole.folder)
    assert done.history == whole.history
    assert done.manifest["result"]["flops"] == whole.manifest["result"]["flops"]


def test_resume_refuses_what_has_changed_by_field(settings, data, tmp_path, monkeypatch):
    """Fault 13."""
    stop_at(monkeypatch, 3)
    with pytest.raises(KeyboardInterrupt):
        sft(settings())
    monkeypatch.undo()
    before = data.read_text()
    data.write_text(before + "\n" + json.dumps({"question": "new", "answer": "row"}) + "\n")
    with pytest.raises(TrainError, match="cannot be resumed: data has changed"):
        resume(tmp_path / "out")
    data.write_text(before)
    assert resume(tmp_path / "out").manifest["result"]["steps"] == 12
    with pytest.raises(TrainError, match="is finished"):
        resume(tmp_path / "out")
    with pytest.raises(TrainError, match="no training here"):
        resume(tmp_path)


def stop_at(monkeypatch, step, how=None):
    """Interrupt a training at a step, or let `how` make its loss."""
    from trainkit.trainer import SftTrainer

    train = SftTrainer.training_step

    def training_step(self, model, inputs, n=None):
        if self.state.global_step != step:
            return train(self, model, inputs, n)
        if how is None:
            raise KeyboardInterrupt
        return how(self, model, inputs, n)

    monkeypatch.setattr(SftTrainer, "training_step", training_step)


def test_the_best_step_is_kept_and_training_stops_early(settings):
    done = sft(settings(epochs=30, learning_rate=0.05, eval_share=0.3, eval_steps=2, save_steps=2, patience=2))
    result = done.manifest["result"]
    losses = {entry["step"]: entry["eval_loss"] for entry in result["evaluations"]}
    assert result["steps"] < 60
    assert result["kept_step"] == min(losses, key=lambda step: losses[step]) == max(losses) - 4
    assert done.manifest["ledger"]["kept_aside"] == done.manifest["eval_data"]["rows"] > 0


def test_the_best_step_can_be_chosen_by_a_dev_suite(settings, suite_at):
    suite = suite_at(
        "dev_little",
        'split = "dev"\ntaggers = ["none"]\nscorers = ["fuzzy"]\nprimary = "fuzzy"\n[generation]\nmax_new_tokens = 4\n',
        count=3,
    )
    done = sft(settings(dev_suite=str(suite), dev_limit=2, max_steps=4))
    assert [sorted(e) for e in done.manifest["result"]["evaluations"]] == [["eval_suite", "step"]] * 2


def test_a_held_out_suite_chooses_no_step(settings, suite_at):
    with pytest.raises(TrainError, match="held out: it may judge"):
        sft(settings(dev_suite=str(suite_at("judge")), max_steps=2))


def test_the_prompt_can_be_a_suites(settings, suite_at):
    suite = suite_at(
        "asks", 'chat = false\ntemplate = "Q: {input} A:"\ntaggers = ["none"]\nscorers = ["exact"]\nprimary = "exact"\n'
    )
    done = sft(settings(prompt_from=str(suite), max_steps=1, save_steps=None))
    assert done.manifest["prompt"]["template"] == "Q: {input} A:"


def test_the_ledger_adds_up_on_over_long_empty_and_broken_rows(settings, tmp_path):
    good = [{"id": f"g{i}", "question": f"q{i}", "answer": "a"} for i in range(3)]
    path = jsonl(
        tmp_path / "mixed.jsonl",
        [
            *good,
            {"id": "long", "question": "x" * 100, "answer": "a"},
            {"id": "empty", "question": "q", "answer": ""},
            {"id": "keys", "q": "q", "answer": "a"},
            {"id": "answer", "question": "q", "answer": "y" * 100},
        ],
    )
    with path.open("a") as file:
        file.write("{broken\n")
    given = {
        "data": str(path),
        "max_tokens": 60,
        "bad_rows": "drop",
        "over_long": "truncate-prompt-left",
        "max_steps": 1,
        "save_steps": None,
    }
    told = sft(settings(**given)).manifest["ledger"]
    assert (told["rows_in"], told["trained"], told["truncated"], told["dropped"]) == (8, 3, 1, 4)
    assert sum(told["reasons"].values()) == 5
    assert set(told["dropped_rows"]) == {"answer", "line 5", "line 6", "line 8"}


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"data": "none.jsonl"}, "none.jsonl: cannot be read"),
        ({"input_key": "prompt"}, "line 1: no key 'prompt'; known are answer, question"),
        ({"max_tokens": 5, "over_long": "drop"}, "no token is left to learn"),
        ({"max_tokens": 5}, "over-long"),
        ({"max_tokens": 100_000}, "the model has 512 positions"),
        ({"model": "nothing"}, "no model 'nothing'"),
        ({"lora": True, "lora_targets": "q_prog"}, "no layer 'q_prog'; did you mean 'q_proj'"),
        ({"dev_suite": "no_such"}, "unknown suite 'no_such'"),
        ({"report_to": "no_such_logger"}, "report_to = 'no_such_logger': "),
        ({"template": "no place"}, "the place of the question"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(settings, more, message, capsys, tiny, data, tmp_path):
    given = {
        "model": tiny,
        "data": data,
        "out": tmp_path / "out",
        "max-steps": 1,
        **{k.replace("_", "-"): v for k, v in more.items()},
    }
    words = [w for k, v in given.items() for w in ((f"--{k}",) if v is True else (f"--{k}", v))]
    code, out, err = outcome(capsys, "sft", *words)
    assert (code, out) == (2, "")
    last = err.splitlines()[-1]
    assert last.startswith("trainkit: ")
    assert message in last
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_not_empty_is_never_overwritten(settings, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    with pytest.raises(TrainError, match="not an empty folder"):
        sft(settings())


def test_one_process_trains_into_a_folder(tmp_path):
    from evalkit.errors import RunLocked

    with (
        held(tmp_path / "out", fresh=True),
        pytest.raises(RunLocked, match="another process"),
        held(tmp_path / "out", fresh=False),
    ):
        pass


def test_a_loss_that_is_no_number_stops_and_keeps_the_last_good_step(settings, tmp_path, monkeypatch):
    stop_at(monkeypatch, 3, lambda *a: broken(a[0]))

    def broken(trainer):
        weight = next(iter(trainer.model.parameters()))
        weight.data.fill_(float("nan"))
        monkeypatch.undo()
        return trainer.training_step(trainer.model, [trainer.job.train[0]])

    with pytest.raises(Halted, match=r"step 4: the loss is nan; checkpoint-2 before it is whole and kept") as fault:
        sft(settings())
    assert fault.value.exit_code == 4
    assert not (tmp_path / "out" / "trainkit.json").exists()
    kept = load_file(tmp_path / "out" / "steps" / "checkpoint-2" / "model.safetensors")
    assert all(torch.isfinite(t).all() for t in kept.values())


def test_a_full_disk_keeps_the_last_good_step_and_resumes(settings, tmp_path, monkeypatch):
    """Fault 45: the previous step stays whole."""
    from trainkit.checkpoint import readable as real

    def full(place):
        if place.name == "checkpoint-4":
            raise OSError(28, "No space left on device")
        return real(place)

    monkeypatch.setattr("trainkit.trainer.readable", full)
    with pytest.raises(
        Halted, match=r"checkpoint-4: cannot be saved \(.*No space left on device\); checkpoint-2 is whole and kept"
    ):
        sft(settings())
    monkeypatch.undo()
    whole = sft(settings("whole"))
    assert weights(resume(tmp_path / "out").folder) == weights(whole.folder)


def test_a_plan_that_does_not_fit_warns_before_it_starts(settings, monkeypatch):
    monkeypatch.setattr("trainkit.weights.free_memory", lambda: 1000)
    said: list[str] = []
    sft(settings(max_steps=1, save_steps=None), say=said.append)
    assert any(re.search(r"warning: this training needs about .* GiB", line) for line in said)


def test_preview_marks_what_is_learned(tiny, data, capsys):
    code, out, _ = outcome(capsys, "preview", "--model", tiny, "--data", data, "--rows", "1")
    assert code == 0
    assert out.startswith("row r0: 24 prompt tokens, 3 learned\n<|user|>Q?\n<|assistant|>«A0<|end|>»\n")
    assert out.endswith("10 rows = 10 trained + 0 truncated + 0 dropped\n")


def test_merging_an_adapter_gives_a_plain_checkpoint_that_says_the_same(settings, tmp_path, capsys):
    done = sft(settings(**{**LORA, "learning_rate": 0.05}))
    code, out, _ = outcome(capsys, "merge", done.folder, "--out", tmp_path / "merged")
    assert code == 0
    assert float(out.splitlines()[0].rpartition(" ")[2]) <= 1e-4
    told = json.loads((tmp_path / "merged" / "trainkit.json").read_bytes())
    assert (told["kind"], told["prompt"]) == ("merged", done.manifest["prompt"])
    assert not (tmp_path / "merged" / "adapter_config.json").exists()
    asked = {"limit": 3, "overrides": ("generation.max_new_tokens=8",)}
    answers = [
        [r.response.text for r in run(str(m), "smoke", out=tmp_path / f"run-{m.name}", **asked).rows]
        for m in (done.folder, tmp_path / "merged")
    ]
    assert answers[0] == answers[1]
    assert outcome(capsys, "merge", tmp_path / "merged", "--out", tmp_path / "twice")[0] == 2
    with pytest.raises(TrainError, match="is a LoRA adapter; merge it first"):
        sft(settings("second", model=str(done.folder)))


def test_an_adapter_for_another_base_is_not_merged(settings, tmp_path, capsys):
    """Fault 32."""
    from transformers import AutoConfig, AutoTokenizer, LlamaForCausalLM

    done = sft(settings(**{**LORA, "max_steps": 1, "save_steps": None}))
    config = AutoConfig.from_pretrained(settings().model)
    config.hidden_size, config.num_attention_heads, config.head_dim = 96, 8, 12
    LlamaForCausalLM(config).save_pretrained(tmp_path / "other")
    AutoTokenizer.from_pretrained(settings().model).save_pretrained(tmp_path / "other")
    path = done.folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_bytes()), "base_model_name_or_path": str(tmp_path / "other")}))
    code, _, err = outcome(capsys, "merge", done.folder, "--out", tmp_path / "merged")
    assert code == 2
    assert "does not fit its base" in err


@pytest.mark.parametrize("target", ["lm_head", "embed_tokens", "q_proj,lm_head"])
def test_an_adapter_on_a_tied_head_is_refused_with_the_reason(settings, target, tmp_path):
    from transformers import AutoConfig, AutoTokenizer, LlamaForCausalLM

    config = AutoConfig.from_pretrained(settings().model, tie_word_embeddings=True)
    LlamaForCausalLM(config).save_pretrained(tmp_path / "tied")
    AutoTokenizer.from_pretrained(settings().model).save_pretrained(tmp_path / "tied")
    tied = {"model": str(tmp_path / "tied"), "lora": True, "max_steps": 1, "save_steps": None}
    with pytest.raises(TrainError, match=r"embedding and head of this model at once \(tied weights\): .*5.4"):
        sft(settings(**tied, lora_targets=target))
    assert sft(settings("all", **tied)).manifest["kind"] == "lora"


def test_an_interrupted_training_says_how_to_go_on(settings, monkeypatch, capsys, tmp_path, tiny, data):
    stop_at(monkeypatch, 3)
    words = ["--model", tiny, "--data", data, "--out", tmp_path / "out", "--save-steps", "1", "--max-steps", "5"]
    code, out, err = outcome(capsys, "sft", *words)
    assert (code, out) == (130, "")
    assert f"stopped; to go on: trainkit sft --resume {tmp_path / 'out'}" in err
    monkeypatch.undo()
    code, out, _ = outcome(capsys, "sft", "--resume", tmp_path / "out")
    assert (code, out.splitlines()[-1]) == (0, f"checkpoint: {tmp_path / 'out'}")


def test_a_training_is_one_process(settings, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(TrainError, match="one process on one device"):
        sft(settings())


def test_a_gradient_that_is_no_number_stops_too(settings, monkeypatch):
    def infinite(self, model, inputs, n=None):
        next(iter(p for p in model.parameters() if p.requires_grad)).grad = torch.full((257, 48), float("inf"))
        return torch.tensor(1.0)

    stop_at(monkeypatch, 0, infinite)
    with pytest.raises(Halted, match="step 1: the gradient's length is inf; no step was saved before it"):
        sft(settings())
