"""The plan's formulas, worked by hand, and the two facts about a V100 that the seed teaches."""

from __future__ import annotations

import json
import struct
from dataclasses import replace

import pytest

from trainkit.curve import gain_of, point_of, subset
from trainkit.curved import Curve, report
from trainkit.dataset import TrainRow
from trainkit.errors import TrainError
from trainkit.forecast import PlanSettings, forecast
from trainkit.plan import DEVICES, GIB, Load, cheaper, estimate, inference_bytes, seconds, step_flops, verdict
from trainkit.plot import spark
from trainkit.shapes import NAMED, Shape, shape_of

V100 = DEVICES["V100 16"]
LEAN = Load(tokens=128, supervised=0.5, checkpointing=True)


def test_the_seeds_first_fact_a_v100_of_16_gb_infers_7b():
    assert inference_bytes(NAMED["7B"]) == 14_000_000_000
    assert verdict(inference_bytes(NAMED["7B"]), V100) != "does not fit"
    assert verdict(inference_bytes(shape_of("13B")), V100) == "does not fit"


def test_the_seeds_second_fact_a_v100_of_16_gb_trains_1b_and_not_more():
    need = estimate(NAMED["1B"], LEAN)
    assert need.states == 16_000_000_000
    assert verdict(need.total, V100) == "tight"
    assert verdict(estimate(shape_of("1.5B"), LEAN).total, V100) == "does not fit"
    assert verdict(estimate(NAMED["7B"], LEAN).total, V100) == "does not fit"


@pytest.mark.parametrize(("precision", "each"), [("float32", 16), ("mixed", 18), ("bfloat16", 8)])
def test_full_training_takes_so_many_bytes_a_parameter(precision, each):
    assert estimate(NAMED["1B"], Load(precision=precision)).states == each * 10**9


def test_an_adapter_takes_two_bytes_a_frozen_parameter_and_sixteen_a_trained_one():
    shape = NAMED["7B"]
    assert estimate(shape, Load(lora=True, precision="bfloat16")).states == 2 * 7 * 10**9 + 16 * shape.lora(16)


def test_the_adapters_size_is_rank_times_both_sides_of_every_linear_layer():
    shape = Shape("s", 0, layers=2, hidden=8, inner=16, heads=8, keys=4, vocabulary=10)
    one = 4 * ((8 + 8) + (8 + 4) + (8 + 4) + (8 + 8) + (8 + 16) + (8 + 16) + (16 + 8))  # q, k, v, o, gate, up, down
    assert shape.lora(4) == 2 * one
    assert NAMED["135M"].lora(16) == 4_884_480  # what peft counts on SmolLM2-135M


def test_operations_are_6n_a_token_4n_for_an_adapter_and_the_head_on_learned_tokens():
    shape = Shape("s", 1000 + 80, 1, 8, 1, 1, 1, 10, tied=True)
    assert shape.body == 1000
    assert step_flops(shape, Load(supervised=0.5), 10) == 10 * (6 * 1000 + 6 * 0.5 * 80)
    assert step_flops(shape, Load(lora=True, supervised=1.0), 10) == 10 * (4 * 1000 + 4 * 80)


def test_time_is_a_range():
    short, long = seconds(NAMED["1B"], Load(), 1e6, V100)
    assert 0 < short < long < 10 * short


def test_what_does_not_fit_names_cheaper_settings_that_do():
    load = Load(precision="mixed")
    found = cheaper(NAMED["7B"], load, DEVICES["A100 80"])
    assert 1 <= len(found) <= 3
    assert all(verdict(estimate(NAMED["7B"], other).total, DEVICES["A100 80"]) == "fits" for other in found)
    assert found[0].optimizer == "adafactor"
    assert found[1].lora


def test_activations_grow_with_tokens_and_shrink_with_checkpointing():
    one, two = (estimate(NAMED["135M"], Load(tokens=n)).activations for n in (512, 1024))
    assert two == pytest.approx(2 * one)
    assert estimate(NAMED["135M"], Load(tokens=1024, checkpointing=True)).activations < one / 4


def test_a_shape_is_read_from_config_and_weight_headers(tmp_path):
    config = {"hidden_size": 8, "num_hidden_layers": 2, "intermediate_size": 16, "num_attention_heads": 2,
              "num_key_value_heads": 1, "vocab_size": 10, "tie_word_embeddings": True}  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "tokenizer.json").write_text("{}")
    header = json.dumps({"w": {"dtype": "F32", "shape": [3, 5], "data_offsets": [0, 60]}}).encode()
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(60))
    assert shape_of(str(tmp_path)) == Shape(str(tmp_path), 15, 2, 8, 16, 8, 4, 10, tied=True)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(TrainError, match="sizes cannot be read"):
        shape_of(str(tmp_path))


