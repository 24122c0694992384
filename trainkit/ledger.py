"""What became of every row that was read: trained whole, truncated or dropped, each with its reason. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

LISTED = 1000
"""Names of rows that a record lists at most."""


@dataclass
class Ledger:
    """The account of one data file."""

    rows_in: int = 0
    """Rows read, broken and blank-answered ones included; blank lines are no rows."""
    trained: int = 0
    """Rows trained whole."""
    truncated: dict[str, str] = field(default_factory=dict)
    """Row -> what was cut off."""
    dropped: dict[str, str] = field(default_factory=dict)
    """Row -> why it is not trained."""
    kept_aside: int = 0
    """Rows that went to the evaluation loss."""

    @property
    def adds_up(self) -> bool:
        """Say whether every row is accounted for."""
        return self.rows_in == self.trained + len(self.truncated) + len(self.dropped) + self.kept_aside

    @property
    def reasons(self) -> Mapping[str, int]:
        """Return how many rows were truncated or dropped for each reason, the frequent ones first."""
        told = [f"truncated: {_kind(r)}" for r in self.truncated.values()]
        told += [f"dropped: {_kind(r)}" for r in self.dropped.values()]
        return dict(Counter(told).most_common())

    def line(self) -> str:
        """Return the account on one line."""
        aside = f" + {self.kept_aside} kept aside" if self.kept_aside else ""
        why = "; ".join(f"{n} {reason}" for reason, n in self.reasons.items())
        lost = f"{len(self.truncated)} truncated + {len(self.dropped)} dropped"
        return f"{self.rows_in} rows = {self.trained} trained + {lost}{aside}" + (f" ({why})" if why else "")

    def record(self) -> dict[str, Any]:
        """Return what the checkpoint keeps."""
        return {
            "rows_in": self.rows_in,
            "trained": self.trained,
            "truncated": len(self.truncated),
            "dropped": len(self.dropped),
            "kept_aside": self.kept_aside,
            "reasons": dict(self.reasons),
            "truncated_rows": dict(list(self.truncated.items())[:LISTED]),
            "dropped_rows": dict(list(self.dropped.items())[:LISTED]),
        }


def _kind(reason: str) -> str:
    """Return a reason without the numbers that differ from row to row."""
    return reason.partition(" (")[0]
