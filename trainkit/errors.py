"""What may go wrong in training, under evalkit's exception tree; each message is one line.

EvalkitError            2
└── TrainError          2   settings, data or a model that training cannot use
    ├── BadRow          2   one row that cannot be trained, by its name
    └── Halted          4   training stopped; the last good step is kept and can be resumed
"""

from __future__ import annotations

from evalkit.errors import EvalkitError


class TrainError(EvalkitError):
    """Settings, data or a model are not usable for training."""


class BadRow(TrainError):
    """One row cannot be trained."""

    def __init__(self, row: str, reason: str) -> None:
        """Keep name and reason apart, for the ledger counts by reason."""
        super().__init__(f"{row}: {reason}")
        self.row = row
        self.reason = reason


class Halted(TrainError):
    """Training stopped early; what was saved before is whole."""

    exit_code = 4