def test_a_forecast_has_every_model_on_every_device_and_this_machine():
    found = forecast(PlanSettings("135M,1B,7B"))
    assert [(f.shape.name, f.device.name) for f in found][:5] == [
        ("135M", "T4 16"), ("135M", "V100 16"), ("135M", "A100 80"), ("135M", "this machine"), ("1B", "T4 16")
    ]  # fmt: skip
    assert {f.verdict for f in found if f.shape.name == "135M" and f.device.name != "this machine"} == {"fits"}
    assert [f.verdict for f in found if f.shape.name == "7B"][:3] == ["does not fit"] * 3
    assert found[3].seconds is None
    assert found[0].device.memory == 16 * GIB


@pytest.mark.parametrize("extra", [{"batch_tokens": 0}, {"supervised": 0.0}, {"epochs": 0.0}, {"lora_rank": 0}])
def test_a_plan_refuses_what_cannot_be_meant(extra):
    with pytest.raises(TrainError, match=next(iter(extra))):
        PlanSettings("1B", **extra)


def test_a_point_has_an_interval_over_seeds():
    point = point_of(50, [0.2, 0.3, 0.4])
    assert point.mean == pytest.approx(0.3)
    assert point.low == pytest.approx(0.3 - 4.302653 * 0.1 / 3**0.5, abs=1e-6)
    assert point_of(50, [0.2]).low == 0.2


def test_the_next_doubling_gives_the_slope_over_doublings():
    gain, low, high = gain_of([point_of(50, [0.1, 0.1]), point_of(100, [0.2, 0.2]), point_of(200, [0.3, 0.3])])
    assert gain == pytest.approx(0.1)
    assert low == pytest.approx(0.1, abs=1e-6)
    assert high == pytest.approx(0.1, abs=1e-6)
    assert gain_of([point_of(50, [0.1, 0.2])]) == (None, None, None)


def test_amounts_of_one_seed_are_nested():
    rows = [TrainRow(str(i), "q", "a") for i in range(20)]
    small, large = ({row.id for row in subset(rows, n, 1)} for n in (5, 10))
    assert small < large
    assert small != {row.id for row in subset(rows, 5, 2)}


def test_a_curve_of_blocks_goes_from_high_to_low():
    assert spark([3, 2, 1]) == "█▅▁"
    assert spark([1, 1]) == "▁▁"
    assert len(spark(list(range(1000)))) <= 60
    assert spark([]) == ""


QWEN = Shape("Qwen-7B", 7_721_324_544, 32, 4096, 11_008, 4096, 4096, 151_936)
LLAMA2 = {"7B": NAMED["7B"], "70B": Shape("70B", 70 * 10**9, 80, 8192, 28_672, 8192, 1024, 32_000)}
LONG = {256: 20.1, 512: 20.4, 1024: 21.5, 2048: 23.8, 4096: 29.7, 8192: 36.6}
CHECKPOINTED = Load(precision="bfloat16", tokens=1024, supervised=1.0, checkpointing=True)
FIGURES = [
    # QwenLM/Qwen, README, "Profiling of Memory and Speed": measured on one A100 80, batch 1, LoRA of rank 64
    *((f"Qwen-7B LoRA {n}", QWEN, replace(CHECKPOINTED, lora=True, rank=64, tokens=n), gb) for n, gb in LONG.items()),
    # hiyouga/LLaMA-Factory, README, "Hardware Requirement": estimates
    ("7B full, mixed", LLAMA2["7B"], replace(CHECKPOINTED, precision="mixed"), 120.0),
    ("70B full, mixed", LLAMA2["70B"], replace(CHECKPOINTED, precision="mixed"), 1200.0),
    ("7B full, bfloat16", LLAMA2["7B"], CHECKPOINTED, 60.0),
    ("7B LoRA", LLAMA2["7B"], replace(CHECKPOINTED, lora=True), 16.0),
]


def test_ten_published_figures_are_met_within_six_percent_and_four_on_average():
    errors = {name: estimate(shape, load, GIB // 2).total / 1e9 / gb - 1 for name, shape, load, gb in FIGURES}
    print({name: f"{error:+.1%}" for name, error in errors.items()})
    assert len(errors) == 10
    assert max(abs(e) for e in errors.values()) < 0.07
    assert sum(abs(e) for e in errors.values()) / 10 < 0.05


def test_a_curve_is_told_with_its_plot_and_what_the_next_doubling_gives():
    points = (point_of(50, [0.2, 0.4]), point_of(100, [0.4]))
    text = report(Curve("docs_qa", 0.1, points, 0.1, -0.05, 0.25), "trainkit curve --suite docs_qa")
    assert "Made by `trainkit curve --suite docs_qa`." in text
    assert "![scores against training rows](curve.png)" in text
    assert "| 50 | 0.300 | 0.000 to 1.000 | 0.200, 0.400 |" in text  # 12.706 x 0.1414 / sqrt(2) each way
    assert "| 100 | 0.400 | 0.400 to 0.400 | 0.400 |" in text
    assert "the next doubling is expected to give +0.100 (-0.050 to +0.250)." in text
    assert "doubling" not in report(Curve("docs_qa", 0.1, points[:1], None, None, None))
