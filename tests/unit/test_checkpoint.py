"""A checkpoint's folder is taken only where nothing of anybody's is in it."""

from __future__ import annotations

import pytest

from trainkit.checkpoint import held
from trainkit.errors import TrainError


@pytest.mark.parametrize("left", [(), ("steps/lock",), ("steps/lock", "steps/run.json")])
def test_what_a_training_left_that_was_killed_before_its_settings_were_written_is_as_good_as_empty(tmp_path, left):
    for name in left:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with held(tmp_path, fresh=True):
        assert (tmp_path / "steps/lock").is_file()


@pytest.mark.parametrize("left", ["mine", "sft.toml", "steps/checkpoint-2", "trainkit.json"])
def test_a_folder_with_anything_else_in_it_is_refused(tmp_path, left):
    (tmp_path / "steps").mkdir()
    (tmp_path / left).touch()
    with pytest.raises(TrainError, match="is not an empty folder; choose another --out"), held(tmp_path, fresh=True):
        pass
