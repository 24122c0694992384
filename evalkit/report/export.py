"""Rows as a table for other programs: CSV, JSON lines and Parquet, a record per answer. Pure but for Parquet's edge.

A spreadsheet runs a cell that begins like a formula: in CSV such a cell gets an apostrophe before it, numbers do not.
"""

from __future__ import annotations

import csv as writer
import io
import re
from collections.abc import Iterator, Sequence
from typing import Any

from evalkit.codec import flat_record
from evalkit.jsonl import dump
from evalkit.registry import load
from evalkit.report.pick import View
from evalkit.types import Run

_FORMULA = re.compile(r"[\s\0]*[=+\-@|\uff1d\uff0b\uff0d\uff20]|[\t\r\n]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def csv(run: Run, view: View | None = None) -> str:
    """Return the rows of one run as CSV."""
    return csv_of([run])


def jsonl(run: Run, view: View | None = None) -> str:
    """Return the rows of one run as JSON lines."""
    return jsonl_of([run])


def parquet(run: Run, view: View | None = None) -> bytes:
    """Return the rows of one run as a Parquet file."""
    return parquet_of([run])


def csv_of(runs: Sequence[Run]) -> str:
    """Return the rows of runs as CSV with a header, lists as JSON; a column per score and per key of meta."""
    records = list(_records(runs))
    names = list(dict.fromkeys(name for record in records for name in record))
    file = io.StringIO()
    table = writer.writer(file, lineterminator="\r\n")
    table.writerow([cell(name) for name in names])
    table.writerows([cell(record.get(name)) for name in names] for record in records)
    return file.getvalue()


def jsonl_of(runs: Sequence[Run]) -> str:
    """Return the rows of runs as JSON lines."""
    return "".join(f"{dump(record)}\n" for record in _records(runs))


def parquet_of(runs: Sequence[Run]) -> bytes:
    """Return the rows of runs as a Parquet file."""
    return bytes(load("evalkit.frames:parquet_of")(list(_records(runs))))


def cell(value: Any) -> str:
    """Return a value as the text of a cell that no spreadsheet takes for a formula; numbers stay as they are."""
    text = "" if value is None else value if isinstance(value, str) else dump(value)
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def _records(runs: Sequence[Run]) -> Iterator[dict[str, Any]]:
    for run in runs:
        for row in run.rows:
            yield {"run": run.id, "suite": run.suite, "model": run.model, **flat_record(row)}
