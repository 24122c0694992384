"""Rows of a data set by hub id, from a mirror folder or from the hub. Knows nothing of suites."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from evalkit.errors import SuiteError
from evalkit.jsonl import read_jsonl
from evalkit.registry import load

ENDINGS = ("jsonl", "parquet", "csv")


def mirror_of(given: str | Path | None) -> Path | None:
    """Return the mirror folder: what was given, else EVALKIT_DATA_DIR, else None."""
    name = given or os.environ.get("EVALKIT_DATA_DIR")
    if not name:
        return None
    folder = Path(name)
    if not folder.is_dir():
        raise SuiteError(f"data folder {str(folder)!r} is not a folder; give --data-dir DIR or EVALKIT_DATA_DIR")
    return folder


def read_rows(hub: str, config: str, split: str, data_dir: str | Path | None = None) -> list[Mapping[str, Any]]:
    """Return the rows of a hub data set in the hub's own schema.

    A file `DIR/<hub id>/<config>/<split>.jsonl|parquet|csv` of the mirror comes first, then the hub.

    Raises:
        SuiteError: neither has it; the message says where it was looked for.
    """
    mirror = mirror_of(data_dir)
    if mirror and (found := mirrored(mirror, hub, config, split)):
        try:
            return [_plain(row) for row in _read_file(found)]
        except (OSError, UnicodeDecodeError, csv.Error) as fault:
            raise SuiteError(f"{found}: cannot be read: {fault}") from None
    try:
        return [_plain(row) for row in load("evalkit.hub:rows_of")(hub, config, split)]
    except Exception as fault:  # the hub client raises many kinds, all of them mean "not there"
        looked = f"{mirror / hub / config}/{split}.{{{','.join(ENDINGS)}}}" if mirror else "no --data-dir was given"
        reason = " ".join(str(fault).split())[:120]
        raise SuiteError(
            f"data set {hub!r} ({split}) was found neither in a mirror ({looked}) nor on the hub ({reason}); "
            "give --data-dir DIR with DIR/<hub id>/<config>/<split>.jsonl, or go on-line"
        ) from None


def mirrored(mirror: Path, hub: str, config: str, split: str) -> Path | None:
    """Return the mirror's file of a data set's split, or None."""
    for part in (hub, config, split):
        if ".." in Path(part).parts or Path(part).is_absolute():
            raise SuiteError(f"data set {part!r}: expected a name like owner/name, not a path")
    return next((p for e in ENDINGS if (p := mirror / hub / config / f"{split}.{e}").is_file()), None)


def _plain(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a row in JSON values: a missing number (NaN) is null, an array a list, anything else (a date) its text."""
    text = json.dumps(row, default=lambda value: value.tolist() if hasattr(value, "tolist") else str(value))
    plain: Mapping[str, Any] = json.loads(text, parse_constant=lambda _: None)
    return plain


def _read_file(path: Path) -> Iterator[Mapping[str, Any]]:
    if path.suffix == ".jsonl":
        yield from (row for _, row in read_jsonl(path, SuiteError))
    elif path.suffix == ".parquet":
        yield from load("evalkit.frames:parquet_rows")(path)
    else:
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield from csv.DictReader(file)
