"""The edge to pandas: runs as data frames, Parquet files as rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from evalkit.types import Row, Run


def frame_of(run: Run) -> pd.DataFrame:
    """Return a data frame with a row an item: id, trial, question, answer, target, scores, tags, primary, meta."""
    return pd.DataFrame([_record(row) for row in run.rows])


def parquet_rows(path: Path) -> Iterator[Mapping[str, Any]]:
    """Yield the rows of a Parquet file as plain dictionaries."""
    yield from pd.read_parquet(path).to_dict(orient="records")  # type: ignore[misc]  # keys are column names


def _record(row: Row) -> dict[str, Any]:
    return {
        "id": row.example.id,
        "trial": row.trial,
        "question": row.example.question,
        "answer": row.response.text,
        "target": list(row.example.target),
        "finish": row.response.finish,
        "error": row.response.error,
        "tokens": row.response.tokens,
        **{score.name: score.value for score in row.scores},
        "tags": [tag.category for tag in row.tags],
        "primary": row.primary,
        **{f"meta.{key}": value for key, value in row.example.meta.items()},
    }
