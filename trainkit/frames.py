"""The edge to pandas: tables on disk as records, and answers side by side as a data frame."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from trainkit.errors import TrainError


def records_of(path: Path) -> Iterator[Mapping[str, Any]]:
    """Yield the records of a JSON array, CSV or Parquet file; missing cells are left out."""
    readers = {".json": pd.read_json, ".csv": pd.read_csv, ".parquet": pd.read_parquet}
    if path.suffix not in readers:
        raise TrainError(f"{path}: expected .jsonl, .json, .csv, .parquet, .txt or .md")
    try:
        table: Any = readers[path.suffix](path)  # type: ignore[operator]  # each takes a path
    except (ValueError, OSError) as fault:
        raise TrainError(f"{path}: cannot be read: {' '.join(str(fault).split())[:160]}") from None
    for record in json.loads(table.to_json(orient="records")):
        yield {key: value for key, value in record.items() if value is not None}


def side_by_side(answers: Sequence[Mapping[str, str]]) -> pd.DataFrame:
    """Return a data frame with a row a question: the trained model's answer beside the base model's."""
    return pd.DataFrame(list(answers), columns=["question", "trained model", "base model", "target"])
