"""The edge to pandas: runs as data frames, Parquet files as rows."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from evalkit.codec import flat_record
from evalkit.jsonl import dump
from evalkit.types import Run


def frame_of(run: Run) -> pd.DataFrame:
    """Return a data frame with a row an item: id, trial, question, answer, target, scores, tags, primary, meta."""
    return pd.DataFrame([flat_record(row) for row in run.rows])


def parquet_rows(path: Path) -> Iterator[Mapping[str, Any]]:
    """Yield the rows of a Parquet file as plain dictionaries."""
    yield from pd.read_parquet(path).to_dict(orient="records")  # type: ignore[misc]  # keys are column names


def parquet_of(records: Sequence[Mapping[str, Any]]) -> bytes:
    """Return records as a Parquet file; a column of values that differ in type is written as text."""
    frame, file = pd.DataFrame(records), io.BytesIO()
    for name in frame.columns:
        kinds = {type(value) for value in frame[name] if value is not None and value == value}
        if len(kinds - {int, float}) > (0 if kinds & {int, float} else 1) or kinds & {dict}:
            frame[name] = [None if value is None else dump(value) for value in frame[name]]
    frame.to_parquet(file, index=False)
    return file.getvalue()
