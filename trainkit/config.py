"""Settings as frozen dataclasses whose fields carry their help: one table for Python, TOML files and flags.

Knows nothing of what the settings mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, get_args, get_type_hints

from evalkit.errors import EvalkitError
from evalkit.registry import did_you_mean
from evalkit.toml import read_toml
from trainkit.errors import TrainError

T = TypeVar("T")
_CALLED: Mapping[type, str] = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}


def setting(default: Any = MISSING, *, says: str, choices: tuple[str, ...] = (), metavar: str = "") -> Any:
    """Declare a field of a settings class with the sentence that help and documents show."""
    return field(default=default, metadata={"says": says, "choices": choices, "metavar": metavar})


@dataclass(frozen=True, slots=True)
class Knob:
    """One setting as a command line sees it."""

    name: str
    """The field's name, and its key in TOML."""
    kind: type
    """Type of its value: str, int, float or bool."""
    says: str
    """What it does, one sentence."""
    default: Any
    """Its default; MISSING where it must be given."""
    choices: tuple[str, ...]
    """The only values it takes; empty: any."""
    metavar: str
    """How its value is called in help."""


def knobs_of(kind: type[Any]) -> list[Knob]:
    """Return the settings of a class, in order."""
    hints = get_type_hints(kind)
    return [_knob(f, hints[f.name]) for f in fields(kind)]


def build(kind: type[T], given: Mapping[str, Any], hints: Mapping[str, str] | None = None) -> T:
    """Build settings from values by name.

    Raises:
        TrainError: an unknown or missing name, or a value of a wrong type; `hints` say what replaced an old name.
    """
    knobs = {knob.name: knob for knob in knobs_of(kind)}
    for name in given:
        if name not in knobs:
            advice = f"; {hints[name]}" if hints and name in hints else did_you_mean(name, knobs)
            raise TrainError(f"unknown setting {name!r}{advice}")
    values = {name: _typed(knobs[name], value) for name, value in given.items()}
    for knob in knobs.values():
        if knob.default is MISSING and values.get(knob.name) in (None, ""):
            raise TrainError(f"no {knob.name}: give --{knob.name.replace('_', '-')}, or {knob.name} = … in the config")
    return kind(**values)


def read_settings(path: str | Path, error: type[EvalkitError] = TrainError) -> dict[str, Any]:
    """Read settings from a TOML file; `-` and `_` in names are the same."""
    return {name.replace("-", "_"): value for name, value in read_toml(Path(path), error).items()}


def to_toml(settings: Any) -> str:
    """Return settings as TOML, without what is None."""
    lines = [f"{f.name} = {_toml(value)}" for f in fields(settings) if (value := getattr(settings, f.name)) is not None]
    return "\n".join(lines) + "\n"


def _knob(f: Field[Any], hint: Any) -> Knob:
    kinds = [part for part in get_args(hint) if part is not type(None)] if isinstance(hint, UnionType) else [hint]
    meta = f.metadata
    return Knob(f.name, kinds[0], meta["says"], f.default, meta["choices"], meta["metavar"])


def _typed(knob: Knob, value: Any) -> Any:
    if value is None and knob.default is None:
        return None
    if knob.kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, knob.kind) or (isinstance(value, bool) and knob.kind is not bool):
        raise TrainError(f"{knob.name} = {value!r}: expected {_CALLED[knob.kind]}")
    if knob.choices and value not in knob.choices:
        raise TrainError(f"{knob.name} = {value!r}: expected one of {', '.join(knob.choices)}")
    return value


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    text = "".join(c if c.isprintable() and c not in '"\\' else f"\\U{ord(c):08x}" for c in str(value))
    return f'"{text}"'
