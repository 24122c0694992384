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

_INT64 = -(2**63), 2**63 - 1
"""The least and the greatest whole number of a Parquet column."""


def frame_of(run: Run) -> pd.DataFrame:
    """Return a data frame with a row an item: id, trial, question, answer, target, scores, tags, primary, meta."""
    return pd.DataFrame([flat_record(row) for row in run.rows])


def parquet_rows(path: Path) -> Iterator[Mapping[str, Any]]:
    """Yield the rows of a Parquet file as plain dictionaries."""
    yield from pd.read_parquet(path).to_dict(orient="records")  # type: ignore[misc]  # keys are column names


def parquet_of(records: Sequence[Mapping[str, Any]]) -> bytes:
    """Return records as a Parquet file; values that no Parquet column holds as they are become JSON text."""
    names, file = dict.fromkeys(name for record in records for name in record), io.BytesIO()
    columns = {name: _column([record.get(name) for record in records]) for name in names}
    pd.DataFrame(columns, dtype=object).to_parquet(file, index=False)
    return file.getvalue()


def _column(values: Sequence[Any]) -> list[Any]:
    """Return values of one type, None where one is missing: text, truth, numbers, lists of text, or JSON of any."""
    known = [value for value in values if value is not None]
    kinds = {type(value) for value in known}
    if kinds <= {str} or kinds <= {bool}:
        return list(values)
    if kinds <= {int, float} and all(_INT64[0] <= value <= _INT64[1] for value in known if isinstance(value, int)):
        return [value if value is None or kinds == {int} else float(value) for value in values]
    if kinds <= {list} and all(isinstance(item, str) for value in known for item in value):
        return list(values)
    return [None if value is None else dump(value) for value in values]
