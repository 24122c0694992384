"""Settings refuse what contradicts itself, before anything is read; TOML, flags and Python are one table."""

from __future__ import annotations

import dataclasses

import pytest

from trainkit.config import build, knobs_of, read_settings, to_toml
from trainkit.errors import TrainError
from trainkit.settings import RENAMED, SftSettings

GIVEN = {"model": "m", "data": "d.jsonl", "out": "o"}


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"eval_steps": 120, "max_steps": 3, "eval_share": 0.1}, "nothing would be evaluated"),  # the seed's 120 and 3
        ({"save_steps": 120, "max_steps": 3}, "would never be saved"),
        ({"eval_steps": 2}, "without anything to evaluate"),
        ({"patience": 2}, "without anything to evaluate"),
        ({"patience": 2, "eval_share": 0.1, "best": "last"}, "patience needs best"),
        ({"best": "suite"}, "needs dev_suite"),
        ({"best": "loss"}, "needs eval_data or eval_share"),
        ({"eval_data": "e", "eval_share": 0.1}, "both given"),
        ({"prompt_from": "docs_qa", "template": "{input}"}, "leave those out"),
        ({"template": "Question:"}, "the place of the question"),
        ({"lora_rank": 8}, "lora_rank without lora = true"),
        ({"dev_limit": 3}, "goes with dev_suite"),
        ({"save_steps": 3, "eval_steps": 2, "eval_share": 0.1}, "where both are equal"),
        ({"warmup": 30.0, "max_steps": 10}, "training ends after"),
        ({"warmup": 1.5}, "whole steps"),
        ({"epochs": 0.0}, "epochs"),
        ({"learning_rate": 5.0}, "learning_rate"),
        ({"batch_size": 0}, "batch_size"),
        ({"max_steps": 0}, "max_steps"),
        ({"eval_share": 1.0}, "eval_share"),
        ({"seed": -1}, "seed"),
    ],
)
def test_settings_that_contradict_are_refused_before_anything_is_read(extra, message):
    with pytest.raises(TrainError, match=message):
        SftSettings.of({**GIVEN, **extra})


@pytest.mark.parametrize("name", sorted(RENAMED))
def test_the_names_of_other_trainers_say_what_replaced_them(name):
    with pytest.raises(TrainError, match=f"unknown setting '{name}'; "):
        SftSettings.of({**GIVEN, name: 1})


def test_an_unknown_name_gets_a_suggestion():
    with pytest.raises(TrainError, match="did you mean 'learning_rate'"):
        SftSettings.of({**GIVEN, "learning_rat": 1e-5})


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"batch_size": "8"}, "expected a whole number"),
        ({"batch_size": True}, "expected a whole number"),
        ({"lora": 1}, "expected true or false"),
        ({"learning_rate": "1e-5"}, "expected a number"),
        ({"over_long": "truncate"}, "expected one of raise, drop, truncate-prompt-left"),
    ],
)
def test_values_of_a_wrong_type_are_named(extra, message):
    with pytest.raises(TrainError, match=message):
        SftSettings.of({**GIVEN, **extra})


def test_what_must_be_given_is_asked_for_by_flag_and_key():
    with pytest.raises(TrainError, match=r"no data: give --data, or data = … in the config"):
        SftSettings.of({"model": "m", "out": "o"})


def test_toml_and_back_is_the_same(tmp_path):
    settings = SftSettings.of(
        {**GIVEN, "template": 'a "b"\n\\{input}\t한', "lora": True, "epochs": 2, "learning_rate": 1e-4}
    )
    path = tmp_path / "sft.toml"
    path.write_text(to_toml(settings), encoding="utf-8")
    assert SftSettings.of(read_settings(path)) == settings


def test_toml_names_may_be_written_like_the_flags(tmp_path):
    path = tmp_path / "c.toml"
    path.write_text("max-steps = 3\n")
    assert read_settings(path) == {"max_steps": 3}


def test_a_broken_config_is_one_line(tmp_path):
    path = tmp_path / "c.toml"
    path.write_text("model = \n")
    with pytest.raises(TrainError, match="not TOML") as fault:
        read_settings(path)
    assert "\n" not in str(fault.value)
    with pytest.raises(TrainError, match="cannot be read"):
        read_settings(tmp_path / "none.toml")


def test_the_learning_rate_follows_what_is_trained():
    assert SftSettings.of(GIVEN).rate == 1e-5
    assert SftSettings.of({**GIVEN, "lora": True}).rate == 2e-4
    assert SftSettings.of({**GIVEN, "learning_rate": 3e-4}).rate == 3e-4


def test_the_best_step_is_chosen_by_what_is_measured():
    assert SftSettings.of(GIVEN).measure == "last"
    assert SftSettings.of({**GIVEN, "eval_share": 0.1}).measure == "loss"
    assert SftSettings.of({**GIVEN, "dev_suite": "docs_qa_dev"}).measure == "suite"


def test_every_setting_has_a_sentence():
    for knob in knobs_of(SftSettings):
        assert knob.says.endswith((".", "…"))
        assert knob.default is dataclasses.MISSING or knob.default is None or isinstance(knob.default, knob.kind)


def test_build_takes_any_settings_class():
    @dataclasses.dataclass(frozen=True)
    class Empty:
        pass

    assert build(Empty, {}) == Empty()
