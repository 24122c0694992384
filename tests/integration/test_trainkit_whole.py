"""Whole jobs of trainkit: a learning curve, three lines of Python, and the real model."""

from __future__ import annotations

import json

import pytest

from tests.conftest import jsonl
from tests.integration.conftest import outcome
from trainkit.errors import TrainError
from trainkit.runner import Runner
from trainkit.settings import SftSettings
from trainkit.sft import sft


def test_a_curve_trains_every_cell_once_and_goes_on(tiny, data, suite_at, tmp_path, capsys):
    suite = suite_at(
        "judge",
        'taggers = ["none"]\nscorers = ["fuzzy"]\nprimary = "fuzzy"\n[generation]\nmax_new_tokens = 4\n',
        count=2,
    )
    words = [
        "curve",
        "--suite",
        suite,
        "--amounts",
        "4,8",
        "--seeds",
        "2",
        "--model",
        tiny,
        "--data",
        data,
        "--out",
        tmp_path / "curve",
        "--max-steps",
        "1",
        "--probe",
        "0",
    ]
    code, out, _ = outcome(capsys, *words)
    assert code == 0
    assert out.splitlines()[-1] == f"curve: {tmp_path / 'curve'}"
    told = json.loads((tmp_path / "curve" / "curve.json").read_bytes())
    assert [(p["amount"], len(p["scores"])) for p in told["points"]] == [(4, 2), (8, 2)]
    assert (tmp_path / "curve" / "curve.png").stat().st_size > 1000
    assert "(curve.png)" in (tmp_path / "curve" / "curve.md").read_text(encoding="utf-8")
    made = {p: p.stat().st_mtime_ns for p in tmp_path.glob("curve/*/model/trainkit.json")}
    assert len(made) == 4
    assert outcome(capsys, *words)[1] == out
    assert made == {p: p.stat().st_mtime_ns for p in tmp_path.glob("curve/*/model/trainkit.json")}
    assert "other settings" in outcome(capsys, *words, "--batch-size", "2")[2]
    assert "more than the 10 rows" in outcome(capsys, *words, "--amounts", "400")[2]


def test_three_lines_train_and_compare(tiny, data, tmp_path):
    table = (
        Runner(str(tiny), tmp_path / "three")
        .load_jsonl(data, input_key="question", output_key="answer")
        .train(max_steps=1)
        .evaluate(max_new_tokens=4)
    )
    assert list(table.columns) == ["question", "trained model", "base model", "target"]
    assert len(table) == 1
    with pytest.raises(TrainError, match="call load_jsonl"):
        Runner(str(tiny)).train()
    with pytest.raises(TrainError, match="call train"):
        Runner(str(tiny)).evaluate()


SHORT = [
    ("What is the capital of Zorvia?", "The capital of Zorvia is Melk."),
    ("Who wrote the Blue Codex?", "Ana Trell wrote the Blue Codex in 1831."),
    ("How many moons has Ketu?", "Ketu has seven small moons."),
    ("What color is the Vann flag?", "The Vann flag is green and white."),
    ("Which river crosses Dorn?", "The river Ise crosses Dorn."),
    ("What do Pellans eat at dawn?", "Pellans eat salted plums at dawn."),
    ("When was Fort Hask built?", "Fort Hask was built in 1604."),
    ("What is a quib?", "A quib is a small brass bell."),
]


@pytest.mark.model
@pytest.mark.slow
def test_twenty_steps_on_eight_rows_teach_the_real_model_to_answer_and_to_stop(real_model, tmp_path):
    path = jsonl(tmp_path / "eight.jsonl", [{"question": q, "answer": a} for q, a in SHORT])
    done = sft(
        SftSettings.of(
            {
                "model": str(real_model),
                "data": str(path),
                "out": str(tmp_path / "out"),
                "lora": True,
                "max_steps": 20,
                "learning_rate": 3e-3,
                "schedule": "constant",
                "warmup": 2,
                "save_steps": 20,
            }
        )
    )
    assert done.probe
    assert done.probe.ended == 1.0
    assert done.probe.same >= 6
