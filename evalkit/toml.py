"""Read TOML: strict, with the file in every complaint. Knows no settings."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from evalkit.errors import EvalkitError


def read_toml(path: Path, error: type[EvalkitError] = EvalkitError) -> dict[str, Any]:
    """Return the table of a file in UTF-8, with or without a byte order mark.

    Raises:
        error: the file cannot be read, or is not TOML.
    """
    try:
        return parse_toml(path.read_bytes().decode("utf-8-sig"))
    except OSError as fault:
        raise error(f"{path}: cannot be read: {fault.strerror}") from None
    except UnicodeDecodeError:
        raise error(f"{path}: expected UTF-8 text; save it as UTF-8") from None
    except ValueError as fault:
        raise error(f"{path}: not TOML: {' '.join(str(fault).split())}") from None


def parse_toml(text: str) -> dict[str, Any]:
    """Return the table that a text stands for; ValueError where it is none, or too much of one."""
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except ValueError as fault:  # besides the parser's own, Python's limit of digits
        raise ValueError(str(fault).split(";")[0]) from None
