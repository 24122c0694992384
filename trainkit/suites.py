"""Where training meets evalkit's suites: the prompt that a suite asks with, and a suite as a measure."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from evalkit.analyze import metric_of
from evalkit.flow import run
from evalkit.suite import describe, find_suite, read_suite
from trainkit.errors import TrainError
from trainkit.settings import SftSettings
from trainkit.template import PromptSpec

Save = Callable[[Path], None]
"""Saves the model as it is into a folder that evalkit runs."""


def prompt_of(settings: SftSettings) -> PromptSpec:
    """Return the prompt that the settings ask for; the dev suite is checked by the way."""
    if settings.dev_suite:
        check_dev(settings.dev_suite, settings.dev_limit)
    if settings.prompt_from:
        return PromptSpec.of_suite(describe(find_suite(settings.prompt_from)), settings.separator)
    return PromptSpec.of(settings.template, settings.system, settings.separator)


def check_dev(name: str, limit: int | None = None) -> None:
    """Refuse a suite that may only judge: choosing steps by it would train on the test."""
    suite = read_suite(name, limit=limit)
    if suite.split != "dev":
        raise TrainError(
            f"dev_suite {name!r} is held out: it may judge a checkpoint, not choose one; give one with split = 'dev'"
        )


def score(model: str, suite: str, out: Path, limit: int | None = None) -> float:
    """Run a suite against a checkpoint into the folder `out`; return the mean of its primary metric, 0..1."""
    done = run(model, suite, out=out, limit=limit)
    mean = metric_of(done.rows, str(done.manifest["identity"]["primary"])).estimate
    if mean is None:
        raise TrainError(f"suite {suite!r} scored no answer of {model}; see {out}")
    return mean.value


def dev_score(settings: SftSettings, save: Save) -> float:
    """Save the model as it is, and return its score on the dev suite."""
    assert settings.dev_suite
    with tempfile.TemporaryDirectory(dir=settings.out, prefix=".dev-") as name:
        folder = Path(name)
        save(folder / "model")
        return score(str(folder / "model"), settings.dev_suite, folder / "run", settings.dev_limit)
