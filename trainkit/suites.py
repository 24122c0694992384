"""Where training meets evalkit's suites: the prompt that a suite asks with, and a dev suite as the measure of a step."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from evalkit.analyze import mean_of_primary
from trainkit.settings import SftSettings
from trainkit.template import PromptSpec
